"""The checker of vector environments; Gymnasium has one for single environments only."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import logger, spaces
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from seqgan_env.testing.autoreset import AUTORESET_CHECKS
from seqgan_env.testing.shared import call

_ENDINGS = 5  # steps on which an episode ended, after which autoreset has been seen enough


def check_vector_env(
    env: VectorEnv,
    num_steps: int = 500,
    skip_render_check: bool = False,
    skip_close_check: bool = False,
) -> None:
    """Verifies that a vector environment, of whatever origin, keeps Gymnasium's vector contract. It
    is closed afterwards.

    Checked are spaces, the shapes and dtypes of what `reset` and `step` return, the declared
    autoreset mode against what happens, that no array is handed out twice, seeding by an int and by
    a list, rendering in the mode it was made for, and close.

    Examples:
        >>> import gymnasium as gym
        >>> import seqgan_env  # importing registers the ids
        >>> check_vector_env(gym.make_vec("SeqGAN/Oracle-v0", num_envs=3))

    Args:
        env: with sub-environments that are alike. One whose rewards learn should be made with few
            of them, so that what it learns from does not end within the check.
        num_steps: at most so many random steps wait for episodes to end.
        skip_render_check: leave rendering out.
        skip_close_check: leave the environment open.

    Raises:
        AssertionError: a part of the contract is broken; the sentence says which, and what is
            expected.
    """
    _check_spaces(env)
    _check_steps(env, num_steps)
    _check_seeding(env)
    if not skip_render_check:
        _check_render(env)
    if not skip_close_check:
        env.close()
        call("a second close()", env.close)
        if not env.closed:
            logger.warn(
                "env.closed is False after close(); override close_extras rather than close"
            )


def _check_spaces(env: VectorEnv) -> None:
    assert isinstance(env, VectorEnv), f"{type(env).__name__} is no gymnasium.vector.VectorEnv"
    num_envs: Any = getattr(env, "num_envs", None)
    whole = isinstance(num_envs, int) and num_envs >= 1
    assert whole, f"num_envs is {num_envs!r}; expected a whole number from 1"
    for name in ("observation_space", "action_space"):
        single, batched = getattr(env, f"single_{name}", None), getattr(env, name, None)
        assert isinstance(single, spaces.Space), f"single_{name} is {single!r}; expected a Space"
        expected = batch_space(single, num_envs)
        assert batched == expected, (
            f"{name} is {batched}; expected {expected}, single_{name} batched for {num_envs} envs"
        )
    mode = env.metadata.get("autoreset_mode")
    assert isinstance(mode, AutoresetMode), (
        f"metadata['autoreset_mode'] is {mode!r}; expected a gymnasium.vector.AutoresetMode"
    )


def _check_steps(env: VectorEnv, num_steps: int) -> None:
    """Random episodes; every result against the contract, and against the one before it and the
    autoreset mode.
    """
    check_autoreset = AUTORESET_CHECKS[env.metadata["autoreset_mode"]]
    env.action_space.seed(0)
    first = result = _check_reset(env, env.reset(seed=0))
    done = np.zeros(env.num_envs, dtype=bool)
    endings = 0
    for _ in range(num_steps):
        kept = deepcopy(result)
        step = env.step(_actions(env, result[-1]))
        _check_step(env, step)
        _check_not_reused(result, kept, step)
        check_autoreset(env, step, done, first[0])
        done = step[2] | step[3]
        result = step
        if done.any() and env.metadata["autoreset_mode"] == AutoresetMode.DISABLED:
            result = _check_reset(env, env.reset(options={"reset_mask": done.copy()}))
        endings += bool(done.any())
        if endings > _ENDINGS:
            return
    if not endings:
        logger.warn(
            f"no episode ended in {num_steps} random steps, so that the autoreset mode was not "
            "checked"
        )


def _check_reset(env: VectorEnv, result: tuple[Any, ...]) -> tuple[Any, ...]:
    pair = isinstance(result, tuple) and len(result) == 2
    assert pair, "reset did not return a pair; expected (observations, infos)"
    _check_observations(env, result[0], "reset")
    _check_infos(env, result[1], "reset")
    return result


def _check_step(env: VectorEnv, result: Any) -> None:
    five = isinstance(result, tuple) and len(result) == 5
    assert five, (
        "step did not return a tuple of 5; expected (observations, rewards, terminations, "
        "truncations, infos)"
    )
    _check_observations(env, result[0], "step")
    for name, array, kinds in zip(
        ("rewards", "terminations", "truncations"), result[1:4], ("fiu", "b", "b"), strict=True
    ):
        expected = f"expected ({env.num_envs},) {'bool' if kinds == 'b' else 'numbers'}"
        assert isinstance(array, np.ndarray), (
            f"step returned {name} as a {type(array).__name__}; {expected}"
        )
        good = array.shape == (env.num_envs,) and array.dtype.kind in kinds
        assert good, (
            f"step returned {name} of shape {array.shape} and dtype {array.dtype}; {expected}"
        )
    _check_infos(env, result[4], "step")


def _check_observations(env: VectorEnv, observations: Any, call: str) -> None:
    shown = observations
    if isinstance(observations, np.ndarray):
        shown = f"{observations.dtype} of shape {observations.shape}"
    inside = observations in env.observation_space
    assert inside, (
        f"{call} returned observations, {shown}, that are not in observation_space "
        f"{env.observation_space}"
    )


def _check_infos(env: VectorEnv, infos: Any, call: str) -> None:
    assert isinstance(infos, dict), (
        f"{call} returned infos as a {type(infos).__name__}; expected a dict"
    )
    for key in infos:
        mask = infos.get(f"_{key}")
        if mask is not None:
            good = (
                isinstance(mask, np.ndarray)
                and mask.shape == (env.num_envs,)
                and mask.dtype == bool
            )
            assert good, (
                f"{call} returned infos['_{key}'] as {mask!r}; a mask is a ({env.num_envs},) bool "
                "array"
            )


def _check_not_reused(
    before: tuple[Any, ...], kept: tuple[Any, ...], after: tuple[Any, ...]
) -> None:
    for name, old, copy in zip(
        ("observations", *("array",) * (len(before) - 2), "infos"), before, kept, strict=True
    ):
        same = data_equivalence(old, copy, exact=True) or _has_nan(copy)
        assert same, (
            f"step changed the {name} that the call before it returned; every call must return new "
            "data"
        )
    old_arrays = list(_arrays(before))
    for new in _arrays(after):
        shared = any(np.shares_memory(new, old) for old in old_arrays)
        assert not shared, (
            "step returned an array that the call before it had returned already; every call must "
            "return new data"
        )


def _arrays(data: Any) -> Iterator[np.ndarray]:
    """Every array in a nest of dicts, tuples and object arrays."""
    if isinstance(data, np.ndarray) and data.dtype != object:
        yield data
    elif isinstance(data, (tuple, list, np.ndarray)):
        for part in data:
            yield from _arrays(part)
    elif isinstance(data, dict):
        yield from _arrays(tuple(data.values()))


def _has_nan(data: Any) -> bool:
    return any(
        array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in _arrays((data,))
    )


def _actions(env: VectorEnv, infos: dict[str, Any]) -> Any:
    """Random actions; of the allowed ones where infos has an `action_mask` (num_envs, V)."""
    actions = env.action_space.sample()
    mask = infos.get("action_mask")
    if isinstance(mask, np.ndarray) and isinstance(env.single_action_space, spaces.Discrete):
        for i in np.flatnonzero(
            mask[np.arange(env.num_envs), actions - env.single_action_space.start] == 0
        ):
            actions[i] = env.single_action_space.start + mask[i].argmax()
    return actions


def _check_seeding(env: VectorEnv) -> None:
    by_int = _trajectory(env, 123)
    assert data_equivalence(by_int, _trajectory(env, 123)), (
        "reset(seed=123) twice gave two trajectories; expected the same"
    )
    seeds = list(range(123, 123 + env.num_envs))
    try:
        env.reset(seed=seeds)  # type: ignore[arg-type]
    except Exception as problem:
        logger.warn(
            f"reset takes no list of seeds ({type(problem).__name__}: {problem}); SyncVectorEnv "
            "and AsyncVectorEnv do"
        )
        return
    by_list = _trajectory(env, seeds)
    assert data_equivalence(by_list, _trajectory(env, seeds)), (
        "reset(seed=[...]) twice gave two trajectories; expected the same"
    )
    assert data_equivalence(by_int, by_list), (
        "reset(seed=s) and reset(seed=[s, s + 1, ...]) gave two trajectories; env i of the seed s "
        "has the seed s + i"
    )


def _trajectory(env: VectorEnv, seed: int | list[int], num_steps: int = 10) -> list[Any]:
    """Observations, rewards and ends of the same random actions; infos may hold times."""
    env.action_space.seed(0)
    obs, infos = env.reset(seed=seed)  # type: ignore[arg-type]
    results: list[Any] = [deepcopy(obs)]
    for _ in range(num_steps):
        obs, rewards, terminations, truncations, infos = env.step(_actions(env, infos))
        results.append(deepcopy((obs, rewards, terminations, truncations)))
        done = terminations | truncations
        if done.any() and env.metadata["autoreset_mode"] == AutoresetMode.DISABLED:
            _, infos = env.reset(options={"reset_mask": done.copy()})
    return results


def _check_render(env: VectorEnv) -> None:
    modes = env.metadata.get("render_modes", [])
    assert env.render_mode is None or env.render_mode in modes, (
        f"render_mode is {env.render_mode!r}; metadata allows {modes}"
    )
    if env.render_mode in (None, "human"):
        return
    env.reset(seed=0)
    frames = env.render()
    good = isinstance(frames, (tuple, list)) and len(frames) == env.num_envs
    assert good, (
        f"render returned a {type(frames).__name__}; expected a tuple of {env.num_envs} frames"
    )
    kind: type = {"ansi": str, "rgb_array": np.ndarray}.get(env.render_mode or "", object)
    for frame in frames or ():
        assert isinstance(frame, kind), (
            f"render returned a {type(frame).__name__} in mode {env.render_mode!r}; expected {kind}"
        )
