"""Distillation: samples of q are of q, and the policy that is fitted to them becomes q."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.distillation import Distillation, DistillationConfig, Teacher
from seqgan_env.cli.main import main
from seqgan_env.discriminators.ratio import RatioDiscriminator
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.testing import check_agent, check_policy
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, SpecTask, all_sequences, random_model, reward_model, rng


def ratio(spec: TokenSpec, num_models: int = 1, power: float = 1.0) -> RatioDiscriminator:
    """Of random models that are far from each other."""
    made = RatioDiscriminator(
        spec, rng(8), num_models=num_models, power=power, embedding_dim=4, hidden_dim=4
    )
    for seed, model in enumerate(made.models):
        model.load_state_dict(random_model(spec, seed=20 + seed, scale=1.5).state_dict())
    return made


def distiller(
    spec: TokenSpec, num_envs: int = 64, power: float = 1.0, **options: Any
) -> Distillation:
    policy = random_model(spec)
    settings = RewardSettings(score_as="logit", num_rollouts=2)
    rewards = RewardModel(SpecTask(spec), settings, policy, ratio(spec, power=power))
    envs = TokenVectorEnv(num_envs, rewards)
    chosen = {"steps_per_update": 1, "learning_rate_decay": 1.0} | options
    return Distillation(envs, policy, config=DistillationConfig(**chosen))


def divergence_from_q(agent: Distillation) -> float:
    """KL(q^a / Z || policy), enumerated."""
    everything = all_sequences(agent.policy.spec)
    q = agent.env.rewards.discriminator
    assert isinstance(q, RatioDiscriminator)
    log_q = (q.power * q.log_density(everything).detach().double()).log_softmax(0)
    return float((log_q.exp() * (log_q - agent.policy.log_prob(everything).double())).sum())


def test_it_passes_the_checker(spec: TokenSpec) -> None:
    check_agent(Distillation)
    check_agent(distiller(spec), spec)


@pytest.mark.parametrize("num_models", [1, 3])
def test_samples_are_as_likely_as_q_says(spec: TokenSpec, num_models: int) -> None:
    q, num = ratio(spec, num_models), 40_000
    everything = all_sequences(spec)
    probs = q.log_density(everything).detach().double().exp()
    samples = q.mixture.sample(num, rng(1))
    spec.check_sequences(samples)
    for row in probs.topk(8).indices.tolist():
        share = float((samples == everything[row]).all(1).double().mean())
        p = float(probs[row])
        assert share == pytest.approx(p, abs=4.5 * (p * (1 - p) / num) ** 0.5)


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_the_policy_becomes_the_power_of_q(spec: TokenSpec, power: float) -> None:
    agent = distiller(spec, 256, power, learning_rate=0.02, learning_rate_decay=0.99)
    before = divergence_from_q(agent)
    for _ in range(200):
        agent.update()
    assert divergence_from_q(agent) < 0.05 * before


def test_several_steps_are_several_batches() -> None:
    one, three = distiller(FIXED), distiller(FIXED, steps_per_update=3)
    for _ in range(3):
        told = one.update()
    assert three.update() == told


def test_all_steps_of_an_update_have_its_rate_and_its_reference() -> None:
    agent = distiller(FIXED, steps_per_update=3, warm_up_updates=4, kl_weight=1.0)
    before = agent.policy.state_dict()["output.weight"].clone()
    rates: list[float] = []
    step = agent.learn

    def note(tokens: Tensor, rewards: Tensor, written: Tensor) -> dict[str, float]:
        rates.append(agent.optimizer.param_groups[0]["lr"])
        assert agent.reference is not None
        assert torch.equal(agent.reference.state_dict()["output.weight"], before)
        return step(tokens, rewards, written)

    agent.learn = note  # type: ignore[method-assign]
    for _ in range(2):
        agent.update()
    rate = agent.config.learning_rate
    assert rates == pytest.approx([rate / 4] * 3 + [rate / 2] * 3)


def test_an_agent_goes_on_from_its_state_bit_by_bit() -> None:
    first, second = distiller(EOS), distiller(EOS)
    first.update()
    second.load_state_dict(first.state_dict())
    assert first.update() == second.update()


def test_without_a_ratio_there_is_nothing_to_distil() -> None:
    rewards = reward_model(FIXED)
    agent = Distillation(TokenVectorEnv(4, rewards), random_model(FIXED))
    with pytest.raises(ValueError, match="needs the discriminator ratio; this environment has non"):
        agent.update()


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="steps_per_update is 0; allowed is 1 or more"):
        distiller(FIXED, steps_per_update=0)


def test_the_teacher_writes_as_q_and_knows_how_likely_it_is(spec: TokenSpec) -> None:
    rewards = RewardModel(
        SpecTask(spec), RewardSettings(score_as="logit"), random_model(spec), ratio(spec, 3)
    )
    teacher = Teacher(TokenVectorEnv(4, rewards))
    check_agent(teacher, spec)
    check_policy(teacher.policy, spec)
    assert isinstance(rewards.discriminator, RatioDiscriminator)
    everything = all_sequences(spec)
    wanted = rewards.discriminator.log_density(everything).detach()
    torch.testing.assert_close(teacher.policy.log_prob(everything), wanted)


def test_the_teacher_needs_a_ratio() -> None:
    with pytest.raises(ValueError, match="needs the discriminator ratio"):
        Teacher(TokenVectorEnv(4, reward_model(FIXED)))


@pytest.mark.slow
def test_an_agent_that_tells_nothing_of_its_pre_training_can_be_trained(tmp_path: Path) -> None:
    """The teacher has no loss of its own, and its run has a picture all the same."""
    options = ["--rounds", "1", "--mle-epochs", "1", "--no-knobs", "--set-task", "num_real=200"]
    out = ["--set-discriminator", "mle_epochs=1", "--out", str(tmp_path / "run")]
    assert main(["train", "--agent", "teacher", *options, *out]) == 0
    assert (tmp_path / "run" / "curves.png").exists()
