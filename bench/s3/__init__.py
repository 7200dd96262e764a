"""A bucket of Ceph behind the library: reads, one large object in and out, copies; beside bare obstore, aiobotocore."""

from bench.s3.copies import run as run_copies
from bench.s3.large import run as run_large
from bench.s3.reads import run as run_reads
from bench.s3.warm import run as run_warm

__all__ = ["run_copies", "run_large", "run_reads", "run_warm"]
