"""Access tracking: the flush against a bare batched upsert, and what counting a read costs it."""

from bench.tracker.comparison import run

__all__ = ["run"]
