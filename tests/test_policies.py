"""Policies by name: every agent that trains a language model trains the one that is named."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agents.baselines import MLE, ScheduledSampling
from agents.reinforce import Reinforce
from seqgan_env.bench.jobs import Suite, packages_of
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.generators.policies import make_policy
from seqgan_env.metrics.likelihood import nll_per_token
from seqgan_env.plugins import make_agent
from seqgan_env.training.settings import TrainSettings, settings_from
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, all_sequences, reward_model, rng

HERE = "tests.test_policies"
TAKE_ONE = ("reinforce", "mle", "scheduled_sampling", "pg_bleu", "seqgan")
OF_SB3 = ("ppo", "a2c", "dqn", "qrdqn", "trpo", "recurrent_ppo", "maskable_ppo")


class Bag(LanguageModel):
    """Encodes a prefix by the mean of its embedded inputs."""

    def __init__(self, spec: TokenSpec, width: int = 5) -> None:
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.vocab_size, width)
        self.output = nn.Linear(width, spec.vocab_size)

    def hidden_states(self, inputs: Tensor) -> Tensor:
        count = torch.arange(1, inputs.shape[1] + 1, device=inputs.device).unsqueeze(1)
        mean: Tensor = self.embedding(inputs).cumsum(1) / count
        return mean


class NoPolicy:
    """Writes nothing."""


def no_model(spec: TokenSpec) -> NoPolicy:
    """A function that makes no language model."""
    return NoPolicy()


@pytest.mark.parametrize("name", ["gru", "lstm", f"{HERE}:Bag"])
def test_probabilities_sum_to_one_and_samples_are_as_likely_as_it_says(
    name: str, spec: TokenSpec
) -> None:
    policy = make_policy(name, spec, seed=1)
    everything = all_sequences(spec)
    probs = policy.log_prob(everything).double().exp()
    assert float(probs.sum()) == pytest.approx(1, abs=1e-5)
    samples = policy.sample(20_000, rng(2))
    likeliest = int(probs.argmax())
    share = float((samples == everything[likeliest]).all(1).double().mean())
    p = float(probs[likeliest])
    assert share == pytest.approx(p, abs=4.5 * (p * (1 - p) / 20_000) ** 0.5)


def test_a_gru_carries_the_state_that_reading_the_whole_prefix_gives() -> None:
    policy, tokens = make_policy("gru", EOS, seed=1), all_sequences(EOS)[::50]
    inputs = policy.inputs(tokens)
    hidden, state = [], policy.start(len(tokens))
    for t in range(EOS.seq_len):
        here, state = policy.advance(state, inputs[:, t])
        hidden.append(here)
    torch.testing.assert_close(torch.stack(hidden, 1), policy.hidden_states(inputs))


def test_its_first_parameters_follow_the_seed_and_leave_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    one, again, other = (make_policy("gru", EOS, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    weights = [model.get_parameter("embedding.weight") for model in (one, other)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("agent", TAKE_ONE)
def test_agents_train_the_policy_that_they_are_given(agent: str) -> None:
    rewards = reward_model(EOS)
    policy = make_policy("gru", EOS, 0, {"embedding_dim": 4, "hidden_dim": 4})
    made = make_agent(agent, TokenVectorEnv(4, rewards), 0, {}, policy)
    rewards.bind(made.policy)
    assert made.policy is policy
    before = nll_per_token(policy, EOS, rewards.task.held_out)
    made.pretrain(rewards.task.real_sequences, 2)
    assert nll_per_token(policy, EOS, rewards.task.held_out) < before
    made.update()


@pytest.mark.parametrize("agent", OF_SB3)
def test_agents_of_stable_baselines_train_a_copy_of_it(agent: str) -> None:
    pytest.importorskip("sb3_contrib")
    rewards = reward_model(FIXED)
    policy = make_policy(f"{HERE}:Bag", FIXED, 0)
    made = make_agent(agent, TokenVectorEnv(4, rewards), 0, {}, policy)
    rewards.bind(made.policy)
    assert isinstance(made.policy, Bag)
    same = all_sequences(FIXED)
    assert torch.equal(made.policy.log_prob(same), policy.log_prob(same))
    before = nll_per_token(made.policy, FIXED, rewards.task.held_out)
    made.pretrain(rewards.task.real_sequences, 2)
    assert nll_per_token(made.policy, FIXED, rewards.task.held_out) < before
    made.update()


def test_an_lstm_that_is_given_keeps_its_weights_in_stable_baselines() -> None:
    pytest.importorskip("sb3_contrib")
    policy = LSTMLanguageModel(FIXED, 4, 4)
    made = make_agent("ppo", TokenVectorEnv(4, reward_model(FIXED)), 0, {}, policy)
    same = all_sequences(FIXED)
    assert torch.equal(made.policy.log_prob(same), policy.log_prob(same))  # type: ignore[attr-defined]


def test_an_agent_that_takes_no_policy_says_so() -> None:
    policy = make_policy("gru", FIXED, 0)
    with pytest.raises(ValueError, match="agent 'random' takes no policy; its class needs"):
        make_agent("random", TokenVectorEnv(4, reward_model(FIXED)), 0, {}, policy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"policy": "gruu"},
            "unknown policy 'gruu'; allowed are gru, huggingface, lstm, sb3, "
            "package.module:Name. Did you mean 'gru'?",
        ),
        ({"policy": f"{HERE}:NoPolicy"}, "is no subclass of seqgan_env.LanguageModel; derive it"),
        ({"policy": "gru", "agent": "random"}, "agent 'random' takes none"),
        ({"policy_options": {"hidden_dim": 4}}, "policy_options hidden_dim were given without"),
        (
            {"policy": "gru", "agent_options": {"hidden_dim": 4}},
            "agent option hidden_dim is about the agent's own LSTM; with policy 'gru'",
        ),
    ],
)
def test_settings_that_cannot_be_say_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        settings_from("tiny", changes)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gru", {"hiden_dim": 4}, "Did you mean 'hidden_dim'?"),
        (f"{HERE}:no_model", {}, "made a NoPolicy; expected a seqgan_env.LanguageModel"),
        (f"{HERE}:TAKE_ONE", {}, "is a tuple; expected a class"),
    ],
)
def test_a_policy_that_cannot_be_made_says_why(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make_policy(name, FIXED, 0, options)


def test_a_class_as_text_is_told_of_the_flag_for_it() -> None:
    sb3 = pytest.importorskip("agents.sb3.agent")
    with pytest.raises(ValueError, match="there is --policy"):
        sb3.PPO(TokenVectorEnv(4, reward_model(FIXED)), language_model_class="mypkg:Model")


def test_a_preset_gives_a_named_policy_what_it_takes_of_the_lstms_size() -> None:
    gru = settings_from("tiny", {"task": "text", "policy": "gru"})
    bag = settings_from("tiny", {"task": "text", "policy": f"{HERE}:Bag"})
    own = settings_from("tiny", {"task": "text"})
    assert gru.policy_options == {"embedding_dim": 64, "hidden_dim": 128}
    assert bag.policy_options == {}
    assert own.agent_options == bag.agent_options | gru.policy_options


def test_in_a_suite_a_shared_policy_goes_to_the_agents_that_take_one() -> None:
    suite = Suite(
        "policies",
        1,
        {"oracle-tiny": {"task": "oracle-tiny"}},
        {
            "reinforce": {"agent": "reinforce"},
            "random": {"agent": "random"},
            "bag": {"agent": "reinforce", "policy": f"{HERE}:Bag"},
        },
        {"policy": "gru", "policy_options": {"hidden_dim": 8}},
    )
    found = {job.label: job.settings for job in suite.jobs()}
    assert found["mle"].policy == found["reinforce"].policy == "gru"
    assert found["reinforce"].policy_options == {"hidden_dim": 8}
    assert (found["random"].policy, found["random"].policy_options) == (None, {})
    assert found["bag"].policy_options == {}
    assert packages_of(found["bag"]) == ["agents", "tests"]
    assert packages_of(found["reinforce"]) == ["agents"]


def test_in_a_suite_options_of_the_lstm_are_not_for_a_policy_in_its_place() -> None:
    tasks, lstm = {"oracle-tiny": {"task": "oracle-tiny"}}, {"hidden_dim": 8}
    rows = {"gru": {"agent": "reinforce", "policy": "gru"}}
    suite = Suite("policies", 1, tasks, rows, {"agent_options": lstm})
    found = {job.label: job.settings.agent_options for job in suite.jobs()}
    assert found["mle"]["hidden_dim"] == 8
    assert "hidden_dim" not in found["gru"]
    both = Suite("policies", 1, tasks, rows, {"policy": "gru", "agent_options": lstm})
    with pytest.raises(ValueError, match="hidden_dim is about the agent's own LSTM"):
        both.jobs()


def test_the_defaults_name_no_policy() -> None:
    assert TrainSettings().policy is None
    env = TokenVectorEnv(2, reward_model(FIXED))
    for cls in (Reinforce, MLE, ScheduledSampling):
        assert type(cls(env).policy) is LSTMLanguageModel
