"""Since when an object lies where it does, where its tier has changed since: added, null for all there is."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("contents", sa.Column("placed_at", sa.BigInteger))
