"""Characters as a reader counts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgan_env.tasks.text.graphemes import graphemes, stands_alone

FAMILY = "👩\u200d👩\u200d👧"
WHOLE = [
    "a",
    "é",
    "e\u0301",
    "한",
    "\u1112\u1161\u11ab",
    FAMILY,
    "👍🏽",
    "🇩🇪",
    "नि",
    "\u2764\ufe0f",
    "각",
]
PARTS = ["\u0301", "\u200d", "\u1161", "\u11ab", "\u1112", "🇩", "👩\u200d"]


@pytest.mark.parametrize("cluster", WHOLE)
def test_what_is_read_as_one_character_is_one(cluster: str) -> None:
    assert graphemes(cluster) == [cluster]
    assert stands_alone(cluster)


@pytest.mark.parametrize("part", PARTS)
def test_what_joins_a_neighbour_does_not_stand_alone(part: str) -> None:
    assert not stands_alone(part)


def test_flags_pair_from_the_left_and_letters_do_not_join() -> None:
    assert graphemes("🇩🇪🇫🇷🇩") == ["🇩🇪", "🇫🇷", "🇩"]
    assert graphemes("ab c") == ["a", "b", " ", "c"]
    assert graphemes("a\u200db") == ["a\u200d", "b"]
    assert graphemes("") == []


@given(st.lists(st.sampled_from(WHOLE + PARTS)).map("".join) | st.text())
def test_clusters_join_to_the_text(text: str) -> None:
    assert "".join(graphemes(text)) == text


@given(st.lists(st.sampled_from(WHOLE) | st.characters().filter(stands_alone)))
def test_clusters_that_stand_alone_come_back_from_among_each_other(clusters: list[str]) -> None:
    assert graphemes("".join(clusters)) == clusters
