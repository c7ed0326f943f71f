"""SQL views, one file per view and version; a file that a migration has used is never edited.

A change of a view is a new file with the next version and a new migration that calls `create_view` with it.
"""

from pathlib import Path

from alembic import op

FOLDER = Path(__file__).parent


def create_view(name: str, version: int) -> None:
    """Run the statement in `{name}_v{version}.sql` exactly as written: no colon in it is read as a parameter."""
    statement = (FOLDER / f"{name}_v{version}.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(statement)


def drop_view(name: str) -> None:
    """Drop the view of that name."""
    op.execute(f"DROP VIEW {name}")
