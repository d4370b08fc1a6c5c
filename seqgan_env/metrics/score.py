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
UNTURNED = "T 1"  # the name of the knob that turns nothing


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
    """The name of the knob that is to be beaten; None where none is finite on all draws.

    It is the one whose divergence is lowest on the draws that choose. Its value comes from other
    draws, since the lowest of many noisy numbers is too low. Where these find it further from the
    truth than the policy as it is, the choice was luck, and the policy as it is is to be beaten:
    maximum likelihood by itself never scores above 0.
    """
    chosen_by, valued_by = SELECT + score.divergence, score.divergence
    finite = {}
    for name, row in knobs.items():
        both = (row.get(chosen_by, math.nan), row.get(valued_by, math.nan))
        if all(map(math.isfinite, both)):
            finite[name] = row[chosen_by]
    if not finite:
        return None
    chosen = min(finite, key=finite.__getitem__)
    if UNTURNED in finite and knobs[UNTURNED][valued_by] < knobs[chosen][valued_by]:
        return UNTURNED
    return chosen


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
