"""Patterns agree with Redis's own matcher, transcribed here from its C, and never take long."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thermocline.domain.glob import glob_matcher


def signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def redis_matches(pattern: bytes, string: bytes) -> bool:
    """Transcribe `stringmatchlen` of Redis 7.0 (util.c), its pointers as indices; reading past the end gives NUL."""
    p = s = 0

    def at(index: int) -> int:
        return pattern[index] if index < len(pattern) else 0

    while p < len(pattern) and s < len(string):
        if at(p) == ord("*"):
            while p < len(pattern) and at(p + 1) == ord("*"):
                p += 1
            if len(pattern) - p == 1:
                return True
            return any(redis_matches(pattern[p + 1 :], string[rest:]) for rest in range(s, len(string)))
        if at(p) == ord("?"):
            s += 1
        elif at(p) == ord("["):
            p += 1
            negated = at(p) == ord("^")
            p += negated
            matched = False
            while True:
                left = len(pattern) - p
                if left >= 2 and at(p) == ord("\\"):
                    p += 1
                    matched |= at(p) == string[s]
                elif at(p) == ord("]") and left > 0:
                    break
                elif left <= 0:
                    p -= 1
                    break
                elif left >= 3 and at(p + 1) == ord("-"):
                    low, high = sorted((signed(at(p)), signed(at(p + 2))))
                    p += 2
                    matched |= low <= signed(string[s]) <= high
                else:
                    matched |= at(p) == string[s]
                p += 1
            if matched == negated:
                return False
            s += 1
        else:
            if at(p) == ord("\\") and len(pattern) - p >= 2:
                p += 1
            if at(p) != string[s]:
                return False
            s += 1
        p += 1
        if s == len(string):
            while at(p) == ord("*"):
                p += 1
            break
    return p >= len(pattern) and s == len(string)


PATTERNS = st.text(st.sampled_from("ab*?[]^-\\/é\U0001f701"), max_size=14)
KEYS = st.text(st.sampled_from("ab-]^\\/é\U0001f701"), min_size=1, max_size=10)


@given(PATTERNS, KEYS)
@example("[", "a")
@example("[^", "a")
@example("[]", "]")
@example("[^]", "]")
@example("[a-]", "b")
@example("[a-\\]", "]")
@example("[\\]]", "]")
@example("\\", "\\")
@example("a\\", "a\\")
@example("[é-a]", "b")
@example("a**", "a")
def test_agrees_with_redis(pattern: str, key: str) -> None:
    assert glob_matcher(pattern)(key) == redis_matches(pattern.encode(), key.encode())


@given(st.text(max_size=8), st.text(min_size=1, max_size=8))
def test_agrees_with_redis_on_any_text(pattern: str, key: str) -> None:
    assert glob_matcher(pattern)(key) == redis_matches(pattern.encode(), key.encode())


@given(st.text(min_size=1))
def test_an_escaped_text_matches_itself_alone(text: str) -> None:
    matches = glob_matcher("".join("\\" + character for character in text))
    assert matches(text)
    assert not matches(text + "x")
    assert not matches("x" + text)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*", ["", "a", "a/b", "\n"], []),
        ("users/42/*", ["users/42/", "users/42/a/b"], ["users/42", "users/421/a"]),
        ("*.jpg", [".jpg", "a.b.jpg"], ["a.jpeg", "a.jpg "]),
        ("h?llo", ["hello", "h\nllo"], ["hllo", "héllo"]),
        ("h[ae]llo", ["hello", "hallo"], ["hillo"]),
        ("h[^e]llo", ["hallo"], ["hello", "hllo"]),
        ("h[a-b]llo", ["hallo", "hbllo"], ["hcllo"]),
        ("h[b-a]llo", ["hallo", "hbllo"], ["hcllo"]),
        ("\\*", ["*"], ["a", "\\*"]),
        ("", [""], ["a"]),
        ("a.c", ["a.c"], ["abc"]),
        ("(a|b)+$", ["(a|b)+$"], ["a", "ab"]),
    ],
)
def test_examples(pattern: str, matching: list[str], others: list[str]) -> None:
    matches = glob_matcher(pattern)
    assert [key for key in matching if not matches(key)] == []
    assert [key for key in others if matches(key)] == []


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 400 + "b", "*" * 900 + "b", "*?" * 400 + "b", "*[a-z]" * 150 + "b", "*a*?a" * 150 + "*b", "?*" * 400],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    matches = glob_matcher(pattern)
    began = time.perf_counter()
    for key in ("a" * 900, "a" * 900 + "b", "ab" * 450, "c" * 900):
        matches(key)
    assert time.perf_counter() - began < 1
