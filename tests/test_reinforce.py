import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.reinforce import Reinforce, ReinforceConfig, returns_to_go
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.metrics.likelihood import nll_per_token
from seqgan_env.rewards.forms import FORMS
from seqgan_env.types import TokenSpec

from .conftest import FIXED, WeightedSum, all_sequences, random_model, reward_model, rng


def agent(
    spec: TokenSpec,
    num_envs: int = 64,
    settings: dict[str, Any] | None = None,
    seed: int = 0,
    **options: Any,
) -> Reinforce:
    model = reward_model(spec, **(settings or {}))
    made = Reinforce(
        TokenVectorEnv(num_envs, model), random_model(spec), seed, ReinforceConfig(**options)
    )
    model.bind(made.policy)
    return made


def gradient(made: Reinforce) -> Tensor:
    return torch.cat([p.grad.flatten() for p in made.policy.parameters() if p.grad is not None])


@pytest.mark.parametrize("baseline", ["none", "batch_mean", "value"])
@pytest.mark.parametrize("form", list(FORMS))
def test_the_gradient_estimates_the_gradient_of_the_expected_score(
    form: str, baseline: str
) -> None:
    """Each form with its own discount, and each baseline, points where the enumerated gradient of
    E[score] / T points.
    """
    options: dict[str, Any] = {
        "settings": {"reward": form, "num_rollouts": 8},
        "baseline": baseline,
        "max_grad_norm": 1e9,
        "learning_rate": 0.0,
    }
    made = agent(FIXED, 20_000, **options)
    made.update()
    everything, exact = all_sequences(FIXED), copy.deepcopy(made.policy)
    log_probs = (
        exact.logits(everything).log_softmax(2).gather(2, everything.unsqueeze(2)).squeeze(2).sum(1)
    )
    objective = (log_probs.exp() * WeightedSum(FIXED).score(everything)).sum() / FIXED.seq_len
    wanted = torch.cat(
        [
            g.flatten()
            for g in torch.autograd.grad(
                -objective, [p for p in exact.parameters() if p.requires_grad]
            )
        ]
    )
    found = gradient(made)
    assert float(torch.nn.functional.cosine_similarity(found, wanted, dim=0)) > 0.97
    assert float(found.norm() / wanted.norm()) == pytest.approx(1, abs=0.1)


def test_a_constant_reward_leaves_a_batch_mean_baseline_nothing_to_follow(spec: TokenSpec) -> None:
    made = agent(spec, settings={"source": "constant"}, baseline="batch_mean")
    assert made.update()["grad_norm"] == pytest.approx(0, abs=1e-6)
    assert (
        agent(spec, settings={"source": "constant"}, baseline="none").update()["grad_norm"] > 1e-3
    )


@pytest.mark.parametrize("discount", [0.0, 0.5, 1.0])
def test_returns_are_discounted_sums(discount: float) -> None:
    rewards = torch.rand(4, 6, generator=rng())
    plain = [
        [sum(discount ** (s - t) * float(rewards[b, s]) for s in range(t, 6)) for t in range(6)]
        for b in range(4)
    ]
    torch.testing.assert_close(returns_to_go(rewards, discount), torch.tensor(plain))


def test_updates_raise_the_expected_score(spec: TokenSpec) -> None:
    made = agent(spec, 128, learning_rate=5e-2)
    everything, scorer = all_sequences(spec), WeightedSum(spec)

    def expected() -> float:
        return float((made.policy.log_prob(everything).exp() * scorer.score(everything)).sum())

    before = expected()
    for _ in range(20):
        made.update()
    assert expected() > before + 0.2 * (float(scorer.score(everything).max()) - before)


def test_the_entropy_bonus_raises_entropy_and_the_penalty_holds_the_policy_near_the_reference(
    spec: TokenSpec,
) -> None:
    held_out = random_model(spec).sample(500, rng(9))

    def drift(**options: Any) -> tuple[float, float]:
        made = agent(spec, 64, learning_rate=2e-2, **options)
        for _ in range(15):
            made.update()
        samples = made.policy.sample(500, rng(1))
        return nll_per_token(made.policy, spec, samples), nll_per_token(made.policy, spec, held_out)

    plain, bonus, penalty = drift(), drift(entropy_weight=5.0), drift(kl_weight=20.0)
    assert bonus[0] > plain[0]
    assert penalty[1] < plain[1]


def test_the_same_seed_gives_the_same_agent(spec: TokenSpec) -> None:
    states = []
    for _ in range(2):
        made = agent(spec, seed=3)
        made.pretrain(random_model(spec, 4).sample(100, rng()), 1)
        made.update()
        states.append(torch.cat([p.detach().flatten() for p in made.policy.parameters()]))
    assert torch.equal(*states)


def test_maximum_likelihood_finds_the_distribution_it_is_given(spec: TokenSpec) -> None:
    truth = random_model(spec, 2)
    data, policy = truth.sample(4000, rng(1)), random_model(spec, 3)
    likelihood = MaximumLikelihood(policy, rng(), learning_rate=2e-2)
    likelihood.fit(data, 3)
    held_out = truth.sample(4000, rng(5))
    assert nll_per_token(policy, spec, held_out) < nll_per_token(truth, spec, held_out) + 0.02


def test_the_loss_of_maximum_likelihood_is_in_nats_per_token(spec: TokenSpec) -> None:
    policy, data = random_model(spec), random_model(spec, 2).sample(200, rng())
    expected = nll_per_token(policy, spec, data)
    frozen = MaximumLikelihood(policy, rng(), learning_rate=0.0)
    assert frozen.fit(data, 1)["mle_loss"] == pytest.approx(expected, rel=1e-4)


def test_an_unknown_baseline_gets_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="Did you mean 'batch_mean'"):
        agent(FIXED, baseline="batchmean")
