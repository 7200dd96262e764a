"""The strategies draw what they promise."""

import pytest
from hypothesis import given

from thermocline.adapters.objects.key_rules import encode_key
from thermocline.domain.content import freeze_metadata
from thermocline.domain.content_id import ContentId, parse_content_id
from thermocline.domain.errors import InvalidContentIdError
from thermocline.domain.keys import ObjectKey, is_name
from thermocline.testing import strategies


@given(strategies.content_ids())
def test_content_ids_are_accepted(content_id: ContentId) -> None:
    assert parse_content_id(content_id) == content_id


@given(strategies.hostile_content_ids())
def test_hostile_content_ids_are_refused(content_id: str | bytes) -> None:
    with pytest.raises(InvalidContentIdError):
        parse_content_id(content_id)


@given(strategies.object_keys())
def test_object_keys_are_ours(key: str) -> None:
    parsed = ObjectKey.parse(key)
    assert parsed is not None
    assert str(parsed) == key
    assert is_name(parsed.installation)


@given(strategies.free_keys())
def test_free_keys_are_keys(key: str) -> None:
    assert encode_key(key)


@given(strategies.metadata())
def test_metadata_is_accepted(metadata: dict[str, object]) -> None:
    assert freeze_metadata(metadata) == metadata
