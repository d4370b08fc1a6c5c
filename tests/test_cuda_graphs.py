"""Recorded steps: each is what the step itself is, and a recording is not used once something it
holds has changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgan_env.discriminators.cnn import CNNConfig, CNNDiscriminator, CNNSteps
from seqgan_env.discriminators.cuda_graphs import GraphedStep
from seqgan_env.discriminators.dense_network import FilterProduct
from seqgan_env.discriminators.graphed_descent import Descent, GraphedDescent
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.native.network import Network
from seqgan_env.native.pooling import FilterBank
from seqgan_env.types import TokenSpec

from .conftest import random_model, rng

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
SPEC = TokenSpec(30, 12)
REAL, GENERATED = (random_model(SPEC, seed).sample(500, rng(seed)) for seed in (1, 2))


def trainer_on(device: str, batch_size: int = 64, fast: bool = True) -> DiscriminatorTrainer:
    config = CNNConfig(batch_size=batch_size, l2=0.1)
    discriminator = CNNDiscriminator.initialised(SPEC, rng(3), config).to(device)
    return DiscriminatorTrainer(discriminator, fast=fast)


def fit(trainer: DiscriminatorTrainer, num_epochs: int = 6) -> float:
    device = trainer.discriminator.device
    order = torch.Generator(device).manual_seed(0)
    return trainer.fit(REAL.to(device), GENERATED.to(device), num_epochs, order)["loss"]


def cnn_of(trainer: DiscriminatorTrainer) -> CNNDiscriminator:
    assert isinstance(trainer.discriminator, CNNDiscriminator)
    return trainer.discriminator


def steps_of(trainer: DiscriminatorTrainer) -> CNNSteps:
    assert isinstance(trainer.fast_steps, CNNSteps)
    return trainer.fast_steps


def described(trainer: DiscriminatorTrainer) -> tuple[Descent, Network, torch.optim.Adam]:
    model = cnn_of(trainer)
    descent = Descent(model.bank, SPEC.seq_len, model.config.dropout, model.config.l2)
    assert isinstance(trainer.optimizer, torch.optim.Adam)
    return descent, model.network(), trainer.optimizer


def descent_of(trainer: DiscriminatorTrainer) -> GraphedDescent:
    return GraphedDescent(*described(trainer))


def parameters(trainer: DiscriminatorTrainer) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in trainer.discriminator.parameters()])


def test_the_step_as_a_function_of_tensors_is_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", "0")
    one, other = trainer_on("cpu"), trainer_on("cpu")
    tokens, labels = torch.cat([REAL[:32], GENERATED[:32]]), torch.arange(64).lt(32).float()
    descent = descent_of(other)
    for seed in range(3):
        dropout = cnn_of(other).draw_dropout(rng(seed))
        assert dropout is not None
        loss = one.step_by_autograd(tokens, labels, rng(seed))
        assert float(loss) == pytest.approx(float(descent._step(tokens, labels, dropout.keys)))
    assert float((parameters(one) - parameters(other)).norm() / parameters(one).norm()) < 1e-5
    assert (
        one.optimizer.param_groups[0]["capturable"] == other.optimizer.param_groups[0]["capturable"]
    )


def test_the_product_of_all_filters_is_their_convolutions_and_so_is_its_gradient() -> None:
    widths, channels, seq_len = (1, 3, 5), (2, 4, 3), 5
    filters = [torch.nn.Conv1d(4, num, width) for width, num in zip(widths, channels, strict=True)]
    embedded = torch.randn(6, seq_len, 4, generator=rng(), requires_grad=True)
    weights, biases = [c.weight for c in filters], [c.bias for c in filters if c.bias is not None]
    product = FilterProduct(FilterBank(widths, channels), 4, seq_len, torch.device("cpu"))
    ours = product(embedded, weights, biases)
    theirs = torch.cat([torch.relu(c(embedded.transpose(1, 2)).amax(2)) for c in filters], dim=1)
    torch.testing.assert_close(ours, theirs)
    scale = torch.randn(ours.shape, generator=rng(1))
    gradients = [
        torch.autograd.grad((x * scale).sum(), [embedded, *weights, *biases])
        for x in (ours, theirs)
    ]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_nothing_is_recorded_on_a_cpu() -> None:
    trainer = trainer_on("cpu")
    fit(trainer, 1)
    assert steps_of(trainer).graphed is None


CHANGES: dict[str, Callable[[DiscriminatorTrainer], Any]] = {
    "learning rate": lambda trainer: trainer.optimizer.param_groups[0].update(lr=0.5),
    "moments": lambda trainer: trainer.optimizer.load_state_dict(
        copy.deepcopy(trainer.optimizer.state_dict())
    ),
    "config": lambda trainer: setattr(
        trainer.discriminator, "config", replace(cnn_of(trainer).config, dropout=0.5)
    ),
    "memory": lambda trainer: setattr(
        cnn_of(trainer).output.weight,
        "data",
        cnn_of(trainer).output.weight.detach().clone(),
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_recording_is_given_up_when_what_it_holds_has_changed(
    change: Callable[[DiscriminatorTrainer], Any],
) -> None:
    trainer = trainer_on("cpu")
    fit(trainer, 1)
    graphed = descent_of(trainer)
    assert graphed.still_holds(*described(trainer))
    change(trainer)
    assert not graphed.still_holds(*described(trainer))


@needs_gpu
@pytest.mark.parametrize(
    "change", [torch.nn.Module.double, lambda model: model.output.bias.requires_grad_(False)]
)
def test_what_a_recording_does_not_know_is_not_recorded(
    change: Callable[[CNNDiscriminator], Any],
) -> None:
    trainer = trainer_on("cuda")
    assert steps_of(trainer).descent_by_graph(trainer.optimizer) is not None
    change(cnn_of(trainer))
    assert steps_of(trainer).descent_by_graph(trainer.optimizer) is None


@needs_gpu
def test_every_call_of_a_recorded_step_runs_it_once() -> None:
    total = torch.zeros((), device="cuda")

    def step(numbers: Tensor) -> Tensor:
        return total.add_(numbers.sum()).clone()

    graphed, expected = GraphedStep(step), 0
    for size in (3, 5, 3, 3, 3, 3, 5, 5, 5, 3, 7):
        expected += size
        assert float(graphed(torch.ones(size, device="cuda"))) == expected


@needs_gpu
@pytest.mark.parametrize("batch_size", [64, 300])  # torch sorts the tokens of the larger one
def test_a_recorded_step_trains_as_one_that_is_not(batch_size: int) -> None:
    recorded, plain = (trainer_on("cuda", batch_size, fast) for fast in (True, False))
    in_use = recorded.discriminator(REAL.cuda())  # a graph of the parameters that somebody holds
    assert fit(recorded) == pytest.approx(fit(plain), abs=5e-3)
    difference = parameters(recorded) - parameters(plain)
    assert float(difference.norm() / parameters(plain).norm()) < 0.01
    kept = steps_of(recorded).graphed
    assert kept is not None
    assert kept._graphed._recordings
    assert plain.fast_steps is None
    assert in_use.requires_grad
    fit(recorded, 1)
    assert steps_of(recorded).graphed is kept


@needs_gpu
def test_a_changed_learning_rate_reaches_the_device() -> None:
    trainer = trainer_on("cuda")
    fit(trainer)
    trainer.optimizer.param_groups[0]["lr"] = 0.0
    before = parameters(trainer)
    fit(trainer)
    assert torch.equal(parameters(trainer), before)
