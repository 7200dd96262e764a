"""What policies decide from, may spend, and are judged by: everything is added, with defaults that are the server's."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ZERO = sa.text("0")


def upgrade() -> None:
    for column in (
        sa.Column("storage_days", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("last_storage_day", sa.BigInteger),
        sa.Column("recent_storage_days", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("storage_heat_5d", sa.Double, nullable=False, server_default=_ZERO),
        sa.Column("storage_heat_20d", sa.Double, nullable=False, server_default=_ZERO),
        sa.Column("storage_heat_80d", sa.Double, nullable=False, server_default=_ZERO),
        sa.Column("storage_heat_320d", sa.Double, nullable=False, server_default=_ZERO),
    ):
        op.add_column("contents", column)
    for table in ("moves", "ledger"):
        op.add_column(table, sa.Column("saving_usd_per_month", sa.Double))
        op.add_column(table, sa.Column("cost_usd", sa.Double))
    op.add_column("ledger", sa.Column("storage_reads", sa.BigInteger))
    op.create_table(
        "policy_days",
        sa.Column("day", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("moves", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("usd", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_policy_days"),
    )
