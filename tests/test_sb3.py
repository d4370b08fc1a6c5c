from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

import sb3_contrib
import stable_baselines3 as sb3
from gymnasium import Wrapper
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecMonitor
from torch.distributions import Categorical, kl_divergence

from agents.base import PolicyConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.sb3 import agent as sb3_agents
from agents.sb3.agent import A2C, DQN, PPO, QRDQN, TRPO, MaskablePPO, RecurrentPPO, SB3Agent
from agents.sb3.distribution import FORBIDDEN_LOGIT, TokenDistribution, log_probs_and_entropy
from agents.sb3.encoding import PrefixReader, encode_prefixes, longest_prefixes
from agents.sb3.policy import RATE, LanguageModelPolicy
from agents.sb3.vec_env import SequenceVecEnv
from seqgan_env.discriminators.cnn import CNNConfig, CNNDiscriminator
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.plugins import load_agent_class
from seqgan_env.registry import AGENTS
from seqgan_env.rewards.forms import FORMS
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.streams import streams_from_keys
from seqgan_env.testing import check_agent
from seqgan_env.training.adversarial import Schedule, train_adversarial
from seqgan_env.types import GeneratorAgent, TokenSpec

from .conftest import (
    EOS,
    FIXED,
    SpecTask,
    Successor,
    WeightedSum,
    all_sequences,
    random_model,
    reward_model,
    rng,
)

ON_POLICY = [PPO, A2C, TRPO, MaskablePPO, RecurrentPPO]
OFF_POLICY = [DQN, QRDQN]
ALL = ON_POLICY + OFF_POLICY
SMALL = PolicyConfig(embedding_dim=4, hidden_dim=4)
OTHERS = [TRPO, MaskablePPO, RecurrentPPO, QRDQN]  # slow where one of each kind shows the law


class GRULanguageModel(LanguageModel):
    """A language model that is no LSTM."""

    def __init__(self, spec: TokenSpec, width: int = 4) -> None:
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.vocab_size, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.output = nn.Linear(width, spec.vocab_size)

    def hidden_states(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = self.gru(self.embedding(inputs))[0]
        return hidden


def make(
    cls: type[SB3Agent], spec: TokenSpec = FIXED, num_envs: int = 8, seed: int = 0, **settings: Any
) -> SB3Agent:
    """An agent with a small LSTM of distinct probabilities, in an env that rolls it out."""
    reward = {name: settings.pop(name) for name in ("reward", "source") if name in settings}
    rewards = reward_model(spec, **reward)
    agent = cls(
        TokenVectorEnv(num_envs, rewards),
        seed=seed,
        config=SMALL,
        **settings,
    )
    agent.policy.load_state_dict(random_model(spec, seed=3).state_dict())
    rewards.bind(agent.policy)
    return agent


def prefixes_of(tokens: Tensor, spec: TokenSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Every prefix (R, T) of sequences (B, T) that has a next token, that token (R,), and its
    log-probability's place (R, 2).
    """
    rows = [(i, t) for i in range(len(tokens)) for t in range(int(spec.lengths(tokens)[i]))]
    prefixes = torch.stack(
        [tokens[i].masked_fill(torch.arange(spec.seq_len) >= t, spec.pad_token) for i, t in rows]
    )
    return prefixes, torch.stack([tokens[i, t] for i, t in rows]), torch.tensor(rows)


def play_ragged(env: SequenceVecEnv, sequences: Tensor, lengths: Tensor) -> list[list[float]]:
    """Steps through one sequence an env, each in its first episode; the rewards of that."""
    rewards: list[list[float]] = [[] for _ in sequences]
    for t in range(sequences.shape[1]):
        actions = np.where(
            t < lengths.numpy(),
            sequences[:, t].clamp(max=env.base.task.spec.vocab_size - 1).numpy(),
            1,
        )
        _, paid, _, _ = env.step(actions)
        for i in range(len(sequences)):
            if t < lengths[i]:
                rewards[i].append(float(paid[i]))
    return rewards


# ---------------------------------------------------------------- the VecEnv


@pytest.mark.parametrize("form", list(FORMS))
def test_offline_single_vector_and_sb3_rewards_agree_for_a_deterministic_rollout_policy(
    spec: TokenSpec, form: str
) -> None:
    tokens = all_sequences(spec)[:: max(1, len(all_sequences(spec)) // 40)]
    lengths = spec.lengths(tokens)
    model = reward_model(spec, Successor(spec), reward=form)
    offline = model.rewards(tokens, rng())
    sb3_env = SequenceVecEnv(TokenVectorEnv(len(tokens), model))
    sb3_env.seed(4)
    sb3_env.reset()
    for i, paid in enumerate(play_ragged(sb3_env, tokens, lengths)):
        assert paid == pytest.approx(offline[i, : lengths[i]].tolist(), rel=1e-5)
    vector = TokenVectorEnv(len(tokens), model)
    vector.reset(seed=4)
    single = TokenEnv(model)
    for t in range(int(lengths.min())):
        _, rewards, *_ = vector.step(tokens[:, t].numpy())
        assert rewards == pytest.approx(offline[:, t].numpy(), rel=1e-5)
    for i in range(0, len(tokens), 7):
        single.reset(seed=4 + i)
        paid = [float(single.step(np.int64(token))[1]) for token in tokens[i, : lengths[i]]]
        assert paid == pytest.approx(offline[i, : lengths[i]].tolist(), rel=1e-5)


def test_env_i_of_the_vec_env_seeded_s_pays_as_the_single_env_seeded_s_plus_i() -> None:
    model = reward_model(FIXED)
    env, single = SequenceVecEnv(TokenVectorEnv(3, model)), TokenEnv(model)
    assert env.seed(11) == [11, 12, 13]
    env.reset()
    paid = np.stack([env.step(np.array([t % 3] * 3))[1] for t in range(6)])
    for i in range(3):
        single.reset(seed=11 + i)
        alone = [single.step(np.int64(t % 3))[1] for t in range(3)]
        assert paid[:3, i] == pytest.approx(alone, rel=1e-5)
    env.reset()
    assert env._seeds == [None] * 3  # used up: the streams go on
    offline = model.rewards(
        torch.tensor([[0, 1, 2]] * 3),
        streams_from_keys(env.base.core.episode_keys(), torch.device("cpu")),
    )
    assert np.stack([env.step(np.array([t] * 3))[1] for t in range(3)], 1) == pytest.approx(
        offline.numpy(), rel=1e-5
    )


def test_the_step_that_ends_an_episode_brings_its_last_observation_and_the_next_ones_first() -> (
    None
):
    env = SequenceVecEnv(TokenVectorEnv(2, reward_model(EOS)))
    first = env.reset()
    assert first.dtype == np.int32
    assert (first == EOS.pad_token).all()
    for token in ([1, 2], [3, 4]):
        observations, rewards, dones, infos = env.step(np.array(token))
        assert not dones.any()
        assert infos == [{"TimeLimit.truncated": False}] * 2
    observations, rewards, dones, infos = env.step(np.array([0, 1]))
    assert rewards.dtype == np.float32
    assert dones.tolist() == [True, False]
    assert isinstance(observations, np.ndarray)
    assert infos[0]["terminal_observation"].tolist() == [1, 3, 0, 5, 5, 5]
    assert infos[0]["TimeLimit.truncated"] is False
    assert infos[0]["score"] == pytest.approx(
        float(WeightedSum(EOS).score(torch.tensor([[1, 3, 0, 5, 5, 5]])))
    )
    assert observations[0].tolist() == [5] * 6
    assert observations[1].tolist() == [2, 4, 1, 5, 5, 5]
    assert infos[1] == {"TimeLimit.truncated": False}
    assert "episode" not in infos[0]


def test_attributes_are_shared_by_all_envs() -> None:
    env = SequenceVecEnv(TokenVectorEnv(3, reward_model(FIXED), render_mode="ansi"))
    env.reset()
    assert env.render_mode == "ansi"
    assert env.get_attr("discount") == [0.0] * 3
    assert env.get_attr("discount", indices=[0, 2]) == [0.0] * 2
    assert not env.has_attr("nothing_of_this_name")
    env.set_attr("mark", 5)
    assert env.get_attr("mark", indices=1) == [5]
    with pytest.raises(ValueError, match="one object"):
        env.set_attr("mark", 6, indices=[1])
    assert [text.split("]")[0] for text in env.env_method("render", indices=[2])] == ["[0/3"]
    assert env.env_is_wrapped(Wrapper) == [False] * 3
    with pytest.raises(TypeError, match="expected a TokenVectorEnv"):
        SequenceVecEnv(TokenEnv(reward_model(FIXED)))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["next_step", "disabled"])
def test_another_autoreset_than_that_of_sb3_is_refused(mode: str) -> None:
    env = TokenVectorEnv(2, reward_model(FIXED), autoreset_mode=mode)
    expected = f"autoreset_mode is '{mode}'; allowed is 'same_step'"
    with pytest.raises(ValueError, match=expected):
        SequenceVecEnv(env)
    with pytest.raises(ValueError, match=expected):
        PPO(env)


def test_action_masks_forbid_the_end_token_until_it_may_come() -> None:
    env = VecMonitor(SequenceVecEnv(TokenVectorEnv(2, reward_model(EOS))))
    env.reset()
    assert env.unwrapped.reset_infos[0]["action_mask"].tolist() == [0, 1, 1, 1, 1]
    assert is_masking_supported(env)
    assert get_action_masks(env).tolist() == [[False, True, True, True, True]] * 2
    env.step(np.array([1, 1]))
    env.step(np.array([1, 1]))
    assert get_action_masks(env).all()
    assert get_action_masks(SequenceVecEnv(TokenVectorEnv(4, reward_model(FIXED)))).shape == (4, 3)


def test_vec_monitor_sums_the_rewards_of_an_episode() -> None:
    env = VecMonitor(SequenceVecEnv(TokenVectorEnv(4, reward_model(FIXED, reward="difference"))))
    env.reset()
    for _ in range(3):
        _, _, _, infos = env.step(np.array([0, 1, 2, 0]))
    for info in infos:
        assert info["episode"]["r"] == pytest.approx(info["score"], rel=1e-5)
        assert info["episode"]["l"] == 3


def test_what_an_online_env_has_learned_comes_with_the_episodes_that_taught_it() -> None:
    schedule: dict[str, Any] = {"d_interval": 8, "warm_up": 8, "warm_up_epochs": 1, "d_epochs": 1}
    sizes: dict[str, Any] = {
        "vocab_size": 6,
        "seq_len": 4,
        "num_real": 16,
        "num_held_out": 10,
        "num_rollouts": 1,
    }
    env = SequenceVecEnv(gym.make_vec("SeqGAN/Oracle-v0", num_envs=4, **schedule, **sizes))
    env.reset()
    online = [
        info["online"]
        for t in range(16)
        for info in env.step(np.array([0, 1, 2, t % 6]))[3]
        if "online" in info
    ]
    assert online
    assert online[-1] == pytest.approx(env.env_method("online_metrics", indices=0)[0])


def test_the_single_env_passes_sb3s_check_and_works_in_make_vec_env() -> None:
    check_env(TokenEnv(reward_model(FIXED)))
    kwargs = {
        "source": "constant",
        "vocab_size": 6,
        "seq_len": 4,
        "num_real": 10,
        "num_held_out": 10,
        "online": False,
    }
    env = make_vec_env("SeqGAN/Oracle-v0", n_envs=3, seed=0, env_kwargs=kwargs)
    model = sb3.PPO("MlpPolicy", env, n_steps=8, batch_size=24, n_epochs=1, seed=0).learn(48)
    assert model.num_timesteps == 48
    assert model.ep_info_buffer is not None
    assert model.ep_info_buffer[0]["r"] == pytest.approx(4.0)
    assert model.ep_info_buffer[0]["l"] == 4


# ---------------------------------------------------------------- prefixes and distributions


@pytest.mark.parametrize("model_class", [LSTMLanguageModel, GRULanguageModel])
def test_a_minibatch_of_prefixes_is_encoded_as_each_prefix_alone(
    spec: TokenSpec, model_class: type[LanguageModel]
) -> None:
    model = random_model(spec) if model_class is LSTMLanguageModel else model_class(spec)
    prefixes, _, _ = prefixes_of(all_sequences(spec)[:50], spec)
    prefixes = prefixes[torch.randperm(len(prefixes), generator=rng())[:60]]
    lengths = spec.lengths(prefixes)
    together = encode_prefixes(model, prefixes, lengths)
    for row, length, hidden in zip(prefixes, lengths, together, strict=True):
        alone = model.hidden_states(model.inputs(row.unsqueeze(0)))[0, length]
        torch.testing.assert_close(hidden, alone, rtol=1e-5, atol=1e-6)


def test_only_rows_that_no_other_extends_are_encoded() -> None:
    pad = 9
    tokens = np.array(
        [
            [1, 2, pad],
            [pad, pad, pad],
            [1, 2, 3],
            [1, 3, pad],
            [8, pad, pad],
            [1, 2, 3],
            [1, pad, pad],
        ]
    )
    longest, row_of = longest_prefixes(tokens, pad)
    assert sorted(tokens[longest].tolist()) == [[1, 2, 3], [1, 3, pad], [8, pad, pad]]
    for row, other in zip(tokens, tokens[longest][row_of], strict=True):
        assert ((row == other) | (row == pad)).all()


@pytest.mark.parametrize("model_class", [LSTMLanguageModel, GRULanguageModel])
def test_the_carried_state_is_that_of_reading_anew_through_ragged_ends_and_new_weights(
    model_class: type[LanguageModel],
) -> None:
    model = random_model(EOS) if model_class is LSTMLanguageModel else model_class(EOS)
    env, reader, generator = (
        SequenceVecEnv(TokenVectorEnv(16, reward_model(EOS))),
        PrefixReader(model),
        np.random.default_rng(0),
    )
    observations, ragged = env.reset(), False
    for step in range(40):
        tokens = torch.from_numpy(observations).long()
        lengths = EOS.lengths(tokens)
        ragged |= len(set(lengths.tolist())) > 2
        torch.testing.assert_close(
            reader.hidden(tokens, lengths),
            encode_prefixes(model, tokens, lengths).detach(),
            rtol=1e-5,
            atol=1e-6,
        )
        if step == 20:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1.5)
        masks = env.action_masks()
        drawn = [generator.choice(np.flatnonzero(mask)) for mask in masks]
        shown, *_ = env.step(np.array(drawn))
        assert isinstance(shown, np.ndarray)
        observations = shown
    assert ragged


def test_a_running_batch_is_never_read_anew_and_a_foreign_one_is() -> None:
    model = random_model(EOS)
    reader = PrefixReader(model)
    tokens = torch.full((2, 6), EOS.pad_token)
    for t in range(4):
        reader.hidden(tokens, EOS.lengths(tokens))
        tokens[:, t] = torch.tensor([1, 2])
    assert reader.num_rows_read_anew == 0
    foreign = torch.tensor([[1, 1, 1, 1, 5, 5], [4, 3, 5, 5, 5, 5]])
    hidden = reader.hidden(foreign, EOS.lengths(foreign))
    assert reader.num_rows_read_anew == 1  # the first row goes on with the carried one
    torch.testing.assert_close(
        hidden, encode_prefixes(model, foreign, EOS.lengths(foreign)).detach()
    )


def test_a_draw_and_its_log_probability_are_those_of_the_dense_distribution_early_tokens_included(
    spec: TokenSpec,
) -> None:
    policy: Any = make(PPO, spec).model.policy
    prefixes, _, _ = prefixes_of(all_sequences(spec)[:40], spec)
    lengths = spec.lengths(prefixes)
    hidden = policy.reader.hidden(prefixes, lengths)
    dense = policy.get_distribution(prefixes)
    for level in (0.0, 0.3, 0.7, 1 - 2**-24):
        tokens, log_probs = policy.reader.draw(hidden, lengths, torch.full((len(prefixes),), level))
        torch.testing.assert_close(log_probs, dense.log_prob(tokens).detach(), rtol=0, atol=1e-5)
        below = dense.distribution.probs.cumsum(1).gather(1, tokens.unsqueeze(1)).squeeze(1)
        assert (below - log_probs.exp() <= level + 1e-5).all()
        assert (below >= level - 1e-5).all()


def test_fused_log_probs_and_entropies_and_their_gradients_are_those_of_torch() -> None:
    hidden, weight, bias = (
        torch.randn(*s, generator=rng(i), requires_grad=True)
        for i, s in enumerate([(9, 4), (7, 4), (7,)])
    )
    actions = torch.randint(7, (9,), generator=rng(5))
    forbidden = torch.zeros(9, 7, dtype=torch.bool)
    forbidden[::2, 3] = True
    actions[actions == 3] = 1
    for mask in (None, forbidden):
        logits = hidden @ weight.t() + bias
        reference = Categorical(
            logits=logits if mask is None else logits.masked_fill(mask, FORBIDDEN_LOGIT)
        )
        expected = (reference.log_prob(actions), reference.entropy())
        got = log_probs_and_entropy(hidden, weight, bias, actions, mask)
        torch.testing.assert_close(got[0], expected[0])
        torch.testing.assert_close(got[1], expected[1])
        for chosen in ((1.0, 0.0), (0.0, 1.0), (0.7, -0.4)):
            rows = torch.linspace(-1, 1, 9)
            of_ours, of_torch = (
                torch.autograd.grad(
                    (rows * (chosen[0] * lp + chosen[1] * h)).sum(),
                    (hidden, weight, bias),
                    retain_graph=True,
                )
                for lp, h in (got, expected)
            )
            for ours, theirs in zip(of_ours, of_torch, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_distribution_draws_what_it_says_and_never_a_forbidden_token() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0]])
    distribution = TokenDistribution(logits.expand(20_000, -1))
    torch.manual_seed(0)
    frequencies = torch.bincount(distribution.sample(), minlength=4) / 20_000
    torch.testing.assert_close(frequencies, logits.softmax(1)[0], atol=0.015, rtol=0)
    distribution.apply_masking(np.array([[1, 1, 1, 0]] * 20_000))
    assert set(distribution.sample().tolist()) == {0, 1}
    assert distribution.mode()[0] == 1
    assert torch.isfinite(distribution.entropy()).all()
    other = TokenDistribution(logits.expand(20_000, -1))
    assert torch.isfinite(kl_divergence(distribution.distribution, other.distribution)).all()


# ---------------------------------------------------------------- the policies


@pytest.mark.parametrize("cls", ON_POLICY)
def test_log_probs_before_the_first_update_are_the_pretrained_language_models(
    cls: type[SB3Agent], spec: TokenSpec
) -> None:
    agent = make(cls, spec)
    agent.pretrain(all_sequences(spec)[:64], 2)
    tokens = all_sequences(spec)[:30]
    prefixes, actions, place = prefixes_of(tokens, spec)
    expected = agent.policy.token_log_probs(tokens)[place[:, 0], place[:, 1]]
    policy: Any = agent.model.policy
    extra = (None, None) if cls is RecurrentPPO else ()
    for observations in (prefixes, prefixes.int(), prefixes.float()):
        got = policy.evaluate_actions(observations, actions, *extra)[1]
        assert (got - expected).abs().max() < 1e-5
    distribution = policy.get_distribution(prefixes, *extra)
    distribution = distribution[0] if cls is RecurrentPPO else distribution
    assert (distribution.log_prob(actions) - expected).abs().max() < 1e-5
    drawn, values, log_probs, *_ = policy(prefixes, *extra)
    assert (log_probs - distribution.log_prob(drawn)).abs().max() < 1e-5
    assert values.shape == (len(prefixes), 1)


@pytest.mark.parametrize("ortho_init", [True, False])
def test_orthogonal_initialisation_touches_nothing(ortho_init: bool) -> None:
    env = SequenceVecEnv(TokenVectorEnv(2, reward_model(FIXED)))
    dims = {"embedding_dim": 4, "hidden_dim": 4}
    torch.manual_seed(0)
    expected = LSTMLanguageModel(FIXED, **dims).state_dict()
    torch.manual_seed(0)
    kwargs: dict[str, Any] = {
        "spec": FIXED,
        "ortho_init": ortho_init,
        "language_model_kwargs": dims,
    }
    policy = LanguageModelPolicy(env.observation_space, env.action_space, lambda _: 1e-3, **kwargs)
    for name, value in policy.language_model.state_dict().items():
        assert torch.equal(value, expected[name])
    assert not policy.predict_values(torch.zeros(1, 3)).any()


def test_the_actors_gradient_is_the_policy_gradient_and_the_critics_stops_at_the_hidden_state() -> (
    None
):
    policy: Any = make(PPO).model.policy
    values, log_probs, _ = policy.evaluate_actions(torch.tensor([[0, 1, 3]]), torch.tensor([2]))
    output = list(policy.language_model.output.parameters())
    gradients: Any = torch.autograd.grad(values.sum(), output, allow_unused=True)
    assert gradients == (None, None)
    assert all(
        g is not None
        for g in torch.autograd.grad(
            log_probs.sum(), list(policy.language_model.output.parameters())
        )
    )


def test_the_end_token_is_never_written_too_early() -> None:
    for cls in ALL:
        agent = make(cls, EOS)
        empty = np.full((400, EOS.seq_len), EOS.pad_token, dtype=np.int32)
        actions, _ = agent.model.predict(empty, deterministic=False)
        assert 0 not in actions.tolist(), cls
        assert set(actions.tolist()) == {1, 2, 3, 4}
        with torch.no_grad():
            agent.policy.output.bias[0] = 50.0
        assert agent.model.predict(empty, deterministic=True)[0][0] != 0, cls
        full = np.full((1, EOS.seq_len), EOS.pad_token, dtype=np.int32)
        full[0, :2] = 1
        assert agent.model.predict(full, deterministic=True)[0][0] == 0, cls


def test_masks_of_the_environment_are_heeded_beside_the_policys_own() -> None:
    model = make(MaskablePPO).model
    masks = np.array([[True, False, True]] * 200)
    observations = np.full((200, 3), 3, dtype=np.int32)
    assert set(model.predict(observations, action_masks=masks)[0].tolist()) == {0, 2}  # type: ignore[call-arg]
    log_probs = model.policy.evaluate_actions(
        torch.from_numpy(observations), torch.full((200,), 1), torch.from_numpy(masks)
    )[1]  # type: ignore[operator]
    assert (log_probs < -1e6).all()


def test_draws_while_collecting_have_the_language_models_distribution() -> None:
    policy: Any = make(PPO).model.policy
    observations = torch.tensor([[0, 1, 3]]).expand(20_000, -1)
    torch.manual_seed(1)
    drawn = policy(observations)[0]
    expected = policy.language_model.logits(torch.tensor([[0, 1, 0]]))[0, 2].softmax(0)
    torch.testing.assert_close(
        torch.bincount(drawn, minlength=3) / 20_000, expected, atol=0.015, rtol=0
    )


@pytest.mark.parametrize("temperature", [1.0, 0.25])
@pytest.mark.parametrize("cls", OFF_POLICY)
def test_q_values_start_as_the_generators_logits_and_write_by_its_distribution(
    cls: type[SB3Agent], temperature: float, spec: TokenSpec
) -> None:
    agent = make(cls, spec, temperature=temperature)
    tokens = all_sequences(spec)[:20]
    prefixes, _, place = prefixes_of(tokens, spec)
    values = agent._online(prefixes)  # type: ignore[attr-defined]
    values = values.mean(1) if cls is QRDQN else values
    logits = agent.policy.logits(tokens)[place[:, 0], place[:, 1]]
    allowed = logits.isfinite()
    torch.testing.assert_close(values[allowed], temperature * logits[allowed], rtol=1e-5, atol=1e-5)
    assert (values[~allowed] < -1e6).all()
    torch.testing.assert_close(
        (values / temperature).softmax(1), logits.softmax(1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("cls", OFF_POLICY)
def test_the_target_network_follows_weights_that_were_loaded(cls: type[SB3Agent]) -> None:
    agent: Any = make(cls, gradient_steps=1, target_update_interval=10**9)
    agent.update()
    agent.policy.load_state_dict(random_model(FIXED, seed=9).state_dict())
    agent.model.learning_rate, agent.model.lr_schedule = 0.0, lambda _: 0.0
    agent.update()
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(value, agent._target.language_model.state_dict()[name])


# ---------------------------------------------------------------- the agents


@pytest.mark.parametrize("cls", ALL)
def test_an_update_collects_whole_episodes_and_changes_the_policy_that_rolls_out(
    cls: type[SB3Agent], spec: TokenSpec
) -> None:
    agent = make(cls, spec)
    assert isinstance(agent, GeneratorAgent)
    before = [p.clone() for p in agent.policy.parameters()]
    for count in (1, 2):
        metrics = agent.update()
        assert agent.model.num_timesteps == count * 8 * spec.seq_len
    assert all(isinstance(value, float) for value in metrics.values())
    assert np.isfinite(metrics["reward"])
    assert any(
        not torch.equal(p, q) for p, q in zip(before, agent.policy.parameters(), strict=True)
    )
    assert agent.env.rewards.policy is agent.policy
    if cls in (*ON_POLICY,):
        assert {"policy_loss", "value_loss", "explained_variance"} <= metrics.keys()


@pytest.mark.parametrize(
    "cls", [PPO, A2C, DQN, *(pytest.param(cls, marks=pytest.mark.slow) for cls in OTHERS)]
)
def test_the_same_seed_gives_the_same_numbers_whatever_others_draw(cls: type[SB3Agent]) -> None:
    first, second = make(cls, EOS), make(cls, EOS)
    of_first = [first.update() for _ in range(3)]
    of_second = []
    for _ in range(3):
        np.random.rand(7)  # noqa: NPY002
        torch.rand(5)
        of_second.append(second.update())
    assert of_first == of_second
    assert make(cls, EOS, seed=1).update() != of_first[0]


@pytest.mark.parametrize("num_updates", [0, 1])
@pytest.mark.parametrize("cls", ALL)
def test_an_agent_goes_on_inside_episodes_and_before_the_first_bit_by_bit(
    cls: type[SB3Agent], num_updates: int, tmp_path: Path
) -> None:
    first, second = make(cls, EOS), make(cls, EOS)
    for _ in range(num_updates):
        first.update()
    assert first.env.core.lengths.any() == bool(num_updates)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(3):
        assert second.update() == first.update()
    for p, q in zip(second.policy.parameters(), first.policy.parameters(), strict=True):
        assert torch.equal(p, q)
    assert second.env.state_dict() == first.env.state_dict()


def test_a_state_from_before_the_first_update_begins_anew() -> None:
    agent = make(PPO, EOS)
    state = agent.state_dict()
    first = agent.update()
    agent.load_state_dict(state)
    assert agent.update() == first


def test_an_agent_leaves_the_global_generators_as_they_were() -> None:
    reward = reward_model(FIXED)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = (torch.rand(3).tolist(), np.random.rand(3).tolist())  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    PPO(TokenVectorEnv(4, reward), config=SMALL).update()
    generator_free = (torch.rand(3).tolist(), np.random.rand(3).tolist())  # noqa: NPY002
    assert generator_free == expected


def test_one_seed_gives_reinforce_and_every_sb3_agent_the_same_pretrained_policy() -> None:
    sequences = all_sequences(FIXED)
    small = ReinforceConfig(embedding_dim=4, hidden_dim=4)
    reference = Reinforce(TokenVectorEnv(4, reward_model(FIXED)), seed=2, config=small)
    reference.pretrain(sequences, 2)
    for cls in ALL:
        agent = cls(TokenVectorEnv(4, reward_model(FIXED)), seed=2, config=SMALL)
        agent.pretrain(sequences, 2)
        for p, q in zip(reference.policy.parameters(), agent.policy.parameters(), strict=True):
            assert torch.equal(p, q), cls


@pytest.mark.slow
@pytest.mark.parametrize("cls", ON_POLICY)
def test_agents_learn_to_write_what_is_paid(cls: type[SB3Agent]) -> None:
    faster: dict[str, Any] = {"target_kl": 0.01} if cls is TRPO else {"learning_rate": 2e-2}
    agent = make(cls, FIXED, num_envs=32, reward="terminal", **faster)
    rewards = [agent.update()["reward"] for _ in range(15)]
    best = float(WeightedSum(FIXED).score(torch.tensor([[2, 2, 2]]))) / 3
    assert rewards[-1] > rewards[0] + 0.3 * (best - rewards[0])


@pytest.mark.slow
@pytest.mark.parametrize("cls", OFF_POLICY)
def test_action_values_learn_what_is_paid(cls: type[SB3Agent]) -> None:
    agent = make(cls, FIXED, num_envs=32, learning_rate=2e-2)
    rewards = [agent.update()["reward"] for _ in range(15)]
    assert np.mean(rewards[-3:]) > rewards[0] + 1.0


def test_the_discount_is_that_of_the_reward_form_unless_given() -> None:
    for cls in ALL:
        for form in FORMS.values():
            assert make(cls, reward=form.name).model.gamma == form.discount  # type: ignore[attr-defined]
    assert make(PPO, gamma=0.5).model.gamma == 0.5  # type: ignore[attr-defined]


def test_hyperparameters_reach_sb3_by_its_names() -> None:
    model: Any = make(
        PPO, clip_range=0.1, max_grad_norm=0.25, ent_coef=0.01, n_epochs=3, n_steps=6
    ).model
    assert model.clip_range(1.0) == 0.1
    assert (model.max_grad_norm, model.ent_coef, model.n_epochs, model.n_steps) == (
        0.25,
        0.01,
        3,
        6,
    )


@pytest.mark.parametrize("cls", ALL)
def test_an_update_must_collect_whole_sequences(cls: type[SB3Agent]) -> None:
    with pytest.raises(
        ValueError, match=r"(n_steps|train_freq) is 4; allowed are multiples of seq_len 3"
    ):
        make(cls, FIXED, 8, 0, **{cls.collected: 4})
    make(cls, FIXED, 8, 0, **{cls.collected: 6}).update()


@pytest.mark.parametrize("cls", ALL)
def test_an_unknown_hyperparameter_gets_the_nearest_name(cls: type[SB3Agent]) -> None:
    with pytest.raises(
        ValueError,
        match=f"hyperparameter of {cls.__name__} 'learning_rat'.*Did you mean 'learning_rate'",
    ):
        make(cls, learning_rat=1e-3)


def test_values_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="learning_rate is a schedule"):
        make(PPO, learning_rate=lambda progress: 1e-3 * progress)
    with pytest.raises(ValueError, match="PPO refuses its hyperparameters: `batch_size`"):
        make(PPO, batch_size=1)
    with pytest.raises(ValueError, match=r"exploration_final_eps is 0\.1; allowed is 0"):
        make(DQN, EOS, exploration_final_eps=0.1)
    with pytest.raises(ValueError, match="temperature is 0"):
        make(DQN, temperature=0)
    with pytest.raises(ValueError, match="unknown hyperparameter of PPO 'temperature'"):
        make(PPO, temperature=1.0)


@pytest.mark.parametrize(("num_envs", "seq_len"), [(1, 1), (1, 2), (2, 2), (1, 4), (4, 1), (2, 3)])
@pytest.mark.parametrize("cls", ALL)
def test_the_defaults_work_however_little_an_update_collects(
    cls: type[SB3Agent], num_envs: int, seq_len: int
) -> None:
    agent = make(cls, TokenSpec(3, seq_len), num_envs)
    for _ in range(3):
        agent.update()
    for parameter in agent.policy.parameters():
        assert parameter.isfinite().all()


def test_advantages_of_one_step_are_not_normalised() -> None:
    one = TokenSpec(3, 1)
    for cls in ON_POLICY:
        with pytest.raises(ValueError, match=r"normalize_advantage.* one step"):
            make(cls, one, 1, 0, normalize_advantage=True)
    for cls in (MaskablePPO, RecurrentPPO):
        with pytest.raises(ValueError, match=r"batch_size is 3: .* one step"):
            make(cls, one, 4, 0, batch_size=3)
        make(cls, one, 4, 0, batch_size=3, normalize_advantage=False).update()


@pytest.mark.parametrize("cls", ON_POLICY)
def test_a_language_model_of_ones_own_takes_the_lstms_place(cls: type[SB3Agent]) -> None:
    rewards = reward_model(FIXED)
    agent = cls(
        TokenVectorEnv(4, rewards),
        language_model_class=GRULanguageModel,
        language_model_kwargs={"width": 6},
    )
    rewards.bind(agent.policy)
    assert isinstance(agent.policy, GRULanguageModel)
    assert agent.policy.output.in_features == 6
    assert np.isfinite(agent.update()["reward"])


def test_loaded_weights_take_effect_in_sb3s_model_at_once() -> None:
    agent = make(PPO)
    observations = torch.tensor([[0, 3, 3]] * 4)
    policy: Any = agent.model.policy
    policy(observations)  # so that there is something prepared to go stale
    other = random_model(FIXED, seed=8)
    agent.policy.load_state_dict(other.state_dict())
    actions, _, log_probs = policy(observations)
    expected = other.logits(torch.tensor([[0, 0, 0]]))[0, 1].log_softmax(0)[actions]
    torch.testing.assert_close(log_probs, expected, rtol=1e-5, atol=1e-6)


def test_the_critics_learning_rate_keeps_its_factor_through_sb3s_training() -> None:
    agent = make(PPO, learning_rate=1e-3, value_rate=20.0)
    agent.update()
    groups = agent.model.policy.optimizer.param_groups
    assert [group[RATE] for group in groups] == [1.0, 20.0]
    assert [group["lr"] for group in groups] == pytest.approx([1e-3, 2e-2])


def test_with_an_end_token_every_update_begins_at_the_beginning_of_episodes() -> None:
    agent = make(PPO, EOS)
    starts = []

    class Watch(BaseCallback):
        def _on_rollout_start(self) -> None:
            starts.append(agent.env.core.lengths.copy())

        def _on_step(self) -> bool:
            return True

    agent.callback = Watch()
    for _ in range(3):
        agent.update()
    assert not np.any(starts)


# ---------------------------------------------------------------- as an SB3 user expects


@pytest.mark.parametrize("cls", ALL)
def test_a_model_saved_and_loaded_predicts_the_same(cls: type[SB3Agent], tmp_path: Path) -> None:
    agent = make(cls, EOS)
    agent.update()
    agent.model.save(tmp_path / "model")
    loaded = cls.algorithm.load(tmp_path / "model")
    observations = np.array([[5] * 6, [1, 2, 5, 5, 5, 5], [3, 3, 4, 1, 5, 5]], dtype=np.int32)
    expected, _ = agent.model.predict(observations, deterministic=True)
    assert loaded.predict(observations, deterministic=True)[0].tolist() == expected.tolist()
    theirs: Any = loaded.policy
    for name, value in agent.model.policy.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name])
    again = cls.algorithm.load(
        tmp_path / "model", env=SequenceVecEnv(TokenVectorEnv(8, agent.env.rewards))
    )
    again.learn(8 * EOS.seq_len)


@pytest.mark.parametrize("cls", ALL)
def test_a_policy_saved_and_loaded_alone_has_the_same_weights(
    cls: type[SB3Agent], tmp_path: Path
) -> None:
    policy: Any = make(cls).model.policy
    policy.save(str(tmp_path / "policy.pt"))
    loaded = type(policy).load(str(tmp_path / "policy.pt"))
    for name, value in policy.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


@pytest.mark.parametrize("cls", ALL)
def test_evaluate_policy_and_predict_work(cls: type[SB3Agent]) -> None:
    agent = make(cls, FIXED, reward="terminal")
    env = VecMonitor(SequenceVecEnv(TokenVectorEnv(3, agent.env.rewards)))
    returns, lengths = evaluate_policy(
        agent.model, env, n_eval_episodes=6, deterministic=False, return_episode_rewards=True
    )
    assert lengths == [3] * 6
    assert isinstance(returns, list)
    assert all(WeightedSum(FIXED).score(torch.tensor([[0, 0, 0]])) <= r <= 40 for r in returns)
    one, _ = agent.model.predict(np.array([0, 3, 3], dtype=np.int32))
    assert one.shape == ()


def test_callbacks_and_loggers_are_kept_from_update_to_update(tmp_path: Path) -> None:
    agent = make(PPO, FIXED)
    calls = []

    class Count(BaseCallback):
        def _on_step(self) -> bool:
            calls.append(self.num_timesteps)
            return True

    evaluation = EvalCallback(
        VecMonitor(SequenceVecEnv(TokenVectorEnv(2, agent.env.rewards))), eval_freq=3, verbose=0
    )
    agent.callback = [Count(), evaluation]
    agent.model.set_logger(configure(str(tmp_path), ["csv"]))
    for _ in range(3):
        agent.update()
    assert calls == [8 * i for i in range(1, 10)]
    assert evaluation.n_calls == 9
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    assert "rollout/ep_rew_mean" in lines[0]
    assert "train/value_loss" in lines[0]


def test_an_agent_writes_no_files_unless_told_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    make(PPO).update()
    assert list(tmp_path.iterdir()) == []
    agent = make(PPO, tensorboard_log=str(tmp_path / "runs"))
    for _ in range(3):
        agent.update()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["PPO_1"]
    assert len(list((tmp_path / "runs" / "PPO_1").iterdir())) == 1


def test_stock_sb3_trains_our_policy_in_our_vec_env() -> None:
    rewards = reward_model(FIXED)
    env = VecMonitor(SequenceVecEnv(TokenVectorEnv(4, rewards)))
    kwargs = {"spec": FIXED, "language_model_kwargs": {"embedding_dim": 4, "hidden_dim": 4}}
    model = sb3.PPO(
        LanguageModelPolicy,
        env,
        n_steps=6,
        batch_size=12,
        n_epochs=2,
        gamma=0.0,
        policy_kwargs=kwargs,
        seed=0,
    )
    rewards.bind(model.policy.language_model)  # type: ignore[arg-type]
    model.learn(72)
    assert model.num_timesteps == 72
    with pytest.raises(ValueError, match="does not fit"):
        sb3.PPO(LanguageModelPolicy, env, n_steps=6, batch_size=12, policy_kwargs={"spec": EOS})


# ---------------------------------------------------------------- in Algorithm 1


class Recorder:
    """Writes down who sees which discriminator and which generator, numbered in the order of their
    appearance.
    """

    def __init__(self, rewards: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rewards, self.events, self.seen = rewards, [], {"D": [], "G": []}  # type: ignore[var-annotated]
        for cls, name, event in (
            (RewardModel, "step_values", "pay"),  # stepping
            (RewardModel, "rewards", "pay"),  # playing whole sequences
            (RewardModel, "sync", "sync"),
            (DiscriminatorTrainer, "fit", "train D"),
        ):
            self._wrap(monkeypatch, cls, name, event)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, cls: type, name: str, event: str) -> None:
        original = getattr(cls, name)

        def recorded(this: Any, *args: Any, **kwargs: Any) -> Any:
            now = (
                event,
                self._number("D", self.rewards.discriminator),
                self._number("G", self.rewards.policy),
            )
            if not self.events or self.events[-1] != now:
                self.events.append(now)
            return original(this, *args, **kwargs)

        monkeypatch.setattr(cls, name, recorded)

    def _number(self, kind: str, model: Any) -> int:
        weights = torch.cat([p.detach().flatten() for p in model.parameters()]).numpy().tobytes()
        if weights not in self.seen[kind]:
            self.seen[kind].append(weights)
        return self.seen[kind].index(weights)


@pytest.mark.parametrize("sync_rate", [1.0, pytest.param(0.5, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "cls", [PPO, *(pytest.param(cls, marks=pytest.mark.slow) for cls in (A2C, DQN, *OTHERS))]
)
def test_a_round_under_an_sb3_agent_sees_discriminator_and_generator_in_the_order_of_reinforce(
    monkeypatch: pytest.MonkeyPatch, cls: type[SB3Agent], sync_rate: float
) -> None:
    def events(cls: Any) -> list[tuple[str, int, int]]:
        task = SpecTask(FIXED)
        config = CNNConfig(embedding_dim=4, widths=(1, 2), channels=(4, 4))
        discriminator = CNNDiscriminator.initialised(FIXED, rng(1), config)
        rewards = RewardModel(
            task,
            RewardSettings(num_rollouts=2, sync_rate=sync_rate),
            random_model(FIXED),
            discriminator,
        )
        small = ReinforceConfig if cls is Reinforce else PolicyConfig
        agent = cls(TokenVectorEnv(8, rewards), seed=0, config=small(embedding_dim=4, hidden_dim=4))
        with monkeypatch.context() as patch:
            recorder = Recorder(rewards, patch)
            list(
                train_adversarial(
                    agent,
                    rewards,
                    Schedule(rounds=2, g_steps=2, d_steps=2, num_negatives=20, num_heldout=20),
                )
            )
        return recorder.events

    expected = events(Reinforce)
    round_ = [("pay", 1, 0), ("pay", 1, 1), ("sync", 1, 2), ("train D", 1, 2), ("train D", 2, 2)]
    assert expected[:6] == [("train D", 0, 0), *round_]
    assert events(cls) == expected


def test_every_agent_of_the_module_is_tested_here() -> None:
    classes = [
        c for c in vars(sb3_agents).values() if isinstance(c, type) and issubclass(c, SB3Agent)
    ]
    assert {c for c in classes if "algorithm" in vars(c)} == set(ALL)
    assert {cls.algorithm for cls in ALL} == {
        sb3.PPO,
        sb3.A2C,
        sb3.DQN,
        sb3_contrib.TRPO,
        sb3_contrib.MaskablePPO,
        sb3_contrib.RecurrentPPO,
        sb3_contrib.QRDQN,
    }


@pytest.mark.parametrize("name", AGENTS.names())
def test_every_agent_that_ships_passes_the_checker(name: str) -> None:
    check_agent(load_agent_class(name))
