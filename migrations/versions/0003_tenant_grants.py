"""Creates `tenant_grants`: every grant that reaches a tenant, where `tenants.grant_id` names only the one in use.

Replicas of the older code keep working while this runs and afterwards: `tenants.grant_id` stays, and a trigger copies
into the new table what they write there. The trigger can go in a later release than the last one that needs it.
"""

import sqlalchemy as sa
from alembic import op

from migrations.functions import create_function, drop_function

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STORE_TENANT_GRANT_TRIGGER = """
CREATE TRIGGER store_tenant_grant AFTER INSERT OR UPDATE OF grant_id ON tenants
FOR EACH ROW EXECUTE FUNCTION store_tenant_grant()
"""
# Creating the trigger locks `tenants` against writers until the commit, so no row of another replica is left out.
FILL_TENANT_GRANTS = """
INSERT INTO tenant_grants (vendor, tenant_id, grant_id, connection_id, consent_id, listed_at, lost_at)
SELECT vendor, tenant_id, grant_id, connection_id, consent_id, updated_at, removed_at FROM tenants
ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    op.add_column("grants", sa.Column("listed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "tenant_grants",
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("consent_id", sa.Text(), nullable=True),
        sa.Column("listed_at", sa.DateTime(timezone=True), server_default=sa.text("wall_clock()"), nullable=False),
        sa.Column("lost_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["grants.id"], name=op.f("fk_tenant_grants_grant_id_grants"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["vendor", "tenant_id"],
            ["tenants.vendor", "tenants.tenant_id"],
            name=op.f("fk_tenant_grants_vendor_tenants"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("grant_id", "tenant_id", name=op.f("pk_tenant_grants")),
    )
    op.create_index(op.f("ix_tenant_grants_vendor_tenant_id"), "tenant_grants", ["vendor", "tenant_id"], unique=False)
    create_function("store_tenant_grant", 1)
    op.execute(STORE_TENANT_GRANT_TRIGGER)
    op.execute(FILL_TENANT_GRANTS)


def downgrade() -> None:
    op.execute("DROP TRIGGER store_tenant_grant ON tenants")
    drop_function("store_tenant_grant")
    op.drop_table("tenant_grants")
    op.drop_column("grants", "listed_at")
