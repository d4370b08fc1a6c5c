"""Score sources: what is named is made, and a sum of sources pays the sum."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

from agents.reinforce import Reinforce
from seqgan_env.discriminators.ratio import RatioDiscriminator
from seqgan_env.envs.registration import build_rewards
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.rewards.sources import (
    WeightedSum,
    is_control,
    knows_the_truth,
    names_in,
    read_source,
)
from seqgan_env.rewards.values import RolloutValue
from seqgan_env.streams import RowStreams
from seqgan_env.training.adversarial import Schedule, train_adversarial
from seqgan_env.types import RolloutPolicy, Task

from .conftest import EOS, SpecTask, all_sequences, random_model, rng

HERE = "tests.test_sources"


class Length:
    """Scores a sequence by its length; made of nothing."""

    def score(self, tokens: Tensor) -> Tensor:
        return (tokens != EOS.pad_token).sum(1).float()


class OfTask:
    """Knows the task that it was made for."""

    def __init__(self, task: Task, scale: float = 1.0) -> None:
        self.task, self.scale = task, scale

    def score(self, tokens: Tensor) -> Tensor:
        return self.scale * (tokens == self.task.spec.pad_token).sum(1).float()


class Written:
    """The value of a prefix: how much of it is written."""

    def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        return lengths.float()


class Told(Length):
    """Remembers the policies that it was told of."""

    def __init__(self) -> None:
        self.told: list[RolloutPolicy] = []

    def bind(self, policy: RolloutPolicy) -> None:
        self.told.append(policy)


class Greedy:
    """Asks for what it is not given."""

    def __init__(self, referee: object) -> None: ...


class Nothing:
    """Neither scores nor values."""


def made_by_hand(task: Task) -> OfTask:
    """A source with another scale."""
    return OfTask(task, scale=3.0)


READY = OfTask(SpecTask(EOS), scale=2.0)


def rewards_of(source: Any, **settings: Any) -> RewardModel:
    chosen = {"num_rollouts": 3} | settings
    policy = random_model(EOS, seed=5)
    return build_rewards(SpecTask(EOS), RewardSettings(source=source, **chosen), policy)


def scores(rewards: RewardModel, sequences: Tensor) -> Tensor:
    """The values of sequences that are finished."""
    return rewards.value(sequences, EOS.lengths(sequences), rng())


def values_of(source: Any, **settings: Any) -> Tensor:
    """Action values (B, T) of the same sequences, drawn with the same randomness."""
    return rewards_of(source, **settings).action_values(all_sequences(EOS)[::40], rng(3))


SINGLE = {
    name: values_of(name)
    for name in ("discriminator", "optimal", "oracle", "bleu", "constant", "random", "noise")
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_weight_scales_a_source(name: str) -> None:
    assert torch.equal(values_of(f"2 * {name}"), 2 * SINGLE[name])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "discriminator + 0.5 * bleu",
            lambda: SINGLE["discriminator"] + 0.5 * SINGLE["bleu"],
        ),
        ("0.5*bleu+discriminator", lambda: SINGLE["discriminator"] + 0.5 * SINGLE["bleu"]),
        ("-.25 * oracle - constant", lambda: -0.25 * SINGLE["oracle"] - SINGLE["constant"]),
        ("bleu + 1e-1 * random", lambda: SINGLE["bleu"] + 0.1 * SINGLE["random"]),
        (f"bleu + 2 * {HERE}:Length", lambda: SINGLE["bleu"] + 2 * values_of(Length())),
        (f"{HERE}:Written + bleu", lambda: SINGLE["bleu"] + values_of(Written())),
    ],
)
def test_a_sum_pays_the_sum(text: str, expected: Callable[[], Tensor]) -> None:
    written = all_sequences(EOS)[::40] != EOS.pad_token
    wanted = expected() * written
    assert torch.allclose(values_of(text), wanted, rtol=1e-5, atol=1e-6)


def test_a_sum_in_code_is_the_sum_as_text() -> None:
    in_code = WeightedSum(((1.0, "discriminator"), (0.5, Length), (-2.0, Written())))
    as_text = f"discriminator + 0.5 * {HERE}:Length - 2 * {HERE}:Written"
    assert torch.equal(values_of(in_code), values_of(as_text))


def test_noises_in_a_sum_are_independent() -> None:
    value = rewards_of("random + noise").value
    num = 4000
    tokens, lengths = (
        torch.full((num, EOS.seq_len), EOS.pad_token),
        torch.zeros(num, dtype=torch.int64),
    )
    streams = RowStreams.draw(rng(1), num)
    both = value(tokens, lengths, streams)
    first = rewards_of("random").value(tokens, lengths, streams)
    correlation = float(torch.corrcoef(torch.stack([first, both - first]))[0, 1])
    assert abs(correlation) < 4 / num**0.5


def test_scorers_of_a_sum_share_their_completions() -> None:
    one, two = rewards_of("bleu"), rewards_of(f"bleu + {HERE}:Length")
    for rewards in (one, two):
        rewards.action_values(all_sequences(EOS)[:20], rng())
    assert one.budget.rollout_tokens == two.budget.rollout_tokens > 0


@pytest.mark.parametrize("form", ["rollout", "difference", "terminal"])
def test_stepping_and_scoring_offline_pay_a_sum_alike(form: str) -> None:
    rewards = rewards_of("discriminator + 0.5 * bleu + 0.1 * noise", reward=form)
    envs = TokenVectorEnv(4, rewards)
    tokens = random_model(EOS, 2).sample(4, rng(8))
    stepped = TokenVectorEnv(4, rewards)
    envs.reset(seed=3)
    stepped.reset(seed=3)
    paid = envs.play(tokens)
    for t in range(int((tokens != EOS.pad_token).sum(1).min())):
        rewarded = stepped.step(tokens[:, t].numpy())[1]
        assert torch.equal(torch.from_numpy(rewarded).float(), paid[:, t])


def test_the_discriminator_of_a_sum_is_trained_and_pays() -> None:
    rewards = rewards_of("0.5 * bleu + discriminator", score_as="logit")
    assert rewards.discriminator is not None
    agent = Reinforce(TokenVectorEnv(8, rewards), policy=random_model(EOS))
    sequences = rewards.task.held_out
    before = scores(rewards, sequences)
    schedule = Schedule(rounds=1, num_negatives=50, eval_every=9, d_pretrain_epochs=2)
    rows = list(train_adversarial(agent, rewards, schedule))
    assert "discriminator/loss" in rows[-1]
    moved = scores(rewards, sequences) - before
    assert float(moved.std()) > 0.01


def test_an_environment_trains_the_discriminator_of_a_sum_online() -> None:
    envs = gym.make_vec(
        "SeqGAN/Oracle-v0",
        num_envs=8,
        source="discriminator + 0.1 * noise",
        num_rollouts=1,
        num_real=60,
        num_held_out=20,
        warm_up=8,
        d_interval=8,
        warm_up_epochs=1,
    )
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for _ in range(10):
        envs.step(envs.action_space.sample())
    unwrapped: Any = envs.unwrapped
    assert "discriminator/loss" in unwrapped.online_metrics()


@pytest.mark.parametrize("source", ["2 * constant", "noise + random"])
def test_an_environment_of_controls_learns_nothing_online(source: str) -> None:
    env = gym.make("SeqGAN/Oracle-v0", source=source, num_real=20, num_held_out=20)
    assert type(env.get_wrapper_attr("rewards")) is RewardModel
    assert is_control(source)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Length, Length()),
        (f"{HERE}:Length", Length()),
        (f"{HERE}:OfTask", OfTask(SpecTask(EOS))),
        (f"{HERE}:made_by_hand", OfTask(SpecTask(EOS), 3.0)),
        (f"{HERE}:READY", OfTask(SpecTask(EOS), 2.0)),
        (f"{HERE}:Written", Written()),
    ],
)
def test_a_source_is_a_class_a_function_an_object_or_the_name_of_one(
    source: Any, expected: Any
) -> None:
    assert torch.equal(values_of(source), values_of(expected))


def test_a_source_is_made_once_and_told_of_every_policy() -> None:
    rewards = rewards_of(f"{HERE}:Told + bleu")
    source = rewards.sources[0][1]
    other = random_model(EOS, seed=9)
    rewards.bind(other)
    assert isinstance(source, Told)
    assert rewards.sources[0][1] is source
    assert len(source.told) == 2
    assert source.told[1] is other


def test_a_discriminator_given_as_a_source_is_told_of_every_policy_and_saved() -> None:
    ratio = RatioDiscriminator(EOS, rng(3), embedding_dim=4, hidden_dim=4)
    ratio.score_as = "logit"
    rewards = rewards_of(ratio, reward="terminal")
    sequences = all_sequences(EOS)[:50]
    for seed in (8, 9):
        policy = random_model(EOS, seed=seed)
        rewards.bind(policy)
        expected = ratio.log_density(sequences) - policy.log_prob(sequences)
        torch.testing.assert_close(scores(rewards, sequences), expected.detach())

    state = rewards.state_dict()
    for parameter in ratio.parameters():
        parameter.data.zero_()
    rewards.load_state_dict(state)
    torch.testing.assert_close(scores(rewards, sequences), expected.detach())


def test_a_constant_beside_noise_does_not_change_the_noise() -> None:
    written = all_sequences(EOS)[::40] != EOS.pad_token
    assert torch.equal(values_of("constant + random"), SINGLE["random"] + written)


def test_the_optimal_source_compares_with_the_policy_that_was_bound_last() -> None:
    rewards, other = rewards_of("optimal"), random_model(EOS, seed=9)
    rewards.bind(other)
    direct = RewardModel(rewards.task, rewards.settings, other)
    sequences = all_sequences(EOS)[:50]
    assert torch.equal(
        scores(rewards, sequences),
        scores(direct, sequences),
    )


def test_one_source_alone_takes_no_detour() -> None:
    value = rewards_of("bleu").value
    assert isinstance(value, RolloutValue)
    assert type(value.scorer).__name__ == "BleuScorer"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("blue", "unknown source 'blue'; allowed are discriminator, optimal"),
        ("bleu + descriminator", "Did you mean 'discriminator'?"),
        ("bleu bleu", "source 'bleu bleu' cannot be read from 'bleu' on; write a name"),
        ("bleu * 2", "cannot be read from '* 2' on"),
        ("", "source '' cannot be read from '' on"),
        ("bleu +", "cannot be read from '+' on"),
        ("0 * bleu", "the weight of source 'bleu' is 0.0; allowed are finite numbers"),
        ("no.such:Scorer", "source 'no.such:Scorer' cannot be imported"),
        (f"{HERE}:Lenght", "has no 'Lenght'. Did you mean 'Length'?"),
        (3, "source is a int without score(tokens); a source needs score(tokens), or"),
        (WeightedSum(((1.0, object()),)), "source is a object without score(tokens)"),
        (f"{HERE}:Greedy", f"source '{HERE}:Greedy' asks for 'referee' when it is made; allowed"),
        (f"{HERE}:Nothing", f"source '{HERE}:Nothing' is a Nothing without score(tokens)"),
        (Greedy, "source Greedy asks for 'referee' when it is made; allowed are task, policy"),
    ],
)
def test_what_is_no_source_says_why(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        rewards_of(source)


def test_a_sum_without_terms_is_refused() -> None:
    with pytest.raises(ValueError, match="no terms"):
        WeightedSum(())


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda n: torch.zeros(n, 1), r"Odd.score returned shape \(\d+, 1\)"),
        (lambda n: torch.zeros(n, dtype=torch.int64), "Odd.score returned dtype torch.int64"),
        (lambda n: torch.zeros(n, requires_grad=True), "Odd.score returned a tensor with a graph"),
        (lambda n: [0.0] * n, "Odd.score returned a list; expected a torch.Tensor"),
        (lambda n: torch.full((n,), torch.nan), "Odd.score returned nan"),
        (lambda n: torch.zeros(n, device="meta"), "a tensor on meta for tokens on cpu"),
    ],
)
@pytest.mark.parametrize("others", [[], ["bleu"]], ids=["alone", "in a sum"])
def test_what_a_scorer_returns_is_checked(
    returned: Callable[[int], Any], message: str, others: list[str]
) -> None:
    class Odd:
        def score(self, tokens: Tensor) -> Any:
            return returned(len(tokens))

    terms = WeightedSum(tuple((1.0, source) for source in [Odd(), *others]))
    with pytest.raises(ValueError, match=message):
        values_of(terms)


def test_what_a_value_of_prefixes_returns_is_checked() -> None:
    class Odd:
        def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
            return torch.zeros(len(tokens), 2)

    with pytest.raises(ValueError, match=r"Odd returned shape \(\d+, 2\)"):
        values_of(Odd())


def test_what_is_known_of_a_source_without_making_it() -> None:
    assert names_in("discriminator - 2 * not.installed:Here") == [
        "discriminator",
        "not.installed:Here",
    ]
    assert read_source("bleu").terms == ((1.0, "bleu"),)
    assert not is_control("constant + bleu")
    assert knows_the_truth("discriminator + 0.1 * optimal")
    assert not knows_the_truth("discriminator + bleu")


@pytest.mark.slow
def test_a_run_takes_a_sum_from_the_command_line(tmp_path: Path) -> None:
    from seqgan_env.cli.main import main

    small = "--rounds 1 --mle-epochs 1 --num-negatives 50 --batch-size 8 --no-knobs --no-control"
    source = f"discriminator + 0.5 * {HERE}:OfTask"
    out = tmp_path / "run"
    assert main(["train", *small.split(), "--source", source, "--out", str(out)]) == 0
    assert (out / "policy.safetensors").is_file()
