"""Conditions in their written form: `If-Match` and `If-None-Match` (RFC 9110 §13.1)."""

import re
from collections.abc import Iterable

from thermocline.domain.content import ALWAYS, Condition, revision_of
from thermocline.domain.errors import InvalidInputError

_ENTITY_TAG = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)')


def parse_condition(if_match: str | None, if_none_match: str | None) -> Condition:
    """Return the condition for a change. Raises `InvalidInputError` for what is not a list of entity tags."""
    if if_match is None and if_none_match is None:
        return ALWAYS
    if_revision = unless_revision = None
    if if_match is not None and if_match.strip() != "*":
        # Strong comparison: a weak tag never matches, nor does a tag that is not one of ours.
        if_revision = _revisions(tag for weak, tag in parse_entity_tags(if_match) if not weak)
    if if_none_match is not None and if_none_match.strip() != "*":
        unless_revision = _revisions(tag for _, tag in parse_entity_tags(if_none_match))
    return Condition(
        if_revision=if_revision,
        if_exists=if_match is not None and if_match.strip() == "*",
        if_absent=if_none_match is not None and if_none_match.strip() == "*",
        unless_revision=unless_revision,
    )


def parse_entity_tags(text: str) -> list[tuple[bool, str]]:
    """Return `(weak, quoted tag)` of each tag in the list. Raises `InvalidInputError`."""
    tags: list[tuple[bool, str]] = []
    position = 0
    while position < len(text):
        match = _ENTITY_TAG.match(text, position)
        if match is None:
            raise InvalidInputError(
                f'not a list of entity tags: {text!r}; write "*" or quoted tags, separated by commas'
            )
        tags.append((match[1] is not None, match[2]))
        position = match.end()
    if not tags:
        raise InvalidInputError('a condition must not be empty; write "*" or a quoted entity tag')
    return tags


def _revisions(tags: Iterable[str]) -> frozenset[int]:
    return frozenset(revision for revision in map(revision_of, tags) if revision is not None)
