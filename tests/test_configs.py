"""Configs of agents: their fields are the options of the command line, and nothing else is."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields
from typing import Any

import pytest

from agents.actor_critic import ActorCritic
from agents.base import PolicyConfig
from agents.baselines import MLE, ScheduledSampling
from agents.distillation import Distillation
from agents.grpo import GRPO, GRPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.sequence_level import RLOO
from agents.sequence_ppo import SequencePPO
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.names import arguments_of, option_names
from seqgan_env.plugins import make_agent
from seqgan_env.training.settings import settings_from
from seqgan_env.types import GeneratorAgent

from .conftest import FIXED, reward_model

SHIPPED = [
    Reinforce,
    RLOO,
    GRPO,
    ActorCritic,
    SequencePPO,
    Distillation,
    MLE,
    ScheduledSampling,
]
GIVEN = ("env", "seed", "policy")


@dataclass(frozen=True)
class Numbers:
    first: int = 1
    second: int = 2


def takes_a_config(env: Any, plain: int = 0, config: Numbers = Numbers()) -> tuple[int, Numbers]:
    return plain, config


def takes_a_class(kind: type = Numbers) -> type:
    return kind


def env() -> TokenVectorEnv:
    return TokenVectorEnv(8, reward_model(FIXED))


def made(name: str, **options: Any) -> GeneratorAgent:
    return make_agent(name, env(), 0, options)


def test_the_fields_of_a_config_are_options_beside_the_plain_ones() -> None:
    assert option_names(takes_a_config, given=("env",)) == ["plain", "first", "second"]
    assert option_names(takes_a_class) == ["kind"]


def test_options_reach_the_config_and_leave_its_other_fields_as_they_are() -> None:
    arguments = arguments_of(takes_a_config, {"plain": 5, "second": 7})
    assert takes_a_config(None, **arguments) == (5, Numbers(1, 7))
    assert arguments_of(takes_a_config, {"plain": 5}) == {"plain": 5}


@pytest.mark.parametrize("cls", SHIPPED)
def test_what_an_agent_can_be_told_stands_in_its_config(cls: type) -> None:
    options = option_names(cls, GIVEN)
    assert options is not None
    assert {each.name for each in fields(PolicyConfig)} <= set(options)
    assert len(options) == len(set(options))


def test_a_config_cannot_be_changed_behind_the_back_of_an_agent() -> None:
    with pytest.raises(FrozenInstanceError):
        PolicyConfig().hidden_dim = 3  # type: ignore[misc]


def test_an_agent_is_the_same_by_options_and_by_config() -> None:
    by_options: Any = made("grpo", clip_range=0.1, hidden_dim=4, mle_batch_size=8)
    config = GRPOConfig(clip_range=0.1, hidden_dim=4, mle_batch_size=8)
    assert by_options.config == config
    by_config = GRPO(env(), config=config)
    assert by_config.update() == by_options.update()
    assert by_config.likelihood.batch_size == by_options.likelihood.batch_size == 8


def test_a_typo_in_a_field_gets_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"option of agent grpo 'clip_rang'.*'clip_range'"):
        made("grpo", clip_rang=0.1)
    with pytest.raises(ValueError, match="option of agent reinforce 'config'"):
        made("reinforce", config=ReinforceConfig())


def test_a_library_agent_says_which_options_it_takes() -> None:
    """The preset `paper` has a baseline for REINFORCE, which is nothing to PPO."""
    pytest.importorskip("stable_baselines3")
    options = settings_from("paper", {"agent": "ppo"}).agent_options
    assert "baseline" not in options
    assert options["mle_weight_decay"] == 0.0
    with pytest.raises(ValueError, match=r"option of agent ppo 'clip_rang'.*'clip_range'"):
        made("ppo", clip_rang=0.1)
