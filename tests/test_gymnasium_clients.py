"""What Gymnasium's own vector environments and wrappers expect of ours: modes of autoreset,
attributes, views of the prefix and rendering.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import vector as wrappers

from agents.reinforce import Reinforce
from agents.sb3.agent import PPO
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.rewards.forms import FORMS
from seqgan_env.testing import check_vector_env
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, reward_model
from .test_env import assert_same

MODES = list(AutoresetMode)
VIEWS: list[dict[str, Any]] = [
    {"observation": "tokens"},
    {"observation": "one_hot"},
    {"observation": "one_hot", "observation_window": 2},
    {"observation": "dict"},
]
NUM_ENVS = 4


def pair(
    spec: TokenSpec, mode: AutoresetMode, form: str = "rollout", **settings: Any
) -> tuple[TokenVectorEnv, SyncVectorEnv]:
    """The native environment, and Gymnasium's own of single ones, over one reward model."""
    model = reward_model(spec, reward=form)
    native = TokenVectorEnv(NUM_ENVS, model, autoreset_mode=mode, **settings)
    single = partial(TokenEnv, model, **settings)
    return native, SyncVectorEnv([single] * NUM_ENVS, autoreset_mode=mode)


def assert_same_episodes(native: VectorEnv, copies: VectorEnv, num_steps: int) -> None:
    """The same in all they return, for the same seed and random actions, masked ones among them."""
    mode, vocab_size = native.metadata["autoreset_mode"], native.single_action_space.n  # type: ignore[attr-defined]
    actions = np.random.default_rng(0).integers(0, vocab_size, (num_steps, NUM_ENVS))
    assert_same(native.reset(seed=5), copies.reset(seed=5))
    endings = 0
    for row in actions:
        ours, theirs = native.step(row), copies.step(row)
        assert_same(ours, theirs)
        done = ours[2]
        endings += int(done.sum())
        if mode == AutoresetMode.DISABLED and done.any():
            ours_obs, ours_infos = native.reset(options={"reset_mask": done.copy()})
            theirs_obs, theirs_infos = copies.reset(options={"reset_mask": done.copy()})
            assert_same(ours_obs, theirs_obs)
            assert_same_where(theirs_infos, ours_infos, done)
    assert endings >= NUM_ENVS


def assert_same_where(theirs: dict[str, Any], ours: dict[str, Any], rows: np.ndarray) -> None:
    """Infos of a reset: Gymnasium masks the envs that were not reset, ours tell their mask too."""
    assert theirs.keys() == ours.keys()
    for key in theirs:
        np.testing.assert_array_equal(theirs[key][rows], ours[key][rows])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", list(FORMS))
def test_every_autoreset_mode_is_that_of_gymnasiums_sync_vector_env(
    spec: TokenSpec, mode: AutoresetMode, form: str
) -> None:
    assert_same_episodes(*pair(spec, mode, form), num_steps=30)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: "-".join(map(str, view.values())))
def test_every_view_of_the_prefix_is_the_same_in_the_single_and_the_vector_env(
    spec: TokenSpec, mode: AutoresetMode, view: dict[str, Any]
) -> None:
    assert_same_episodes(*pair(spec, mode, **view), num_steps=12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: "-".join(map(str, view.values())))
@pytest.mark.filterwarnings("error")
def test_every_mode_and_view_keeps_the_vector_contract(
    spec: TokenSpec, mode: AutoresetMode, view: dict[str, Any]
) -> None:
    check_vector_env(TokenVectorEnv(3, reward_model(spec), "ansi", autoreset_mode=mode, **view))


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: "-".join(map(str, view.values())))
@pytest.mark.filterwarnings("error")
def test_every_view_passes_gymnasiums_checker(view: dict[str, Any]) -> None:
    check_env(gym.make("SeqGAN/Oracle-v0", rewards=reward_model(FIXED), **view).unwrapped)


def test_the_one_hot_view_of_a_prefix_is_what_its_definition_says() -> None:
    env = TokenEnv(reward_model(EOS), observation="one_hot", observation_window=2)
    obs, _ = env.reset(seed=0)
    assert obs.tolist() == [0.0] * 11
    views = [env.step(np.int64(token))[0] for token in (3, 1, 4)]
    hot = [np.flatnonzero(view[:-1]).tolist() for view in views]
    assert hot == [[5 + 3], [3, 5 + 1], [1, 5 + 4]]
    assert [view[-1] for view in views] == pytest.approx([1 / 6, 2 / 6, 3 / 6])


def test_the_dict_view_says_length_and_mask() -> None:
    env = TokenEnv(reward_model(EOS), observation="dict")
    obs, info = env.reset(seed=0)
    for length in range(3):
        assert obs["length"].tolist() == [length]
        assert obs["action_mask"].tolist() == info["action_mask"].tolist()
        assert obs["action_mask"][0] == (length >= EOS.min_length)
        obs, *_, info = env.step(np.int64(2))


BAD_VIEWS = [
    ({"observation": "onehot"}, "unknown observation 'onehot'.*Did you mean 'one_hot'"),
    ({"observation_window": 2}, "only 'one_hot' has a window"),
    ({"observation": "one_hot", "observation_window": 4}, r"4; allowed is 1\.\.3"),
    ({"observation": "one_hot", "observation_window": 0}, r"0; allowed is 1\.\.3"),
    ({"observation": "one_hot", "observation_window": 1.5}, "expected a whole number"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_VIEWS)
@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_views_that_are_not_there_are_refused(
    make: Callable[..., Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make("SeqGAN/Oracle-v0", rewards=reward_model(FIXED), **settings)


def test_the_vector_env_has_every_attribute_of_gymnasiums_own() -> None:
    native, sync = pair(FIXED, AutoresetMode.NEXT_STEP)
    asynchronous = AsyncVectorEnv([partial(TokenEnv, reward_model(FIXED))] * 2)
    common = {name for name in set(dir(sync)) & set(dir(asynchronous)) if name[0] != "_"}
    asynchronous.close()
    of_separate_envs = {"env_fns", "copy", "observation_mode"}  # how separate ones are gathered
    assert common - set(dir(native)) == of_separate_envs
    for name in ("num_envs", "single_action_space", "single_observation_space", "action_space"):
        assert getattr(native, name) == getattr(sync, name)
    for name in ("observation_space", "render_mode", "closed", "autoreset_mode", "spec"):
        assert getattr(native, name) == getattr(sync, name)
    assert native.metadata.keys() == sync.metadata.keys()
    assert native.metadata["autoreset_mode"] == sync.metadata["autoreset_mode"]
    assert native.get_attr("discount") == sync.get_attr("discount")
    assert native.call("discount") == sync.call("discount")


def test_attributes_are_set_for_all_envs_or_none() -> None:
    env = TokenVectorEnv(2, reward_model(FIXED))
    env.set_attr("note", ["a", "a"])
    assert env.get_attr("note") == ("a", "a")
    with pytest.raises(ValueError, match="3 values; this environment has 2 envs"):
        env.set_attr("note", [1, 2, 3])
    with pytest.raises(ValueError, match="different values"):
        env.set_attr("note", [1, 2])


def test_a_mode_may_be_named_and_a_typo_gets_the_nearest() -> None:
    for mode in MODES:
        for given in (mode, mode.name.lower()):
            env = gym.make_vec(
                "SeqGAN/Oracle-v0", num_envs=2, rewards=reward_model(FIXED), autoreset_mode=given
            )
            assert env.metadata["autoreset_mode"] is mode
    with pytest.raises(ValueError, match="Did you mean 'next_step'"):
        TokenVectorEnv(2, reward_model(FIXED), autoreset_mode="nextstep")


def test_without_autoreset_a_finished_env_must_be_reset() -> None:
    env = TokenVectorEnv(2, reward_model(FIXED), autoreset_mode="disabled")
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.array([0, 0]))
    with pytest.raises(gym.error.ResetNeeded, match="env 0 has no episode"):
        env.step(np.array([0, 0]))


def test_no_mode_steps_before_the_first_reset() -> None:
    for mode in MODES:
        with pytest.raises(gym.error.ResetNeeded):
            TokenVectorEnv(2, reward_model(FIXED), autoreset_mode=mode).step(np.array([0, 0]))


def test_an_env_that_the_reset_mask_leaves_out_keeps_its_stream() -> None:
    native, copies = pair(FIXED, AutoresetMode.SAME_STEP)
    mask = np.array([True, False, False, True])
    for env in (native, copies):
        env.reset(seed=1)
        env.step(np.array([0, 1, 2, 0]))
        env.reset(seed=9, options={"reset_mask": mask.copy()})
    for actions in np.random.default_rng(2).integers(0, 3, (4, NUM_ENVS)):
        assert_same(native.step(actions), copies.step(actions))


def test_only_written_tokens_are_counted_as_steps() -> None:
    env = TokenVectorEnv(2, reward_model(FIXED), autoreset_mode="next_step")
    env.reset(seed=0)
    for _ in range(8):  # two episodes of 3 tokens, and two steps that begin the next
        env.step(np.array([0, 0]))
    assert env.rewards.budget.env_steps == 2 * 6


STACKS: dict[str, Callable[[VectorEnv], VectorEnv]] = {
    "flatten": wrappers.FlattenObservation,
    "normalize": wrappers.NormalizeObservation,
    "rescale": partial(wrappers.RescaleObservation, min_obs=-1.0, max_obs=1.0),
    "filter": partial(wrappers.FilterObservation, filter_keys=["tokens", "length"]),
    "clip_reward": partial(wrappers.ClipReward, max_reward=10.0),
    "normalize_reward": wrappers.NormalizeReward,
    "statistics": wrappers.RecordEpisodeStatistics,
    "dict_to_list": wrappers.DictInfoToList,
    "two": lambda env: wrappers.NormalizeReward(wrappers.FlattenObservation(env)),
}
VIEW_OF = {"filter": "dict", "normalize": "one_hot"}
# what Gymnasium's wrappers refuse themselves: those of observations cannot transform `final_obs`
NOT_UNDER = {name: {AutoresetMode.SAME_STEP} for name in ("flatten", "rescale", "filter", "two")}
NOT_UNDER["normalize"] = {AutoresetMode.SAME_STEP, AutoresetMode.DISABLED}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", STACKS)
@pytest.mark.filterwarnings("ignore:.*The obs returned by.*")
def test_gymnasiums_vector_wrappers_stack_on_ours_as_on_their_own(
    name: str, mode: AutoresetMode
) -> None:
    view = VIEW_OF.get(name, "tokens")
    ours, theirs = pair(FIXED, mode, observation=view, episode_statistics=False)
    if mode in NOT_UNDER.get(name, ()):
        for env in (ours, theirs):
            with pytest.raises((ValueError, AssertionError), match="autoreset_mode"):
                STACKS[name](env)
        return
    wrapped = [STACKS[name](env) for env in (ours, theirs)]
    results: list[list[Any]] = [[env.reset(seed=3)] for env in wrapped]
    for actions in np.random.default_rng(0).integers(0, 3, (7, NUM_ENVS)):
        for stacked, taken in zip(wrapped, results, strict=True):
            taken.append(stacked.step(actions))
            if mode == AutoresetMode.DISABLED and np.asarray(taken[-1][2]).any():
                stacked.reset()
    for a, b in zip(*results, strict=True):
        assert_same(a[:-1], b[:-1])


def test_a_list_of_frames_tells_the_present_episode_since_it_was_last_asked_for() -> None:
    model = reward_model(FIXED)
    single = gym.make("SeqGAN/Oracle-v0", rewards=model, render_mode="ansi_list")
    native = TokenVectorEnv(1, model, "ansi_list", autoreset_mode="next_step")
    single.reset(seed=4)
    native.reset(seed=4)
    for step in range(7):
        single.reset() if step == 3 else single.step(np.int64(1))
        native.step(np.array([1]))
        if step % 2:
            assert native.render() == (single.render(),)
    assert native.render() == (single.render(),)


def test_where_a_step_begins_the_next_episode_the_frames_are_those_of_the_last() -> None:
    env = TokenVectorEnv(2, reward_model(FIXED), "ansi_list")
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.array([1, 2]))
    assert [[frame[:5] for frame in frames] for frames in env.render()] == [  # type: ignore[union-attr]
        ["[0/3]", "[1/3]", "[2/3]", "[3/3]"]
    ] * 2
    env.step(np.array([0, 0]))
    assert [[frame[:5] for frame in frames] for frames in env.render()] == [["[1/3]"]] * 2  # type: ignore[union-attr]


@pytest.mark.parametrize("agent", [Reinforce, PPO])
def test_an_agent_that_goes_past_wrappers_refuses_them(agent: Callable[[Any], object]) -> None:
    wrapped = wrappers.ClipReward(TokenVectorEnv(2, reward_model(FIXED)), max_reward=1.0)
    with pytest.raises(ValueError, match="wrapped in ClipReward, which this agent would go past"):
        agent(wrapped)
    with pytest.raises(TypeError, match="is a SyncVectorEnv; expected a TokenVectorEnv"):
        agent(SyncVectorEnv([lambda: gym.make("CartPole-v1")]))
