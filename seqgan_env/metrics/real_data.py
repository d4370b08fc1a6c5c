"""Metrics of tasks with real data: how a policy's sequences compare with training and with held-out
ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from seqgan_env.metrics.bootstrap import DeleteOne, Mean, Ratio, Statistic, Transformed, intervals
from seqgan_env.metrics.diversity import TypeCounts
from seqgan_env.metrics.kneser_ney import KneserNey
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.metrics.ngram import BleuReferences
from seqgan_env.metrics.numbering import ABSENT
from seqgan_env.types import Estimate, HasLogProb, RolloutPolicy, TokenSpec

BLEU_ORDERS = (2, 3, 4, 5)
DISTINCT_ORDERS = (1, 2, 3)

MOST_MODELLED = 100_000  # training sequences from which models of real data are made

_ROWS_AT_ONCE = 2**16


class RealDataMetrics:
    """Measures sequences against the real ones of a task.

    Of samples from anywhere:

    - `bleu2`..`bleu5`: mean BLEU of a sample against all held-out sequences.
    - `self_bleu2`..`self_bleu5`: mean BLEU of a sample against all the others, never itself; rises
      with their number.
    - `distinct1`..`distinct3`: different n-grams as a share of all; falls with the number of
      samples.
    - `mean_length`: words before the end. `length_ks`: the two-sample Kolmogorov-Smirnov statistic
      of these lengths and those held out. `length_p`: its p-value. The test supposes that no two
      lengths are the same; lengths are whole numbers and many are, so that p is an upper bound: a
      small one can be trusted, a large one says little. None of the three where all sequences have
      one length.
    - `effective_vocabulary`: exp of the entropy of the tokens, the end counted. `unique_tokens`:
      how many different ones.
    - `copied_share`: samples that stand word for word among the training sequences. `unique_share`:
      different samples.
    - `perplexity_samples`: of the samples under a `KneserNey` model of the training sequences; low
      is fluent, or repetitive.
    - `perplexity_reverse`: of the held-out sequences under such a model of the samples; high is
      little variety or little sense. It falls with the number of samples, which are what this model
      learns from.

    Of a policy with likelihoods also `nll_gen`, in nats per token of the held-out sequences, the
    end counted, and its exp `perplexity_heldout`. Numbers that depend on the number of samples
    compare only with those of as many.
    """

    def __init__(self, spec: TokenSpec, real_sequences: Tensor, held_out: Tensor) -> None:
        """
        Args:
            spec: of the sequences.
            real_sequences: (M, T) that a policy may be trained on.
            held_out: (M'', T) that it never sees.
        """
        self.spec, self.held_out = spec, held_out
        self._real_sequences, self._held_out = real_sequences, _array(held_out)

    def of_samples(self, samples: Tensor) -> dict[str, float]:
        """Metrics of finished sequences (B, T) from anywhere, B 2 or more."""
        array = _array(samples)
        return _values(self._sample_statistics(array) | self._held_out_statistics(array))

    def of_policy(self, policy: RolloutPolicy, num: int, rng: torch.Generator) -> dict[str, float]:
        """`of_samples` of `num` sequences drawn from a policy, and its own likelihoods where it has
        any.
        """
        samples = sample_sequences(policy, self.spec, num, rng)
        return self.of_samples(samples) | _values(
            self._likelihood_statistics(policy, samples.device)
        )

    def estimates(
        self, policy: RolloutPolicy, num: int, rng: torch.Generator
    ) -> dict[str, Estimate]:
        """The metrics of `of_policy` with the same draws, each with a 95 % bootstrap interval.

        It covers which `num` sentences were drawn from this policy and, for `nll_gen` and the
        perplexities of held-out sentences, which of these were held out. All else is taken as
        given: the policy, whose training has a seed, the real sentences, the other samples that
        Self-BLEU compares a sample with, and the model behind `perplexity_reverse`. That of
        `length_ks` is the interval of the gap at the length where it is widest, and the bounds of
        `length_p` are the p-values of its ends.
        """
        samples = sample_sequences(policy, self.spec, num, rng)
        over_samples = self._sample_statistics(_array(samples))
        over_held_out = self._held_out_statistics(_array(samples)) | self._likelihood_statistics(
            policy, samples.device
        )
        return intervals(over_samples, len(samples), rng) | intervals(
            over_held_out, len(self._held_out), rng
        )

    def _sample_statistics(self, samples: np.ndarray) -> dict[str, Statistic]:
        """Statistics over `samples` (B, T)."""
        references = BleuReferences(samples, self.spec, max(BLEU_ORDERS))
        against_held_out = self._references.scores_by_order(samples)  # (B, max(BLEU_ORDERS))
        against_each_other = references.leave_one_out_scores()  # (B, max(BLEU_ORDERS))
        # Three loops, for tables show metrics in this order.
        found: dict[str, Statistic] = {}
        for n in BLEU_ORDERS:
            found[f"bleu{n}"] = Mean(against_held_out[:, n - 1])
        for n in BLEU_ORDERS:
            found[f"self_bleu{n}"] = Mean(against_each_other[:, n - 1])
        for n in DISTINCT_ORDERS:
            found[f"distinct{n}"] = _share(references.ngrams[n - 1])
        return (
            found
            | self._length_statistics(samples)
            | self._vocabulary_statistics(samples)
            | self._likeness(samples)
        )

    def _length_statistics(self, samples: np.ndarray) -> dict[str, Statistic]:
        """Statistics of the lengths of samples (B, T); none where all sequences have one length."""
        if self.spec.eos_token is None:
            return {}
        from scipy import stats  # takes half a second to load: where it is used

        lengths, real = _num_words(samples, self.spec), _num_words(self._held_out, self.spec)
        test = stats.ks_2samp(lengths, real, method="asymp")
        # The statistic is the widest gap of two distribution functions. At a given length the gap
        # is a mean over the samples, whose interval is known.
        at = test.statistic_location
        gap = Transformed(np.abs, Mean((lengths <= at) - (real <= at).mean()))
        # The effective number of lengths, as SciPy rounds it for its p-value.
        num = np.round(len(lengths) * len(real) / (len(lengths) + len(real)))
        p_value = Transformed(partial(stats.kstwo.sf, n=num), gap)
        return {"mean_length": Mean(lengths.astype(float)), "length_ks": gap, "length_p": p_value}

    def _vocabulary_statistics(self, samples: np.ndarray) -> dict[str, Statistic]:
        """Statistics of which tokens samples (B, T) write."""
        counts = TypeCounts(np.where(samples == self.spec.pad_token, ABSENT, samples))
        return {
            "effective_vocabulary": DeleteOne(
                counts.effective, counts.effective_without_each, self.spec.vocab_size
            ),
            "unique_tokens": DeleteOne(
                float(counts.num_types), counts.num_types_without_each, self.spec.vocab_size
            ),
        }

    def _likeness(self, samples: np.ndarray) -> dict[str, Statistic]:
        """Likeness of samples (B, T) to the training sequences and to each other.

        To the training sequences word for word, and by a language model of them.
        """
        # Number the different rows in the order in which they appear.
        numbers: dict[bytes, int] = {}
        number_of_row = []
        for row in samples:
            number_of_row.append(numbers.setdefault(row.tobytes(), len(numbers)))
        return {
            "copied_share": Mean(np.isin(_hashes(samples), self._training_hashes).astype(float)),
            "unique_share": _share(np.array(number_of_row)[:, None]),
            "perplexity_samples": _perplexity(self._model_of_real, samples),
        }

    def _held_out_statistics(self, samples: np.ndarray) -> dict[str, Statistic]:
        """Statistics over the held-out sequences that depend on samples (B, T)."""
        return {"perplexity_reverse": _perplexity(KneserNey(samples, self.spec), self._held_out)}

    def _likelihood_statistics(
        self, policy: RolloutPolicy, device: torch.device
    ) -> dict[str, Statistic]:
        """Statistics of the held-out sequences under a policy; none if it has no likelihoods."""
        if not isinstance(policy, HasLogProb):
            return {}
        log_probs = policy.log_prob(self.held_out.to(device)).double().cpu().numpy()
        nll = Ratio(-log_probs, _num_tokens(self._held_out, self.spec))
        return {"nll_gen": nll, "perplexity_heldout": Transformed(np.exp, nll)}

    @cached_property
    def _references(self) -> BleuReferences:
        return BleuReferences(self._held_out, self.spec, max(BLEU_ORDERS))

    @cached_property
    def _training_hashes(self) -> np.ndarray:
        """A number (M,) for each training sequence."""
        # Blocks, for `_array` may have to copy them from a file into int64.
        hashes = []
        for block in self._real_sequences.split(_ROWS_AT_ONCE):
            hashes.append(_hashes(_array(block)))
        return np.concatenate(hashes)

    @cached_property
    def _model_of_real(self) -> KneserNey:
        return KneserNey(_array(thinned(self._real_sequences)), self.spec)


def thinned(sequences: Tensor) -> Tensor:
    """Every k-th of very many sequences (M, T), so that `MOST_MODELLED` are left at most."""
    return sequences[:: -(-len(sequences) // MOST_MODELLED)]


def _hashes(tokens: np.ndarray) -> np.ndarray:
    """A number (B,) for each row of tokens (B, T), int64, the same for the same row.

    Two different rows have the same once in 10^19 pairs.
    """
    return np.array([hash(row.tobytes()) for row in tokens], dtype=np.int64)


def _array(tokens: Tensor) -> np.ndarray:
    """Tokens as int64 in NumPy, every row's bytes one behind the other."""
    array: np.ndarray = np.ascontiguousarray(tokens.cpu().numpy(), dtype=np.int64)
    return array


def _values(statistics: Mapping[str, Statistic]) -> dict[str, float]:
    values = {}
    for name, statistic in statistics.items():
        values[name] = statistic.value
    return values


def _num_tokens(tokens: np.ndarray, spec: TokenSpec) -> np.ndarray:
    """Tokens written (B,), the end counted."""
    num: np.ndarray = (tokens != spec.pad_token).sum(1)
    return num


def _num_words(tokens: np.ndarray, spec: TokenSpec) -> np.ndarray:
    """Words (B,): the tokens before the end."""
    ends: np.ndarray = (tokens == spec.eos_token).sum(1)
    num: np.ndarray = _num_tokens(tokens, spec) - ends
    return num


def _share(ids: np.ndarray) -> DeleteOne:
    """Different things as a share of all, for `ids` (B, K) of the K things in each sequence."""
    counts = TypeCounts(ids)
    return DeleteOne(counts.share, counts.share_without_each, most=1)


def _perplexity(model: KneserNey, tokens: np.ndarray) -> Transformed:
    """The perplexity of sequences (B, T) under a model, per token written."""
    return Transformed(np.exp, Ratio(-model.log_prob(tokens), _num_tokens(tokens, model.spec)))
