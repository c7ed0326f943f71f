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
    """Drop the only function of that name, whatever its version."""
    op.execute(f"DROP FUNCTION {name}")


def replace_function(name: str, version: int) -> None:
    """Replace the function by another version in the migration's transaction.

    `CREATE OR REPLACE` cannot rename parameters, so the function is dropped and created. Until the commit other
    connections call the old version and after it the new one; none of them finds the function missing.
    """
    drop_function(name)
    create_function(name, version)
