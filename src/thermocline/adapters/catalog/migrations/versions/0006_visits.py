"""How often readers came back to a content: added, none known of what was read before."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("contents", sa.Column("storage_visits", sa.Integer, nullable=False, server_default=sa.text("0")))
