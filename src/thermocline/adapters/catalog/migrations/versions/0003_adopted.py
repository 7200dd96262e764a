"""Which objects of others contents have adopted: a table more, filled when it is first needed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# As it was when this migration was written: a migration never follows later changes of `schema`.
_BINARY_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "adopted",
        sa.Column("object_key", _BINARY_TEXT, nullable=False),
        sa.Column("content_id", _BINARY_TEXT, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("modified_at", sa.BigInteger),
        sa.Column("etag", sa.Text),
        sa.PrimaryKeyConstraint("object_key", "content_id", name="pk_adopted"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_adopted_content_id", "adopted", ["content_id"])
