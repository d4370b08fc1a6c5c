"""A fast route proves that it applies, or leaves the work to torch: kernels, tables and carried
states against a user's own.
"""

from __future__ import annotations

import inspect
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

import seqgan_env  # noqa: F401  (registers the ids)
from agents.baselines import MLE
from agents.sb3.agent import DQN, PPO
from agents.sb3.encoding import PrefixReader
from seqgan_env import native
from seqgan_env.discriminators.cnn import PAPER_CNN, CNNConfig, CNNDiscriminator, CNNSteps
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.envs.registration import build_rewards
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.generators.sampling import linear_weighted_nll
from seqgan_env.native import adam
from seqgan_env.native.fast_routes import Snapshot
from seqgan_env.native.linear import product
from seqgan_env.native.network import Network
from seqgan_env.native.pooling import FilterBank, pool_tables
from seqgan_env.rewards.model import RewardSettings
from seqgan_env.rewards.scorers import OptimalScorer, OracleScorer
from seqgan_env.rewards.sources import is_control
from seqgan_env.rowwise import in_whole_blocks, sigmoid
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.types import TokenSpec

from .conftest import EOS, random_model, rng

SMALL = CNNConfig(
    widths=(1, 3, 6), channels=(5, 7, 4), embedding_dim=8, dropout=0.0, learning_rate=3e-3
)
HALF = CNNConfig(widths=(1, 3, 6), channels=(50, 37, 40), embedding_dim=8, bfloat16_highway=True)

needs_kernels = pytest.mark.skipif(
    not native.usable(torch.zeros(1)), reason="the compiled kernels are not built"
)
# By the kernels of every variant that runs here, and by torch.
every_route = pytest.mark.parametrize("wanted", [*native.variants_here(), "torch"])


def discriminator(
    config: CNNConfig = SMALL, kind: type[CNNDiscriminator] = CNNDiscriminator
) -> CNNDiscriminator:
    return kind.initialised(EOS, rng(), config)


def real_and_generated(num: int = 256) -> tuple[Tensor, Tensor]:
    return random_model(EOS, 1, 2.0).sample(num, rng(1)), random_model(EOS, 2, 2.0).sample(
        num, rng(2)
    )


def kernels_of(trainer: DiscriminatorTrainer) -> Network | None:
    """The parameters that the kernels would train; None where they decline."""
    assert isinstance(trainer.fast_steps, CNNSteps)
    return trainer.fast_steps.network_for_kernels(trainer.optimizer)


def trained(trainer: DiscriminatorTrainer, num_epochs: int = 2) -> list[Tensor]:
    """The parameters behind some epochs."""
    trainer.fit(*real_and_generated(), num_epochs, rng(3))
    return [parameter.detach() for parameter in trainer.discriminator.parameters()]


def assert_close(actual: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


# What is derived from parameters follows what they hold, whoever wrote there.

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    name: kind
    for name, kind in sorted(vars(torch.optim).items())
    if isinstance(kind, type)
    and issubclass(kind, torch.optim.Optimizer)
    and name not in ("Optimizer", "SparseAdam")
}
FORMS = [
    (name, form)
    for name, form in itertools.product(OPTIMIZERS, ("plain", "foreach", "fused"))
    if form == "plain" or form in inspect.signature(OPTIMIZERS[name]).parameters
]
every_optimizer = pytest.mark.parametrize(("name", "form"), FORMS)


def made(name: str, form: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if name == "Muon":  # is for matrices alone
        parameters = [parameter for parameter in parameters if parameter.ndim == 2]
    arguments: dict[str, Any] = {} if form == "plain" else {form: True}
    return OPTIMIZERS[name](parameters, lr=1e-2, **arguments)  # type: ignore[call-arg]


def step(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> None:
    def closure() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return float(value.detach())

    optimizer.step(closure)


def test_fused_optimizers_are_among_them() -> None:
    assert {("Adam", "fused"), ("AdamW", "fused"), ("SGD", "fused"), ("Adagrad", "fused")} <= set(
        FORMS
    )


@every_route
@every_optimizer
def test_scores_follow_every_optimizer(
    name: str, form: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    model, tokens = discriminator(HALF), real_and_generated(60)[0]
    optimizer = made(name, form, list(model.parameters()))
    before = model.logits(tokens)
    for _ in range(3):
        step(optimizer, lambda: -model(tokens).mean())
        torch.testing.assert_close(
            model.logits(tokens), model(tokens).detach(), atol=0.02, rtol=0.01
        )
    assert float((model.logits(tokens) - before).abs().max()) > 1e-3


@every_optimizer
def test_carried_states_follow_every_optimizer(name: str, form: str) -> None:
    model, tokens = (
        LSTMLanguageModel.initialised(EOS, rng(), 8, 8),
        random_model(EOS).sample(20, rng(1)),
    )
    optimizer = made(
        name, form, [parameter for parameter in model.parameters() if parameter.requires_grad]
    )
    reader, lengths = PrefixReader(model), torch.full((20,), 2)
    prefixes = tokens.masked_fill(torch.arange(EOS.seq_len) >= 2, EOS.pad_token)
    for _ in range(2):
        reader.hidden(prefixes, lengths)
        reader.draw(reader.hidden(prefixes, lengths), lengths, torch.rand(20, generator=rng(2)))
        step(optimizer, lambda: model.weighted_nll(tokens, torch.ones(tokens.shape)))
        fresh = PrefixReader(model)
        hidden = reader.hidden(prefixes, lengths)
        assert torch.equal(hidden, fresh.hidden(prefixes, lengths))
        draws = [r.draw(hidden, lengths, torch.rand(20, generator=rng(3))) for r in (reader, fresh)]
        assert all(torch.equal(a, b) for a, b in zip(*draws, strict=True))


def by_data(parameter: nn.Parameter) -> None:
    parameter.data.view(-1)[-1] += 1.0


def by_numpy(parameter: nn.Parameter) -> None:
    parameter.detach().numpy().ravel()[-1] += 1.0


def by_swap(parameter: nn.Parameter) -> None:
    parameter.data = parameter.data.flip(0).clone()


@every_route
@pytest.mark.parametrize("write", [by_data, by_numpy, by_swap])
def test_scores_follow_a_write_to_any_parameter(
    write: Callable[[nn.Parameter], None], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    tokens = real_and_generated(40)[0]
    for config in (SMALL, HALF):
        model = discriminator(config)
        for name, parameter in model.named_parameters():
            model.logits(tokens)
            write(parameter)
            fresh = discriminator(config)
            fresh.load_state_dict(model.state_dict())
            assert torch.equal(model.logits(tokens), fresh.logits(tokens)), name


def test_a_snapshot_knows_every_bit() -> None:
    tensors = [
        torch.zeros(3),
        torch.tensor([torch.nan, 1.0]),
        torch.zeros(5, 3, dtype=torch.bfloat16).t(),
        torch.zeros(0),
    ]
    snapshot = Snapshot()
    assert not snapshot.matches(tensors)
    snapshot.take(tensors)
    assert snapshot.matches(tensors)
    assert not snapshot.matches(tensors[:2])
    assert not snapshot.matches([tensors[0].double(), *tensors[1:]])
    for tensor in tensors[:3]:
        kept = tensor.clone()
        tensor[(0,) * tensor.ndim] = -0.0
        assert not snapshot.matches(tensors)
        tensor.copy_(kept)
        assert snapshot.matches(tensors)


# What is a user's own is what scores, trains and writes.


class ByOwnForward(CNNDiscriminator):
    """A bag of tokens with a forward of its own."""

    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        logits: Tensor = 5 * self.embedding(tokens).mean((1, 2))
        return logits


class ByOwnHead(CNNDiscriminator):
    def _head(self, features: Tensor, dropout: Any = None) -> Tensor:
        return features.sum(1)


class WithMore(CNNDiscriminator):
    """A subclass that overrides nothing."""

    def describe(self) -> str:
        return "more"


class Scaled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 3 * super().forward(input)


@every_route
@pytest.mark.parametrize("kind", [ByOwnForward, ByOwnHead])
def test_a_subclass_trains_and_scores_by_its_own_forward(
    kind: type[CNNDiscriminator], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    real, generated = real_and_generated(300)
    model = discriminator(kind=kind)
    DiscriminatorTrainer(model).fit(real, generated, 3, rng(3))
    for tokens in (real, real[:1]):
        torch.testing.assert_close(model.logits(tokens), model(tokens).detach())
    plain = discriminator()
    plain.load_state_dict(model.state_dict())
    assert not torch.allclose(plain.logits(real), model.logits(real), atol=1e-2)


def test_a_subclass_that_overrides_nothing_keeps_the_fast_routes() -> None:
    model = discriminator(kind=WithMore)
    assert model.is_plain()
    assert torch.equal(
        model.logits(real_and_generated()[0]), discriminator().logits(real_and_generated()[0])
    )


def with_hook(model: CNNDiscriminator) -> None:
    model.output.register_forward_hook(lambda module, given, result: 2 * result)


def with_hook_on_the_whole(model: CNNDiscriminator) -> None:
    model.register_forward_hook(lambda module, given, result: 2 * result)


def with_pre_hook(model: CNNDiscriminator) -> None:
    model.highway.register_forward_pre_hook(lambda module, given: (2 * given[0],))


def with_another_layer(model: CNNDiscriminator) -> None:
    layer = Scaled(model.output.in_features, 1)
    layer.load_state_dict(model.output.state_dict())
    model.output = layer


def with_weight_norm(model: CNNDiscriminator) -> None:
    nn.utils.parametrizations.weight_norm(model.highway)
    model.highway.parametrizations.weight.original0.data *= 2  # type: ignore[union-attr, operator]


def with_an_old_weight_norm(model: CNNDiscriminator) -> None:
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(model.highway)
    model.highway.get_parameter("weight_g").data *= 2


def with_a_patched_layer(model: CNNDiscriminator) -> None:
    layer = model.convolutions[0]
    layer.forward = lambda x: 2 * nn.Conv1d.forward(layer, x)  # type: ignore[arg-type]


def with_strides(model: CNNDiscriminator) -> None:
    for convolution in model.convolutions:
        convolution.stride = (2,)  # type: ignore[assignment]


def with_a_norm_of_the_embedding(model: CNNDiscriminator) -> None:
    model.embedding.max_norm = 0.1


CHANGES = [
    with_hook,
    with_hook_on_the_whole,
    with_pre_hook,
    with_another_layer,
    with_weight_norm,
    with_an_old_weight_norm,
    with_a_patched_layer,
    with_strides,
    with_a_norm_of_the_embedding,
]


@every_route
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_in_a_discriminator_counts_on_every_route(
    change: Callable[[CNNDiscriminator], None], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    tokens = real_and_generated(50)[0]
    model = discriminator()
    untouched = model.logits(tokens)
    change(model)
    torch.testing.assert_close(model.logits(tokens), model(tokens).detach())
    assert not torch.allclose(model.logits(tokens), untouched, atol=1e-4)
    trainer = DiscriminatorTrainer(model)
    assert kernels_of(trainer) is None
    assert all(bool(torch.isfinite(parameter).all()) for parameter in trained(trainer))


@needs_kernels
def test_hooks_for_all_modules_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[nn.Module] = []
    model = discriminator()
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, given, result: called.append(module)
    )
    try:
        model.logits(real_and_generated(2)[0])
        DiscriminatorTrainer(model).fit(*real_and_generated(2), 1, rng())
    finally:
        handle.remove()
    assert {type(module) for module in called} >= {
        CNNDiscriminator,
        nn.Embedding,
        nn.Conv1d,
        nn.Linear,
    }


@needs_kernels
def test_hooks_on_gradients_are_called() -> None:
    for register in ("register_hook", "register_post_accumulate_grad_hook"):
        called: list[Tensor] = []
        trainer = DiscriminatorTrainer(discriminator())
        getattr(trainer.discriminator.get_parameter("highway.bias"), register)(called.append)
        trained(trainer, 1)
        assert len(called) == 2, register


class Doubling(LSTMLanguageModel):
    """An LSTM with an encoding of its own: its states are doubled."""

    def hidden_states(self, inputs: Tensor) -> Tensor:
        return 2 * super().hidden_states(inputs)


class OwnBias(LSTMLanguageModel):
    def _bias(self, masked: bool) -> Tensor:
        return super()._bias(masked) + 2 * torch.arange(self.spec.vocab_size).eq(1)


def two_layers(model: LSTMLanguageModel) -> None:
    model.lstm = nn.LSTM(4, 4, num_layers=2, batch_first=True)
    for number, parameter in enumerate(model.lstm.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=rng(number))


def hooked(model: LSTMLanguageModel) -> None:
    model.embedding.register_forward_hook(lambda module, given, result: -result)


def language_model(
    kind: type[LSTMLanguageModel], change: Callable[[LSTMLanguageModel], None] | None
) -> LSTMLanguageModel:
    model = kind(EOS, 4, 4)
    model.load_state_dict(random_model(EOS).state_dict())
    if change:
        change(model)
    return model


@every_route
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Doubling, None),
        (OwnBias, None),
        (LSTMLanguageModel, two_layers),
        (LSTMLanguageModel, hooked),
    ],
)
def test_a_changed_lstm_writes_what_it_says_it_writes(
    kind: type[LSTMLanguageModel],
    change: Callable[[LSTMLanguageModel], None] | None,
    wanted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    model = language_model(kind, change)
    samples = model.sample(20_000, rng(1))
    log_probs = model.token_log_probs(samples)
    # the first two tokens: shares among the samples against the likelihoods that the model states
    words, first, counts = np.unique(
        samples[:, :2].numpy(), axis=0, return_index=True, return_counts=True
    )
    stated = log_probs[torch.from_numpy(first), :2].sum(1).exp().numpy()
    assert len(words) > 5
    assert np.all(np.abs(counts / 20_000 - stated) < 5 * np.sqrt(stated / 20_000) + 1e-4)
    hidden = model.hidden_states(model.inputs(samples[:30])).detach()
    reader = PrefixReader(model)
    for length in range(1, 4):
        prefixes = samples[:30].masked_fill(torch.arange(EOS.seq_len) >= length, EOS.pad_token)
        lengths = torch.full((30,), length)
        torch.testing.assert_close(
            reader.hidden(prefixes, lengths), hidden[:, length], atol=1e-5, rtol=1e-5
        )


def test_an_output_layer_that_would_be_read_wrong_is_refused() -> None:
    for output in (Scaled(4, 5), nn.Linear(4, 5, bias=False)):
        model = random_model(EOS)
        model.output = output
        with pytest.raises(TypeError, match=r"allowed is a torch\.nn.Linear with a bias"):
            model.sample(2, rng())
        with pytest.raises(TypeError, match=r"allowed is a torch\.nn.Linear with a bias"):
            model.weighted_nll(torch.zeros(2, 6, dtype=torch.int64), torch.ones(2, 6))


# The kernels' step of Adam is taken where it is the optimizer's, and nowhere else.


def kernels_off(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("SEQGAN_ENV_NATIVE", "0")


@contextmanager
def by_torch() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        kernels_off(patch)
        yield


def half_trained(trainer: DiscriminatorTrainer) -> None:
    """A bias that joins after some steps of the others."""
    model = trainer.discriminator
    model.get_parameter("highway.bias").requires_grad_(False)
    trainer.fit(*real_and_generated(64), 1, rng(9))
    model.get_parameter("highway.bias").requires_grad_(True)


def steps_apart(trainer: DiscriminatorTrainer) -> None:
    """The same some steps later, all parameters trained, but not for as many steps."""
    half_trained(trainer)
    trainer.fit(*real_and_generated(64), 1, rng(10))


def frozen_late(trainer: DiscriminatorTrainer) -> None:
    trainer.fit(*real_and_generated(64), 1, rng(9))
    trainer.discriminator.get_parameter("highway.bias").requires_grad_(False)


def setting(**settings: Any) -> Callable[[DiscriminatorTrainer], None]:
    """A change of the optimizer's settings."""

    def change(trainer: DiscriminatorTrainer) -> None:
        trainer.optimizer.param_groups[0].update(settings)

    return change


def fewer_parameters(trainer: DiscriminatorTrainer) -> None:
    trainer.optimizer = torch.optim.Adam(
        trainer.discriminator.get_submodule("output").parameters(), lr=3e-3
    )


def two_groups(trainer: DiscriminatorTrainer) -> None:
    first, *others = trainer.discriminator.parameters()
    groups: list[dict[str, Any]] = [{"params": [first], "lr": 1e-1}, {"params": others}]
    trainer.optimizer = torch.optim.Adam(groups, lr=3e-3)


def decoupled(trainer: DiscriminatorTrainer) -> None:
    trainer.optimizer = torch.optim.AdamW(trainer.discriminator.parameters(), lr=3e-3)


def of_doubles(trainer: DiscriminatorTrainer) -> None:
    trainer.discriminator.double()


def strided(trainer: DiscriminatorTrainer) -> None:
    weight = trainer.discriminator.get_parameter("highway.weight")
    weight.data = weight.data.t().contiguous().t()


DECLINED = {
    "tensor lr": setting(lr=torch.tensor(3e-3)),
    "tensor beta": setting(betas=(torch.tensor(0.9), torch.tensor(0.999))),
    "weight decay": setting(weight_decay=0.1),
    "amsgrad": lambda trainer: setattr(
        trainer,
        "optimizer",
        torch.optim.Adam(trainer.discriminator.parameters(), lr=3e-3, amsgrad=True),
    ),
    "maximize": setting(maximize=True),
    "fewer parameters": fewer_parameters,
    "two groups": two_groups,
    "AdamW": decoupled,
    "half trained": half_trained,
    "steps apart": steps_apart,
    "frozen late": frozen_late,
    "doubles": of_doubles,
    "strides": strided,
}


@needs_kernels
@pytest.mark.parametrize("case", DECLINED)
def test_what_the_kernels_do_not_know_trains_as_by_torch(case: str) -> None:
    results = []
    for wanted in ("1", "0"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SEQGAN_ENV_NATIVE", wanted)
            trainer = DiscriminatorTrainer(discriminator())
            if case.startswith("tensor"):
                trainer.optimizer = torch.optim.Adam(trainer.discriminator.parameters(), lr=3e-3)
                trainer.optimizer.param_groups[0]["capturable"] = False
            before = [
                parameter.detach().clone() for parameter in trainer.discriminator.parameters()
            ]
            DECLINED[case](trainer)
            assert kernels_of(trainer) is None
            after = trained(trainer)
            results.append(after)
    assert_close(*results)
    moved = [not torch.equal(a.to(b.dtype), b) for a, b in zip(before, after, strict=True)]
    assert moved == (
        [False] * (len(moved) - 2) + [True] * 2
        if case == "fewer parameters"
        else [True] * len(moved)
    )


@needs_kernels
def test_the_step_of_adam_refuses_what_it_does_not_know() -> None:
    model = discriminator()
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(3e-3), foreach=False)
    before = model.highway.weight.detach().clone()
    others = [
        parameter for parameter in model.parameters() if parameter is not model.highway.weight
    ]
    factors = adam.Factors(torch.ones(32, 2), torch.ones(2, 16))
    with pytest.raises(
        ValueError,
        match="settings are not plain numbers; the kernels' step of Adam cannot stand in",
    ):
        adam.adam_step(
            optimizer, [(p, torch.ones_like(p)) for p in others], model.highway.weight, factors
        )
    assert torch.equal(model.highway.weight, before)
    assert not optimizer.state


@needs_kernels
def test_hooks_of_an_optimizer_and_schedulers_see_every_step() -> None:
    trainer, seen = DiscriminatorTrainer(discriminator()), []
    for register in (
        trainer.optimizer.register_step_pre_hook,
        trainer.optimizer.register_step_post_hook,
    ):
        register(lambda optimizer, args, kwargs: seen.append(optimizer))
    handle = register_optimizer_step_post_hook(
        lambda optimizer, args, kwargs: seen.append(optimizer)
    )
    trained(trainer, 1)
    handle.remove()
    assert len(seen) == 3 * 2  # two batches of 256
    scheduled = DiscriminatorTrainer(discriminator())
    scheduler = torch.optim.lr_scheduler.StepLR(scheduled.optimizer, 1)
    assert adam.objection(scheduled.optimizer, list(scheduled.discriminator.parameters()))
    trained(scheduled, 1)
    scheduler.step()  # warns, which is an error here, if no step was seen


@needs_kernels
def test_the_kernels_train_where_they_may() -> None:
    trainer = DiscriminatorTrainer(discriminator())
    assert kernels_of(trainer) is not None
    fast = trained(trainer)
    with by_torch():
        slow = DiscriminatorTrainer(discriminator())
        assert kernels_of(slow) is None
        assert_close(fast, trained(slow))


@every_route
@pytest.mark.parametrize("token", [-1, EOS.vocab_size + 1, 99])
def test_tables_are_never_read_beside_their_rows(
    token: int, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    tokens = real_and_generated(20)[0]
    tokens[3, 2] = token
    with pytest.raises(IndexError):
        discriminator().score(tokens)


# Kernels read memory: what they are given is checked, under `python -O` too.


def half_head(**others: Tensor | float | None) -> None:
    """One row of two features, with some of its arguments replaced."""
    arguments: dict[str, Tensor | float | None] = {
        "z": torch.ones(1, 4, dtype=torch.bfloat16),
        "x": torch.ones(1, 2),
        "weight": torch.ones(2),
        "bias": 0.0,
        "out": torch.ones(1),
        "num_features": 2,
    }
    native.run("half_head", 1, 1, **arguments | others)


REFUSED = {
    "strides": (
        lambda: product(torch.ones(4, 6)[:, ::2], torch.ones(3, 2)),
        ValueError,
        "not contiguous",
    ),
    "strides of b": (
        lambda: product(torch.ones(4, 3), torch.ones(2, 3).t()),
        ValueError,
        "not contiguous",
    ),
    "doubles": (
        lambda: product(torch.ones(4, 3).double(), torch.ones(3, 2)),
        TypeError,
        "float64 for left; it reads float32",
    ),
    "shapes": (lambda: product(torch.ones(4, 3), torch.ones(2, 2)), ValueError, "have shapes"),
    "a tensor for a number": (
        lambda: half_head(bias=torch.ones(2)),
        TypeError,
        "float32 for bias; it reads float",
    ),
    "a missing tensor": (
        lambda: half_head(weight=None),
        TypeError,
        "was given None for weight; it reads float32",
    ),
    "a name that is none": (
        lambda: half_head(wieght=torch.ones(2)),
        TypeError,
        "half_head was given .*wieght.*; it takes",
    ),
    "an argument too few": (lambda: native.run("adam", 1, 1), TypeError, "it takes .*beta1"),
    "too few numbers": (
        lambda: half_head(x=torch.ones(1)),
        ValueError,
        "kernel half_head was given 1 numbers for x; it reads 2",
    ),
    "too many numbers": (
        lambda: half_head(out=torch.ones(2)),
        ValueError,
        "kernel half_head was given 2 numbers for out; it reads 1",
    ),
    "a size below zero": (
        lambda: half_head(num_features=-2),
        ValueError,
        "num_features is -2; it cannot be negative",
    ),
    "tables of doubles": (
        lambda: pool_tables(
            FilterBank((1,), (2,)), torch.zeros(1, 2), torch.ones(32).double(), torch.ones(2), 2
        ),
        TypeError,
        "float64",
    ),
}


@needs_kernels
@pytest.mark.parametrize("case", REFUSED)
def test_kernels_refuse_memory_that_is_not_as_they_read_it(case: str) -> None:
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


@needs_kernels
@pytest.mark.slow
def test_kernels_refuse_it_without_assertions_too() -> None:
    program = (
        "import torch; from seqgan_env.native.linear import product\n"
        "try: product(torch.ones(4, 6)[:, ::2], torch.ones(3, 2))\n"
        "except ValueError: print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert done.stdout == "refused\n"


class Marked(Tensor):
    """A subclass of tensors."""


def test_only_plain_tensors_are_for_the_kernels() -> None:
    x = torch.ones(2)
    others = [x.double(), x.to("meta"), x.to_sparse(), x.as_subclass(Marked), x.int()]
    assert not any(native.usable(other) for other in others)
    seen: list[bool] = []

    def look(row: Tensor) -> Tensor:
        seen.append(native.usable(row))
        return row

    torch.func.vmap(look)(torch.ones(2, 2))
    assert seen == [False]


@every_route
def test_gradients_by_transforms_of_functions_are_those_of_autograd(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    model, tokens = discriminator(), real_and_generated(30)[0]
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    mean = torch.func.grad(
        lambda given: torch.func.functional_call(model, given, (tokens,)).mean()
    )(parameters)
    model(tokens).mean().backward()
    assert_close(
        list(mean.values()),
        [parameter.grad for parameter in model.parameters() if parameter.grad is not None],
    )


def test_a_second_derivative_that_would_be_wrong_is_refused() -> None:
    hidden, weight, bias = (
        torch.ones(2, 3, requires_grad=True),
        torch.ones(4, 3, requires_grad=True),
        torch.zeros(4),
    )
    loss = linear_weighted_nll(hidden, weight, bias, torch.tensor([0, 1]), torch.ones(2))
    (gradient,) = torch.autograd.grad(loss, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        gradient.sum().backward()


# A reward is a function of the tokens and the parameters.

SIZES = [1, 2, 3, 5, 15, 16, 17, 31, 64, 100, 300]


def scored_in_parts(score: Callable[[Tensor], Tensor], tokens: Tensor) -> None:
    together = score(tokens)
    for size in SIZES:
        parts = torch.cat([score(part) for part in tokens[: 3 * size].split(size)])
        assert torch.equal(parts, together[: len(parts)]), size


@every_route
@pytest.mark.parametrize(
    "config",
    [SMALL, HALF, CNNConfig(), PAPER_CNN],
    ids=["tiny", "half", "small", "paper"],
)
@pytest.mark.parametrize("table_bytes", [2**30, 0], ids=["tables", "no tables"])
def test_a_score_depends_on_neither_the_batch_nor_what_was_scored_before(
    config: CNNConfig, wanted: str, table_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    monkeypatch.setattr("seqgan_env.discriminators.tables._TABLE_BYTES", table_bytes)
    spec = TokenSpec(300, 20)
    model = CNNDiscriminator.initialised(spec, rng(), config)
    tokens = torch.randint(300, (300, 20), generator=rng(1))
    first = model.score(tokens[:1])  # by a discriminator that has never scored
    scored_in_parts(model.score, tokens)
    assert torch.equal(model.score(tokens[:1]), first)


@every_route
def test_the_paper_s_discriminator_pays_the_same_again(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    task = OracleTask(OracleSettings(2000, 20, num_real=50, num_held_out=10, num_eval=10))
    env = gym.make(
        "SeqGAN/Oracle-v0",
        rewards=build_rewards(task, RewardSettings(num_rollouts=2), discriminator="paper"),
    )
    rewards: Any = env.unwrapped.rewards  # type: ignore[attr-defined]
    paid = []
    for _ in range(2):
        env.reset(seed=0)
        paid.append([env.step(int(action))[1] for action in task.real_sequences[0]])
        rewards.discriminator.score(task.real_sequences)  # enough for tables to pay
    assert paid[0] == paid[1]


def test_scores_of_other_sources_do_not_depend_on_the_batch() -> None:
    oracle, policy = random_model(EOS, 1), random_model(EOS, 2)
    tokens = policy.sample(300, rng())
    for scorer in (
        OracleScorer(oracle, EOS),
        OptimalScorer(oracle, policy),
        OptimalScorer(oracle, policy, "logit"),
    ):
        if native.usable(torch.zeros(1)):
            scored_in_parts(scorer.score, tokens)


def test_blocks_and_vectors_change_no_row() -> None:
    x = torch.randn(1000, generator=rng())
    scored_in_parts(sigmoid, x)
    torch.testing.assert_close(sigmoid(x), torch.sigmoid(x))
    rows = torch.randn(7, 5, generator=rng())
    seen: list[int] = []

    def doubled(block: Tensor) -> Tensor:
        seen.append(len(block))
        return 2 * block

    assert torch.equal(in_whole_blocks(doubled, rows), 2 * rows)
    assert seen == [16]
    assert in_whole_blocks(doubled, rows[:0]).shape == (0, 5)


# What torch is set to by others changes nothing here, and nothing of torch's is changed.


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def episode(**settings: Any) -> list[float]:
    """What some episodes pay in an environment that learns in between."""
    sizes: dict[str, Any] = {"num_real": 60, "num_held_out": 20, "num_rollouts": 2}
    if not is_control(settings.get("source", "discriminator")):
        sizes |= {"warm_up": 2, "d_interval": 2}
    env = gym.make("SeqGAN/Oracle-v0", **sizes, **settings)
    rewards = []
    for seed in range(5):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        for _ in range(10):
            rewards.append(float(env.step(env.action_space.sample())[1]))
    return rewards


@every_route
@pytest.mark.parametrize(
    "source", ["discriminator", "optimal", "oracle", "bleu", "constant", "noise"]
)
def test_the_default_number_type_changes_no_reward(
    source: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    expected = episode(source=source)
    with default_dtype(torch.float64):
        assert episode(source=source) == expected


@every_route
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_an_environment_made_inside_inference_mode_learns(
    mode: Callable[[], Any], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    expected = episode()
    with mode():
        assert episode() == expected
        model, policy = discriminator(), LSTMLanguageModel.initialised(EOS, rng(), 4, 4)
        task = OracleTask(OracleSettings(num_real=20, num_held_out=5, num_eval=5))
        model.logits(real_and_generated(4)[0])
    trained(DiscriminatorTrainer(model), 1)
    model.logits(real_and_generated(4)[0])
    MaximumLikelihood(policy, rng()).fit(random_model(EOS).sample(20, rng()), 1)
    fitted = LSTMLanguageModel.initialised(task.spec, rng(), 4, 4)
    MaximumLikelihood(fitted, rng()).fit(task.real_sequences, 1)


def test_making_things_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    gym.make("SeqGAN/Oracle-v0", num_real=20, num_held_out=5)
    build_rewards(
        OracleTask(OracleSettings(num_real=20, num_held_out=5, num_eval=5)),
        discriminator="paper",
    )
    CNNDiscriminator.initialised(EOS, rng(), SMALL)
    LSTMLanguageModel.initialised(EOS, rng())
    assert torch.equal(torch.get_rng_state(), before)


def test_models_are_the_same_under_any_default_number_type() -> None:
    makers = (lambda: discriminator(), lambda: LSTMLanguageModel.initialised(EOS, rng()))
    for make in makers:
        expected = make().state_dict()
        with default_dtype(torch.float64):
            given = make().state_dict()
        assert all(torch.equal(given[name], value) for name, value in expected.items())


@every_route
def test_autocast_changes_no_reward_no_draw_and_no_training(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    policy, (real, _) = random_model(EOS), real_and_generated(40)

    def everything() -> list[Tensor]:
        model = discriminator()
        scores = [model.score(real), policy.token_log_probs(real), policy.sample(30, rng(1))]
        return [*scores, *trained(DiscriminatorTrainer(model), 1)]

    expected = everything()
    with torch.autocast("cpu", torch.bfloat16):
        assert all(
            torch.equal(given, value) for given, value in zip(everything(), expected, strict=True)
        )


def torch_runs_lstms_in_bfloat16() -> bool:
    """Whether this processor has what torch's LSTM needs under autocast; not all of x86 have."""
    try:
        with torch.autocast("cpu", torch.bfloat16):
            torch.nn.LSTM(4, 4)(torch.zeros(2, 1, 4))
    except RuntimeError:
        return False
    return True


@every_route
def test_a_loss_under_autocast_has_gradients_and_is_near_the_one_without(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not torch_runs_lstms_in_bfloat16():
        pytest.skip("torch has no LSTM in bfloat16 for this processor")
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    policy, (real, generated) = random_model(EOS), real_and_generated(40)
    with torch.autocast("cpu", torch.bfloat16):
        loss = policy.weighted_nll(generated, torch.ones(generated.shape))
        logits = discriminator()(real)
    (loss + logits.sum()).backward()
    torch.testing.assert_close(logits.float(), discriminator()(real), atol=0.05, rtol=0.05)


def updates(kind: Callable[..., Any]) -> tuple[list[dict[str, float]], Tensor]:
    """What an agent reports of its pre-training and two updates, and the state of the global
    generator behind its making.
    """
    task = OracleTask(
        OracleSettings(vocab_size=12, seq_len=4, num_real=50, num_held_out=10, num_eval=10)
    )
    agent = kind(TokenVectorEnv(8, build_rewards(task)))
    state = torch.get_rng_state()
    return [agent.pretrain(task.real_sequences, 1), agent.update(), agent.update()], state


@pytest.mark.parametrize("kind", [MLE, PPO, DQN])
def test_agents_know_neither_the_default_number_type_nor_the_global_generator(
    kind: Callable[..., Any],
) -> None:
    before = torch.get_rng_state()
    expected, state = updates(kind)
    assert torch.equal(state, before)
    with default_dtype(torch.float64):
        assert str(updates(kind)[0]) == str(expected)  # as text, for not a number is not itself
        assert torch.get_default_dtype() == torch.float64


@every_route
@pytest.mark.slow
@pytest.mark.parametrize("num_threads", [2, 3])
def test_a_score_depends_on_the_batch_with_no_number_of_threads(
    num_threads: int, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", wanted)
    tokens = torch.randint(300, (300, 20), generator=rng(1))
    torch.set_num_threads(num_threads)
    try:
        for config in (SMALL, HALF, CNNConfig(), PAPER_CNN):
            scored_in_parts(
                CNNDiscriminator.initialised(TokenSpec(300, 20), rng(), config).score, tokens
            )
    finally:
        torch.set_num_threads(1)
