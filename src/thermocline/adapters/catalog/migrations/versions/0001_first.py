"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# As they were when this migration was written: a migration never follows later changes of `schema`.
_BINARY_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LIVE = sa.column("deleted_at").is_(None)
_TOMBSTONE = sa.column("deleted_at").is_not(None)
_MAY_EXPIRE = sa.column("expires_at").is_not(None) & (sa.column("held", sa.Boolean) == sa.false())
_WAITING = sa.column("dead", sa.Boolean) == sa.false()
_NAMES_AN_OBJECT = sa.column("placement").is_not(None)


def upgrade() -> None:
    _create_contents()
    _create_work()
    op.create_table(
        "installation",
        sa.Column("only", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("installation_id", sa.Text, nullable=False),
        sa.Column("revision_floor", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("only", name="pk_installation"),
        sa.CheckConstraint('"only" = 1', name=op.f("ck_installation_one_row")),
    )
    op.create_table(
        "changes",
        sa.Column("sequence", _ROW_ID, nullable=False),
        sa.Column("content_id", _BINARY_TEXT),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("committed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_changes"),
    )
    op.create_table(
        "tokens",
        sa.Column("token_id", _BINARY_TEXT, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("prefix", _BINARY_TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("token_id", name="pk_tokens"),
    )
    op.create_table(
        "leases",
        sa.Column("name", _BINARY_TEXT, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
        sqlite_with_rowid=False,
    )


def _create_contents() -> None:
    op.create_table(
        "contents",
        sa.Column("content_id", _BINARY_TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("placement", sa.Text),
        sa.Column("object_key", _BINARY_TEXT),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("size", sa.BigInteger),
        sa.Column("content_type", sa.Text),
        sa.Column("cache_control", sa.Text),
        sa.Column("content_disposition", sa.Text),
        sa.Column("tier", sa.Text),
        sa.Column("tier_since", sa.BigInteger),
        sa.Column("visibility", sa.Text),
        sa.Column("created_at", sa.BigInteger),
        sa.Column("modified_at", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.Column("metadata", sa.Text),
        sa.Column("chunk_digests", sa.LargeBinary),
        sa.PrimaryKeyConstraint("content_id", name="pk_contents"),
        sa.CheckConstraint(
            "(deleted_at IS NULL) = (object_key IS NOT NULL)", name=op.f("ck_contents_live_or_tombstone")
        ),
    )
    op.create_index("ix_contents_live", "contents", ["content_id"], sqlite_where=_LIVE, postgresql_where=_LIVE)
    op.create_index("ix_contents_tier", "contents", ["tier", "content_id"], sqlite_where=_LIVE, postgresql_where=_LIVE)
    op.create_index(
        "ix_contents_expires_at",
        "contents",
        ["expires_at", "content_id"],
        sqlite_where=_MAY_EXPIRE,
        postgresql_where=_MAY_EXPIRE,
    )
    op.create_index(
        "ix_contents_deleted_at", "contents", ["deleted_at"], sqlite_where=_TOMBSTONE, postgresql_where=_TOMBSTONE
    )


def _create_work() -> None:
    op.create_table(
        "intents",
        sa.Column("object_key", _BINARY_TEXT, nullable=False),
        sa.Column("placement", sa.Text, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("lease_token", sa.Text),
        sa.Column("condemned", sa.Boolean, nullable=False),
        sa.Column("deleted_once", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("object_key", name="pk_intents"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_intents_lease_until", "intents", ["lease_until"])
    op.create_table(
        "outbox",
        sa.Column("row_id", _ROW_ID, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", _BINARY_TEXT, nullable=False),
        sa.Column("placement", sa.Text),
        sa.Column("version", sa.BigInteger),
        sa.Column("hard", sa.Boolean, nullable=False),
        sa.Column("second_pass", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("lease_token", sa.Text),
        sa.Column("dead", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("row_id", name="pk_outbox"),
    )
    op.create_index(
        "ix_outbox_due", "outbox", ["kind", "due_at", "row_id"], sqlite_where=_WAITING, postgresql_where=_WAITING
    )
    op.create_index(
        "ix_outbox_object", "outbox", ["subject"], sqlite_where=_NAMES_AN_OBJECT, postgresql_where=_NAMES_AN_OBJECT
    )
    op.create_table(
        "quarantine",
        sa.Column("object_key", _BINARY_TEXT, nullable=False),
        sa.Column("placement", sa.Text, nullable=False),
        sa.Column("delete_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("object_key", name="pk_quarantine"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_quarantine_delete_at", "quarantine", ["delete_at"])
