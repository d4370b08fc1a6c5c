"""The protocol of a discriminator: what is built in keeps it, what comes from outside is trained,
and the checker says of what does not keep it the sentence that mends it.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor, nn

import seqgan_env  # noqa: F401  (registers the ids)
from seqgan_env import DiscriminatorTrainer
from seqgan_env.bench.fingerprints import code_of_module
from seqgan_env.bench.jobs import Job, read_suite
from seqgan_env.cli.main import main
from seqgan_env.discriminators.base import Discriminator
from seqgan_env.discriminators.cnn import CNNDiscriminator, paper, small
from seqgan_env.discriminators.loading import (
    load_discriminator,
    make_discriminator,
)
from seqgan_env.discriminators.lstm import LSTMDiscriminator
from seqgan_env.discriminators.ratio import RatioDiscriminator
from seqgan_env.discriminators.trainer import discriminator_accuracy
from seqgan_env.envs.registration import build_rewards
from seqgan_env.registry import DISCRIMINATORS
from seqgan_env.tasks import make_task
from seqgan_env.testing import check_discriminator
from seqgan_env.training.settings import settings_from
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, SpecTask, random_model, rng

LEARNING_RATIO = functools.partial(RatioDiscriminator, learns_by="both", num_models=2)


class Bag(Discriminator):
    """A bag of tokens: the shortest discriminator there is."""

    def __init__(self, spec: TokenSpec, rng: torch.Generator, embedding_dim: int = 8) -> None:
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.vocab_size + 1, embedding_dim)
        self.output = nn.Linear(embedding_dim, 1)

    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        logits: Tensor = self.output(self.embedding(tokens).mean(1)).squeeze(1)
        return logits


@pytest.mark.parametrize(
    "make",
    [small, paper, LSTMDiscriminator, RatioDiscriminator, LEARNING_RATIO, Bag],
    ids=["small", "paper", "lstm", "ratio", "learning ratio", "bag"],
)
def test_what_is_built_in_keeps_the_protocol(make: Callable[..., Any]) -> None:
    check_discriminator(make)
    if make is not paper:
        check_discriminator(make, EOS)


def test_an_object_is_checked_as_well() -> None:
    check_discriminator(CNNDiscriminator.initialised(EOS, rng()))


# What breaks it, and the sentence that is to be read.


class NoDiscriminator(nn.Module):
    def __init__(self, spec: TokenSpec, rng: torch.Generator) -> None:
        super().__init__()


class TwoColumns(Bag):
    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        return super().forward(tokens, dropout_rng).unsqueeze(1)


class GlobalDropout(Bag):
    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        embedded = nn.functional.dropout(self.embedding(tokens), 0.5, self.training)
        return super().forward(tokens) + embedded.mean((1, 2))


class OverTheBatch(Bag):
    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        logits = super().forward(tokens)
        return logits - 5 * logits.mean()


class Unseeded(Bag):
    def __init__(self, spec: TokenSpec, rng: torch.Generator) -> None:
        super().__init__(spec, rng)
        generator = torch.Generator()
        generator.seed()
        nn.init.normal_(self.embedding.weight, generator=generator)


class Stubborn(Bag):
    def __init__(self, spec: TokenSpec, rng: torch.Generator) -> None:
        super().__init__(spec, rng)
        self.requires_grad_(False)
        self.more = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        return super().forward(tokens) + 0 * self.more


class TakesThePolicy(Bag):
    def bind(self, policy: Any) -> None:
        self.policy = policy


class Forgetful(Bag):
    def __init__(self, spec: TokenSpec, rng: torch.Generator) -> None:
        super().__init__(spec, rng)
        self.cache: Tensor | None = None

    def logits(self, tokens: Tensor) -> Tensor:
        if self.cache is None:
            self.cache = self.embedding.weight.detach().clone()
        return self.cache[tokens].mean((1, 2))


class Unasked(Bag):
    def score(self, tokens: Tensor) -> Tensor:
        return self.logits(tokens)


BROKEN = [
    (3, "int is neither a discriminator nor a class of them"),
    (NoDiscriminator, "derive it from that and give it a forward"),
    (lambda spec: Bag(spec, rng()), "raised TypeError"),
    (TwoColumns, r"logits returned shape \(48, 1\) for 48 sequences; expected \(48,\)"),
    (GlobalDropout, "forward draws from torch's global generator"),
    (OverTheBatch, "depends on the others in its batch"),
    (Unseeded, "begins with other parameters"),
    (Stubborn, "moved no parameter; if that is meant, say learns_from_negatives = False"),
    (TakesThePolicy, "has the policy's parameters among its own"),
    (Forgetful, "caches must follow them"),
    (Unasked, "score is not the probability"),
]


@pytest.mark.parametrize(("broken", "sentence"), BROKEN, ids=[sentence for _, sentence in BROKEN])
def test_the_checker_says_what_to_mend(broken: object, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_discriminator(broken)


# By name.


def test_the_built_in_ones_have_names() -> None:
    assert {"small", "paper", "lstm", "ratio"} <= set(DISCRIMINATORS.names())
    assert load_discriminator(f"{__name__}:Bag") is Bag


BAD = [
    ("rato", {}, "unknown discriminator 'rato'.* Did you mean 'ratio'"),
    ("no_such:Thing", {}, "discriminator 'no_such:Thing' cannot be imported"),
    (f"{__name__}:Nothing", {}, "has no 'Nothing'"),
    (f"{__name__}:NoDiscriminator", {}, "no subclass of seqgan_env.Discriminator"),
    ("lstm", {"hiden_dim": 4}, "option of discriminator lstm.* Did you mean 'hidden_dim'"),
    ("small", {"dropuot": 0}, "option of discriminator small.* Did you mean 'dropout'"),
    ("lstm", {"batch_size": 0}, "batch_size is 0; allowed is 1 or more"),
    ("small", {"widths": [1, 2]}, "2 filter widths and 4 channel counts"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD)
def test_a_name_or_an_option_that_is_none_is_told(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_discriminator(name, EOS, rng(), options)


def test_options_reach_the_class_and_layers_follow_the_seed() -> None:
    models: list[Any] = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(models))  # makes no difference
        models.append(make_discriminator(f"{__name__}:Bag", EOS, rng(seed), {"embedding_dim": 3}))
    weights = [model.get_parameter("embedding.weight") for model in models]
    assert weights[0].shape == (EOS.vocab_size + 1, 3)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_made_discriminator_takes_no_options() -> None:
    made = CNNDiscriminator(EOS)
    with pytest.raises(ValueError, match="batch_size was given for a discriminator that is made"):
        build_rewards(SpecTask(EOS), discriminator=made, d_batch_size=3)


def test_options_are_settings_and_reach_the_environment() -> None:
    options = {"hidden_dim": 5}
    settings = settings_from("tiny", {"discriminator": "lstm", "discriminator_options": options})
    assert settings.discriminator_options == options
    env = gym.make(
        "SeqGAN/Oracle-v0", num_real=20, discriminator="lstm", discriminator_options=options
    )
    discriminator = env.unwrapped.rewards.discriminator  # type: ignore[attr-defined]
    assert isinstance(discriminator, LSTMDiscriminator)
    assert discriminator.lstm.hidden_size == 5


# The classifiers learn.


@pytest.mark.slow
@pytest.mark.parametrize("make", [LSTMDiscriminator, small])
def test_it_learns_to_tell_apart_what_differs_and_not_what_does_not(
    make: Callable[..., Discriminator],
) -> None:
    spec = TokenSpec(20, 8)
    real, other = random_model(spec, 1, 2.0), random_model(spec, 2, 2.0)
    for negatives, low, high in ((other, 0.8, 1.0), (real, 0.45, 0.55)):
        model = make(spec, rng())
        DiscriminatorTrainer(model).fit(
            real.sample(3000, rng(1)), negatives.sample(3000, rng(2)), 5, rng(3)
        )
        accuracy = discriminator_accuracy(
            model, real.sample(2000, rng(4)), negatives.sample(2000, rng(5))
        )
        assert low <= accuracy["accuracy_heldout"] <= high


def test_the_lstm_reads_both_ways_and_no_padding() -> None:
    model = LSTMDiscriminator(EOS, rng())
    tokens = random_model(EOS).sample(200, rng())
    for position in (0, 1):
        changed = tokens.clone()
        changed[:, position] = 1 + tokens[:, position] % (EOS.vocab_size - 1)
        assert bool((model.logits(changed) != model.logits(tokens)).any())
    states = model.lstm(model.embedding(tokens))[0]
    written = tokens != EOS.pad_token
    row = int((~written).any(1).int().argmax())  # one that ends early
    features = states[row][written[row]].amax(0)
    expected = model.output(features.unsqueeze(0)).squeeze()
    torch.testing.assert_close(model(tokens)[row], expected)


@pytest.mark.parametrize("make", [LSTMDiscriminator, Bag])
def test_a_score_is_bit_for_bit_the_same_in_any_batch(make: Callable[..., Discriminator]) -> None:
    model, tokens = make(EOS, rng()), random_model(EOS).sample(300, rng())
    parts = torch.cat([model.score(part) for part in tokens.split([1, 2, 7, 90, 200])])
    assert torch.equal(parts, model.score(tokens))


def test_the_penalty_is_that_of_the_output_layer_and_shrinks_it() -> None:
    tokens = random_model(FIXED).sample(64, rng())
    norms = []
    for l2 in (0.0, 1.0):
        model = LSTMDiscriminator(FIXED, rng(), l2=l2, batch_size=16)
        penalty = model.penalty()
        weight, bias = model.output.weight.detach(), model.output.bias.detach()
        expected = 0.5 * l2 * float(weight.square().sum() + bias.square().sum())
        assert (penalty is None) == (l2 == 0)
        assert penalty is None or float(penalty.detach()) == pytest.approx(expected)
        DiscriminatorTrainer(model).fit(tokens, tokens.flip(0), 5, rng(1))
        norms.append(float(weight.norm()))
    assert norms[1] < norms[0]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.AdamW])
def test_any_optimizer_trains_any_discriminator(optimizer: Callable[..., Any]) -> None:
    tokens = random_model(FIXED).sample(64, rng())
    for make in (LSTMDiscriminator, small):
        model = make(FIXED, rng())
        trainer = DiscriminatorTrainer(model)
        trainer.optimizer = optimizer(model.parameters(), lr=1e-3)
        before = model.output.weight.detach().clone()
        trainer.fit(tokens, tokens.flip(0), 1, rng(1))
        assert not torch.equal(model.output.weight, before)


def test_a_fast_step_can_be_forgone() -> None:
    tokens = random_model(FIXED).sample(64, rng())
    weights = []
    for fast in (True, False):
        trainer = DiscriminatorTrainer(small(FIXED, rng()), fast=fast)
        assert (trainer.fast_steps is not None) == fast
        trainer.fit(tokens, tokens.flip(0), 2, rng(1))
        weights.append(trainer.discriminator.get_parameter("output.weight").detach())
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


class OwnPenalty(CNNDiscriminator):
    def penalty(self) -> Tensor:
        return 100 * self.output.weight.square().sum()


def test_a_penalty_of_a_subclass_counts() -> None:
    tokens = random_model(EOS).sample(64, rng())
    model = OwnPenalty.initialised(EOS, rng())
    before = float(model.output.weight.detach().norm())
    DiscriminatorTrainer(model).fit(tokens, tokens.flip(0), 20, rng(1))
    assert float(model.output.weight.detach().norm()) < 0.8 * before


# From a module outside the package.

OUTSIDE = """
import torch
from torch import nn
from seqgan_env import Discriminator

class Bag(Discriminator):
    def __init__(self, spec, rng, size=8):
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.vocab_size + 1, size)

    def forward(self, tokens, dropout_rng=None):
        return self.embedding(tokens).mean((1, 2))
"""
QUICK = ["--mle-epochs", "1", "--rounds", "1", "--batch-size", "8", "--num-negatives", "16"]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module that is installed nowhere."""
    (tmp_path / "my_discriminators.py").write_text(OUTSIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_discriminators", raising=False)
    return tmp_path


@pytest.mark.slow
def test_one_from_outside_trains_a_whole_run(outside: Path) -> None:
    words = ["--discriminator", "my_discriminators:Bag", "--set-discriminator", "size=3"]
    assert main(["train", *words, *QUICK, "--no-knobs", "--no-control", "--out", "run"]) == 0
    config = json.loads((outside / "run" / "config.json").read_text())
    assert config["settings"]["discriminator_options"] == {"size": 3}
    assert "discriminator/accuracy_heldout" in (outside / "run" / "metrics.csv").read_text()


SUITE = """
seeds = 1
[settings]
rounds = 1
mle_epochs = 1
batch_size = 8
num_negatives = 16
discriminator = "my_discriminators:Bag"
discriminator_options = {size = 3}
[tasks.oracle-tiny]
[rows.mine]
[rows.small]
discriminator = "small"
"""


@pytest.mark.slow
def test_one_from_outside_is_a_row_of_a_benchmark(outside: Path) -> None:
    (outside / "suite.toml").write_text(SUITE)
    assert main(["bench", "suite.toml", "--trust", "--out", "bench"]) == 0
    results = [json.loads(path.read_text()) for path in Path("bench/results").glob("*.json")]
    assert {result["label"] for result in results} == {"mle", "mine", "small"}


def test_options_in_a_suite_are_of_the_discriminator_that_they_stand_with(outside: Path) -> None:
    suite = SUITE + "[rows.larger]\ndiscriminator_options = {size = 5}\n"
    (outside / "suite.toml").write_text(suite)
    options = {
        job.label: job.settings.discriminator_options
        for job in read_suite(outside / "suite.toml", trust=True).jobs()
    }
    assert options == {"mle": {"size": 3}, "mine": {"size": 3}, "small": {}, "larger": {"size": 5}}


def test_a_changed_discriminator_is_another_job(outside: Path) -> None:
    settings = settings_from("tiny", {"discriminator": "my_discriminators:Bag"})
    keys = [Job("mine", "oracle-tiny", settings).key]
    (outside / "my_discriminators.py").write_text(OUTSIDE + "\n# changed\n")
    code_of_module.cache_clear()  # as in another process
    keys.append(Job("mine", "oracle-tiny", settings).key)
    assert keys[0] != keys[1]


def test_a_typo_of_a_name_gets_one_line(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--discriminator", "rato", *QUICK, "--out", "run"]) == 2
    errors = capsys.readouterr().err
    assert "Did you mean 'ratio'" in errors
    assert len(errors.splitlines()) == 1
    assert not (outside / "run").exists()


def test_the_task_of_the_paper_takes_the_paper_s() -> None:
    task = make_task("oracle-tiny")
    rewards = build_rewards(task, discriminator=settings_from("paper", {}).discriminator)
    assert isinstance(rewards.discriminator, CNNDiscriminator)
    assert rewards.discriminator.config.l2 == 0.2
