"""SQL functions, one file per function and version; a file that a migration has used is never edited.

A change of a function is a new file with the next version and a new migration that calls `create_function` with it.
"""

from pathlib import Path

from alembic import op

FOLDER = Path(__file__).parent


def create_function(name: str, version: int) -> None:
    """Run the statement in `{name}_v{version}.sql` exactly as written: no colon in it is read as a parameter."""
    statement = (FOLDER / f"{name}_v{version}.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(statement)


def drop_function(name: str) -> None:
    """Drop the function of that name; a call in progress fails."""
    op.execute(f"DROP FUNCTION {name}")


def rename_function(name: str, new_name: str) -> None:
    """Rename the function; a call in progress ends undisturbed, and a prepared statement looks the name up again."""
    op.execute(f"ALTER FUNCTION {name} RENAME TO {new_name}")
