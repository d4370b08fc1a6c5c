"""Interpolated Kneser-Ney against a transcription of the textbook with dictionaries, against
NLTK's, and as a distribution.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.lm import KneserNeyInterpolated
from nltk.lm.vocabulary import Vocabulary

from seqgan_env.checks import MOST_VOCAB_SIZE
from seqgan_env.metrics.kneser_ney import KneserNey
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, all_sequences, random_model, rng

SPEC = TokenSpec(vocab_size=5, seq_len=6, eos_token=0)
START = SPEC.vocab_size
SENTENCES = st.lists(st.lists(st.integers(1, 4), max_size=6), min_size=1, max_size=8)


def padded(sentences: list[list[int]]) -> np.ndarray:
    rows = [[*row, 0][: SPEC.seq_len] for row in sentences]
    return np.array([row + [SPEC.pad_token] * (SPEC.seq_len - len(row)) for row in rows])


def predictions(sentences: list[list[int]], order: int) -> list[tuple[int, ...]]:
    """Every token with the `order` - 1 before it, in reading order."""
    found = []
    for sentence in sentences:
        row = [START] * (order - 1) + [*sentence, 0][: SPEC.seq_len]
        found += [tuple(row[i : i + order]) for i in range(len(row) - order + 1)]
    return found


class Textbook:
    """Chen & Goodman (1999), eqs. 22 to 26 with one discount, interpolated with 1/V at the end."""

    def __init__(self, sentences: list[list[int]], order: int, discount: float) -> None:
        self.discount = discount
        self.counts: dict[int, Counter[tuple[int, ...]]] = {
            order: Counter(predictions(sentences, order))
        }
        for k in range(order - 1, 0, -1):
            before = defaultdict(set)
            for ngram in self.counts[k + 1]:
                before[ngram[1:]].add(ngram[0])
            self.counts[k] = Counter({ngram: len(words) for ngram, words in before.items()})

    def prob(self, ngram: tuple[int, ...]) -> float:
        if not ngram:
            return 1 / SPEC.vocab_size
        counts = self.counts[len(ngram)]
        behind = [count for other, count in counts.items() if other[:-1] == ngram[:-1]]
        if not behind:
            return self.prob(ngram[1:])
        own = max(counts[ngram] - self.discount, 0)
        return (own + self.discount * len(behind) * self.prob(ngram[1:])) / sum(behind)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@settings(max_examples=30, deadline=None)
@given(SENTENCES, SENTENCES, st.sampled_from([0.1, 0.75, 1.0]))
def test_it_is_the_textbooks(
    order: int, training: list[list[int]], others: list[list[int]], discount: float
) -> None:
    textbook = Textbook(training, order, discount)
    expected = [
        sum(math.log(textbook.prob(ngram)) for ngram in predictions([other], order))
        for other in others
    ]
    model = KneserNey(padded(training), SPEC, order, discount)
    np.testing.assert_allclose(model.log_prob(padded(others)), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [2, 3])
@settings(max_examples=20, deadline=None)
@given(SENTENCES, SENTENCES)
def test_above_the_unigram_it_is_nltks(
    order: int, training: list[list[int]], others: list[list[int]]
) -> None:
    """NLTK's own unigram is neither discounted nor interpolated, so it is given ours."""
    theirs = KneserNeyInterpolated(
        order, discount=0.75, vocabulary=Vocabulary([str(word) for word in range(6)])
    )
    ours, shorter = KneserNey(padded(training), SPEC, order), Textbook(training, order, 0.75)
    texts = [
        [tuple(map(str, ngram[order - k :])) for ngram in predictions(training, order)]
        for k in range(1, order + 1)
    ]
    theirs.counts.update(texts)
    theirs.estimator.unigram_score = lambda word: shorter.prob((int(word),))
    for ngram in predictions(others, order):
        context = tuple(map(str, ngram[:-1]))
        prob = ours.word_probs(np.array([ngram[::-1]]))[0]
        assert prob == pytest.approx(theirs.unmasked_score(str(ngram[-1]), context), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(SENTENCES, st.sampled_from([1, 2, 3]))
def test_probabilities_are_positive_and_sum_to_one_after_every_history(
    training: list[list[int]], order: int
) -> None:
    model = KneserNey(padded(training), SPEC, order)
    for history in itertools.product(range(SPEC.vocab_size + 1), repeat=order - 1):
        probs = model.word_probs(np.array([[word, *history] for word in range(SPEC.vocab_size)]))
        assert (probs > 0).all()
        assert probs.sum() == pytest.approx(1, abs=1e-12)


def test_without_an_end_token_the_probabilities_of_all_sequences_sum_to_one() -> None:
    model = KneserNey(random_model(FIXED).sample(20, rng()).numpy(), FIXED)
    assert np.exp(model.log_prob(all_sequences(FIXED).numpy())).sum() == pytest.approx(1, abs=1e-12)


def test_with_one_too_and_every_written_token_counts() -> None:
    spec = TokenSpec(3, 4, eos_token=0)
    model = KneserNey(random_model(spec).sample(20, rng()).numpy(), spec)
    assert np.exp(model.log_prob(all_sequences(spec).numpy())).sum() == pytest.approx(1, abs=1e-12)
    one = np.array([[1, 0, 3, 3]])
    assert model.perplexity(one) == pytest.approx(np.exp(-model.log_prob(one)[0] / 2))


def test_what_was_never_seen_is_possible() -> None:
    model = KneserNey(padded([[1, 1]] * 1000), SPEC)
    assert np.isfinite(model.log_prob(padded([[2, 3, 4], [], [4] * 6]))).all()
    assert model.perplexity(padded([[1, 1]])) < 1.01 < 5 < model.perplexity(padded([[4, 3, 2, 1]]))


def test_large_vocabularies_have_no_collisions() -> None:
    spec = TokenSpec(MOST_VOCAB_SIZE, 4)
    numbers = np.random.default_rng(0).integers(0, MOST_VOCAB_SIZE, (500, 4))
    assert (
        KneserNey(numbers, spec).perplexity(numbers) < 40
    )  # 500 first words and three certain ones; a collision doubts these


def test_impossible_requests_are_refused() -> None:
    sequences = random_model(EOS).sample(3, rng()).numpy()
    with pytest.raises(ValueError, match="needs at least 1 sequence"):
        KneserNey(sequences[:0], EOS)
    with pytest.raises(ValueError, match="order is 0"):
        KneserNey(sequences, EOS, order=0)
    with pytest.raises(ValueError, match="discount is 0"):
        KneserNey(sequences, EOS, discount=0)
    with pytest.raises(ValueError, match=r"shape \(3, 5\); expected \(B, 6\)"):
        KneserNey(sequences[:, :5], EOS)


def test_ten_thousand_sentences_are_fitted_and_scored_within_a_second() -> None:
    spec = TokenSpec(5000, 20)
    words = np.minimum(np.random.default_rng(0).zipf(1.3, (10_000, 20)), 5000) - 1
    started = time.process_time()
    KneserNey(words, spec).log_prob(words)
    assert time.process_time() - started < 1
