"""Maximum likelihood: Adam where nothing decays, a rate that falls by epoch, and weights that
shrink.
"""

import copy
from typing import Any

import pytest
import torch

from seqgan_env.generators.maximum_likelihood import MaximumLikelihood, sequences_of_epoch
from seqgan_env.types import TokenSpec

from .conftest import random_model, rng


def test_without_decay_it_is_adam_step_for_step(spec: TokenSpec) -> None:
    data = random_model(spec, 3).sample(40, rng())
    ours, plain = random_model(spec, 1), random_model(spec, 1)
    MaximumLikelihood(ours, rng(2), learning_rate=1e-2, batch_size=8).fit(data, 3)
    adam = torch.optim.Adam([p for p in plain.parameters() if p.requires_grad], lr=1e-2)
    order = rng(2)
    for _ in range(3):
        for rows in torch.randperm(len(data), generator=order).split(8):
            written = data[rows] != spec.pad_token
            loss = plain.weighted_nll(data[rows], written.float()) / written.sum()
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 5.0)
            adam.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("calls", [(5,), (1, 1, 1, 1, 1), (2, 3)])
def test_the_rate_falls_by_epoch_however_the_epochs_come(
    spec: TokenSpec, calls: tuple[int, ...]
) -> None:
    data = random_model(spec, 3).sample(20, rng())
    model = random_model(spec, 1)
    likelihood = MaximumLikelihood(model, rng(2), learning_rate=0.1, learning_rate_decay=0.5)
    for num_epochs in calls:
        likelihood.fit(data, num_epochs)
    assert likelihood.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**5)
    together = random_model(spec, 1)
    MaximumLikelihood(together, rng(2), learning_rate=0.1, learning_rate_decay=0.5).fit(data, 5)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), together.parameters(), strict=True)
    )


def test_weight_decay_shrinks_what_nothing_else_moves(spec: TokenSpec) -> None:
    model = random_model(spec, 1)
    before = copy.deepcopy(model)
    likelihood = MaximumLikelihood(model, rng(2), learning_rate=0.1, weight_decay=0.3)
    for parameter in (p for p in model.parameters() if p.requires_grad):
        parameter.grad = torch.zeros_like(parameter)
    likelihood.optimizer.step()
    for after, old in zip(model.parameters(), before.parameters(), strict=True):
        expected = old * (1 - 0.1 * 0.3) if old.requires_grad else old
        torch.testing.assert_close(after, expected)


@pytest.mark.parametrize(
    ("option", "value"),
    [("learning_rate_decay", 0.0), ("learning_rate_decay", 1.1), ("weight_decay", -1.0)],
)
def test_a_decay_out_of_range_is_refused(spec: TokenSpec, option: str, value: float) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match=rf"{option} is {value}; allowed is"):
        MaximumLikelihood(random_model(spec), rng(), **options)


def test_a_corpus_beyond_the_budget_of_an_epoch_is_passed_through_in_parts() -> None:
    sequences = torch.arange(70, dtype=torch.int16).view(10, 7)
    parts = [sequences_of_epoch(sequences, 28, epoch) for epoch in range(6)]
    assert all(part.numel() <= 28 and part.dtype == torch.int64 for part in parts)
    passes = [torch.cat(parts[:3]).tolist(), torch.cat(parts[3:]).tolist()]
    assert all(sorted(rows) == sequences.tolist() for rows in passes)
    assert passes[0] != passes[1]
    assert torch.equal(sequences_of_epoch(sequences, 28, 4), parts[4])
    for whole in (0, 70):
        assert sequences_of_epoch(sequences, whole, 3).tolist() == sequences.tolist()


@pytest.mark.parametrize("kind", [torch.int16, torch.int32])
def test_sequences_of_any_integer_type_teach_the_same(kind: torch.dtype, spec: TokenSpec) -> None:
    data = random_model(spec, 3).sample(40, rng())
    plain, narrow = random_model(spec, 1), random_model(spec, 1)
    told = MaximumLikelihood(plain, rng(2)).fit(data, 2)
    assert MaximumLikelihood(narrow, rng(2)).fit(data.to(kind), 2) == told
    for one, other in zip(plain.parameters(), narrow.parameters(), strict=True):
        assert torch.equal(one, other)
