import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from seqgan_env.metrics.ngram import BleuReferences, BleuScorer, distinct, words

from .conftest import EOS, needs_data, random_model, rng

SENTENCES = st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=2, max_size=8)
ORDERS = [1, 2, 3, 4]


def array(sentences: list[list[int]], width: int = 6) -> np.ndarray:
    return np.array([row + [-1] * (width - len(row)) for row in sentences])


def nltk_bleu(references: list[list[int]], hypothesis: list[int], n: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(sentence_bleu(references, hypothesis, [1 / n] * n, SmoothingFunction().method1))


@settings(max_examples=150, deadline=None)
@given(SENTENCES, SENTENCES)
def test_bleu_is_nltks(references: list[list[int]], hypotheses: list[list[int]]) -> None:
    ours = BleuReferences(array(references), 4).scores(array(hypotheses), ORDERS)
    theirs = [[nltk_bleu(references, row, n) for n in ORDERS] for row in hypotheses]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(SENTENCES)
def test_self_bleu_is_nltks_against_all_others_and_never_itself(sentences: list[list[int]]) -> None:
    ours = BleuReferences(array(sentences), 4).self_scores(ORDERS)
    theirs = [[nltk_bleu(sentences[:i] + sentences[i + 1 :], row, n) for n in ORDERS] for i, row in enumerate(sentences)]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_bleu_is_nltks_on_real_captions() -> None:
    lines = needs_data("text/image_coco.txt").read_text(encoding="utf-8").splitlines()[:600]
    ids = {word: i for i, word in enumerate(dict.fromkeys(" ".join(lines).split()))}
    rows = [[ids[word] for word in line.split()] for line in lines]
    width = max(map(len, rows))
    references, hypotheses = rows[:500], rows[500:540]
    ours = BleuReferences(array(references, width), 4).scores(array(hypotheses, width), [2, 4])
    theirs = [[nltk_bleu(references, row, n) for n in (2, 4)] for row in hypotheses]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_distinct_counts_different_ngrams_over_all_of_them() -> None:
    assert distinct(array([[1, 2, 1, 2], [1, 2]]), 2) == pytest.approx(2 / 4)
    assert distinct(array([[1], []]), 2) == 0


def test_the_end_is_no_word() -> None:
    tokens = torch.tensor([[3, 1, 0, 5, 5, 5], [1, 2, 3, 4, 1, 2]])
    assert words(tokens, EOS).tolist() == [[3, 1, -1, -1, -1, -1], [1, 2, 3, 4, 1, 2]]


def test_what_was_seen_scores_one_and_what_shares_nothing_scores_zero() -> None:
    real = torch.tensor([[1, 2, 1, 2, 0, 5], [1, 1, 1, 0, 5, 5]])
    scorer = BleuScorer(real, EOS)
    assert scorer.score(real).tolist() == [1, 1]
    assert scorer.score(torch.tensor([[3, 4, 3, 0, 5, 5]])).tolist() == [0]
    assert scorer.score(random_model(EOS).sample(30, rng())).shape == (30,)


def test_too_few_sentences_are_refused() -> None:
    with pytest.raises(ValueError, match="0 references"):
        BleuReferences(np.zeros((0, 3), dtype=int), 2)
    with pytest.raises(ValueError, match="Self-BLEU was given 1 sequence"):
        BleuReferences(array([[1, 2]]), 2).self_scores([2])
