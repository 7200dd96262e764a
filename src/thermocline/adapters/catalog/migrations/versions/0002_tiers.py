"""Moves, restores, access summaries, recovery: everything is added; an index gets columns more."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# As they were when this migration was written: a migration never follows later changes of `schema`.
_BINARY_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ZERO = sa.text("0")


def upgrade() -> None:
    _add_columns()
    _create_moves()
    _create_restores()
    _create_statistics()
    op.create_table(
        "access_days",
        sa.Column("day", sa.BigInteger, nullable=False),
        sa.Column("content_id", _BINARY_TEXT, nullable=False),
        sa.Column("cache_reads", sa.BigInteger, nullable=False),
        sa.Column("storage_reads", sa.BigInteger, nullable=False),
        sa.Column("edge_reads", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", "content_id", name="pk_access_days"),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (day)",
    )
    op.create_table(
        "found_objects",
        sa.Column("content_id", _BINARY_TEXT, nullable=False),
        sa.Column("object_key", _BINARY_TEXT, nullable=False),
        sa.Column("placement", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("rival_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("content_id", name="pk_found_objects"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cursors",
        sa.Column("name", _BINARY_TEXT, nullable=False),
        sa.Column("position", _BINARY_TEXT, nullable=False),
        sa.Column("begun_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("skipped", sa.BigInteger, nullable=False),
        sa.Column("findings", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_cursors"),
        sqlite_with_rowid=False,
    )


def _create_statistics() -> None:
    op.create_table(
        "job_runs",
        sa.Column("name", _BINARY_TEXT, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("ran_at", sa.BigInteger, nullable=False),
        sa.Column("next_at", sa.BigInteger),
        sa.Column("failed_at", sa.BigInteger),
        sa.Column("last_error", sa.Text),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_job_runs"),
        sqlite_with_rowid=False,
    )
    # The same index, with two columns more: whoever uses the old one finds it as good.
    op.drop_index("ix_contents_tier", table_name="contents")
    op.create_index(
        "ix_contents_tier",
        "contents",
        ["tier", "content_id", "size", "deleted_at"],
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def _add_columns() -> None:
    for column in (
        sa.Column("compatible_from", sa.Text, nullable=False, server_default=sa.text("'0002'")),
        sa.Column("recovering", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("heat_since", sa.BigInteger),
    ):
        op.add_column("installation", column)
    for column in (
        sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("unproven", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("reads_total", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("storage_reads", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("last_read_at", sa.BigInteger),
        sa.Column("heat_5d", sa.Double, nullable=False, server_default=_ZERO),
        sa.Column("heat_20d", sa.Double, nullable=False, server_default=_ZERO),
        sa.Column("heat_80d", sa.Double, nullable=False, server_default=_ZERO),
        sa.Column("heat_320d", sa.Double, nullable=False, server_default=_ZERO),
    ):
        op.add_column("contents", column)


def _create_moves() -> None:
    op.create_table(
        "moves",
        sa.Column("content_id", _BINARY_TEXT, nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("by_policy", sa.Boolean, nullable=False),
        sa.Column("planned_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("lease_token", sa.Text),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("content_id", name="pk_moves"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_moves_due_at", "moves", ["due_at", "content_id"])
    op.create_table(
        "ledger",
        sa.Column("row_id", _ROW_ID, nullable=False),
        sa.Column("content_id", _BINARY_TEXT, nullable=False),
        sa.Column("moved_at", sa.BigInteger, nullable=False),
        sa.Column("from_tier", sa.Text, nullable=False),
        sa.Column("to_tier", sa.Text, nullable=False),
        sa.Column("from_placement", sa.Text, nullable=False),
        sa.Column("to_placement", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("by_policy", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("row_id", name="pk_ledger"),
    )
    op.create_index("ix_ledger_content_id", "ledger", ["content_id", "row_id"])


def _create_restores() -> None:
    op.create_table(
        "restores",
        sa.Column("object_key", _BINARY_TEXT, nullable=False),
        sa.Column("content_id", _BINARY_TEXT, nullable=False),
        sa.Column("placement", sa.Text, nullable=False),
        sa.Column("speed", sa.Text, nullable=False),
        sa.Column("days", sa.Integer, nullable=False),
        sa.Column("cost_usd", sa.Double, nullable=False),
        sa.Column("requested_at", sa.BigInteger, nullable=False),
        sa.Column("sent", sa.Boolean, nullable=False),
        sa.Column("eta", sa.BigInteger, nullable=False),
        sa.Column("readable_until", sa.BigInteger),
        sa.Column("check_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("lease_token", sa.Text),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("object_key", name="pk_restores"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_restores_check_at", "restores", ["check_at", "object_key"])
    op.create_index("ix_restores_content_id", "restores", ["content_id"])
    op.create_table(
        "restore_days",
        sa.Column("day", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("spent_usd", sa.Double, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_restore_days"),
    )
