"""What cannot be is refused where it is given, in one line that says what was given and what is
allowed: in code, and on the command line with exit code 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from seqgan_env import Schedule
from seqgan_env.building import check_device
from seqgan_env.checks import MOST_SEED, check_seed, check_type
from seqgan_env.cli.main import main
from seqgan_env.discriminators.cnn import CNNConfig
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.registration import build_rewards
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.names import check_options, option_names
from seqgan_env.plugins import load_agent_class, make_agent
from seqgan_env.registry import AGENTS, DISCRIMINATORS
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.tasks import make_task
from seqgan_env.training.settings import TrainSettings, settings_from
from seqgan_env.training.trainer import Trainer

from .conftest import EOS, FIXED, SpecTask, reward_model, rewards_for

# The command line


AT_THE_DOOR = [
    ("--seed 18446744073709551616", "seed is 18446744073709551616; allowed are whole numbers 0.."),
    ("--seed -1", "seed is -1; allowed are whole numbers 0.."),
    ("--set learning_rate=nan", "learning_rate of agent reinforce is 'nan'; allowed is a finite"),
    ("--set learning_rate=NaN", "learning_rate of agent reinforce is nan; allowed is a finite"),
    ("--set learning_rate=abc", "learning_rate of agent reinforce is 'abc'; allowed is a finite"),
    ("--set learning_rate=true", "learning_rate of agent reinforce is True"),
    ("--set learning_rate=-1", "agent reinforce: learning_rate is -1; allowed is 0 or more"),
    ("--set mle_batch_size=0", "agent reinforce: mle_batch_size is 0; allowed is 1 or more"),
    ("--device meta", "device is 'meta'; allowed are cpu and cuda"),
    ("--device mps", "device is 'mps'; allowed are cpu and cuda"),
    ("--device gpu", "device 'gpu' is none that torch knows; allowed are cpu and cuda"),
    ("--agent ppo --set n_epoch=3", "unknown option of agent ppo 'n_epoch'; allowed are"),
    ("--agent ppo --set n_epochs=0", "agent ppo: n_epochs is 0; allowed is 1 or more"),
    ("--agent ppo --set n_epochs=2.5", "option n_epochs of agent ppo is 2.5; allowed is a whole"),
    ("--agent dqn --set tau=2", "agent dqn: tau is 2; allowed is 0..1"),
    ("--discriminator smal", "unknown discriminator 'smal'"),
    ("--set-discriminator dropout=1", "discriminator small: dropout is 1; allowed is 0 or more"),
    ("--set-discriminator hidden_dim=2", "unknown option of discriminator small 'hidden_dim'"),
    ("--discriminator lstm --set-discriminator hidden_dim=x", "hidden_dim of discriminator lstm"),
    ("--policy gru --set-policy hidden_dim=x", "option hidden_dim of policy gru is 'x'"),
]


@pytest.mark.parametrize(("flags", "message"), AT_THE_DOOR)
def test_train_refuses_it_in_one_line_before_it_reads_or_writes_anything(
    flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _skip_without_library(flags)
    assert main(["train", *flags.split(), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_bench_refuses_an_option_before_any_job_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("stable_baselines3")
    words = ["bench", "--agents", "ppo", "--seeds", "1", "--out", str(tmp_path / "b")]
    assert main([*words, "--set", "n_epoch=3"]) == 2
    assert "Did you mean 'n_epochs'?" in capsys.readouterr().err
    assert main([*words, "--set", "n_epochs=0"]) == 2
    assert "agent ppo: n_epochs is 0; allowed is 1 or more" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("command", ["sample", "evaluate"])
@pytest.mark.parametrize("seed", ["-1", str(2**64)])
def test_a_seed_of_any_command_is_checked(
    command: str, seed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, str(tmp_path), "--seed", seed])
    assert ended.value.code == 2
    assert f"seed is {seed}; allowed are whole numbers" in capsys.readouterr().err


def _skip_without_library(flags: str) -> None:
    if "ppo" in flags or "dqn" in flags:
        pytest.importorskip("stable_baselines3")


# Options


@dataclass(frozen=True)
class Config:
    rate: float = 0.5
    sizes: tuple[int, ...] = (1,)


class Takes:
    """Something with options of every kind."""

    def __init__(
        self,
        num: int = 1,
        name: str | None = None,
        on: bool = False,
        schedule: float | Callable[[float], float] = 1.0,
        more: Mapping[str, Any] | None = None,
        made_by: type | None = None,
        anything: Any = None,
        config: Config = Config(),
    ) -> None:
        pass

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        if options.get("num") == 13:
            raise ValueError("num is 13; allowed is any other")


GOOD = [
    {"num": 2, "name": "x", "on": True, "schedule": 3, "more": {"a": 1}, "made_by": int},
    {"name": None, "schedule": abs, "anything": [object()], "rate": 1, "sizes": [2, 3]},
    {"num": np.int64(3), "rate": np.float32(0.5)},
]
BAD = [
    ({"num": 2.0}, r"option num of thing is 2.0; allowed is a whole number"),
    ({"num": True}, "option num of thing is True; allowed is a whole number"),
    ({"name": 3}, "option name of thing is 3; allowed is a text or None"),
    ({"on": 1}, "option on of thing is 1; allowed is True or False"),
    (
        {"schedule": "3"},
        "option schedule of thing is '3'; allowed is a finite number or a function",
    ),
    ({"more": [1]}, r"option more of thing is \[1\]; allowed is a dict or None"),
    ({"made_by": "int"}, "option made_by of thing is 'int'; allowed is a class or None"),
    ({"rate": float("inf")}, "option rate of thing is inf; allowed is a finite number"),
    ({"rate": 10**400}, "option rate of thing is 1000"),
    ({"sizes": [1, "a"]}, r"sizes of thing is \[1, 'a'\]; allowed is a list, each a whole number"),
    ({"sizes": 3}, "option sizes of thing is 3; allowed is a list, each a whole number"),
    ({"num": 13}, "thing: num is 13; allowed is any other"),
    ({"numm": 1}, "unknown option of thing 'numm'.*Did you mean 'num'"),
]


@pytest.mark.parametrize("options", GOOD)
def test_options_that_can_be_pass(options: dict[str, Any]) -> None:
    check_options(Takes, options, "thing")


@pytest.mark.parametrize(("options", "message"), BAD)
def test_an_option_that_cannot_be_is_named_with_what_is_allowed(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_options(Takes, options, "thing")


def test_of_annotations_that_say_nothing_everything_is_allowed() -> None:
    for hint in (Any, Sequence[Any], "Unknown", Tensor | int, dict[str, int]):
        value: Any = {"a": "b"} if hint == dict[str, int] else ["x"]
        if hint != "Unknown":
            check_type("x", value, hint)
    check_options(_annotated_by_what_is_not_there, {"x": "y"}, "thing")


def _annotated_by_what_is_not_there(x: NotThere = 1, y: int = 2) -> None:  # type: ignore[name-defined] # noqa: F821
    pass


def test_one_annotation_that_is_not_there_hides_no_other() -> None:
    with pytest.raises(ValueError, match="option y of thing is 'z'"):
        check_options(_annotated_by_what_is_not_there, {"y": "z"}, "thing")


WRONG: list[Any] = [-1, 0, 0.5, float("nan"), float("inf"), "abc", None, True, [], {}, [1], [-1]]


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS.names())
def test_every_option_of_every_agent_works_or_is_refused_by_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some options name folders
    task = make_task("oracle-tiny", vocab_size=4, seq_len=3, num_real=16, num_held_out=8)
    names = option_names(load_agent_class(name), ("env", "seed", "policy"))
    assert names is not None
    for option in names:
        for value in WRONG:
            env = TokenVectorEnv(4, rewards_for(name, task))
            with refused_by_name_or_not_at_all(option):
                agent = make_agent(name, env, 0, {option: value})
                agent.pretrain(task.real_sequences, 1)
                agent.update()


@pytest.mark.parametrize("seq_len", [1, 2])
@pytest.mark.parametrize("name", AGENTS.names())
def test_one_short_sequence_leaves_the_policy_of_every_agent_finite(
    name: str, seq_len: int
) -> None:
    task = make_task("oracle-tiny", vocab_size=4, seq_len=seq_len, num_real=16, num_held_out=8)
    rewards = rewards_for(name, task)
    with refused_by_name_or_not_at_all("group_size"):
        agent: Any = make_agent(name, TokenVectorEnv(1, rewards), 0, {})
        rewards.bind(agent.policy)
        agent.pretrain(task.real_sequences, 1)
        for _ in range(3):
            agent.update()
        log_probs = agent.policy.log_prob(task.real_sequences)
        assert log_probs.isfinite().all()


@contextmanager
def refused_by_name_or_not_at_all(option: str) -> Iterator[None]:
    """Lets a ValueError through that does not name the option, and every other error."""
    try:
        yield
    except ValueError as problem:
        if option not in str(problem):
            raise


@pytest.mark.parametrize("name", DISCRIMINATORS.builtin)
def test_every_discriminator_names_the_option_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match=f"option learning_rate of discriminator {name} is 'x'"):
        build_rewards(
            SpecTask(FIXED), discriminator=name, discriminator_options={"learning_rate": "x"}
        )


def test_lists_of_a_file_become_the_tuples_of_a_config() -> None:
    assert CNNConfig(widths=[1, 2], channels=[3, 4]).channels == (3, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"channels is \(3, 0\); allowed is 1 or more for each"):
        CNNConfig(widths=(1, 2), channels=(3, 0))


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 1.0, True, "0", None])
def test_a_seed_that_no_generator_takes_is_refused_everywhere(seed: Any) -> None:
    doors: list[Callable[[], Any]] = [
        lambda: check_seed(seed),
        lambda: TrainSettings(seed=seed),
        lambda: build_rewards(SpecTask(FIXED), model_seed=seed),
        lambda: gym.make("SeqGAN/Oracle-v0", model_seed=seed),
        lambda: make_agent("reinforce", TokenVectorEnv(2, reward_model(FIXED)), seed, {}),
    ]
    for door in doors:
        with pytest.raises(ValueError, match=r"seed is .*; (allowed are|expected a) whole number"):
            door()


def test_the_largest_seed_works() -> None:
    rewards = build_rewards(SpecTask(FIXED), model_seed=MOST_SEED)
    agent = make_agent("reinforce", TokenVectorEnv(2, rewards), MOST_SEED, {})
    agent.update()


@pytest.mark.parametrize("device", ["meta", "mps", "gpu", "cuda:-1", "", 3.5, None])
def test_devices_on_which_no_model_can_live_are_refused(device: Any) -> None:
    for door in (
        lambda: check_device(device),
        lambda: gym.make("SeqGAN/Oracle-v0", device=device),
        lambda: build_rewards(SpecTask(FIXED), device=device),
    ):
        with pytest.raises(ValueError, match="allowed are cpu and cuda"):
            door()


# Environments


BAD_ENVS = [
    ({"num_envs": 0}, "num_envs is 0; allowed is a whole number from 1"),
    ({"num_envs": 2.5}, "num_envs is 2.5; allowed is a whole number from 1"),
    ({"num_envs": "2"}, "num_envs is '2'; allowed is a whole number from 1"),
    ({"num_rollouts": True}, "num_rollouts is True; allowed is a whole number from 1"),
    ({"sync_rate": "x"}, "sync_rate is 'x'; allowed is a finite number"),
    ({"sync_rate": float("nan")}, "sync_rate is nan"),
    ({"d_memory": "x"}, "d_memory is 'x'; allowed is a whole number"),
    ({"clone_learning_rate": float("inf")}, "clone_learning_rate is inf"),
    ({"clone_learning_rate": "x"}, "clone_learning_rate is 'x'"),
    ({"rewards": 3}, "rewards is a int; expected a RewardModel"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_ENVS)
def test_an_environment_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make_vec("SeqGAN/Oracle-v0", **{"num_envs": 2} | settings)


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_rewards_of_another_kind_of_task_are_refused(make: Callable[..., Any]) -> None:
    rewards = reward_model(EOS)
    for env_id in ("SeqGAN/Text-v0", "SeqGAN/Music-v0"):
        with pytest.raises(ValueError, match="rewards of task 'spec' were given to an environ"):
            make(env_id, rewards=rewards)
    for env_id in ("SeqGAN/Oracle-v0", "SeqGAN/Task-v0"):  # the same kind, and any
        assert make(env_id, rewards=rewards).unwrapped.rewards is rewards


def test_the_id_of_any_task_takes_rewards_of_any_task_and_makes_the_default_one() -> None:
    text = make_task("text", max_length=4, long_lines="cut")
    rewards = build_rewards(text, RewardSettings(source="constant"))
    assert gym.make("SeqGAN/Task-v0", rewards=rewards).unwrapped.task is text  # type: ignore[attr-defined]
    small: dict[str, Any] = {"num_real": 8, "num_held_out": 8, "source": "constant"}
    assert gym.make("SeqGAN/Task-v0", **small).unwrapped.task.name == "oracle-tiny"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="an environment of task 'music'"):
        gym.make("SeqGAN/Task-v0", task="music", rewards=rewards)


@pytest.mark.parametrize("seed", ["ab", 1.5, {1, 2}, object()])
def test_a_vector_environment_refuses_what_is_no_seed(seed: Any) -> None:
    with pytest.raises(ValueError, match="allowed are a whole number from 0, a list of one"):
        TokenVectorEnv(2, reward_model(FIXED)).reset(seed=seed)


@pytest.mark.parametrize("seed", [-1, [1, -1], [1, "a"]])
def test_a_seed_that_gymnasium_refuses_is_refused(seed: Any) -> None:
    with pytest.raises(gym.error.Error, match=r"[Ss]eed must be"):
        TokenVectorEnv(2, reward_model(FIXED)).reset(seed=seed)


# What a score source returns


class Says:
    """A scorer that returns what a function makes of the sequences."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        self.make = make

    def score(self, tokens: Tensor) -> Any:
        return self.make(tokens)


class SaysOfPrefixes:
    """A value of prefixes, likewise."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        self.make = make

    def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Any:
        return self.make(tokens)


SAID: list[tuple[Callable[[Tensor], Any], str]] = [
    (lambda tokens: np.zeros(len(tokens)), "returned a ndarray; expected a torch.Tensor"),
    (lambda tokens: [0.0] * len(tokens), "returned a list; expected a torch.Tensor"),
    (lambda tokens: None, "returned a NoneType"),
    (lambda tokens: torch.zeros(len(tokens), 1), r"returned shape \(\d+, 1\) for"),
    (lambda tokens: torch.zeros(()), r"returned shape \(\) for"),
    (lambda tokens: torch.zeros(len(tokens) + 1), "returned shape"),
    (lambda tokens: torch.zeros(len(tokens), dtype=torch.int64), "returned dtype torch.int64"),
    (lambda tokens: torch.ones(len(tokens), requires_grad=True), "returned a tensor with a graph"),
    (lambda tokens: torch.full((len(tokens),), torch.nan), "returned nan for .*must be finite"),
    (lambda tokens: torch.full((len(tokens),), -torch.inf), "returned -inf for"),
    (lambda tokens: torch.zeros(len(tokens), device="meta"), "returned a tensor on meta"),
]


@pytest.mark.parametrize("form", ["rollout", "difference", "terminal"])
@pytest.mark.parametrize("kind", [Says, SaysOfPrefixes])
@pytest.mark.parametrize(("make", "message"), SAID)
def test_what_no_source_may_return_is_named_with_its_class_by_every_route(
    make: Callable[[Tensor], Any], message: str, kind: type, form: str
) -> None:
    name = "Says.score " if kind is Says else "SaysOfPrefixes "
    for route in routes_to(reward_model(FIXED, source=kind(make), reward=form)):
        with pytest.raises(ValueError, match=name + message):
            route()


def routes_to(rewards: RewardModel) -> list[Callable[[], Any]]:
    """Every way to be paid."""
    vector, single = TokenVectorEnv(2, rewards), TokenEnv(rewards)
    vector.reset(seed=0)
    single.reset(seed=0)
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    return [
        lambda: [vector.step(np.zeros(2, dtype=np.int64)) for _ in range(3)],
        lambda: [single.step(np.int64(0)) for _ in range(3)],
        lambda: rewards.rewards(tokens, torch.Generator()),
        lambda: rewards.action_values(tokens, torch.Generator()),
        lambda: rewards.rehearse(tokens),
    ]


class Fading:
    """Pays each call less than the one before, and draws from torch's own generator."""

    def __init__(self) -> None:
        self.calls = 0

    def score(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        return torch.rand(len(tokens)) / self.calls

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"]


def test_a_rehearsal_leaves_no_trace() -> None:
    rewards = reward_model(FIXED, source=Fading(), reward="terminal")
    before, drawn = rewards.state_dict(), torch.get_rng_state()
    rewards.rehearse(torch.zeros(2, 3, dtype=torch.int64))
    assert rewards.state_dict() == before
    assert torch.equal(torch.get_rng_state(), drawn)


class Wrong:
    """Scores tokens where sequences are asked for."""

    def score(self, tokens: Tensor) -> Tensor:
        return torch.zeros(tokens.shape)


def test_a_run_is_told_of_a_bad_source_before_it_learns() -> None:
    small = {"num_real": 50, "num_held_out": 50, "num_eval": 50}
    settings = TrainSettings(source=f"{__name__}:Wrong", rounds=1, task_options=small)
    with pytest.raises(ValueError, match=r"Wrong\.score returned shape"):
        Trainer(settings)


class Completes:
    """A policy that returns what a function makes of the prefixes."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        self.make = make

    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Any:
        return self.make(tokens)


COMPLETED: list[tuple[Callable[[Tensor], Any], str]] = [
    (lambda tokens: tokens.numpy(), "returned a ndarray; expected a torch.Tensor"),
    (lambda tokens: None, "returned a NoneType"),
    (lambda tokens: tokens[:, :-1], "returned shape"),
    (lambda tokens: tokens[0], "returned shape"),
    (lambda tokens: tokens.float(), "returned dtype torch.float32; expected torch.int64"),
]


@pytest.mark.parametrize(("make", "message"), COMPLETED)
def test_what_no_policy_may_return_is_named_with_its_class(
    make: Callable[[Tensor], Any], message: str
) -> None:
    env = TokenVectorEnv(2, reward_model(FIXED, Completes(make)))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="Completes.complete " + message):
        env.step(np.zeros(2, dtype=np.int64))


def test_settings_are_checked_when_they_are_put_together() -> None:
    with pytest.raises(ValueError, match="option learning_rate of agent reinforce is 'x'"):
        settings_from("tiny", {"agent_options": {"learning_rate": "x"}})
    assert Schedule().rounds
