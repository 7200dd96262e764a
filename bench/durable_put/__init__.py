"""Durable writes: PUT of 64 KiB over HTTP against the bare system calls that such a write cannot do without."""

from bench.durable_put.comparison import run

__all__ = ["run"]
