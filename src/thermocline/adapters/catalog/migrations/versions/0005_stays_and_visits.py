"""Since when an object lies where it does, null for all there is, and how often readers came back to a content."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("contents", sa.Column("placed_at", sa.BigInteger))
    op.add_column("contents", sa.Column("storage_visits", sa.Integer, nullable=False, server_default=sa.text("0")))
