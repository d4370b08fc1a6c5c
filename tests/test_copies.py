"""What copies of things are: pickled or saved they are others with the same numbers, which go on
bit by bit; copied in memory they are paid by the same rewards. And states, saved and loaded.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from seqgan_env.discriminators.cnn import CNNDiscriminator
from seqgan_env.discriminators.cuda_graphs import GraphedStep
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.online import OnlineRewardModel
from seqgan_env.envs.registration import build_rewards
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.token_mixture import TokenMixture
from seqgan_env.plugins import make_agent
from seqgan_env.registry import AGENTS, DISCRIMINATORS, SOURCES
from seqgan_env.rewards.forms import FORMS
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.tasks import make_task
from seqgan_env.training.checkpoint import read_checkpoint, write_checkpoint
from seqgan_env.types import Task, TokenSpec

from .conftest import EOS, FIXED, random_model, reward_model, rewards_for, rng

ID = "SeqGAN/Oracle-v0"
TASK: dict[str, Any] = {
    "vocab_size": 6,
    "seq_len": 4,
    "num_real": 60,
    "num_held_out": 50,
    "num_validation": 20,
}
QUICK: dict[str, Any] = TASK | {
    "num_rollouts": 2,
    "d_interval": 6,
    "warm_up": 6,
    "warm_up_epochs": 1,
}


def pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


def saved(thing: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def small_task() -> Task:
    return make_task("oracle-tiny", **TASK)


def play(env: TokenVectorEnv, num_steps: int, seed: int = 5) -> list[Any]:
    """What steps with arbitrary actions return: observations, rewards, ends and infos."""
    actions = np.random.default_rng(seed).integers(
        0, env.task.spec.vocab_size, (num_steps, env.num_envs)
    )
    return [env.step(row) for row in actions]


def assert_equal(a: Any, b: Any) -> None:
    """The same bit by bit, in everything."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    elif isinstance(a, np.ndarray) and a.dtype == object:
        assert_equal(a.tolist(), b.tolist())
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def learned(rewards: RewardModel) -> dict[str, Any]:
    """The weights of the discriminator and of the policy."""
    models = {"policy": rewards.policy, "discriminator": rewards.discriminator}
    return {
        name: model.state_dict()
        for name, model in models.items()
        if isinstance(model, torch.nn.Module)
    }


# What scores sequences of one kind of task alone stands with that task.
OF_ONE_TASK = {
    name: origin.split(".")[2]
    for name, origin in SOURCES.builtin.items()
    if origin.startswith("seqgan_env.tasks.")
}
SOURCE_AND_FORM = [
    *((source, "rollout") for source in SOURCES.builtin if source not in OF_ONE_TASK),
    ("discriminator + 0.5 * bleu", "difference"),
    ("discriminator", "terminal"),
]


@pytest.mark.parametrize("copied", [pickled, saved])
@pytest.mark.parametrize(("source", "form"), SOURCE_AND_FORM)
def test_a_pickled_environment_goes_on_bit_by_bit_and_apart_from_the_first(
    copied: Callable[[Any], Any], source: str, form: str
) -> None:
    env = gym.make_vec(ID, num_envs=3, source=source, reward=form, **_online(source))
    assert isinstance(env, TokenVectorEnv)
    env.reset(seed=1)
    play(env, 10)
    other = copied(env)
    assert other.rewards is not env.rewards
    assert other.core.rewards is other.rewards
    expected = play(env, 30)
    assert_equal(play(other, 30), expected)
    assert_equal(learned(other.rewards), learned(env.rewards))


@pytest.mark.parametrize(("source", "task"), OF_ONE_TASK.items())
def test_sources_of_one_task_are_pickled_too(source: str, task: str) -> None:
    if task == "molecule":
        pytest.importorskip("rdkit")
    env = gym.make_vec(
        f"SeqGAN/{task.capitalize()}-v0", num_envs=2, source=source, num_rollouts=1, online=False
    )
    assert isinstance(env, TokenVectorEnv)
    env.reset(seed=1)
    play(env, 3)
    other = pickled(env)
    assert_equal(play(other, 6), play(env, 6))


def _online(source: str) -> dict[str, Any]:
    """Settings of an environment that learns online, but for sources under which none does."""
    schedule = ("d_interval", "warm_up", "warm_up_epochs")
    controls = ("constant", "random", "noise")
    return {k: v for k, v in QUICK.items() if source not in controls or k not in schedule}


@pytest.mark.parametrize("name", DISCRIMINATORS.builtin)
def test_every_discriminator_is_pickled_with_the_environment_that_trains_it(name: str) -> None:
    score_as = "logit" if name == "ratio" else "probability"
    settings = QUICK | {"discriminator": name, "score_as": score_as}
    if name == "ratio":
        settings["discriminator_options"] = {"mle_epochs": 1, "learns_by": "both"}
    env = gym.make_vec(ID, num_envs=3, **settings)
    assert isinstance(env, TokenVectorEnv)
    env.reset(seed=1)
    play(env, 10)
    other = pickled(env)
    assert_equal(play(other, 12), play(env, 12))
    assert_equal(learned(other.rewards), learned(env.rewards))


@pytest.mark.parametrize("view", ["tokens", "one_hot", "dict"])
@pytest.mark.parametrize("render_mode", [None, "ansi", "ansi_list"])
def test_a_pickled_single_environment_goes_on_with_its_wrappers(
    view: str, render_mode: str | None
) -> None:
    env = gym.make(ID, observation=view, render_mode=render_mode, **QUICK)
    env.reset(seed=2)
    env.step(np.int64(1))
    other = pickled(env)
    for token in (3, 0, 5):
        assert_equal(other.step(np.int64(token)), env.step(np.int64(token)))
        assert other.render() == env.render()
    assert_equal(other.reset(), env.reset())


@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
def test_a_copy_in_memory_has_episodes_of_its_own_and_the_same_rewards(mode: str) -> None:
    env = TokenVectorEnv(3, reward_model(EOS), "ansi", autoreset_mode=mode)
    env.reset(seed=4)
    play(env, 2)
    other = copy.deepcopy(env)
    assert other.rewards is other.core.rewards is env.rewards
    kept = env.core.tokens.copy()
    expected = [other.step(np.ones(3, dtype=np.int64)) for _ in range(3)]
    assert np.array_equal(env.core.tokens, kept)
    assert_equal([env.step(np.ones(3, dtype=np.int64)) for _ in range(3)], expected)


@pytest.mark.parametrize("online", [False, True])
def test_reward_models_are_copied_by_handle_and_pickled_by_value(online: bool) -> None:
    rewards = gym.make(ID, online=online, **(QUICK if online else _online("constant"))).unwrapped
    rewards = rewards.rewards  # type: ignore[attr-defined]
    assert copy.deepcopy(rewards) is rewards
    assert copy.deepcopy([rewards, rewards])[1] is rewards
    other = pickled(rewards)
    assert type(other) is type(rewards)
    assert other is not rewards
    assert other.form == rewards.form
    assert other.rollout_policy is other.policy
    assert dict(other.sources).keys() == dict(rewards.sources).keys()
    assert other.sources[0][1] is other.discriminator


def test_what_is_pickled_with_an_environment_still_holds_the_same_objects() -> None:
    """A ratio's policy is the live one, also in the copy."""
    rewards = build_rewards(
        small_task(), RewardSettings(sync_rate=0.5, score_as="logit"), discriminator="ratio"
    )
    other = pickled(rewards)
    assert other.discriminator._live.policy is other.policy
    assert other.rollout_policy.live is other.policy
    assert other.rollout_policy.copy is not other.policy


@pytest.mark.parametrize("form", FORMS)
def test_a_reward_form_is_the_same_behind_a_pickle(form: str) -> None:
    assert pickled(FORMS[form]) == FORMS[form]


def test_tables_are_not_pickled_with_a_discriminator_and_change_no_score() -> None:
    discriminator = CNNDiscriminator.initialised(FIXED, rng())
    before = len(pickle.dumps(discriminator))
    tokens = random_model(FIXED).sample(20, rng())
    scores = discriminator.score(tokens)
    assert len(pickle.dumps(discriminator)) == before
    assert torch.equal(pickled(discriminator).score(tokens), scores)


def _first(*tensors: torch.Tensor) -> torch.Tensor:
    return tensors[0]


def test_recordings_of_a_gpu_stay_in_their_process() -> None:
    step = GraphedStep(_first)
    step._recordings[(torch.Size([1]),)] = lambda x: x  # type: ignore[assignment]
    other = pickled(step)
    assert other._recordings == {}
    assert other(torch.ones(2)).tolist() == [1.0, 1.0]


# Agents


def agent_of(name: str, task: Task) -> Any:
    rewards = rewards_for(name, task)
    agent = make_agent(name, TokenVectorEnv(4, rewards), 0, {})
    rewards.bind(agent.policy)
    return agent


def weights(policy: Any) -> dict[str, torch.Tensor]:
    """The weights of a policy; of a mixture of models those of all."""
    if isinstance(policy, TokenMixture):
        return torch.nn.ModuleList(policy.models).state_dict()
    found: dict[str, torch.Tensor] = policy.state_dict()
    return found


def train_on(agent: Any, task: Task) -> list[Any]:
    """What more training says and leaves."""
    said = [agent.update(), agent.pretrain(task.real_sequences, 1), agent.update()]
    return [said, {k: v.clone() for k, v in weights(agent.policy).items()}]


@pytest.mark.slow
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("name", AGENTS.names())
def test_a_pickled_agent_trains_on_bit_by_bit_and_apart_from_the_first(
    name: str, begun: bool
) -> None:
    task = small_task()
    agent = agent_of(name, task)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if begun:
            train_on(agent, task)
        other = pickled(agent)
        again = saved(agent)
        expected = train_on(agent, task)
        assert_equal(train_on(other, task), expected)
        assert_equal(train_on(again, task), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS.names())
def test_a_copied_agent_learns_alone_and_is_paid_by_the_same_rewards(name: str) -> None:
    task = small_task()
    agent = agent_of(name, task)
    agent.pretrain(task.real_sequences, 1)
    other = copy.deepcopy(agent)
    assert other.policy is not agent.policy
    before = copy.deepcopy(weights(agent.policy))
    said = other.update()
    assert_equal(weights(agent.policy), before)
    assert_equal(agent.update(), said)
    assert_equal(weights(other.policy), weights(agent.policy))
    if hasattr(agent, "env"):
        assert other.env.rewards is agent.env.rewards
        assert other.env.rewards.policy is agent.policy  # until `bind` says else


# States


@pytest.mark.parametrize("name", AGENTS.names())
def test_what_agents_learn_behind_a_state_does_not_change_it(name: str) -> None:
    task = small_task()
    first = agent_of(name, task)
    first.pretrain(task.real_sequences, 1)
    first.update()
    state = first.state_dict()
    kept = copy.deepcopy(state)
    train_on(first, task)
    assert_equal(state, kept)
    found = []
    for _ in range(2):
        agent = agent_of(name, task)
        agent.load_state_dict(state)
        found.append(train_on(agent, task))
        assert_equal(state, kept)
    assert_equal(*found)


@pytest.mark.parametrize("name", DISCRIMINATORS.builtin)
def test_what_a_trainer_learns_behind_a_state_does_not_change_it(name: str) -> None:
    task = small_task()
    discriminator = build_rewards(task, discriminator=name).discriminator
    assert discriminator is not None
    real, generated = task.real_sequences, torch.randint(6, (60, 4), generator=rng(1))
    first = DiscriminatorTrainer(discriminator)
    first.fit(real, generated, 1, rng())
    state = first.state_dict()
    kept, begun = copy.deepcopy(state), copy.deepcopy(discriminator.state_dict())
    found = []
    for _ in range(2):
        discriminator.load_state_dict(begun)
        trainer = DiscriminatorTrainer(discriminator)
        trainer.load_state_dict(state)
        trainer.fit(real, generated, 2, rng(2))
        found.append(copy.deepcopy(discriminator.state_dict()))
        assert_equal(state, kept)
    assert_equal(*found)


def online_env(**changes: Any) -> TokenVectorEnv:
    env = gym.make_vec(ID, num_envs=3, **(QUICK | changes))
    assert isinstance(env, TokenVectorEnv)
    return env


ONLINE: list[dict[str, Any]] = [
    {},
    {"sync_rate": 0.5},
    {"source": "optimal"},
    {"reward": "terminal"},
    {"reward": "difference", "source": "discriminator + 0.5 * bleu"},
    {"d_memory": 4, "clone_memory": 1},
    {"discriminator": "lstm"},
]


@pytest.mark.parametrize("settings", ONLINE, ids=str)
@pytest.mark.parametrize("num_steps", [2, 7, 21])
def test_an_environment_that_learns_online_goes_on_from_a_saved_state_bit_by_bit(
    settings: dict[str, Any], num_steps: int, tmp_path: Any
) -> None:
    env = online_env(**settings)
    env.reset(seed=3)
    play(env, num_steps)
    write_checkpoint(tmp_path, {"env": env.state_dict(), "rewards": env.rewards.state_dict()})
    expected = play(env, 25)
    state = read_checkpoint(tmp_path)
    assert state is not None
    fresh = online_env(**settings)
    fresh.reset(seed=99)
    play(fresh, 13)
    fresh.load_state_dict(state["env"])
    fresh.rewards.load_state_dict(state["rewards"])
    assert_equal(play(fresh, 25), expected)
    assert_equal(learned(fresh.rewards), learned(env.rewards))
    assert fresh.online_metrics() == env.online_metrics() != {}
    assert fresh.rewards.budget == env.rewards.budget


def test_a_single_environment_goes_on_from_a_saved_state_too() -> None:
    envs = [gym.make(ID, **(QUICK | {"warm_up": 2, "d_interval": 2})) for _ in range(2)]
    tokens = np.random.default_rng(0).integers(0, 6, 40)

    def write(env: gym.Env, tokens: np.ndarray) -> list[Any]:
        told: list[Any] = []
        for token in tokens:
            told.append(env.step(token))
            if told[-1][2]:
                told.append(env.reset())
        return told

    for env in envs:
        env.reset(seed=1)
    write(envs[0], tokens[:18])
    first, second = (env.unwrapped for env in envs)
    assert isinstance(first, TokenEnv)
    assert isinstance(second, TokenEnv)
    second.load_state_dict(first.state_dict())
    second.rewards.load_state_dict(first.rewards.state_dict())
    assert_equal(write(envs[1], tokens[18:]), write(envs[0], tokens[18:]))


def test_what_happens_behind_a_state_does_not_change_it() -> None:
    env = online_env()
    env.reset(seed=3)
    play(env, 13)
    state = {"env": env.state_dict(), "rewards": env.rewards.state_dict()}
    kept = copy.deepcopy(state)
    play(env, 20)
    assert_equal(state, kept)
    fresh = online_env()
    fresh.load_state_dict(state["env"])
    fresh.rewards.load_state_dict(state["rewards"])
    play(fresh, 20)
    assert_equal(state, kept)


def test_a_state_of_other_envs_or_other_rewards_is_refused() -> None:
    env = online_env()
    with pytest.raises(ValueError, match=r"shape \(3, 4\); this environment's are \(2, 3\)"):
        TokenVectorEnv(2, reward_model(FIXED)).load_state_dict(env.state_dict())
    driven = build_rewards(small_task())
    with pytest.raises(ValueError, match="has budget, discriminator, online; that of these"):
        driven.load_state_dict(env.rewards.state_dict())
    with pytest.raises(ValueError, match="has budget, discriminator; that of these"):
        env.rewards.load_state_dict(driven.state_dict())


@pytest.mark.parametrize("num_steps", [0, 1, 3, 5])
@pytest.mark.parametrize(("own", "other"), [(6, 5), (5, 6), (3, 60)])
def test_a_state_of_another_vocabulary_is_refused_and_changes_nothing(
    own: int, other: int, num_steps: int
) -> None:
    envs = []
    for vocab_size in (own, other):
        env = TokenVectorEnv(3, reward_model(TokenSpec(vocab_size, 4)))
        env.reset(seed=vocab_size)
        for step in range(num_steps):
            env.step(np.array([step % vocab_size, vocab_size - 1, 0]))
        envs.append(env)
    first, second = envs
    before = copy.deepcopy(first.state_dict())
    allowed = rf"this environment's tokens are 0..{own - 1}, and {own} where none is written"
    with pytest.raises(ValueError, match=allowed):
        first.load_state_dict(second.state_dict())
    assert first.state_dict() == before
    first.load_state_dict(before)


def test_rewards_that_were_taken_over_stay_so_behind_a_state() -> None:
    env = online_env()
    env.rewards.bind(env.rewards.policy)
    fresh = online_env()
    fresh.rewards.load_state_dict(env.rewards.state_dict())
    assert isinstance(fresh.rewards, OnlineRewardModel)
    assert not fresh.rewards.learning


# Processes


def make_single() -> gym.Env:
    return gym.make(ID, **QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("shares", [False, True])
def test_gymnasiums_processes_pay_what_envs_side_by_side_pay(context: str, shares: bool) -> None:
    rewards = reward_model(FIXED)
    make = partial(TokenEnv, rewards) if shares else make_single
    processes = AsyncVectorEnv([make] * 2, context=context)
    envs = SyncVectorEnv([make] * 2)
    assert_equal(processes.reset(seed=3), envs.reset(seed=3))
    for actions in np.random.default_rng(0).integers(0, 3, (20, 2)):
        assert_equal(processes.step(actions), envs.step(actions))
    processes.close()


@pytest.mark.slow
@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_the_processes_of_stable_baselines3_pay_what_envs_side_by_side_pay(
    start_method: str,
) -> None:
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    make = partial(TokenEnv, reward_model(FIXED))
    processes = vec_env.SubprocVecEnv([make] * 2, start_method=start_method)
    envs = vec_env.DummyVecEnv([make] * 2)
    for each in (processes, envs):
        each.seed(3)
        each.reset()
    for actions in np.random.default_rng(0).integers(0, 3, (20, 2)):
        (_, rewards, done, _), (_, expected, ended, _) = (
            each.step(actions) for each in (processes, envs)
        )
        assert_equal(rewards.astype(np.float32), expected)
        assert_equal(done, ended)
    processes.close()
