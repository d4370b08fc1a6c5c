"""Seconds of BLEU and Self-BLEU beside NLTK's, and of BLEU as a reward beside the paper's
discriminator.

    python -m benchmarks.bleu_speed [--quick] [--corpus FILE] [--out FILE.json]

10,000 sentences against 10,000 references, orders 2..5, on one thread. NLTK scores a random few of
the same sentences against all the same references; its time for all of them is that per sentence,
multiplied. On these few both must agree to 1e-12, or the run fails. The sentences are words drawn
by Zipf's law, or lines of a corpus, drawn with replacement.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import nltk
import numpy as np
import scipy
import torch
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import commit, gemm_gflops, measure
from seqgan_env import CNNDiscriminator, TokenSpec
from seqgan_env.discriminators.cnn import PAPER_CNN
from seqgan_env.metrics.ngram import BleuReferences, BleuScorer
from seqgan_env.tasks.text.settings import CorpusSettings
from seqgan_env.tasks.text.task import CorpusTask
from seqgan_env.training.run_directory import write_json

ORDERS = (2, 3, 4, 5)
AGREEMENT = 1e-12


@dataclass(frozen=True)
class Sizes:
    """How large the work is; the reward is that of one batch at the paper's sizes."""

    num_sentences: int = 10_000
    num_nltk: int = 25
    vocab_size: int = 5000
    seq_len: int = 20
    batch_size: int = 64
    num_rollouts: int = 16
    repeats: int = 7


QUICK = Sizes(
    num_sentences=300, num_nltk=5, vocab_size=500, batch_size=8, num_rollouts=2, repeats=2
)


@dataclass(frozen=True)
class Measurement:
    """One work item: seconds, median and half the range; those of its alternative; how far the
    results are apart, where they should be the same."""

    name: str
    seconds: float
    spread: float
    other: str
    other_seconds: float
    largest_difference: float | None


@dataclass(frozen=True)
class Text:
    """Sentences to be measured, and those they are measured against."""

    name: str
    spec: TokenSpec
    hypotheses: np.ndarray  # (B, T)
    references: np.ndarray  # (B, T)


def zipf_text(sizes: Sizes, seed: int = 0) -> Text:
    """Sentences of 5 or more words, word k as often as 1 / k; token 0 is their end."""
    generator = np.random.default_rng(seed)
    spec = TokenSpec(sizes.vocab_size, sizes.seq_len, eos_token=0)
    hypotheses, references = (
        _zipf_sentences(spec, sizes.num_sentences, generator) for _ in range(2)
    )
    return Text("Zipf's law", spec, hypotheses, references)


def _zipf_sentences(spec: TokenSpec, num: int, generator: np.random.Generator) -> np.ndarray:
    share = 1 / np.arange(1, spec.vocab_size)
    tokens = generator.choice(
        np.arange(1, spec.vocab_size), (num, spec.seq_len), p=share / share.sum()
    )
    num_words = generator.integers(5, spec.seq_len + 1, num)[:, None]
    position = np.arange(spec.seq_len)
    rows: np.ndarray = np.where(
        position < num_words, tokens, np.where(position == num_words, 0, spec.pad_token)
    )
    return rows


def corpus_text(path: str, sizes: Sizes, seed: int = 0) -> Text:
    """Training lines of a corpus against held-out ones, each drawn with replacement."""
    generator = np.random.default_rng(seed)
    task = CorpusTask(CorpusSettings(path, held_out_share=0.45))
    parts = (task.real_sequences.numpy(), task.held_out.numpy())
    hypotheses, references = (
        part[generator.integers(len(part), size=sizes.num_sentences)] for part in parts
    )
    return Text(Path(path).name, task.spec, hypotheses, references)


def bleu(text: Text) -> np.ndarray:
    """BLEU-1..5 (B, 5), the references counted anew."""
    return BleuReferences(text.references, text.spec, max(ORDERS)).scores_by_order(text.hypotheses)


def self_bleu(text: Text) -> np.ndarray:
    """Self-BLEU-1..5 (B, 5) of each sentence."""
    return BleuReferences(text.hypotheses, text.spec, max(ORDERS)).leave_one_out_scores()


def nltk_bleu(references: list[list[int]], hypothesis: list[int]) -> list[float]:
    """BLEU-2..5 of one sentence, in one call: as fast as NLTK gets."""
    weights = [[1 / n] * n for n in ORDERS]
    return [
        float(score)
        for score in sentence_bleu(references, hypothesis, weights, SmoothingFunction().method1)
    ]


def words(tokens: np.ndarray, spec: TokenSpec) -> list[list[int]]:
    """Sentences without ends and padding."""
    return [
        [token for token in row if token not in (spec.eos_token, spec.pad_token)]
        for row in tokens.tolist()
    ]


def against_nltk(text: Text, sizes: Sizes) -> list[Measurement]:
    """BLEU and Self-BLEU of a text, and what NLTK takes for them."""
    hypotheses, references = words(text.hypotheses, text.spec), words(text.references, text.spec)
    chosen = (
        np.random.default_rng(1).choice(len(hypotheses), sizes.num_nltk, replace=False).tolist()
    )

    def others(row: int) -> list[list[int]]:
        return hypotheses[:row] + hypotheses[row + 1 :]

    return [
        compared(
            "BLEU",
            partial(bleu, text),
            lambda row: nltk_bleu(references, hypotheses[row]),
            chosen,
            text,
            sizes,
        ),
        compared(
            "Self-BLEU",
            partial(self_bleu, text),
            lambda row: nltk_bleu(others(row), hypotheses[row]),
            chosen,
            text,
            sizes,
        ),
    ]


def compared(
    what: str,
    ours: Callable[[], np.ndarray],
    theirs: Callable[[int], list[float]],
    chosen: list[int],
    text: Text,
    sizes: Sizes,
) -> Measurement:
    """One of them, measured and checked.

    Raises:
        RuntimeError: NLTK says otherwise.
    """
    seconds, spread = measure(ours, sizes.repeats)
    started = time.perf_counter()
    expected = [theirs(row) for row in chosen]
    other_seconds = (time.perf_counter() - started) / len(chosen) * sizes.num_sentences
    difference = float(np.abs(ours()[chosen][:, [n - 1 for n in ORDERS]] - expected).max())
    if difference > AGREEMENT:
        raise RuntimeError(
            f"{what} of {text.name} differs from NLTK's by {difference}; allowed is {AGREEMENT}"
        )
    name = f"{what}-2..5 of {sizes.num_sentences:,} sentences ({text.name})"
    return Measurement(
        name, seconds, spread, f"NLTK, extrapolated from {len(chosen)}", other_seconds, difference
    )


def against_discriminator(sizes: Sizes) -> Measurement:
    """The reward `bleu` of all completions of one batch, and the scores of the paper's
    discriminator for as many.
    """
    rng, generator = torch.Generator().manual_seed(0), np.random.default_rng(0)
    spec = TokenSpec(sizes.vocab_size, sizes.seq_len)
    num = sizes.batch_size * ((sizes.seq_len - 1) * sizes.num_rollouts + 1)
    share = 1 / np.arange(1, spec.vocab_size + 1)
    real, tokens = (
        torch.from_numpy(
            generator.choice(spec.vocab_size, (rows, spec.seq_len), p=share / share.sum())
        )
        for rows in (sizes.num_sentences, num)
    )
    scorer, discriminator = (
        BleuScorer(real, spec),
        CNNDiscriminator.initialised(spec, rng, PAPER_CNN),
    )

    def score() -> None:
        with torch.no_grad():
            # A write to the weights: tables are built anew, as after every d-step.
            discriminator.output.bias.add_(0.0)
        discriminator.score(tokens)

    name = f"reward of {num:,} sequences by BLEU-3"
    return Measurement(
        name,
        *measure(lambda: scorer.score(tokens), sizes.repeats),
        "paper's D",
        measure(score, sizes.repeats)[0],
        None,
    )


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to check that everything runs"
    )
    parser.add_argument("--corpus", help="a text, a sentence a line, to be measured too")
    parser.add_argument("--out", type=Path, help="write the measurements as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes = QUICK if arguments.quick else Sizes()
    texts = [zipf_text(sizes)] + (
        [corpus_text(arguments.corpus, sizes)] if arguments.corpus else []
    )
    with (
        Console().status("measuring"),
        warnings.catch_warnings(action="ignore"),
    ):  # NLTK's note that an order has no match
        items = [item for text in texts for item in against_nltk(text, sizes)] + [
            against_discriminator(sizes)
        ]
        machine = {
            "gemm_gflops": gemm_gflops(),
            "threads": 1,
            "platform": platform.platform(),
            **versions(),
        }
    show(items, machine)
    if arguments.out:
        content = {
            "sizes": asdict(sizes),
            "machine": machine,
            "commit": commit(),
            "items": [asdict(item) for item in items],
        }
        write_json(arguments.out, content)


def versions() -> dict[str, str]:
    """Of what is measured."""
    modules = {"numpy": np, "torch": torch, "nltk": nltk, "scipy": scipy}
    return {"python": platform.python_version()} | {
        name: str(module.__version__) for name, module in modules.items()
    }


def show(items: list[Measurement], machine: dict[str, object]) -> None:
    """The table."""
    title = (
        f"1 thread, GEMM {machine['gemm_gflops']:.0f} GFLOP/s, numpy {machine['numpy']}, nltk "
        f"{machine['nltk']}, {commit()}"
    )
    table = Table(title=title)
    for name in ("work", "seconds", "spread", "other", "its seconds", "ratio", "difference"):
        table.add_column(name, justify="left" if name in ("work", "other") else "right")
    for item in items:
        ratio, difference = item.other_seconds / item.seconds, item.largest_difference
        numbers = (
            f"{item.seconds:.3f}",
            f"± {item.spread:.3f}",
            item.other,
            f"{item.other_seconds:,.2f}",
            f"{ratio:,.1f}x",
        )
        table.add_row(item.name, *numbers, "" if difference is None else f"{difference:.0e}")
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
