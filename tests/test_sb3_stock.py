"""Stock policies of Stable-Baselines3: on observations that suit them, and as language models."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

pytest.importorskip("sb3_contrib", reason="needs pip install 'seqgan-env[sb3]'")

import stable_baselines3 as sb3
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.sb3.features import PrefixExtractor
from agents.sb3.language_model import SB3LanguageModel
from agents.sb3.vec_env import SequenceVecEnv
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.policies import make_policy
from seqgan_env.metrics.likelihood import nll_per_token
from seqgan_env.plugins import make_agent
from seqgan_env.testing import check_policy
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, all_sequences, reward_model

EXTRACTOR = "agents.sb3.features:PrefixExtractor"
KINDS: dict[str, dict[str, Any]] = {
    "one_hot": {},
    "the last two": {"observation_window": 2},
    "wider": {"net_arch": [16, 8, 8]},
    "a features extractor": {
        "observation": "tokens",
        "features_extractor_class": EXTRACTOR,
        "features_extractor_kwargs": {"features_dim": 8},
    },
}
OBSERVATIONS: list[dict[str, Any]] = [
    {"observation": "one_hot"},
    {"observation": "one_hot", "observation_window": 2},
    {"observation": "tokens"},
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stock_network_is_a_policy(kind: str, spec: TokenSpec) -> None:
    check_policy(make_policy("sb3", spec, 0, KINDS[kind]), spec)


@pytest.mark.parametrize("options", OBSERVATIONS)
def test_it_reads_what_the_environment_shows(spec: TokenSpec, options: dict[str, Any]) -> None:
    policy = make_policy("sb3", spec, 0, options)
    assert isinstance(policy, SB3LanguageModel)
    envs = TokenVectorEnv(7, reward_model(spec), **options)
    tokens = policy.sample(7, torch.Generator().manual_seed(3))
    wanted = policy.observations(policy.inputs(tokens)).numpy()
    shown, _ = envs.reset(seed=0)
    written = np.ones(7, dtype=bool)
    for t in range(spec.seq_len):
        np.testing.assert_array_equal(shown[written], wanted[written, t])
        actions = np.where(written, tokens[:, t], 1)
        shown, _, ended, _, _ = envs.step(actions)
        written &= ~ended


def test_it_computes_what_mlp_policy_computes(spec: TokenSpec) -> None:
    policy = make_policy("sb3", spec, 0, {"net_arch": [16, 8]})
    assert isinstance(policy, SB3LanguageModel)
    actions = gym.spaces.Discrete(spec.vocab_size)
    stock = ActorCriticPolicy(policy.space, actions, lambda _: 1e-3, net_arch=[16, 8])
    stock.mlp_extractor.policy_net.load_state_dict(policy.layers.policy_net.state_dict())
    stock.action_net.load_state_dict(policy.output.state_dict())
    inputs = policy.inputs(all_sequences(spec)[::20])
    for t in range(spec.seq_len):
        seen = policy.observations(inputs)[:, t]
        logits = policy.output(policy.hidden_states(inputs)[:, t])
        theirs: Any = stock.get_distribution(seen).distribution
        torch.testing.assert_close(logits.softmax(1), theirs.probs)


@pytest.mark.parametrize("agent", ["ppo", "a2c", "reinforce"])
def test_agents_train_it(agent: str) -> None:
    rewards = reward_model(FIXED)
    policy = make_policy("sb3", FIXED, 0, {"net_arch": [16]})
    made: Any = make_agent(agent, TokenVectorEnv(8, rewards), 0, {}, policy)
    rewards.bind(made.policy)
    before = nll_per_token(made.policy, FIXED, rewards.task.held_out)
    made.pretrain(rewards.task.real_sequences, 2)
    assert nll_per_token(made.policy, FIXED, rewards.task.held_out) < before
    made.update()


@pytest.mark.parametrize(
    ("policy", "observation", "extractor"),
    [
        ("MlpPolicy", "one_hot", None),
        ("MlpPolicy", "tokens", PrefixExtractor),
        ("MultiInputPolicy", "dict", None),
    ],
)
def test_stock_ppo_trains_online_on_any_observation(
    policy: str, observation: str, extractor: type | None
) -> None:
    envs = gym.make_vec(
        "SeqGAN/Oracle-v0",
        num_envs=4,
        num_real=50,
        num_held_out=50,
        num_rollouts=1,
        warm_up=8,
        d_interval=8,
        observation=observation,
    )
    kwargs = {"features_extractor_class": extractor} if extractor else {}
    steps = envs.unwrapped.task.spec.seq_len  # type: ignore[attr-defined]
    vec_env = SequenceVecEnv(envs)
    model = sb3.PPO(policy, vec_env, n_steps=steps, batch_size=20, policy_kwargs=kwargs, seed=0)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(3 * 4 * steps)
    after = model.policy.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_features_of_a_prefix_do_not_depend_on_what_is_not_written() -> None:
    space: Any = TokenVectorEnv(1, reward_model(EOS)).single_observation_space
    torch.manual_seed(0)
    extractor = PrefixExtractor(space)
    long = torch.tensor([[1.0, 2.0, 5.0, 5.0, 5.0, 5.0]])
    start = torch.tensor([[5, 1, 2]])
    _, state = extractor.gru(extractor.embedding(start))
    torch.testing.assert_close(extractor(long), state[0])


def test_what_cannot_be_made_says_why() -> None:
    one_hot: Any = SB3LanguageModel(EOS).space
    with pytest.raises(ValueError, match="reads the observation tokens"):
        PrefixExtractor(one_hot)
    with pytest.raises(ValueError, match="unknown observation of policy sb3 'dict'"):
        make_policy("sb3", EOS, 0, {"observation": "dict"})
    with pytest.raises(ValueError, match="features extractor 'no:Such' cannot be imported"):
        make_policy("sb3", EOS, 0, {"features_extractor_class": "no:Such"})
    with pytest.raises(ValueError, match="is no subclass of BaseFeaturesExtractor"):
        make_policy("sb3", EOS, 0, {"features_extractor_class": "json:JSONDecoder"})
