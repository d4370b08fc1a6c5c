"""Forms of reward: how the values of prefixes become what a step pays, and the discount that fits.

| form         | r_t                          | discount |
| `rollout`    | Q_t, the paper's             | 0: r_t is the action value itself |
| `difference` | Q_t - Q_{t-1} with Q_0 = 0   | 1: an episode's rewards sum to score(Y) |
| `terminal`   | 0, and score(Y) at the end   | 1: the same sum, without rollouts |
| `token`      | the token's part of score(Y) | 1: the same sum, without rollouts |

Form `token` is for scores that are sums over tokens, such as a density ratio as a logit.
"""

from __future__ import annotations

from dataclasses import dataclass

from seqgan_env.types import Numbers, RewardFn


@dataclass(frozen=True)
class RewardForm:
    """How values become rewards.

    Attributes:
        name: as on the command line.
        discount: with which the sum of rewards is the objective.
        needs_prefix_values: whether unfinished prefixes have values.
        reward_fn: values before and behind steps to rewards.
        earned: whether the value of a prefix is what its tokens have earned (`EarnedValue`), and no
            mean over completions.
    """

    name: str
    discount: float
    needs_prefix_values: bool
    reward_fn: RewardFn
    earned: bool = False


def _pay_value(before: Numbers, after: Numbers) -> Numbers:
    """The value itself. Under form "terminal" it is 0 until the end."""
    return after


def _pay_difference(before: Numbers, after: Numbers) -> Numbers:
    """What the token has added to the value."""
    added: Numbers = after - before
    return added


# Functions with a name, for a form is pickled with everything that holds one.
FORMS = {
    form.name: form
    for form in (
        RewardForm("rollout", 0.0, True, _pay_value),
        RewardForm("difference", 1.0, True, _pay_difference),
        RewardForm("terminal", 1.0, False, _pay_value),
        RewardForm("token", 1.0, True, _pay_difference, earned=True),
    )
}
