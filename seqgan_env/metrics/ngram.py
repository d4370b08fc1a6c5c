"""BLEU (Papineni et al. 2002), Self-BLEU (Zhu et al. 2018) and distinct-n (Li et al. 2016) over
padded token arrays.

A sentence is what is written before `eos_token`: the end itself and the padding are in no n-gram
and in no length, so that a sentence means the same with and without its end. BLEU here is NLTK's
`sentence_bleu` with uniform weights over the orders 1..n, every reference counted, to rounding; a
sentence of fewer than n words therefore counts as one without a match of order n. All hypotheses
share their references, so these are counted once and never subsampled.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from seqgan_env.metrics.diversity import TypeCounts
from seqgan_env.metrics.numbering import ABSENT, extend, find
from seqgan_env.names import choose
from seqgan_env.types import Task, TokenSpec

SMOOTHINGS = ("method1", "none")

_EPSILON = 0.1  # NLTK's SmoothingFunction().method1: what an order without a match counts as


class BleuReferences:
    """Reference sentences, counted: BLEU of any hypotheses against all of them.

    Attributes:
        ngrams: by order, 1 first, the n-grams (R, T - n + 1) of the references, numbered; `ABSENT`
            where there is none.
    """

    def __init__(
        self, references: np.ndarray, spec: TokenSpec, max_n: int = 4, smoothing: str = "method1"
    ) -> None:
        """
        Args:
            references: (R, T) integer tokens, padded.
            spec: of the sequences.
            max_n: the highest order of n-grams.
            smoothing: of an order without a match: "method1" counts 0.1 matches; with "none" the
                score is 0, or rather NLTK's next to nothing (below 1e-60 for n up to 5).

        Raises:
            ValueError: no references, an order below 1, an unknown smoothing.
        """
        if max_n < 1:
            raise ValueError(f"max_n is {max_n}; allowed is 1 or more")
        if len(references) == 0:
            raise ValueError("BLEU needs at least 1 reference; 0 were given")
        self.spec, self.max_n = spec, max_n
        self.smoothing = choose(SMOOTHINGS, smoothing, "smoothing")
        self._words = _words(references, spec)
        self._tables = _tables(self._words, spec, max_n)
        self.ngrams = _numbered(self._words, spec, self._tables)
        self._limits = []
        for ids, table in zip(self.ngrams, self._tables, strict=True):
            self._limits.append(_Limits(ids, len(table)))
        lengths = _num_words(self._words)  # (R,)
        self._num_by_length = np.bincount(lengths, minlength=spec.seq_len + 1)  # (T + 1,)

    def sentence_scores(self, tokens: np.ndarray) -> np.ndarray:
        """BLEU-`max_n` (B,) of the sentences `tokens` (B, T)."""
        return self.scores_by_order(tokens)[:, -1]

    def scores_by_order(self, tokens: np.ndarray) -> np.ndarray:
        """BLEU-1..`max_n` (B, max_n) of the sentences `tokens` (B, T): column n - 1 is BLEU-n."""
        words = _words(tokens, self.spec)
        ngrams = _numbered(words, self.spec, self._tables)
        matches = []
        for ids, limits in zip(ngrams, self._limits, strict=True):
            matches.append(_num_matches(ids, limits.best))
        available = self._num_by_length[None].repeat(self.spec.seq_len + 1, axis=0)
        return self._scores(_num_words(words), np.stack(matches, axis=1), available)

    def leave_one_out_scores(self) -> np.ndarray:
        """BLEU-1..`max_n` (R, max_n) of every reference against all the others: never against
        itself.

        Raises:
            ValueError: there is only one reference.
        """
        if len(self._words) < 2:
            raise ValueError("Self-BLEU needs at least 2 sentences; 1 was given")
        matches = []
        for ids, limits in zip(self.ngrams, self._limits, strict=True):
            matches.append(_num_matches(ids, limits.without_own))
        # A sentence is no reference of its own: of its length there is one less.
        available = self._num_by_length[None] - np.eye(self.spec.seq_len + 1, dtype=np.int64)
        return self._scores(_num_words(self._words), np.stack(matches, axis=1), available)

    def _scores(
        self, num_words: np.ndarray, matches: np.ndarray, available: np.ndarray
    ) -> np.ndarray:
        """BLEU-1..`max_n` (B, max_n).

        Args:
            num_words: (B,) of the hypotheses.
            matches: (B, max_n) by order.
            available: (T + 1, T + 1) the number of references by the length of the hypothesis and
                their own.
        """
        num_ngrams = np.maximum(num_words[:, None] - np.arange(self.max_n), 1)  # (B, max_n)
        log_precision = np.log(np.where(matches > 0, matches, _EPSILON) / num_ngrams)
        if self.smoothing == "none":
            log_precision[matches == 0] = np.log(sys.float_info.min)  # as NLTK
        # BLEU-n is the geometric mean of the precisions of the orders 1..n.
        mean = log_precision.cumsum(1) / np.arange(1, self.max_n + 1)
        brevity = _brevity_penalty(num_words, _closest_length(available)[num_words])  # (B,)
        scores: np.ndarray = np.where(matches[:, :1] > 0, brevity[:, None] * np.exp(mean), 0.0)
        return scores


class BleuScorer:
    """BLEU of a sequence against real ones, in [0, 1]: the reward of the paper's baseline PG-BLEU.

    A `SequenceScorer`.
    """

    def __init__(
        self, references: Tensor, spec: TokenSpec, max_n: int = 3, smoothing: str = "method1"
    ) -> None:
        """Args: as of `BleuReferences`, with `references` (R, T) a tensor."""
        self.references = BleuReferences(references.cpu().numpy(), spec, max_n, smoothing)

    def score(self, tokens: Tensor) -> Tensor:
        """BLEU-`max_n`, (B,) float32, of finished sequences (B, T)."""
        scores = self.references.sentence_scores(tokens.cpu().numpy())
        return torch.from_numpy(scores).to(tokens.device, torch.float32)


def bleu_source(task: Task) -> BleuScorer:
    """The score source `bleu`: BLEU against the real sequences of a task."""
    return BleuScorer(task.real_sequences, task.spec)


def self_bleu(
    tokens: np.ndarray, spec: TokenSpec, max_n: int = 4, smoothing: str = "method1"
) -> np.ndarray:
    """Self-BLEU-1..`max_n` (max_n,): the mean BLEU of each sentence of `tokens` (B, T) against all
    the others.

    It rises with B, since more references match more: compare only numbers of as many sentences.
    """
    mean: np.ndarray = BleuReferences(tokens, spec, max_n, smoothing).leave_one_out_scores().mean(0)
    return mean


def distinct(tokens: np.ndarray, spec: TokenSpec, n: int) -> float:
    """Different n-grams of `tokens` (B, T) as a share of all n-grams; 0 where there are none."""
    if n < 1:
        raise ValueError(f"n is {n}; allowed is 1 or more")
    words = _words(tokens, spec)
    return TypeCounts(_numbered(words, spec, _tables(words, spec, n))[-1]).share


def _words(tokens: np.ndarray, spec: TokenSpec) -> np.ndarray:
    """`tokens` (B, T) with `ABSENT` from the end of each sentence on."""
    if tokens.ndim != 2 or tokens.shape[1] != spec.seq_len:
        raise ValueError(f"sentences have shape {tokens.shape}; expected (B, {spec.seq_len})")
    ended = tokens == spec.pad_token
    if spec.eos_token is not None:
        ended |= tokens == spec.eos_token
    return np.where(np.logical_or.accumulate(ended, axis=1), ABSENT, tokens).astype(np.int64)


def _num_words(words: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = (words != ABSENT).sum(1)
    return lengths


def _tables(words: np.ndarray, spec: TokenSpec, max_n: int) -> list[np.ndarray]:
    """The sorted keys of the different n-grams of `words` (R, T), for the orders 1..`max_n`."""
    tables: list[np.ndarray] = []
    ids = _empty_ngrams(words)
    for n in range(1, max_n + 1):
        keys = _keys(ids, words, n, spec)
        tables.append(np.unique(keys[keys != ABSENT]))
        ids = find(tables[-1], keys)
    return tables


def _numbered(words: np.ndarray, spec: TokenSpec, tables: list[np.ndarray]) -> list[np.ndarray]:
    """For each order n the n-grams (B, T - n + 1) of `words` (B, T) as positions in its table,
    `ABSENT` if not in it.
    """
    ids = [_empty_ngrams(words)]
    for n, table in enumerate(tables, start=1):
        ids.append(find(table, _keys(ids[-1], words, n, spec)))
    return ids[1:]


def _empty_ngrams(words: np.ndarray) -> np.ndarray:
    """The n-grams of order 0: number 0 around every word of `words` (B, T): (B, T + 1)."""
    return np.zeros((len(words), words.shape[1] + 1), dtype=np.int64)


def _keys(shorter: np.ndarray, words: np.ndarray, n: int, spec: TokenSpec) -> np.ndarray:
    """A key (B, T - n + 1) of each n-gram, from the number of its first n - 1 words in `shorter`
    (B, T - n + 2), and its last.
    """
    return extend(shorter[:, :-1], words[:, n - 1 :], spec.vocab_size)


class _Limits:
    """How often an n-gram stands in the one reference that has it most often: more of it does not
    match (clipping).
    """

    def __init__(self, ids: np.ndarray, num_ngrams: int) -> None:
        """
        Args:
            ids: (R, K) the n-grams of the references, numbered, 0..num_ngrams - 1 or `ABSENT`.
            num_ngrams: how many different ones there are. One more place, at `ABSENT`, keeps the
                limit 0.
        """
        ordered, before = _occurrences(ids)
        rows, columns = np.nonzero(ordered != ABSENT)
        # Each place of an n-gram, and how often it stands in its reference up to there.
        ngram, count = ordered[rows, columns], before[rows, columns] + 1
        self._most = _largest(ngram, count, num_ngrams + 1)
        self._owner = np.full(num_ngrams + 1, ABSENT)
        has_most = count == self._most[ngram]
        self._owner[ngram[has_most]] = rows[has_most]  # of equals, any one
        # The largest without that owner, for when the owner is not compared with itself.
        others = rows != self._owner[ngram]
        self._second = _largest(ngram[others], count[others], num_ngrams + 1)

    def best(self, ngrams: np.ndarray) -> np.ndarray:
        """Limits (B, K) of `ngrams` (B, K) over all references."""
        limits: np.ndarray = self._most[ngrams]
        return limits

    def without_own(self, ngrams: np.ndarray) -> np.ndarray:
        """Limits (R, K) of the references' own `ngrams` (R, K) over all references but the one of
        the same row.
        """
        is_own = self._owner[ngrams] == np.arange(len(ngrams))[:, None]
        limits: np.ndarray = np.where(is_own, self._second[ngrams], self._most[ngrams])
        return limits


def _num_matches(ids: np.ndarray, limits: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """How many of the n-grams `ids` (B, K) of each row match, (B,): an n-gram as often as its limit
    at most.
    """
    ordered, before = _occurrences(ids)
    matches: np.ndarray = (before < limits(ordered)).sum(1)
    return matches


def _occurrences(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row of `ids` (B, K) sorted, and how often each entry stood before it in its row: 0, 1,
    2, ... along a run.
    """
    ordered = np.sort(ids, axis=1)
    position = np.arange(ids.shape[1])
    starts = np.zeros_like(ordered)
    starts[:, 1:] = np.where(ordered[:, 1:] != ordered[:, :-1], position[1:], 0)
    return ordered, position - np.maximum.accumulate(starts, axis=1)


def _largest(index: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """The largest of `values` (M,) by `index` (M,), (size,); 0 where there is none."""
    largest = np.zeros(size, dtype=np.int64)
    np.maximum.at(largest, index, values)
    return largest


def _closest_length(available: np.ndarray) -> np.ndarray:
    """The length of a reference that is closest to each length of a hypothesis (L,); of two as
    close, the shorter one.

    Args:
        available: (L, L) the number of references by the length of the hypothesis and their own.
    """
    lengths = np.arange(len(available))
    distance = np.where(available > 0, np.abs(lengths - lengths[:, None]), 2 * len(lengths))
    closest: np.ndarray = distance.argmin(1)
    return closest


def _brevity_penalty(length: np.ndarray, closest: np.ndarray) -> np.ndarray:
    """min(1, exp(1 - r / c)) (B,) for sentences of c words with closest references of r; 0 where
    there is no word.
    """
    penalty = np.exp(np.minimum(0.0, 1 - closest / np.maximum(length, 1)))
    return np.where(length > 0, penalty, 0.0)
