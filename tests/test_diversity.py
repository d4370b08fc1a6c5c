"""What each sentence adds to the variety of all, against leaving it out and counting anew."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seqgan_env.metrics.diversity import TypeCounts
from seqgan_env.metrics.likelihood import unigram_metrics
from seqgan_env.metrics.numbering import ABSENT

from .conftest import EOS, random_model, rng

THINGS = arrays(
    np.int64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.integers(ABSENT, 4)
)


@given(THINGS)
def test_every_number_without_a_sentence_is_that_of_the_others(ids: np.ndarray) -> None:
    counts = TypeCounts(ids)
    others = [TypeCounts(np.delete(ids, row, axis=0)) for row in range(len(ids))]
    assert counts.num_types_without_each() == pytest.approx([other.num_types for other in others])
    assert counts.share_without_each() == pytest.approx([other.share for other in others])
    assert counts.effective_without_each() == pytest.approx([other.effective for other in others])


@given(THINGS)
def test_types_and_shares_are_those_of_a_set(ids: np.ndarray) -> None:
    things = [thing for thing in ids.ravel().tolist() if thing != ABSENT]
    counts = TypeCounts(ids)
    assert counts.num_types == len(set(things))
    assert counts.share == (len(set(things)) / len(things) if things else 0)


def test_of_tokens_they_are_the_unigram_metrics() -> None:
    tokens = random_model(EOS).sample(200, rng())
    counts = TypeCounts(np.where(tokens.numpy() == EOS.pad_token, ABSENT, tokens.numpy()))
    found = {"effective_vocabulary": counts.effective, "unique_tokens": counts.num_types}
    assert found == pytest.approx(unigram_metrics(EOS, tokens))
