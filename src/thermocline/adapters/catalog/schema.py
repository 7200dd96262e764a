"""The tables. All times are microseconds; only types that drivers pass unchanged (see `statements`).

A content and its tombstone share one row: `deleted_at` tells them apart, and of a tombstone only the id, revision
and version are left. So the row that a commit locks is there for a deleted content too.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    func,
    text,
)

from thermocline.domain.heat import HEAT_DAYS

SCHEMA_VERSION: Final = "0006"
"""The newest migration; a test compares it with `migrations/versions`."""

NAMES: Final = {"pk": "pk_%(table_name)s", "ck": "ck_%(constraint_name)s"}

_ZERO = text("0")

metadata = MetaData(naming_convention=NAMES)

# Listings are in byte order everywhere; SQLite compares bytes by itself.
BinaryText = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite numbers rows by itself only if the type is exactly INTEGER.
RowId = BigInteger().with_variant(Integer(), "sqlite")

installation = Table(
    "installation",
    metadata,
    Column("only", Integer, primary_key=True, autoincrement=False),
    Column("installation_id", Text, nullable=False),
    Column("revision_floor", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint('"only" = 1', name="installation_one_row"),
    # The oldest schema whose programs may use this catalog: additive migrations leave it where it is.
    Column("compatible_from", Text, nullable=False, server_default=text("'0002'")),
    # Set in every backup: while it is set nothing is deleted (`services.recovering`).
    Column("recovering", Boolean, nullable=False, server_default=false()),
    # Since when reads are weighed (`domain.heat`); at first since the catalog was made.
    Column("heat_since", BigInteger),
)

contents = Table(
    "contents",
    metadata,
    Column("content_id", BinaryText, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("placement", Text),
    Column("object_key", BinaryText),
    Column("digest", LargeBinary),
    Column("size", BigInteger),
    Column("content_type", Text),
    Column("cache_control", Text),
    Column("content_disposition", Text),
    Column("tier", Text),
    Column("tier_since", BigInteger),
    Column("visibility", Text),
    Column("created_at", BigInteger),
    Column("modified_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("held", Boolean, nullable=False),
    Column("metadata", Text),
    # Last, so that whatever does not need them never reads the pages they overflow to.
    Column("chunk_digests", LargeBinary),
    CheckConstraint("(deleted_at IS NULL) = (object_key IS NOT NULL)", name="contents_live_or_tombstone"),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("unproven", Boolean, nullable=False, server_default=false()),
    Column("reads_total", BigInteger, nullable=False, server_default=_ZERO),
    Column("storage_reads", BigInteger, nullable=False, server_default=_ZERO),
    Column("last_read_at", BigInteger),
    *(Column(f"heat_{days}d", Double, nullable=False, server_default=_ZERO) for days in HEAT_DAYS),
    Column("storage_days", Integer, nullable=False, server_default=_ZERO),
    Column("last_storage_day", BigInteger),
    # Bit k: there was a storage read k days before `last_storage_day`.
    Column("recent_storage_days", BigInteger, nullable=False, server_default=_ZERO),
    *(Column(f"storage_heat_{days}d", Double, nullable=False, server_default=_ZERO) for days in HEAT_DAYS),
    Column("storage_visits", Integer, nullable=False, server_default=_ZERO),
    # Since when the object lies where it does, if the tier has changed in place since; null: since it has its tier.
    Column("placed_at", BigInteger),
)
placed_since = func.coalesce(contents.c.placed_at, contents.c.tier_since)
ACCESS_COLUMNS: Final = (
    contents.c.reads_total,
    contents.c.storage_reads,
    contents.c.last_read_at,
    *(contents.c[f"heat_{days}d"] for days in HEAT_DAYS),
)
"""The access summary that people see."""
SUMMARY_COLUMNS: Final = (
    *ACCESS_COLUMNS,
    contents.c.storage_days,
    contents.c.last_storage_day,
    contents.c.recent_storage_days,
    contents.c.storage_visits,
    *(contents.c[f"storage_heat_{days}d"] for days in HEAT_DAYS),
)
"""All of the access summary: written by flushes of the tracker only, so no commit of a record may set it."""
is_live = contents.c.deleted_at.is_(None)
has_object = contents.c.object_key.is_not(None)
"""The same, for statements that name ids: PostgreSQL takes a table without statistics for full of tombstones, and would
rather read all that is live through a small index than look for ids."""
Index("ix_contents_live", contents.c.content_id, sqlite_where=is_live, postgresql_where=is_live)
# With the size, so that totals of each tier need no look at the rows; SQLite needs `deleted_at` for that too.
Index(
    "ix_contents_tier",
    contents.c.tier,
    contents.c.content_id,
    contents.c.size,
    contents.c.deleted_at,
    sqlite_where=is_live,
    postgresql_where=is_live,
)
may_expire = contents.c.expires_at.is_not(None) & (contents.c.held == false())
Index(
    "ix_contents_expires_at",
    contents.c.expires_at,
    contents.c.content_id,
    sqlite_where=may_expire,
    postgresql_where=may_expire,
)
is_tombstone = contents.c.deleted_at.is_not(None)
Index("ix_contents_deleted_at", contents.c.deleted_at, sqlite_where=is_tombstone, postgresql_where=is_tombstone)

intents = Table(
    "intents",
    metadata,
    Column("object_key", BinaryText, primary_key=True),
    Column("placement", Text, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("lease_token", Text),
    Column("condemned", Boolean, nullable=False),
    Column("deleted_once", Boolean, nullable=False),
    Index("ix_intents_lease_until", "lease_until"),
    sqlite_with_rowid=False,
)

outbox = Table(
    "outbox",
    metadata,
    Column("row_id", RowId, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", BinaryText, nullable=False),
    Column("placement", Text),
    Column("version", BigInteger),
    Column("hard", Boolean, nullable=False),
    Column("second_pass", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("lease_token", Text),
    Column("dead", Boolean, nullable=False),
    Column("reason", Text),
)
is_waiting = outbox.c.dead == false()
Index(
    "ix_outbox_due",
    outbox.c.kind,
    outbox.c.due_at,
    outbox.c.row_id,
    sqlite_where=is_waiting,
    postgresql_where=is_waiting,
)
names_an_object = outbox.c.placement.is_not(None)
Index("ix_outbox_object", outbox.c.subject, sqlite_where=names_an_object, postgresql_where=names_an_object)

quarantine = Table(
    "quarantine",
    metadata,
    Column("object_key", BinaryText, primary_key=True),
    Column("placement", Text, nullable=False),
    Column("delete_at", BigInteger, nullable=False),
    Index("ix_quarantine_delete_at", "delete_at"),
    sqlite_with_rowid=False,
)

changes = Table(
    "changes",
    metadata,
    Column("sequence", RowId, primary_key=True),
    Column("content_id", BinaryText),
    Column("version", BigInteger, nullable=False),
    Column("committed_at", BigInteger, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", BinaryText, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("prefix", BinaryText, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

leases = Table(
    "leases",
    metadata,
    Column("name", BinaryText, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# When each job of the background work last ran, in whichever process.
job_runs = Table(
    "job_runs",
    metadata,
    Column("name", BinaryText, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("ran_at", BigInteger, nullable=False),
    Column("next_at", BigInteger),
    Column("failed_at", BigInteger),
    Column("last_error", Text),
    Column("done", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

moves = Table(
    "moves",
    metadata,
    Column("content_id", BinaryText, primary_key=True),
    Column("tier", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by_policy", Boolean, nullable=False),
    Column("planned_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("lease_token", Text),
    Column("last_error", Text),
    Column("saving_usd_per_month", Double),
    Column("cost_usd", Double),
    Index("ix_moves_due_at", "due_at", "content_id"),
    sqlite_with_rowid=False,
)

restores = Table(
    "restores",
    metadata,
    Column("object_key", BinaryText, primary_key=True),
    Column("content_id", BinaryText, nullable=False),
    Column("placement", Text, nullable=False),
    Column("speed", Text, nullable=False),
    Column("days", Integer, nullable=False),
    Column("cost_usd", Double, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("sent", Boolean, nullable=False),
    Column("eta", BigInteger, nullable=False),
    Column("readable_until", BigInteger),
    Column("check_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("lease_token", Text),
    Column("last_error", Text),
    Index("ix_restores_check_at", "check_at", "object_key"),
    Index("ix_restores_content_id", "content_id"),
    sqlite_with_rowid=False,
)

restore_days = Table(
    "restore_days",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("spent_usd", Double, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

# What policies have spent of each day's limits.
policy_days = Table(
    "policy_days",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("moves", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("usd", Double, nullable=False),
)

ledger = Table(
    "ledger",
    metadata,
    Column("row_id", RowId, primary_key=True),
    # Empty once the content was erased: what a move cost stays, whose it was does not.
    Column("content_id", BinaryText, nullable=False),
    Column("moved_at", BigInteger, nullable=False),
    Column("from_tier", Text, nullable=False),
    Column("to_tier", Text, nullable=False),
    Column("from_placement", Text, nullable=False),
    Column("to_placement", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("by_policy", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("saving_usd_per_month", Double),
    Column("cost_usd", Double),
    # The content's when it moved: the difference to a later count is what was read meanwhile.
    Column("storage_reads", BigInteger),
    Index("ix_ledger_content_id", "content_id", "row_id"),
)

access_days = Table(
    "access_days",
    metadata,
    # The day first: a flush touches neighbouring rows, and old days go in one range.
    Column("day", BigInteger, primary_key=True),
    Column("content_id", BinaryText, primary_key=True),
    Column("cache_reads", BigInteger, nullable=False),
    Column("storage_reads", BigInteger, nullable=False),
    Column("edge_reads", BigInteger, nullable=False),
    sqlite_with_rowid=False,
    # One partition a day (`postgres_accesses`): old days are dropped whole.
    postgresql_partition_by="RANGE (day)",
)

# Objects that a recovery found in the stores, the newest of each content, until each is adopted or left.
found_objects = Table(
    "found_objects",
    metadata,
    Column("content_id", BinaryText, primary_key=True),
    Column("object_key", BinaryText, nullable=False),
    Column("placement", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("rank", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("finished_at", BigInteger, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("rival_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Objects that somebody else made, and which content adopted each where it lies: until that content has ended.
adopted = Table(
    "adopted",
    metadata,
    Column("object_key", BinaryText, primary_key=True),
    Column("content_id", BinaryText, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("modified_at", BigInteger),
    Column("etag", Text),
    Index("ix_adopted_content_id", "content_id"),
    sqlite_with_rowid=False,
)

# How far work over the whole catalog has come.
cursors = Table(
    "cursors",
    metadata,
    Column("name", BinaryText, primary_key=True),
    Column("position", BinaryText, nullable=False),
    Column("begun_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("done", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("findings", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
