"""Catalog URLs name a file, literally."""

from pathlib import Path

import pytest

from thermocline.adapters.catalog.locations import sqlite_path
from thermocline.domain.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///catalog.db", "catalog.db"),
        ("sqlite:////var/lib/thermocline/catalog.db", "/var/lib/thermocline/catalog.db"),
        ("sqlite:////a b/%41?x=1#é.db", "/a b/%41?x=1#é.db"),
    ],
)
def test_the_path_is_taken_as_it_stands(url: str, path: str) -> None:
    assert sqlite_path(url) == Path(path)


@pytest.mark.parametrize(
    "url", ["", "sqlite:", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/x", "mysql://x", "/a/path"]
)
def test_what_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write sqlite:///path/catalog\.db"):
        sqlite_path(url)
