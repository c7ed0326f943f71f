"""Replaces the rate limiter's function `take_call` by version 2: names written out, the same decisions.

Replicas of the older code keep working while this runs and afterwards: they pass the parameters by position and read
the columns `decision`, `seconds` and `slot`, which stay as they are.

`CREATE OR REPLACE` cannot rename parameters, and a call in progress fails when its function is dropped. Version 1 is
therefore kept as `take_call_v1`, which nothing calls afterwards; the migration of a later release can drop it.
"""

from migrations.functions import create_function, drop_function, rename_function

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    rename_function("take_call", "take_call_v1")
    create_function("take_call", 2)


def downgrade() -> None:
    drop_function("take_call")
    rename_function("take_call_v1", "take_call")
