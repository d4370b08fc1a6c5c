"""How far a policy G is from an oracle O when both densities are known, each number with its
standard error.

With r(Y) = log p_G(Y) - log p_O(Y), all of these are means over sequences of G and of O:

- KL(G||O) = E_G r and KL(O||G) = -E_O r.
- Jensen-Shannon: (E_G log 2g/(g+o) + E_O log 2o/(g+o)) / 2, as a share of its maximum ln 2.
- Total variation: E_G (1 - o/g)+, which is E_O (1 - g/o)+; its maximum is 1.
- Precision and recall (Sajjadi et al. 2018, "Assessing generative models via precision and
  recall"): the largest F_1/8 and F_8 on the curve alpha(s) = E_G min(1, s o/g), beta(s) = alpha(s)
  / s.

A divergence that is proper, such as these, is lowest for the oracle itself and for nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

SATURATED = 0.99  # above this share of their maximum, `js` and `tv` no longer tell policies apart

_F_WEIGHT = 8.0  # of recall against precision, as Sajjadi et al. have it
_LARGEST_LOG = 30.0  # of a ratio that is exponentiated; no slope reaches it
_LOG_SLOPES = np.linspace(-8.0, 8.0, 65)  # of the precision-recall curve


@dataclass(frozen=True)
class LogRatios:
    """log p_G(Y) - log p_O(Y), in nats, of sequences of both sides.

    A mixture can be measured by the sequences of its parts: every part is a stratum, and the mean
    of a mixture is the weighted mean of its strata. Draws of the same number share their randomness
    across strata and policies, so that differences of policies have small errors.

    Attributes:
        generated: (K, n) at draws of G, by stratum; finite.
        weights: (K,) of the strata; they sum to 1.
        real: (m,) at draws of O; minus infinity where G cannot write the sequence.
    """

    generated: np.ndarray
    weights: np.ndarray
    real: np.ndarray

    @classmethod
    def of(cls, generated: Sequence[Tensor], weights: Sequence[float], real: Tensor) -> LogRatios:
        """From tensors: `generated` holds one (n,) for each of the `weights`, `real` is (m,)."""
        strata = np.stack([values.double().cpu().numpy() for values in generated])
        return cls(strata, np.asarray(weights, dtype=float), real.double().cpu().numpy())


def divergences(ratios: LogRatios, num_tokens: float) -> dict[str, float]:
    """Every divergence and its standard error, `NAME_error`.

    Args:
        ratios: of the policy and the oracle.
        num_tokens: of a real sequence, the mean; what the KL divergences are divided by, whoever is
            measured. All others are of whole sequences.

    Returns:
        `kl_reverse` KL(G||O), `kl_forward` KL(O||G) and their mean `kl_mean`, in nats per token;
        `js` and `tv` as shares of their maximum; `precision` and `recall`, 0 to 1.
    """
    found = {"js": _jensen_shannon(ratios), "tv": _total_variation(ratios)}
    return kl_divergences(ratios, num_tokens) | _flat(found | _precision_and_recall(ratios))


def kl_divergences(ratios: LogRatios, num_tokens: float) -> dict[str, float]:
    """Those of `divergences` that the scores are made of: `kl_reverse`, `kl_forward`, `kl_mean` and
    their errors.
    """
    reverse = _Mean.over(_by_draw(ratios, ratios.generated) / num_tokens)
    forward = _Mean.over(-ratios.real / num_tokens)
    return _flat(
        {"kl_reverse": reverse, "kl_forward": forward, "kl_mean": _average(reverse, forward)}
    )


def difference_error(a: LogRatios, b: LogRatios, num_tokens: float) -> float:
    """Standard error of the difference of two policies' `kl_mean`, paired by the number of the
    draw.

    Both must have been measured with the same real sequences and the same randomness.
    """
    reverse = _Mean.over((_by_draw(a, a.generated) - _by_draw(b, b.generated)) / num_tokens)
    forward = _Mean.over((b.real - a.real) / num_tokens)
    return _average(reverse, forward).error


@dataclass(frozen=True)
class _Mean:
    """A mean and its standard error."""

    value: float
    error: float

    @classmethod
    def over(cls, values: np.ndarray) -> _Mean:
        """The mean of `values` (n,); infinite, with no error, where one of them is."""
        if not np.isfinite(values).all():
            return cls(float(values.mean()), math.nan)
        return cls(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


def _flat(found: dict[str, _Mean]) -> dict[str, float]:
    """Values and errors under their names."""
    flat = {}
    for name, mean in found.items():
        flat[name] = float(mean.value)
    for name, mean in found.items():
        flat[f"{name}_error"] = float(mean.error)
    return flat


def _average(a: _Mean, b: _Mean) -> _Mean:
    """Half the sum of two independent means."""
    return _Mean((a.value + b.value) / 2, math.hypot(a.error, b.error) / 2)


def _by_draw(ratios: LogRatios, values: np.ndarray) -> np.ndarray:
    """Values (K, n) of the strata as one (n,): the weighted sum of the draws of the same number."""
    combined: np.ndarray = ratios.weights @ values
    return combined


def _jensen_shannon(ratios: LogRatios) -> _Mean:
    # log_2 of 2g / (g + o) is 1 - log_2(1 + o / g), and o / g is exp(-r).
    at_generated = 1 - np.logaddexp(0, -ratios.generated) / math.log(2)
    at_real = 1 - np.logaddexp(0, ratios.real) / math.log(2)
    return _average(_Mean.over(_by_draw(ratios, at_generated)), _Mean.over(at_real))


def _total_variation(ratios: LogRatios) -> _Mean:
    # (1 - exp(-r))+ by expm1, which is exact where g and o are nearly the same.
    at_generated = -np.expm1(np.minimum(-ratios.generated, 0))
    at_real = -np.expm1(np.minimum(ratios.real, 0))
    return _average(_Mean.over(_by_draw(ratios, at_generated)), _Mean.over(at_real))


def _precision_and_recall(ratios: LogRatios) -> dict[str, _Mean]:
    """The largest F_1/8 and F_8 over the curve's slopes; the error is that at the best slope."""
    oracle_share = np.exp(np.minimum(-ratios.generated, _LARGEST_LOG))  # o/g at draws of G
    policy_share = np.exp(np.minimum(ratios.real, _LARGEST_LOG))  # g/o at draws of O
    slopes = np.exp(_LOG_SLOPES)  # (S,)
    of_strata = [_means_below_one(share, slopes) for share in oracle_share]
    at_generated = ratios.weights @ of_strata  # (S,)
    at_real = slopes * _means_below_one(policy_share, 1 / slopes)  # (S,)
    curve = (at_generated + at_real) / 2
    found = {}
    for name, weight in (("precision", 1 / _F_WEIGHT), ("recall", _F_WEIGHT)):
        # F = (1 + w^2) p r / (w^2 p + r) with p = alpha and r = alpha / slope
        factors = (1 + weight**2) / (weight**2 * slopes + 1)
        best = int(np.argmax(factors * curve))
        alpha = _alpha(ratios, oracle_share, policy_share, slopes[best])
        found[name] = _Mean(factors[best] * alpha.value, factors[best] * alpha.error)
    return found


def _means_below_one(values: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The mean over `values` (n,) of min(1, factor * value), for each of `factors` (S,): (S,).

    One sorting serves all factors: those that a factor leaves below one come first, and a running
    sum has their sum.
    """
    rising = np.sort(values)
    sums = np.concatenate([[0.0], rising.cumsum()])
    num_below = np.searchsorted(rising, 1 / factors)
    means: np.ndarray = (factors * sums[num_below] + (len(values) - num_below)) / len(values)
    return means


def _alpha(
    ratios: LogRatios, oracle_share: np.ndarray, policy_share: np.ndarray, slope: float
) -> _Mean:
    """E_G min(1, s o/g), which is E_O min(s, g/o): the mean of both estimates."""
    at_generated = np.minimum(1, slope * oracle_share)
    at_real = np.minimum(slope, policy_share)
    return _average(_Mean.over(_by_draw(ratios, at_generated)), _Mean.over(at_real))
