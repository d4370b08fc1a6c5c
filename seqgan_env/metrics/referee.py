"""The referee: how far a policy is from real data, from samples alone.

For every classifier with logit l, the Jensen-Shannon divergence of real and generated sequences is
at least ln 2 - CE, where CE = (mean over real of softplus(-l) + mean over generated of softplus(l))
/ 2 (Goodfellow et al. 2014, eq. 4). So classifiers that are trained for the purpose, and judged on
sequences by which nothing was chosen, give a lower bound. Several families are trained, and joined;
the bound is that of the one that did best on validation data. A policy cannot win it by writing
less, by repeating itself or by copying what it was trained on: the families see all of that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.metrics.classifiers import (
    BidirectionalLSTM,
    Classifier,
    KneserNeyRatio,
    LSTMRatio,
    Memory,
    NGramRegression,
    cross_entropy,
    fitted_language_model,
    logistic_regression,
)
from seqgan_env.metrics.kneser_ney import KneserNey
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.metrics.real_data import thinned
from seqgan_env.types import RolloutPolicy, TokenSpec

# The classifier that says nothing, and that of all families together.
CONSTANT, JOINED = "constant", "joined"
# Of each part of the data; with fewer there is nothing to train, choose or judge by.
MIN_SEQUENCES = 8
_PENALTY = 1e-3  # of the regression that calibrates a family, or joins them all


@dataclass(frozen=True)
class Verdict:
    """What the referee found.

    Attributes:
        js: lower bound of the Jensen-Shannon divergence on held-out data, as a share of ln 2; below
            0 only by chance.
        error: its standard error over the sequences judged.
        validation_js: the same on validation data and other samples, by which the family was
            chosen.
        family: that was chosen.
        by_family: the bound on held-out data of every family alone.
    """

    js: float
    error: float
    validation_js: float
    family: str
    by_family: dict[str, float]


class Referee:
    """Judges sets of samples against the real sequences of a task; the same real sequences for
    every set.
    """

    def __init__(
        self,
        spec: TokenSpec,
        real_sequences: Tensor,
        validation: Tensor,
        held_out: Tensor,
        seed: int = 0,
        num_train: int = 8_000,
        num_validation: int = 4_000,
        num_judged: int = 5_000,
        recurrent: bool = True,
    ) -> None:
        """
        Args:
            spec: of the sequences.
            real_sequences: (M, T) that policies are trained on, and classifiers too.
            validation: (M', T) that choose among classifiers.
            held_out: (M'', T) on which they are judged.
            seed: of the classifiers.
            num_train: sequences of each side that classifiers are trained on, at most.
            num_validation: sequences of each side that choose, at most.
            num_judged: sequences of each side that are judged, at most.
            recurrent: whether the LSTMs are among the families. Without them a judgement takes
                seconds, and finds less.

        Raises:
            ValueError: there are too few real sequences to judge by.
        """
        self.spec, self.seed, self.recurrent = spec, seed, recurrent
        self._all_real = _array(thinned(real_sequences))  # for the memory, which is cheap
        self._train = self._all_real[:num_train]
        self._validation = _array(validation)[:num_validation]
        self._held_out = _array(held_out)[:num_judged]
        sizes = (len(self._train), len(self._validation), len(self._held_out))
        if min(sizes) < MIN_SEQUENCES:
            needs = f"it needs {MIN_SEQUENCES} or more of each"
            raise ValueError(
                f"the referee has {sizes} sequences to train, choose and judge by; {needs}"
            )

    @classmethod
    def of(
        cls, spec: TokenSpec, real_sequences: Tensor, validation: Tensor, held_out: Tensor
    ) -> Referee | None:
        """A referee of these parts of real data; None where one of them is too small for any."""
        enough = min(len(real_sequences), len(validation), len(held_out)) >= MIN_SEQUENCES
        if enough:
            return cls(spec, real_sequences, validation, held_out)
        return None

    @property
    def num_samples(self) -> int:
        """Sequences that a judgement needs: as many as the real ones of all parts."""
        return len(self._train) + len(self._validation) + len(self._held_out)

    def of_policy(self, policy: RolloutPolicy, rng: torch.Generator) -> dict[str, float]:
        """`metrics` of fresh draws of a policy."""
        return self.metrics(sample_sequences(policy, self.spec, self.num_samples, rng))

    def metrics(self, samples: Tensor) -> dict[str, float]:
        """`referee_js`, `referee_js_error` and `referee_js_validation` of sequences (num_samples,
        T).
        """
        verdict = self.judge(samples)
        return {
            "referee_js": verdict.js,
            "referee_js_error": verdict.error,
            "referee_js_validation": verdict.validation_js,
        }

    @torch.enable_grad()
    def judge(self, samples: Tensor) -> Verdict:
        """Trains classifiers against these samples (num_samples, T), in random order, and judges by
        the best of them.

        It trains whatever the caller has switched off, and leaves torch's global generator as it
        was.

        Raises:
            ValueError: there are fewer or more samples than needed, or they are no finished
                sequences.
        """
        if len(samples) != self.num_samples:
            raise ValueError(
                f"the referee was given {len(samples)} samples; it needs {self.num_samples}"
            )
        array = _array(self.spec.check_sequences(samples, "samples"))
        # Constructors of modules draw from the global generator.
        with torch.random.fork_rng(devices=[]):
            return self._judge(array)

    def _judge(self, array: np.ndarray) -> Verdict:
        """The verdict on samples (num_samples, T)."""
        # As many samples as real sequences in each part.
        ends = np.cumsum([len(self._train), len(self._validation)])
        train, validation, judged = np.split(array, ends)
        fit, choose = self._halves(self._validation), self._halves(validation)
        families = self._families(train, fit[0], choose[0])
        # The first half of validation fits and stops, the second one chooses.
        sides = {
            "fit": (families(fit[0]), families(choose[0])),
            "choose": (families(fit[1]), families(choose[1])),
            "judge": (families(self._held_out), families(judged)),
        }
        return _verdict(sides)

    def _families(
        self, generated: np.ndarray, check_real: np.ndarray, check_generated: np.ndarray
    ) -> _Families:
        """Classifiers of all families, trained against samples.

        Args:
            generated: (B, T) samples to train against.
            check_real: (M', T) validation sequences by which training stops.
            check_generated: (B', T) samples likewise.
        """
        real = self._train
        classifiers: dict[str, Classifier] = {
            "n-grams": NGramRegression(self.spec, real, generated, check_real, check_generated),
            "n-gram models": KneserNeyRatio(self.spec, self._ngram_model, generated),
        }
        if self.recurrent:
            of_generated = fitted_language_model(self.spec, generated, check_generated, self.seed)
            classifiers["LSTM models"] = LSTMRatio(self._lstm_model, of_generated)
            classifiers["recurrent"] = BidirectionalLSTM(
                self.spec, real, generated, check_real, check_generated, self.seed
            )
        memories = [self._memory_of_real, Memory(self.spec, generated)]
        return _Families(classifiers, memories)

    # What is made of real sequences alone is made once for all samples.

    @cached_property
    def _ngram_model(self) -> KneserNey:
        return KneserNey(self._train, self.spec)

    @cached_property
    def _lstm_model(self) -> LSTMLanguageModel:
        return fitted_language_model(
            self.spec, self._train, self._halves(self._validation)[0], self.seed
        )

    @cached_property
    def _memory_of_real(self) -> Memory:
        return Memory(self.spec, self._all_real)

    @staticmethod
    def _halves(sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every second sequence and the others; in a file neighbours may be alike."""
        return sequences[::2], sequences[1::2]


class _Families:
    """Trained classifiers: what each says of sequences, as columns."""

    def __init__(self, classifiers: dict[str, Classifier], memories: Sequence[Memory]) -> None:
        self._classifiers, self._memories = classifiers, memories

    def __call__(self, tokens: np.ndarray) -> dict[str, np.ndarray]:
        """The features (B, K) of sequences (B, T) by family; `JOINED` has all of them."""
        found = {}
        for name, classifier in self._classifiers.items():
            found[name] = classifier.logits(tokens)[:, None]  # (B, 1)
        remembered = [memory.features(tokens) for memory in self._memories]
        found["memory"] = np.concatenate(remembered, axis=1)
        found[JOINED] = np.concatenate(list(found.values()), axis=1)
        return found


Side = dict[str, np.ndarray]


def _verdict(sides: dict[str, tuple[Side, Side]]) -> Verdict:
    """Calibrates every family on one part, chooses by the next and judges by the last.

    Args:
        sides: the features of real and of generated sequences in the parts "fit", "choose" and
            "judge".
    """
    logits = {}
    for name in sides["fit"][0]:
        logits[name] = _calibrated(name, sides)
    # A family that says nothing gives the bound 0, so that the best one is hardly below it.
    logits[CONSTANT] = {}
    for part, (real, generated) in sides.items():
        logits[CONSTANT][part] = (np.zeros(len(real[JOINED])), np.zeros(len(generated[JOINED])))

    # Choose the family whose bound is highest on the part that judges nothing.
    chosen_by, judged_by = {}, {}
    for name, of_part in logits.items():
        chosen_by[name] = _bound(*of_part["choose"])
        judged_by[name] = _bound(*of_part["judge"])
    best = max(chosen_by, key=chosen_by.__getitem__)

    # The bound is 1 less half the sum of two mean losses over ln 2; their errors are independent.
    of_real, of_generated = logits[best]["judge"]
    losses_on_real, losses_on_generated = np.logaddexp(0, -of_real), np.logaddexp(0, of_generated)
    variance = losses_on_real.var() / len(losses_on_real)
    variance += losses_on_generated.var() / len(losses_on_generated)
    js = judged_by[best]
    del judged_by[CONSTANT]
    return Verdict(
        js=js,
        error=math.sqrt(variance) / 2 / math.log(2),
        validation_js=chosen_by[best],
        family=best,
        by_family=judged_by,
    )


def _calibrated(
    name: str, sides: dict[str, tuple[Side, Side]]
) -> dict[str, tuple[np.ndarray, ...]]:
    """Logits of a family on every part and side, by a regression on the part that fits."""
    real, generated = sides["fit"][0][name], sides["fit"][1][name]  # (M, K), (B, K)
    both = np.concatenate([real, generated])
    # One penalty for all features: they must be of one size.
    middle, width = both.mean(0), both.std(0) + 1e-9
    is_real = np.repeat([1.0, 0.0], [len(real), len(generated)])
    weights = logistic_regression((both - middle) / width, is_real, _PENALTY)

    def logits(features: np.ndarray) -> np.ndarray:
        found: np.ndarray = (features - middle) / width @ weights[:-1] + weights[-1]
        return found

    found: dict[str, tuple[np.ndarray, ...]] = {}
    for part, (real_side, generated_side) in sides.items():
        found[part] = (logits(real_side[name]), logits(generated_side[name]))
    return found


def _bound(real: np.ndarray, generated: np.ndarray) -> float:
    """The bound that logits of both sides give, as a share of ln 2."""
    return 1 - cross_entropy(real, generated) / math.log(2)


def _array(tokens: Tensor) -> np.ndarray:
    array: np.ndarray = np.ascontiguousarray(tokens.cpu().numpy(), dtype=np.int64)
    return array
