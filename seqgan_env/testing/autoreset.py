"""What a vector environment does behind the end of an episode, in each of Gymnasium's modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import iterate


def _check_same_step(
    env: VectorEnv, step: tuple[Any, ...], was_done: np.ndarray, first: Any
) -> None:
    """The step that ends an episode returns the next one's first observation, and the last one and
    its info beside it.
    """
    done, infos = step[2] | step[3], step[4]
    for key in ("final_obs", "final_info"):
        mask = infos.get(f"_{key}", np.zeros(env.num_envs, dtype=bool))
        present = key in infos or not done.any()
        assert present, (
            f"an episode ended and infos has no {key!r}; AutoresetMode.SAME_STEP returns it in the "
            "same step"
        )
        assert np.array_equal(mask, done), (
            f"infos['_{key}'] is {mask} where episodes ended in {done}; the two must agree"
        )
    rows = np.flatnonzero(done)
    finals = {i: infos["final_obs"][i] for i in rows}
    for i, final in finals.items():
        inside = final in env.single_observation_space
        assert inside, (
            f"infos['final_obs'][{i}] is {final!r}; expected an element of "
            f"{env.single_observation_space}"
        )
    given, begun = (list(iterate(env.observation_space, obs)) for obs in (step[0], first))
    stale = [
        data_equivalence(final, given[i]) and not data_equivalence(final, begun[i])
        for i, final in finals.items()
    ]
    assert not (stale and all(stale)), (
        "step returned the last observation of an episode that ended; AutoresetMode.SAME_STEP "
        "returns the first one of the next"
    )


def _check_next_step(
    env: VectorEnv, step: tuple[Any, ...], was_done: np.ndarray, first: Any
) -> None:
    """The step after the end of an episode ignores its action and begins the next one, with reward
    0.
    """
    rewards, done = step[1], step[2] | step[3]
    good = not done[was_done].any() and not rewards[was_done].any()
    assert good, (
        f"the step after the end of an episode paid {rewards[was_done]} and ended "
        f"{done[was_done]}; AutoresetMode.NEXT_STEP resets in that step, with reward 0 and no end"
    )


def _check_disabled(
    env: VectorEnv, step: tuple[Any, ...], was_done: np.ndarray, first: Any
) -> None:
    """Whoever steps resets, through `options={"reset_mask": ...}`."""
    given = "final_obs" in step[4]
    assert not given, (
        "infos has 'final_obs', which is AutoresetMode.SAME_STEP's; under AutoresetMode.DISABLED "
        "step returns it"
    )


# Called with the environment, what a step returned, where the step before it had ended episodes,
# (B,) bool, and the observations of the first reset.
Check = Callable[[VectorEnv, tuple[Any, ...], np.ndarray, Any], None]

AUTORESET_CHECKS: dict[AutoresetMode, Check] = {
    AutoresetMode.SAME_STEP: _check_same_step,
    AutoresetMode.NEXT_STEP: _check_next_step,
    AutoresetMode.DISABLED: _check_disabled,
}
