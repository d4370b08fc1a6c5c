"""BLEU and Self-BLEU against NLTK's own, and distinct-n by hand."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from seqgan_env.checks import MOST_VOCAB_SIZE
from seqgan_env.metrics.ngram import BleuReferences, BleuScorer, distinct, self_bleu
from seqgan_env.types import SequenceScorer, TokenSpec

from .conftest import EOS, FIXED, needs_data, random_model, rng

MAX_N = 5
SPEC = TokenSpec(vocab_size=5, seq_len=7, eos_token=0)
SMOOTHING = {"method1": SmoothingFunction().method1, "none": SmoothingFunction().method0}
SENTENCES = st.lists(
    st.lists(st.integers(1, 4), max_size=7), min_size=2, max_size=8
)  # 7 words have no end, 0 are an end alone

Sentences = list[list[int]]


def padded(sentences: Sentences, spec: TokenSpec = SPEC) -> np.ndarray:
    """Sequences (B, T) with an end where there is room for it."""
    rows = [[*row, 0][: spec.seq_len] for row in sentences]
    return np.array([row + [spec.pad_token] * (spec.seq_len - len(row)) for row in rows])


def nltk_bleu(
    references: Sentences, hypothesis: list[int], smoothing: str = "method1"
) -> list[float]:
    """BLEU-1..MAX_N of one sentence."""
    with warnings.catch_warnings(action="ignore"):  # NLTK's note that an order has no match
        weights = [[1 / n] * n for n in range(1, MAX_N + 1)]
        return [
            float(score)
            for score in sentence_bleu(references, hypothesis, weights, SMOOTHING[smoothing])
        ]


def all_but(sentences: Sentences, i: int) -> Sentences:
    return sentences[:i] + sentences[i + 1 :]


@pytest.mark.parametrize("smoothing", SMOOTHING)
@settings(max_examples=40, deadline=None)
@given(SENTENCES, SENTENCES)
def test_bleu_is_nltks(smoothing: str, references: Sentences, hypotheses: Sentences) -> None:
    ours = BleuReferences(padded(references), SPEC, MAX_N, smoothing).scores_by_order(
        padded(hypotheses)
    )
    np.testing.assert_allclose(
        ours, [nltk_bleu(references, row, smoothing) for row in hypotheses], atol=1e-12
    )


@pytest.mark.parametrize("smoothing", SMOOTHING)
@settings(max_examples=40, deadline=None)
@given(SENTENCES)
def test_self_bleu_is_nltks_against_all_the_others(smoothing: str, sentences: Sentences) -> None:
    ours = BleuReferences(padded(sentences), SPEC, MAX_N, smoothing).leave_one_out_scores()
    theirs = [nltk_bleu(all_but(sentences, i), row, smoothing) for i, row in enumerate(sentences)]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    np.testing.assert_allclose(
        self_bleu(padded(sentences), SPEC, MAX_N, smoothing), np.mean(theirs, axis=0), atol=1e-12
    )


def captions(first: int, last: int) -> tuple[Sentences, TokenSpec]:
    """Some real captions as token numbers."""
    lines = needs_data("text/image_coco.txt").read_text(encoding="utf-8").splitlines()[first:last]
    tokens = {
        word: token for token, word in enumerate(dict.fromkeys(" ".join(lines).split()), start=1)
    }
    sentences = [[tokens[word] for word in line.split()] for line in lines]
    return sentences, TokenSpec(len(tokens) + 1, max(map(len, sentences)) + 1, eos_token=0)


@pytest.mark.parametrize("first", [0, 5000])
def test_bleu_and_self_bleu_are_nltks_on_real_captions(first: int) -> None:
    sentences, spec = captions(first, first + 200)
    references, hypotheses = sentences[:190], sentences[190:]
    ours = BleuReferences(padded(references, spec), spec, MAX_N)
    np.testing.assert_allclose(
        ours.scores_by_order(padded(hypotheses, spec)),
        [nltk_bleu(references, row) for row in hypotheses],
        atol=1e-12,
    )
    theirs = [nltk_bleu(all_but(references, i), references[i]) for i in range(10)]
    np.testing.assert_allclose(ours.leave_one_out_scores()[:10], theirs, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(SENTENCES, st.integers(1, MAX_N))
def test_the_score_of_an_order_does_not_depend_on_higher_orders(
    sentences: Sentences, max_n: int
) -> None:
    tokens = padded(sentences)
    alone = BleuReferences(tokens[:1], SPEC, max_n).sentence_scores(tokens)
    np.testing.assert_array_equal(
        alone, BleuReferences(tokens[:1], SPEC, MAX_N).scores_by_order(tokens)[:, max_n - 1]
    )


def test_a_sentence_is_never_its_own_reference() -> None:
    strangers = padded([[1, 1, 1], [2, 2, 2], [3, 3, 3]])
    assert self_bleu(strangers, SPEC).tolist() == [0, 0, 0, 0]
    assert (
        BleuReferences(strangers, SPEC).sentence_scores(strangers)[0] > 0.5
    )  # where it may be its own


def test_twins_are_references_of_each_other() -> None:
    twins = padded([[1, 2, 3, 4], [1, 2, 3, 4], [4, 3, 2, 1]])
    assert BleuReferences(twins, SPEC).leave_one_out_scores()[:2] == pytest.approx(1)


def test_the_end_and_what_stands_behind_it_are_in_no_ngram() -> None:
    ended, full = np.array([[1, 2, 3, 0, 5, 5]]), np.array([[1, 2, 3]])
    assert distinct(ended, EOS, 2) == distinct(full, TokenSpec(5, 3, eos_token=0), 2) == 1
    assert BleuReferences(ended, EOS, 3).sentence_scores(
        np.array([[1, 2, 3, 5, 5, 5]])
    ) == pytest.approx(1)


def test_token_0_is_a_word_where_sequences_have_no_end_token() -> None:
    tokens = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]])
    assert BleuReferences(tokens[:1], FIXED, 3).sentence_scores(tokens) == pytest.approx([1, 1, 0])


def test_distinct_counts_different_ngrams_of_all_sentences_together() -> None:
    tokens = padded([[1, 2, 1, 2], [1, 2], [3], []])
    assert distinct(tokens, SPEC, 1) == 3 / 7
    assert distinct(tokens, SPEC, 2) == 2 / 4
    assert distinct(tokens, SPEC, 3) == 1
    assert distinct(tokens, SPEC, 5) == 0


def test_large_vocabularies_have_no_collisions() -> None:
    spec = TokenSpec(MOST_VOCAB_SIZE, 4)
    numbers = np.random.default_rng(0).integers(0, MOST_VOCAB_SIZE, (500, 4))
    assert distinct(numbers, spec, 4) == len({tuple(row) for row in numbers.tolist()}) / 500
    assert BleuReferences(numbers[:250], spec, 4).sentence_scores(numbers[:250]) == pytest.approx(1)


def test_the_scorer_is_a_source_of_scores_in_0_to_1() -> None:
    policy = random_model(EOS)
    scorer = BleuScorer(policy.sample(50, rng(1)), EOS)
    scores = scorer.score(policy.sample(100, rng(2)))
    assert isinstance(scorer, SequenceScorer)
    assert scores.shape == (100,)
    assert scores.dtype == torch.float32
    assert ((scores >= 0) & (scores <= 1)).all()


def test_a_real_sequence_scores_1_unless_it_is_too_short_for_an_ngram() -> None:
    tokens = torch.from_numpy(padded([[1, 2, 3, 4], [1, 2, 3], [1, 2]]))
    assert BleuScorer(tokens, SPEC, max_n=3).score(tokens) == pytest.approx(
        [1, 1, 0.1 ** (1 / 3)]
    )  # NLTK's smoothing


def test_the_scorers_default_is_bleu_3() -> None:
    tokens = torch.from_numpy(padded([[1, 2, 3, 4], [1, 2, 4, 4]]))
    assert BleuScorer(tokens[:1], SPEC).score(tokens[1:]).item() == pytest.approx(
        nltk_bleu([[1, 2, 3, 4]], [1, 2, 4, 4])[2]
    )


def test_no_hypotheses_have_no_scores() -> None:
    assert BleuReferences(padded([[1]]), SPEC).sentence_scores(
        np.zeros((0, 7), dtype=int)
    ).shape == (0,)


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 reference"):
        BleuReferences(np.zeros((0, 7), dtype=int), SPEC)
    with pytest.raises(ValueError, match="Self-BLEU needs at least 2 sentences"):
        self_bleu(padded([[1, 2]]), SPEC)
    with pytest.raises(ValueError, match="max_n is 0; allowed is 1 or more"):
        BleuReferences(padded([[1]]), SPEC, max_n=0)
    with pytest.raises(ValueError, match="n is 0; allowed is 1 or more"):
        distinct(padded([[1]]), SPEC, 0)
    with pytest.raises(ValueError, match="Did you mean 'method1'"):
        BleuReferences(padded([[1]]), SPEC, smoothing="method2")
    with pytest.raises(ValueError, match=r"sentences have shape \(1, 6\); expected \(B, 7\)"):
        BleuReferences(padded([[1]]), SPEC).sentence_scores(np.zeros((1, 6), dtype=int))
