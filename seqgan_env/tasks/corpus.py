"""Real text as a task: a sentence a line, split into words or characters, with a held-out part that is never trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqgan_env.metrics.likelihood import nll_per_token, sample_sequences, unigram_metrics
from seqgan_env.metrics.ngram import BleuReferences, distinct, self_bleu
from seqgan_env.names import choose
from seqgan_env.scorers import HasLogProb
from seqgan_env.tasks.docstrings import docstring_sentences
from seqgan_env.tasks.real_data import draw_without_repeats
from seqgan_env.types import RolloutPolicy, TokenSpec

EOS, UNKNOWN = 0, 1
SPECIAL = ("<eos>", "<unk>")
LEVELS = ("word", "char")
LONG_LINES = ("drop", "cut")
BLEU_ORDERS = (2, 3, 4)


@dataclass(frozen=True)
class CorpusSettings:
    """A text and how it becomes sequences.

    Attributes:
        corpus: path of a UTF-8 file, a sentence a line; None is the built-in English of the standard library's docstrings.
        level: "word" splits at white space, whatever the script; "char" takes every character as a token.
        vocab_size: cap by frequency, with <eos> and <unk>; None keeps every token of the training part.
        max_length: T, tokens with the end token.
        min_length: tokens before the end token; shorter lines are dropped.
        long_lines: "drop" leaves a line of more than T - 1 tokens out; "cut" keeps its first T tokens, without an end token.
        lowercase: whether case is dropped.
        split_seed: of the division into training, validation and held-out lines.
        validation_share: of the distinct lines, to select on.
        held_out_share: of the distinct lines, to report on.
        num_eval: sequences drawn from a policy to evaluate it.
    """

    corpus: str | None = None
    level: str = "word"
    vocab_size: int | None = 5000
    max_length: int = 20
    min_length: int = 0
    long_lines: str = "drop"
    lowercase: bool = False
    split_seed: int = 0
    validation_share: float = 0.05
    held_out_share: float = 0.1
    num_eval: int = 2_000

    def __post_init__(self) -> None:
        choose(LEVELS, self.level, "level")
        choose(LONG_LINES, self.long_lines, "long_lines")
        for name in ("validation_share", "held_out_share"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is above 0 and below 0.5")
        if self.vocab_size is not None and self.vocab_size < 3:
            raise ValueError(f"vocab_size is {self.vocab_size}; allowed is 3 or more: <eos>, <unk> and a token")
        if self.max_length < 2:
            raise ValueError(f"max_length is {self.max_length}; allowed is 2 or more: a token and the end")
        if self.num_eval < 2:
            raise ValueError(f"num_eval is {self.num_eval}; allowed is 2 or more")


@dataclass(frozen=True)
class CorpusSummary:
    """What became of a corpus. Every line is kept or dropped: kept + empty + short + long = lines.

    Attributes:
        name: of the corpus.
        lines: in the file.
        kept: lines that became sequences, repeats included.
        cut: of these, lines that were cut to T tokens.
        empty: lines dropped because nothing is in them.
        short: lines dropped for fewer than `min_length` tokens.
        long: lines dropped for more than T - 1 tokens.
        parts: lines to train on, to select on, to report on.
        vocab_size: V, with <eos> and <unk>.
        coverage: share of the tokens of the held-out lines that are in the vocabulary.
        length_histogram: number of sequences by tokens written, index 0..T.
    """

    name: str
    lines: int
    kept: int
    cut: int
    empty: int
    short: int
    long: int
    parts: tuple[int, int, int]
    vocab_size: int
    coverage: float
    length_histogram: tuple[int, ...]

    def __str__(self) -> str:
        dropped = f"dropped {self.empty} empty, {self.short} too short, {self.long} too long"
        top = max(self.length_histogram)
        bars = "".join("▁▂▃▄▅▆▇█"[min(7, 8 * count // top)] if count else " " for count in self.length_histogram)
        return (
            f"{self.name}: {self.lines} lines, kept {self.kept} ({self.cut} cut), {dropped}\n"
            f"  {self.parts[0]} to train, {self.parts[1]} to select, {self.parts[2]} held out;"
            f" {self.vocab_size} tokens cover {self.coverage:.1%} of the held-out text\n"
            f"  lengths 0..{len(self.length_histogram) - 1}: |{bars}|"
        )


class CorpusTask:
    """Writing what a corpus might have said."""

    def __init__(self, settings: CorpusSettings = CorpusSettings(), name: str = "text") -> None:
        """Reads, splits and numbers the corpus.

        Raises:
            ValueError: the file cannot be read, is not UTF-8 text, or leaves too few lines to train on.
        """
        self.name, self.settings = name, settings
        source = "built-in English" if settings.corpus is None else settings.corpus
        lines = read_lines(settings.corpus)
        sentences, dropped = self._tokenise(lines)
        if not sentences:
            raise ValueError(
                f"corpus {source} has {len(lines)} lines and none to use ({_reasons(dropped)}); see max_length and long_lines"
            )
        parts = _split(sentences, settings)
        if min(map(len, parts)) == 0:
            raise ValueError(
                f"corpus {source} has {len(set(sentences))} distinct lines to use; too few to train on some and hold others out"
            )
        self.vocabulary = _vocabulary(parts[0], settings.vocab_size)
        self.index = {token: number for number, token in enumerate(self.vocabulary)}
        self.spec = TokenSpec(len(self.vocabulary), settings.max_length, EOS, settings.min_length)
        self.real_sequences, self.validation, self.held_out = (self._number(part) for part in parts)
        self._references = BleuReferences(self.held_out.numpy(), self.spec, max(BLEU_ORDERS))
        self.fingerprint = hashlib.sha256(repr((lines, astuple(settings)[1:])).encode()).hexdigest()
        self.summary = self._summarise(source, lines, sentences, dropped, parts)

    def draw_real(self, num: int, rng: torch.Generator) -> Tensor:
        """`num` training sequences (num, T) in random order, each once before any comes again."""
        return draw_without_repeats(self.real_sequences, num, rng)

    def evaluate(self, policy: RolloutPolicy, rng: torch.Generator) -> dict[str, float]:
        """`nll_gen` (nats per token, of held-out lines) and its exp `perplexity_heldout`, where the policy has likelihoods; of
        `num_eval` samples `bleu2..4` against the held-out lines, `self_bleu2..4`, `distinct2`, `mean_length` in words, and the
        metrics of the unigram."""
        samples = sample_sequences(policy, self.spec, self.settings.num_eval, rng)
        metrics = unigram_metrics(self.spec, samples) | self._ngram_metrics(samples.cpu().numpy())
        if isinstance(policy, HasLogProb):
            metrics["nll_gen"] = nll_per_token(policy, self.spec, self.held_out)
            metrics["perplexity_heldout"] = float(np.exp(metrics["nll_gen"]))
        return metrics

    def encode(self, text: str) -> Tensor:
        """One line as a sequence (T,); a long one is cut."""
        return self._number([tuple(self._split_line(text))[: self.settings.max_length]])[0]

    def decode(self, tokens: Tensor) -> str:
        """The words or characters before the end, as a line of the corpus has them."""
        written = [self.vocabulary[token] for token in tokens.tolist() if token not in (EOS, self.spec.pad_token)]
        return ("" if self.settings.level == "char" else " ").join(written)

    def to(self, device: str) -> CorpusTask:
        """Moves the data to `device`, in place."""
        for name in ("real_sequences", "validation", "held_out"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def _ngram_metrics(self, samples: np.ndarray) -> dict[str, float]:
        metrics: dict[str, float] = {"distinct2": distinct(samples, self.spec, 2)}
        against_held_out = self._references.scores_by_order(samples).mean(0)
        for n in BLEU_ORDERS:
            metrics[f"bleu{n}"] = float(against_held_out[n - 1])
            metrics[f"self_bleu{n}"] = float(self_bleu(samples, self.spec, n).mean())
        return metrics

    def _split_line(self, line: str) -> list[str]:
        line = line.lower() if self.settings.lowercase else line
        return line.split() if self.settings.level == "word" else list(line.strip())

    def _tokenise(self, lines: Sequence[str]) -> tuple[list[tuple[str, ...]], dict[str, int]]:
        """The sentences to use, and how many lines were dropped or cut by reason."""
        sentences: list[tuple[str, ...]] = []
        counts = {"empty": 0, "short": 0, "long": 0, "cut": 0}
        room = self.settings.max_length - 1
        for line in lines:
            tokens = self._split_line(line)
            reason = (
                "empty"
                if not tokens
                else "short"
                if len(tokens) < self.settings.min_length
                else "long"
                if len(tokens) > room
                else ""
            )
            if reason == "long" and self.settings.long_lines == "cut":
                reason, tokens = "cut", tokens[: room + 1]
            if reason:
                counts[reason] += 1
            if reason in ("", "cut"):
                sentences.append(tuple(tokens))
        return sentences, counts

    def _number(self, sentences: Sequence[tuple[str, ...]]) -> Tensor:
        """Sequences (M, T): numbers, the end token where there is room for it, padding."""
        rows = np.full((len(sentences), self.spec.seq_len), self.spec.pad_token, dtype=np.int64)
        for row, sentence in zip(rows, sentences, strict=True):
            row[: len(sentence)] = [self.index.get(token, UNKNOWN) for token in sentence]
            row[len(sentence) : len(sentence) + 1] = EOS
        return torch.from_numpy(rows)

    def _summarise(
        self,
        source: str,
        lines: Sequence[str],
        sentences: Sequence[tuple[str, ...]],
        counts: dict[str, int],
        parts: Sequence[Sequence[tuple[str, ...]]],
    ) -> CorpusSummary:
        data = torch.cat([self.real_sequences, self.validation, self.held_out])
        histogram = torch.bincount(self.spec.lengths(data), minlength=self.spec.seq_len + 1)
        held_out = self.held_out[self.held_out != self.spec.pad_token]
        return CorpusSummary(
            name=source,
            lines=len(lines),
            kept=len(sentences),
            **counts,
            parts=(len(parts[0]), len(parts[1]), len(parts[2])),
            vocab_size=self.spec.vocab_size,
            coverage=float((held_out != UNKNOWN).double().mean()),
            length_histogram=tuple(histogram.tolist()),
        )


def read_lines(corpus: str | None) -> list[str]:
    """The lines of a corpus without their ends; a byte-order mark is dropped.

    Raises:
        ValueError: it cannot be read, holds zero bytes, or is not UTF-8; with the line and the byte.
    """
    if corpus is None:
        return list(docstring_sentences())
    try:
        data = Path(corpus).read_bytes()
    except OSError as problem:
        raise ValueError(f"corpus {corpus} cannot be read: {problem.strerror}") from problem
    try:
        text = data.decode("utf-8-sig")
        bad = data.find(b"\0")
    except UnicodeDecodeError as problem:
        text, bad = "", problem.start
    if bad >= 0:
        line = data.count(b"\n", 0, bad) + 1
        raise ValueError(f"corpus {corpus} is not UTF-8 text: byte {data[bad]:#04x} at offset {bad}, in line {line}")
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []


def _split(sentences: Sequence[tuple[str, ...]], settings: CorpusSettings) -> list[list[tuple[str, ...]]]:
    """Training, validation and held-out lines; the repeats of a line stay on its side, so that none straddles the split."""
    distinct_lines = sorted(set(sentences))
    order = np.random.Generator(np.random.PCG64(settings.split_seed)).permutation(len(distinct_lines))
    num_validation = round(settings.validation_share * len(order))
    num_held_out = round(settings.held_out_share * len(order))
    side = {
        distinct_lines[i]: 1 if place < num_validation else 2 for place, i in enumerate(order[: num_validation + num_held_out])
    }
    return [[line for line in sentences if side.get(line, 0) == part] for part in range(3)]


def _vocabulary(sentences: Sequence[tuple[str, ...]], cap: int | None) -> tuple[str, ...]:
    """The special tokens, then tokens by falling frequency, equal ones in the order of their code points."""
    counts = Counter(token for sentence in sentences for token in sentence)
    for special in SPECIAL:
        counts.pop(special, None)  # a corpus that spells them means the special tokens
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    return SPECIAL + tuple(ranked if cap is None else ranked[: cap - len(SPECIAL)])


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if reason != "cut")
