"""Small things known by hand, shared by the tests."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgan_env import native
from seqgan_env.envs.registration import build_rewards
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.plugins import training_settings
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.types import RolloutPolicy, Task, TokenSpec

torch.set_num_threads(1)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
TINY = OracleSettings(
    vocab_size=3,
    seq_len=3,
    embedding_dim=4,
    hidden_dim=4,
    num_real=200,
    num_held_out=200,
    num_eval=200,
)
FIXED, EOS = TokenSpec(3, 3), TokenSpec(5, 6, eos_token=0, min_length=2)


def needs_data(name: str) -> Path:
    """The path of a shared data file; skips the test where it is absent."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    return path


@pytest.fixture(scope="module", params=native.VARIANTS)
def each_variant(request: pytest.FixtureRequest) -> Iterator[str]:
    """The compiled kernels of one variant, in use; skips those that cannot run here."""
    if request.param not in native.variants_here():
        pytest.skip(f"the {request.param} kernels are not built, or not for this processor")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGAN_ENV_NATIVE", request.param)
        yield request.param


def words_of_prose(markdown: str) -> list[str]:
    """The words of a page that are read: without code, tables and the targets of links."""
    no_prose = r"```.*?```|^\|.*?$|\]\([^)]*\)|·"
    return re.sub(no_prose, " ", markdown, flags=re.DOTALL | re.MULTILINE).split()


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_model(spec: TokenSpec, seed: int = 0, scale: float = 1.0) -> LSTMLanguageModel:
    """A language model with distinct probabilities for everything."""
    model = LSTMLanguageModel(spec, 4, 4)
    generator = rng(seed)
    with torch.no_grad():
        for parameter in filter(lambda p: p.requires_grad, model.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model


def all_sequences(spec: TokenSpec) -> Tensor:
    """Every finished sequence (M, T) of a small spec."""
    rows = set()
    for row in itertools.product(range(spec.vocab_size), repeat=spec.seq_len):
        end = row.index(spec.eos_token) + 1 if spec.eos_token in row else spec.seq_len
        if spec.eos_token is None or spec.eos_token not in row[: spec.min_length]:
            rows.add(row[:end] + (spec.pad_token,) * (spec.seq_len - end))
    return torch.tensor(sorted(rows))


class WeightedSum:
    """Scores a sequence by a sum that no two positions or tokens share; padding counts 0."""

    def __init__(self, spec: TokenSpec) -> None:
        self.spec = spec

    def score(self, tokens: Tensor) -> Tensor:
        return self.token_scores(tokens).sum(1)

    def token_scores(self, tokens: Tensor) -> Tensor:
        weights = 1.7 ** torch.arange(tokens.shape[1])
        return ((tokens + 1) * (tokens != self.spec.pad_token) * weights).to(torch.float32)


class Successor:
    """A deterministic rollout policy: after token y comes y + 1, cyclically."""

    def __init__(self, spec: TokenSpec) -> None:
        self.spec = spec

    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        tokens = tokens.clone()
        ended = self.spec.is_complete(tokens, lengths)
        for t in range(self.spec.seq_len):
            last = tokens[:, t - 1] if t else torch.full((len(tokens),), self.spec.vocab_size - 1)
            following = (last + 1) % self.spec.vocab_size
            if self.spec.eos_token is not None and t < self.spec.min_length:
                following = torch.where(
                    following == self.spec.eos_token,
                    (following + 1) % self.spec.vocab_size,
                    following,
                )
            open_rows = ~ended & (lengths <= t)
            tokens[:, t] = torch.where(open_rows, following, tokens[:, t])
            if self.spec.eos_token is not None:
                ended |= tokens[:, t] == self.spec.eos_token
        return tokens


class SpecTask(OracleTask):
    """An oracle task over any spec, for laws that must hold with an end token too."""

    def __init__(self, spec: TokenSpec) -> None:
        self.name, self.settings, self.spec = "spec", TINY, spec
        self.oracle = random_model(spec, seed=7)
        self.real_sequences = self.oracle.sample(200, rng(1))
        self.validation = self.oracle.sample(100, rng(2))
        self.held_out = self.oracle.sample(100, rng(3))


def reward_model(
    spec: TokenSpec, policy: RolloutPolicy | None = None, **settings: Any
) -> RewardModel:
    """A reward model over `spec` with a source known by hand."""
    chosen: dict[str, Any] = {"source": WeightedSum(spec), "num_rollouts": 3} | settings
    return RewardModel(
        SpecTask(spec), RewardSettings(**chosen), policy or random_model(spec, seed=5)
    )


def rewards_for(agent: str, task: Task) -> RewardModel:
    """What an installed agent wants to be paid by, with few rollouts and small models."""
    asked = training_settings(agent)
    wanted: dict[str, Any] = {
        name: asked[name] for name in ("reward", "source", "score_as") if name in asked
    }
    small: dict[str, Any] = {"widths": [1], "channels": [2]}
    if asked.get("discriminator") == "ratio":
        small = {"embedding_dim": 2, "hidden_dim": 2}
    return build_rewards(
        task,
        RewardSettings(**wanted | {"num_rollouts": 1}),
        discriminator=asked.get("discriminator"),
        discriminator_options=small,
    )


@pytest.fixture(params=[FIXED, EOS], ids=["fixed", "eos"])
def spec(request: pytest.FixtureRequest) -> TokenSpec:
    chosen: TokenSpec = request.param
    return chosen
