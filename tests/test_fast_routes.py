"""Fast routes prove that they apply, or decline: with them and without them the numbers are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgan_env import native
from seqgan_env.contents import contents
from seqgan_env.discriminator import Discriminator, DiscriminatorTrainer
from seqgan_env.types import TokenSpec

from .conftest import random_model, rng

SPEC = TokenSpec(30, 8)
REAL, GENERATED = (random_model(SPEC, seed).sample(64, rng(seed)) for seed in (1, 2))


class Counting(Discriminator):
    """Judges by how often a token occurs, not by what its parent's tables say."""

    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        return F.linear((tokens == 3).sum(1, keepdim=True).float(), self.output.weight[:, :1], self.output.bias).squeeze(1)


def hooked(discriminator: Discriminator) -> None:
    discriminator.highway.register_forward_hook(lambda module, inputs, output: output * 0.5)


def of_another_class(discriminator: Discriminator) -> None:
    class Doubled(nn.Linear):
        def forward(self, features: Tensor) -> Tensor:
            return 2 * super().forward(features)

    discriminator.highway.__class__ = Doubled


def parametrized(discriminator: Discriminator) -> None:
    torch.nn.utils.parametrizations.spectral_norm(discriminator.highway)


def by_layers(discriminator: Discriminator, tokens: Tensor) -> Tensor:
    """Logits (B,) by calling every layer, as torch would."""
    embedded = discriminator.embedding(tokens).transpose(1, 2)
    features = torch.cat([F.relu(convolution(embedded).amax(2)) for convolution in discriminator.convolutions], dim=1)
    transform, gate = discriminator.highway(features).chunk(2, dim=1)
    gate = torch.sigmoid(gate)
    features = gate * F.relu(transform) + (1 - gate) * features
    return discriminator.output(features).squeeze(1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("change", [hooked, of_another_class, parametrized, lambda discriminator: None])
def test_what_is_paid_is_what_the_layers_say(change: Callable[[Discriminator], Any]) -> None:
    discriminator = Discriminator.initialised(SPEC, rng(3), score_as="logit").eval()
    change(discriminator)
    with torch.no_grad():
        expected = by_layers(discriminator, REAL)
        torch.testing.assert_close(discriminator(REAL), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(discriminator.score(REAL), expected, rtol=1e-4, atol=1e-5)


def test_a_subclass_with_a_forward_of_its_own_is_paid_by_it() -> None:
    discriminator = Counting(SPEC, score_as="logit")
    with torch.no_grad():
        torch.testing.assert_close(discriminator.score(REAL), discriminator(REAL))
    before = discriminator.highway.weight.detach().clone()
    DiscriminatorTrainer(discriminator).fit(REAL, GENERATED, 3, rng())
    with torch.no_grad():
        torch.testing.assert_close(discriminator.score(REAL), discriminator(REAL))
    assert torch.equal(discriminator.highway.weight, before)  # its forward does not use it


OPTIMIZERS = {
    name: getattr(torch.optim, name)
    for name in (
        "Adadelta",
        "Adafactor",
        "Adagrad",
        "Adam",
        "AdamW",
        "Adamax",
        "ASGD",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Rprop",
        "SGD",
    )
}
FORMS: tuple[dict[str, bool], ...] = ({}, {"foreach": True}, {"fused": True})


@pytest.mark.parametrize("options", FORMS, ids=lambda options: next(iter(options), "plain"))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_users_own_loop_with_any_optimizer_moves_what_is_paid(name: str, options: dict[str, bool]) -> None:
    discriminator = Discriminator.initialised(SPEC, rng(3), score_as="logit")
    before = discriminator.score(GENERATED)
    try:
        optimizer = OPTIMIZERS[name](discriminator.parameters(), lr=0.05, **options)
    except (TypeError, RuntimeError) as problem:
        pytest.skip(f"torch's {name} has no such form: {problem}")
    for _ in range(3):
        optimizer.zero_grad()
        discriminator(GENERATED).mean().neg().backward()
        optimizer.step()
    with torch.no_grad():
        expected = by_layers(discriminator, GENERATED)
    torch.testing.assert_close(discriminator.score(GENERATED), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, expected, atol=1e-3)


def by_data(discriminator: Discriminator) -> None:
    discriminator.highway.weight.data.mul_(1.5)


def by_exchange(discriminator: Discriminator) -> None:
    discriminator.output.weight.data[:, [0, 5]] = discriminator.output.weight.data[:, [5, 0]].clone()


def by_another_tensor(discriminator: Discriminator) -> None:
    discriminator.embedding.weight = nn.Parameter(discriminator.embedding.weight.detach() * 2)


@pytest.mark.parametrize("change", [by_data, by_exchange, by_another_tensor])
def test_a_parameter_that_changes_in_any_way_changes_what_is_paid(change: Callable[[Discriminator], Any]) -> None:
    discriminator = Discriminator.initialised(SPEC, rng(3), score_as="logit")
    discriminator.score(REAL)
    change(discriminator)
    with torch.no_grad():
        torch.testing.assert_close(discriminator.score(REAL), by_layers(discriminator, REAL), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [5, 3000, 100_001])
def test_contents_are_those_of_equal_tensors_and_change_with_a_bit_and_with_an_exchange(size: int) -> None:
    values = torch.randn(size, generator=rng())
    assert contents([values]) == contents([values.clone()])
    for index in (0, size // 2, size - 1):
        other = values.clone()
        other[index] = torch.nextafter(other[index], torch.tensor(9.0))
        assert contents([values]) != contents([other])
    for first, second in ((0, 1), (0, size - 1), (1, min(size - 1, 257))):
        other = values.clone()
        other[[first, second]] = other[[second, first]]
        assert contents([values]) != contents([other])
    assert contents([values]) != contents([values.reshape(1, -1)])


def test_what_is_paid_depends_neither_on_who_asked_before_nor_on_how_many_ask_together() -> None:
    sequences = random_model(SPEC, 5).sample(300, rng(6))
    fresh = Discriminator.initialised(SPEC, rng(3), score_as="logit")
    alone = torch.cat([fresh.score(row) for row in sequences[:20].split(1)])
    asked = Discriminator.initialised(SPEC, rng(3), score_as="logit")
    together = asked.score(sequences)
    torch.testing.assert_close(alone, together[:20], rtol=0, atol=1e-6)
    assert torch.equal(fresh.score(sequences), together)


def trained(change: Callable[[DiscriminatorTrainer], Any], monkeypatch: pytest.MonkeyPatch, kernels: bool) -> list[Tensor]:
    """The parameters after two epochs of a changed trainer, with kernels or without."""
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", "1" if kernels else "0")
    trainer = DiscriminatorTrainer(Discriminator.initialised(SPEC, rng(3)))
    change(trainer)
    trainer.fit(REAL, GENERATED, 2, rng(4))
    return [parameter.detach().clone() for parameter in trainer.discriminator.parameters()]


def with_rate_in_a_tensor(trainer: DiscriminatorTrainer) -> None:
    trainer.optimizer = torch.optim.Adam(trainer.discriminator.parameters(), lr=torch.tensor(3e-2), fused=True)


def without_the_embedding(trainer: DiscriminatorTrainer) -> None:
    others = [p for name, p in trainer.discriminator.named_parameters() if not name.startswith("embedding")]
    trainer.optimizer = torch.optim.Adam(others, lr=3e-2)


def decaying(trainer: DiscriminatorTrainer) -> None:
    trainer.optimizer = torch.optim.Adam(trainer.discriminator.parameters(), lr=3e-2, weight_decay=0.1)


def watched(trainer: DiscriminatorTrainer) -> None:
    def forget(optimizer: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
        for parameter in trainer.discriminator.highway.parameters():
            parameter.grad = torch.zeros_like(parameter)

    trainer.optimizer.register_step_pre_hook(forget)


@pytest.mark.parametrize("change", [with_rate_in_a_tensor, without_the_embedding, decaying, watched, lambda trainer: None])
def test_training_is_the_same_with_kernels_and_without(
    change: Callable[[DiscriminatorTrainer], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native.available():
        pytest.skip("needs the compiled kernels")
    ours, plain = (trained(change, monkeypatch, kernels) for kernels in (True, False))
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=2e-3)


def test_what_is_not_in_the_optimizer_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Discriminator.initialised(SPEC, rng(3)).embedding.weight
    assert torch.equal(trained(without_the_embedding, monkeypatch, kernels=True)[0], start)


def test_memory_that_a_kernel_cannot_read_is_refused_and_not_read() -> None:
    native.check_memory(torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"strides \(1, 4\).*needs contiguous memory on the CPU"):
        native.check_memory(torch.ones(3, 4).t())
    with pytest.raises(ValueError, match="on meta; it needs contiguous memory on the CPU"):
        native.check_memory(torch.ones(3, device="meta"))
