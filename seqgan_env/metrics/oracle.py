"""Metrics of an oracle task, where the true distribution is known.

With p the policy and o the oracle, in nats per token: `nll_oracle` = -E_p log o, `nll_gen` = -E_o
log p on held-out data, `entropy` = -E_p log p; and the divergences of
`seqgan_env.metrics.divergence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqgan_env.generators.knobs import Knob, LikelihoodPolicy, Temperature, parts_of
from seqgan_env.metrics.divergence import LogRatios, difference_error, divergences, kl_divergences
from seqgan_env.metrics.likelihood import nll_per_token, sample_sequences, unigram_metrics
from seqgan_env.metrics.score import SELECT
from seqgan_env.types import HasLogProb, RolloutPolicy, TokenSpec

Metrics = dict[str, float]


class OracleMetrics:
    """Measures policies against an oracle."""

    def __init__(self, oracle: HasLogProb, spec: TokenSpec, real: Tensor) -> None:
        """
        Args:
            oracle: the true distribution.
            spec: of the sequences.
            real: (M, T) draws of the oracle that no policy was trained on.
        """
        self.oracle, self.spec, self.real = oracle, spec, real
        self.oracle_at_real = oracle.log_prob(real)  # (M,)
        self.num_tokens = float(spec.lengths(real).double().mean())  # of a real sequence

    def of_policy(self, policy: RolloutPolicy, num: int, rng: torch.Generator) -> Metrics:
        """Every metric of `num` draws; of a policy without `log_prob` only those that need no
        likelihoods of its own.
        """
        samples = sample_sequences(policy, self.spec, num, rng)  # (num, T)
        oracle_at_samples = self.oracle.log_prob(samples)  # (num,)
        metrics = {"nll_oracle": self._per_token(oracle_at_samples, samples)}
        metrics |= unigram_metrics(self.spec, samples)
        if isinstance(policy, HasLogProb):
            at_samples, at_real = policy.log_prob(samples), policy.log_prob(self.real)
            metrics["nll_gen"] = self._per_token(at_real, self.real)
            metrics["entropy"] = self._per_token(at_samples, samples)
            ratios = LogRatios.of(
                [at_samples - oracle_at_samples], [1.0], at_real - self.oracle_at_real
            )
            metrics |= divergences(ratios, self.num_tokens)
        return metrics

    def of_samples(self, samples: Tensor) -> Metrics:
        """What can be said of sequences (B, T) whose policy is not known."""
        return {"nll_oracle": nll_per_token(self.oracle, self.spec, samples)} | unigram_metrics(
            self.spec, samples
        )

    def log_ratios(self, policy: HasLogProb, samples: Tensor) -> LogRatios:
        """log p - log o at `samples` (B, T) of the policy and at the real sequences."""
        at_samples = policy.log_prob(samples) - self.oracle.log_prob(samples)
        return LogRatios.of([at_samples], [1.0], policy.log_prob(self.real) - self.oracle_at_real)

    def _per_token(self, log_probs: Tensor, tokens: Tensor) -> float:
        """-log p (B,) of sequences (B, T), in nats per written token."""
        return float(-log_probs.double().sum() / self.spec.lengths(tokens).sum())

    def paired_error(
        self, policy: RolloutPolicy, other: RolloutPolicy, num: int, seed: int
    ) -> float | None:
        """The standard error of the difference of two policies' `kl_mean`, drawn with the same
        randomness.

        None where one of the two has no likelihoods.
        """
        if not isinstance(policy, HasLogProb) or not isinstance(other, HasLogProb):
            return None
        first = self.log_ratios(policy, self.draw(policy, num, seed))
        second = self.log_ratios(other, self.draw(other, num, seed))
        return difference_error(first, second, self.num_tokens)

    def draw(self, policy: RolloutPolicy, num: int, seed: int) -> Tensor:
        """`num` sequences of a policy."""
        rng = torch.Generator(device=self.real.device).manual_seed(seed)
        return sample_sequences(policy, self.spec, num, rng)

    def of_knobs(
        self,
        policy: RolloutPolicy,
        knobs: Sequence[Knob],
        num: int,
        seed: int,
        select_on: Tensor,
        select_num: int,
        select_seed: int,
    ) -> Iterator[Metrics]:
        """The metrics of every knob of a policy, beside the divergences on other draws, by which
        the best one is chosen.

        Every part of the knobs is sampled once, all with the same randomness, and every mixture is
        measured by the samples of its parts.

        Args:
            policy: that is turned.
            knobs: that fit it.
            num: draws of each part.
            seed: of the draws, those of `of_policy` with a generator of the same seed.
            select_on: (M', T) other draws of the oracle, for the choice.
            select_num: draws of each part for the choice.
            select_seed: of these draws.
        """
        parts = _Parts(self, policy, num, seed)
        selecting = _Parts(
            OracleMetrics(self.oracle, self.spec, select_on), policy, select_num, select_seed
        )
        for knob in knobs:
            ratios = parts.log_ratios(knob)
            found = parts.likelihoods(knob, ratios) | divergences(ratios, self.num_tokens)
            # The same length of a real sequence for both, or the choice would have another unit.
            for name, value in kl_divergences(selecting.log_ratios(knob), self.num_tokens).items():
                if not name.endswith("_error"):
                    found[SELECT + name] = value
            if isinstance(knob, Temperature):
                found["temperature"] = knob.value
            yield found


@dataclass(frozen=True)
class _Part:
    """A knob that is no mixture, with the draws of the policy that it makes."""

    policy: LikelihoodPolicy
    samples: Tensor  # (B, T)
    oracle_at_samples: Tensor  # (B,)


class _Parts:
    """What the knobs of one policy share, computed once.

    These are the draws of every part, and the likelihoods of every part at them.
    """

    def __init__(self, measure: OracleMetrics, policy: RolloutPolicy, num: int, seed: int) -> None:
        self.measure, self.policy, self.num, self.seed = measure, policy, num, seed
        self._parts: dict[Knob, _Part] = {}
        self._at_samples: dict[tuple[Knob, Knob], Tensor] = {}  # of the first, by the second
        self._at_real: dict[Knob, Tensor] = {}

    def log_ratios(self, knob: Knob) -> LogRatios:
        """log p - log o of a knob; each part of the knob is a stratum."""
        at_samples, weights = [], []
        for part, weight in parts_of(knob):
            at_samples.append(self._log_ratio_at(knob, part))
            weights.append(weight)
        at_real = self._mixed(knob, self._log_prob_at_real) - self.measure.oracle_at_real
        return LogRatios.of(at_samples, weights, at_real)

    def likelihoods(self, knob: Knob, ratios: LogRatios) -> Metrics:
        """`nll_oracle`, `nll_gen`, `entropy` and the metrics of the unigram."""
        measure, parts = self.measure, parts_of(knob)
        at_oracle = []
        for by, weight in parts:
            at_oracle.append(weight * float(self._part(by).oracle_at_samples.double().mean()))
        nll_oracle = -sum(at_oracle) / measure.num_tokens
        # H(p) = -E_p log o - KL(p || o), and log p at real sequences is the ratio plus log o.
        reverse = float(np.mean(ratios.weights @ ratios.generated)) / measure.num_tokens
        at_real = ratios.real + measure.oracle_at_real.double().cpu().numpy()  # (M,)
        nll_gen = -float(at_real.mean()) / measure.num_tokens
        found = {"nll_oracle": nll_oracle, "nll_gen": nll_gen, "entropy": nll_oracle - reverse}
        return found | unigram_metrics(measure.spec, self._written(parts))

    def _log_ratio_at(self, knob: Knob, by: Knob) -> Tensor:
        """log p - log o (B,) of a knob at the draws of one part."""
        mixed = self._mixed(knob, lambda part: self._log_prob(part, by))
        return mixed - self._part(by).oracle_at_samples

    def _mixed(self, knob: Knob, log_prob: Callable[[Knob], Tensor]) -> Tensor:
        """log sum_k w_k p_k, (B,), from each part's log p_k."""
        weighted = []
        for part, weight in parts_of(knob):
            weighted.append(log_prob(part) + float(np.log(weight)))
        return torch.stack(weighted).logsumexp(0)

    def _written(self, parts: Sequence[tuple[Knob, float]]) -> Tensor:
        """Sequences of a mixture: the first draws of every part, as many as its weight has."""
        samples = []
        for by, weight in parts:
            samples.append(self._part(by).samples[: round(weight * self.num)])
        return torch.cat(samples)

    def _part(self, knob: Knob) -> _Part:
        """A part with its draws, made when it is asked for the first time."""
        if knob not in self._parts:
            turned = knob(self.policy)
            samples = self.measure.draw(turned, self.num, self.seed)
            self._parts[knob] = _Part(turned, samples, self.measure.oracle.log_prob(samples))
        return self._parts[knob]

    def _log_prob(self, of: Knob, by: Knob) -> Tensor:
        """log p (B,) of one part at the draws of another."""
        if (of, by) not in self._at_samples:
            self._at_samples[of, by] = self._part(of).policy.log_prob(self._part(by).samples)
        return self._at_samples[of, by]

    def _log_prob_at_real(self, of: Knob) -> Tensor:
        """log p (M,) of one part at the real sequences."""
        if of not in self._at_real:
            self._at_real[of] = self._part(of).policy.log_prob(self.measure.real)
        return self._at_real[of]
