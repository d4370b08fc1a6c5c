"""The score: how much nearer to the truth an agent is than the best that turning a knob of maximum
likelihood reaches.

score = divergence of the best knob - divergence of the agent. Zero means that no training was
needed. The divergences are proper, so that nothing but coming nearer to the truth raises a score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

Row = Mapping[str, float]

# Before the name of a divergence: measured on draws that only choose the best knob.
SELECT = "select/"


@dataclass(frozen=True)
class Score:
    """One way to score.

    Attributes:
        name: of the metric.
        divergence: the metric that is compared; low is good.
        unit: of both.
        label: as a person reads it.
    """

    name: str
    divergence: str
    unit: str
    label: str


# The mean of both KL divergences ranks; each alone stands beside it, to show where a gain comes
# from.
RANKING = Score("score", "kl_mean", "nats per token", "score")
FORWARD = Score("score_forward", "kl_forward", "nats per token", "score in KL(O||G) alone")
REVERSE = Score("score_reverse", "kl_reverse", "nats per token", "score in KL(G||O) alone")
REFEREED = Score("referee_score", "referee_js", "share of ln 2", "score by the referee")
SCORES = (RANKING, FORWARD, REVERSE, REFEREED)


def best_knob(knobs: Mapping[str, Row], score: Score) -> str | None:
    """The name of the knob whose divergence is lowest on the draws that choose; None where none is
    finite on all draws.

    The value that is compared comes from other draws. The lowest of many noisy numbers would be
    biased low.
    """
    chosen_by, valued_by = SELECT + score.divergence, score.divergence
    finite = {}
    for name, row in knobs.items():
        both = (row.get(chosen_by, math.nan), row.get(valued_by, math.nan))
        if all(map(math.isfinite, both)):
            finite[name] = row[chosen_by]
    if finite:
        return min(finite, key=finite.__getitem__)
    return None


def scores(knobs: Mapping[str, Row], metrics: Row, prefix: str = "") -> dict[str, float]:
    """Every score of a policy with these metrics, whose names begin with `prefix`, as do the
    scores'.

    A score is left out where the policy or every knob lacks its divergence.
    """
    found = {}
    for score in SCORES:
        best = best_knob(knobs, score)
        own = metrics.get(prefix + score.divergence)
        if best is None or own is None or score.divergence not in knobs[best]:
            continue
        found[prefix + score.name] = knobs[best][score.divergence] - own
    return found
