"""What every policy gradient may add to its own: real sequences, teacher forcing, rates that
change.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents.actor_critic import ActorCritic
from agents.grpo import GRPO
from agents.policy_gradient import PolicyGradient
from agents.reinforce import Reinforce
from agents.sequence_level import RLOO
from agents.sequence_ppo import SequencePPO

from .conftest import EOS, FIXED, rng
from .test_reinforce import gradient
from .test_sequence_level import made

AGENTS: list[type[PolicyGradient]] = [Reinforce, RLOO, GRPO, ActorCritic, SequencePPO]
STILL: dict[str, Any] = {"learning_rate": 0.0, "max_grad_norm": 1e9}


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_where_nothing_is_to_be_won_the_gradient_is_that_of_the_likelihood_times_its_weight(
    weight: float,
) -> None:
    agent = made(Reinforce, EOS, 32, settings={"source": "constant"}, mle_weight=weight, **STILL)
    tokens, rewards, written = agent._collect()
    same = rng()
    same.set_state(agent.rng.get_state())
    agent.learn(tokens, rewards, written)
    found = gradient(agent)
    real = agent.env.task.draw_real(32, same)
    counts = (real != EOS.pad_token).float()
    agent.policy.zero_grad()
    (weight * agent.policy.weighted_nll(real, counts) / counts.sum()).backward()
    torch.testing.assert_close(found, gradient(agent), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("cls", AGENTS)
def test_real_sequences_are_part_of_every_agents_loss(cls: type[PolicyGradient]) -> None:
    def nll_after(**options: Any) -> float:
        agent = made(cls, FIXED, 64, settings={"source": "constant"}, **options)
        for _ in range(20):
            agent.update()
        return -float(agent.policy.log_prob(agent.env.task.real_sequences).mean())

    assert nll_after(mle_weight=1.0) < nll_after() - 0.02


@pytest.mark.parametrize("cls", AGENTS)
def test_teacher_forcing_goes_on_with_pre_training(cls: type[PolicyGradient]) -> None:
    options: dict[str, Any] = {"learning_rate": 0.0, "mle_learning_rate": 0.01}
    forced = made(cls, FIXED, teacher_forcing_every=2, teacher_forcing_epochs=3, **options)
    told = [forced.update() for _ in range(4)]
    assert ["mle_loss" in row for row in told] == [False, True, False, True]
    plain = made(cls, FIXED, **options)
    plain.pretrain(plain.env.task.real_sequences, 6)
    for one, other in zip(forced.policy.parameters(), plain.policy.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_rate_rises_and_then_falls() -> None:
    agent = made(Reinforce, FIXED, learning_rate=0.1, warm_up_updates=4, learning_rate_decay=0.5)
    rates = []
    for _ in range(6):
        agent.update()
        rates.append(agent.optimizer.param_groups[0]["lr"])
    shares = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert rates == pytest.approx([0.1 * share * 0.5**k for k, share in enumerate(shares)])


@pytest.mark.parametrize("cls", AGENTS)
def test_an_agent_with_everything_goes_on_from_its_state_bit_by_bit(
    cls: type[PolicyGradient],
) -> None:
    options: dict[str, Any] = {
        "kl_weight": 0.1,
        "entropy_weight": 0.01,
        "mle_weight": 0.3,
        "teacher_forcing_every": 3,
        "learning_rate_decay": 0.9,
        "warm_up_updates": 3,
    }
    first, second = (made(cls, EOS, 16, **options) for _ in range(2))
    first.update()
    first.update()
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        assert first.update() == second.update()


BAD = [
    ({"mle_weight": -1.0}, "mle_weight is -1.0; allowed is 0 or more"),
    ({"teacher_forcing_every": -1}, "teacher_forcing_every is -1"),
    ({"teacher_forcing_epochs": 0}, "teacher_forcing_epochs is 0; allowed is 1 or more"),
    ({"warm_up_updates": -2}, "warm_up_updates is -2"),
    ({"learning_rate_decay": 0.0}, "learning_rate_decay is 0.0; allowed is above 0, up to 1"),
    ({"learning_rate_decay": 1.1}, "learning_rate_decay is 1.1"),
]


@pytest.mark.parametrize("cls", AGENTS)
@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options_are_refused(
    cls: type[PolicyGradient], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made(cls, FIXED, **options)
