"""The device: a rollout asks nothing of the host, and a GPU, where there is one, gives what the CPU
gives.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from seqgan_env.cli.main import main
from seqgan_env.discriminators.cnn import CNNDiscriminator
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.rewards.values import RolloutValue
from seqgan_env.streams import RowStreams
from seqgan_env.training.run_directory import read_json
from seqgan_env.types import TokenSpec

from .conftest import EOS, random_model, rng

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
SPEC = TokenSpec(300, 12, eos_token=0, min_length=3)
SMALL_RUN = [
    "--batch-size",
    "8",
    "--mle-epochs",
    "1",
    "--rounds",
    "2",
    "--num-negatives",
    "20",
    "--d-pretrain-epochs",
    "1",
]
AGENTS = (
    "reinforce",
    "ppo",
    "a2c",
    "dqn",
    "trpo",
    "recurrent_ppo",
    "maskable_ppo",
    "qrdqn",
    "scheduled_sampling",
)


def test_a_rollout_is_one_piece_of_work_for_a_device_without_a_question_from_the_host() -> None:
    model = random_model(EOS).to(
        "meta"
    )  # a device without values: whoever asks for one gets an error
    generator: Any = torch.Generator
    streams = generator.__new__(RowStreams, device="cpu")
    streams.keys = torch.empty(7, dtype=torch.int64, device="meta")
    prefixes = torch.empty(7, EOS.seq_len, dtype=torch.int64, device="meta")
    completions = model.complete(
        prefixes, torch.empty(7, dtype=torch.int64, device="meta"), streams
    )
    assert completions.shape == prefixes.shape
    with pytest.raises((NotImplementedError, RuntimeError)):
        completions.nonzero()


def test_the_gradient_of_d_asks_nothing_of_the_host_either() -> None:
    model = CNNDiscriminator(SPEC).to("meta")
    tokens = torch.empty(9, SPEC.seq_len, dtype=torch.int64, device="meta")
    loss = F.binary_cross_entropy_with_logits(model(tokens, rng()), torch.empty(9, device="meta"))
    loss.backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    with pytest.raises((NotImplementedError, RuntimeError)):
        loss.item()


def on_both(model: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
    return model, copy.deepcopy(model).to("cuda")


@needs_gpu
def test_likelihoods_and_scores_agree() -> None:
    for model in (random_model(SPEC, 1), LSTMLanguageModel.initialised(SPEC, rng(2))):
        tokens = model.sample(500, rng())
        here, there = on_both(model)
        assert isinstance(here, LSTMLanguageModel)
        assert isinstance(there, LSTMLanguageModel)
        torch.testing.assert_close(
            there.log_prob(tokens.cuda()).cpu(), here.log_prob(tokens), rtol=1e-4, atol=1e-4
        )
        d_here, d_there = on_both(CNNDiscriminator.initialised(SPEC, rng(3)))
        assert isinstance(d_here, CNNDiscriminator)
        assert isinstance(d_there, CNNDiscriminator)
        torch.testing.assert_close(
            d_there.score(tokens.cuda()).cpu(), d_here.score(tokens), rtol=1e-4, atol=1e-4
        )


@needs_gpu
def test_the_same_streams_write_the_same_sequences_but_for_rounding() -> None:
    here, there = on_both(random_model(SPEC, 1))
    keys = torch.randint(2**62, (2000,), generator=rng())
    prefixes = torch.full((2000, SPEC.seq_len), SPEC.pad_token)
    lengths = torch.zeros(2000, dtype=torch.int64)
    ours = here.complete(prefixes, lengths, RowStreams(keys))  # type: ignore[operator]
    theirs = there.complete(prefixes.cuda(), lengths.cuda(), RowStreams(keys.cuda())).cpu()  # type: ignore[operator]
    assert float((ours == theirs).all(1).float().mean()) > 0.99


@needs_gpu
def test_values_of_prefixes_agree() -> None:
    here: Any
    there: Any
    here, there = on_both(random_model(SPEC, 1))
    d_here: Any
    d_there: Any
    d_here, d_there = on_both(CNNDiscriminator.initialised(SPEC, rng(3)))
    tokens = here.sample(64, rng())
    lengths = torch.ones(64, dtype=torch.int64)
    prefixes = torch.where(torch.arange(SPEC.seq_len) < 1, tokens, SPEC.pad_token)
    keys = torch.randint(2**62, (64,), generator=rng())
    ours = RolloutValue(SPEC, here, d_here, 32)(prefixes, lengths, RowStreams(keys))
    theirs = RolloutValue(SPEC, there, d_there, 32)(
        prefixes.cuda(), lengths.cuda(), RowStreams(keys.cuda())
    )
    torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-2, atol=1e-3)


@needs_gpu
def test_a_discriminator_learns_the_same() -> None:
    real, generated = (
        random_model(SPEC, 1).sample(500, rng()),
        random_model(SPEC, 2).sample(500, rng()),
    )
    losses = []
    for device in ("cpu", "cuda"):
        discriminator = CNNDiscriminator.initialised(SPEC, rng(3)).to(device)
        trainer = DiscriminatorTrainer(discriminator)
        losses.append(
            trainer.fit(
                real.to(device), generated.to(device), 10, torch.Generator(device).manual_seed(0)
            )["loss"]
        )
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


@needs_gpu
@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_a_run_of_every_agent_on_the_device(agent: str, tmp_path: Path) -> None:
    if agent not in ("reinforce", "scheduled_sampling"):
        pytest.importorskip("sb3_contrib")
    out = tmp_path / "run"
    assert (
        main(
            [
                "train",
                "--device",
                "cuda",
                "--agent",
                agent,
                *SMALL_RUN,
                "--no-knobs",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert read_json(out / "result.json")["agent"]["nll_oracle"] > 0
