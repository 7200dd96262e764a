"""Listing a catalog of a million records over HTTP: the last page against the first."""

from bench.listing.comparison import run

__all__ = ["run"]
