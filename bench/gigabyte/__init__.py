"""One GiB in and out over HTTP: speed against plain tools, and the memory it takes."""

from bench.gigabyte.comparison import run

__all__ = ["run"]
