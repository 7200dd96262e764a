"""A bucket of Ceph behind the library: reads of small objects, one large object in and out; beside bare obstore."""

from bench.s3.large import run as run_large
from bench.s3.reads import run as run_reads
from bench.s3.warm import run as run_warm

__all__ = ["run_large", "run_reads", "run_warm"]
