"""The text task: writing lines like those of a corpus, word by word or character by character."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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

_KEPT, _CUT = "kept", "cut"  # what becomes of a line
_BLANK, _SHORT, _LONG = "blank", "too short", "too long"

Words = tuple[str, ...]  # of a line; at level "char" its characters


@dataclass(frozen=True)
class CorpusSettings:
    """A text and how it becomes sequences. The settings and the text determine everything about the task.

    Attributes:
        corpus: path of a UTF-8 text, a sentence a line; None is the built-in English of `seqgan_env.tasks.docstrings`.
        level: "word" splits a line at white space, whatever its script; "char" takes every character as a word.
        vocab_size: at most so many tokens, <eos>, <unk> and the most frequent words; None takes all words of the training part.
        max_length: T, the most tokens of a sequence, its end counted: a line of up to T - 1 words fits.
        min_length: words that must stand before the end; shorter lines are dropped.
        long_lines: "drop" leaves out lines of T words and more; "cut" keeps their first T words, which then have no end.
        lowercase: whether upper case becomes lower case.
        split_seed: of the division into training, validation and held-out lines.
        validation_share: share of the distinct lines to select on.
        held_out_share: share of the distinct lines to report on.
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
        if self.vocab_size is not None and self.vocab_size < 3:
            raise ValueError(f"vocab_size is {self.vocab_size}; allowed is 3 or more (<eos>, <unk> and a word), or None")
        if self.max_length < 2:
            raise ValueError(f"max_length is {self.max_length}; allowed is 2 or more (a word and the end)")
        if not 0 <= self.min_length < self.max_length:
            raise ValueError(f"min_length is {self.min_length}; allowed is 0..{self.max_length - 1} (max_length - 1)")
        for name in ("validation_share", "held_out_share"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is above 0 and below 0.5")
        if self.num_eval < 2:
            raise ValueError(f"num_eval is {self.num_eval}; allowed is 2 or more (Self-BLEU compares samples)")


@dataclass(frozen=True)
class CorpusSummary:
    """What became of a corpus. Every line is kept or dropped.

    Attributes:
        source: of the text.
        lines: in the text.
        kept: lines that became sequences, repeated ones as often as they stand there.
        cut: those of them that lost their end.
        dropped: lines by reason, "blank", "too short" or "too long".
        parts: lines to train on, to select on and to report on.
        distinct_words: in the training part.
        vocab_size: V, with <eos> and <unk>.
        coverage: share of the held-out words that are in the vocabulary.
        length_histogram: number of sequences by tokens written, 0..T, the end counted.
    """

    source: str
    lines: int
    kept: int
    cut: int
    dropped: dict[str, int]
    parts: tuple[int, int, int]
    distinct_words: int
    vocab_size: int
    coverage: float
    length_histogram: tuple[int, ...]

    def __str__(self) -> str:
        train, select, report = self.parts
        return (
            f"{self.source}: {self.lines} lines, {self.kept} kept ({self.cut} of them cut), dropped {_reasons(self.dropped)}\n"
            f"{train} lines to train on, {select} to select on, {report} to report on\n"
            f"{self.vocab_size} tokens of {self.distinct_words + len(SPECIAL)}; {self.coverage:.1%} of held-out words are known\n"
            f"tokens in a sequence, 0..{len(self.length_histogram) - 1}: |{_bars(self.length_histogram)}|"
        )


class CorpusTask:
    """Writing what the corpus could have said. Token 0 ends a sequence, 1 is any word outside the vocabulary.

    Attributes:
        vocabulary: the word of every token, the most frequent of the training part first behind the two special ones.
        summary: what became of the lines.
        fingerprint: hash of the text and the settings; as long as it is the same, tokens mean the same words.
    """

    def __init__(self, settings: CorpusSettings = CorpusSettings(), name: str = "text") -> None:
        """Reads, splits and numbers the corpus.

        Raises:
            ValueError: the file cannot be read or is not UTF-8 text, no line is usable, or there are too few to split.
        """
        self.name, self.settings = name, settings
        lines = read_lines(settings.corpus)
        words = [self._words(line) for line in lines]
        fates = Counter(map(self._fate, words))
        parts = self._split([w[: settings.max_length] for w in words if self._fate(w) in (_KEPT, _CUT)], fates)
        counts = Counter(word for line in parts[0] for word in line if word not in SPECIAL)
        self.vocabulary = SPECIAL + _most_frequent(counts, settings.vocab_size)
        self._token_of = {word: token for token, word in enumerate(self.vocabulary) if token != EOS}
        self.spec = TokenSpec(len(self.vocabulary), settings.max_length, EOS, settings.min_length)
        self.real_sequences, self.validation, self.held_out = (self._number(part) for part in parts)
        self.summary = self._summarise(fates, len(counts))
        self.fingerprint = _fingerprint(settings, lines)
        self._references = BleuReferences(self.held_out.numpy(), self.spec, max(BLEU_ORDERS))

    def draw_real(self, num: int, rng: torch.Generator) -> Tensor:
        """`num` training sequences (num, T) in random order, each once before any comes again."""
        return draw_without_repeats(self.real_sequences, num, rng)

    def evaluate(self, policy: RolloutPolicy, rng: torch.Generator) -> dict[str, float]:
        """Metrics of a policy, most of them of `num_eval` sequences drawn from it.

        Returns:
            `bleu2`..`bleu4` against the held-out lines; `self_bleu2`..`self_bleu4`, which rises with `num_eval`; `distinct2`;
            `mean_length` in words; `effective_vocabulary` and `unique_tokens`, the end counted. Of a policy with likelihoods
            also `nll_gen`, in nats per token of the held-out lines, the end counted, and its exp `perplexity_heldout`.
        """
        samples = sample_sequences(policy, self.spec, self.settings.num_eval, rng)
        metrics = self._ngram_metrics(samples.cpu().numpy()) | unigram_metrics(self.spec, samples)
        metrics["mean_length"] = float(self._num_words(samples).double().mean())
        if isinstance(policy, HasLogProb):
            metrics["nll_gen"] = nll_per_token(policy, self.spec, self.held_out)
            metrics["perplexity_heldout"] = float(torch.tensor(metrics["nll_gen"], dtype=torch.float64).exp())
        return metrics

    def encode(self, text: str) -> Tensor:
        """One line of text as a sequence (T,).

        Raises:
            ValueError: a line of so many words would have been dropped.
        """
        words, settings = self._words(text), self.settings
        if len(words) < settings.min_length or self._fate(words) == _LONG:
            allowed = f"{settings.min_length}..{settings.max_length - 1}"
            raise ValueError(f"text {text[:40]!r} has {len(words)} words or characters; this task allows {allowed}")
        return self._number([words[: settings.max_length]])[0]

    def decode(self, tokens: Tensor) -> str:
        """The line that a sequence (T,) writes, up to its end."""
        words: list[str] = []
        for token in tokens.tolist():
            if token in (EOS, self.spec.pad_token):
                break
            words.append(self.vocabulary[token])
        return (" " if self.settings.level == "word" else "").join(words)

    def to(self, device: str) -> CorpusTask:
        """Moves the data to `device`, in place."""
        for name in ("real_sequences", "validation", "held_out"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def _words(self, line: str) -> Words:
        line = line.lower() if self.settings.lowercase else line
        return tuple(line.split() if self.settings.level == "word" else line.strip())

    def _fate(self, words: Words) -> str:
        """What becomes of a line."""
        if not words:
            return _BLANK
        if len(words) < self.settings.min_length:
            return _SHORT
        if len(words) < self.settings.max_length:
            return _KEPT
        return _CUT if self.settings.long_lines == "cut" else _LONG

    def _split(self, lines: list[Words], fates: Counter[str]) -> list[list[Words]]:
        """The lines to train on, to select on and to report on, in their order; what is the same is on the same side."""
        settings = self.settings
        if not lines:
            hint = f"; raise max_length ({settings.max_length}) or set long_lines to 'cut'" if fates[_LONG] else ""
            raise ValueError(f"{self._source()} has no line to use among {fates.total()} ({_reasons(_dropped(fates))}){hint}")
        shuffled = sorted(set(lines), key=lambda line: _hash(str(settings.split_seed), *line))
        num_validation = max(1, round(settings.validation_share * len(shuffled)))
        num_held_out = max(1, round(settings.held_out_share * len(shuffled)))
        if num_validation + num_held_out >= len(shuffled):
            raise ValueError(
                f"{self._source()} has {len(shuffled)} distinct lines to use; a split into three parts needs 3 or more"
            )
        side = dict.fromkeys(shuffled[:num_validation], 1) | dict.fromkeys(shuffled[num_validation:][:num_held_out], 2)
        return [[line for line in lines if side.get(line, 0) == part] for part in range(3)]

    def _number(self, lines: Sequence[Words]) -> Tensor:
        """Sequences (M, T) of lines of up to T words: tokens, the end where there is room for it, padding."""
        rows = np.full((len(lines), self.spec.seq_len), self.spec.pad_token, dtype=np.int64)
        for row, line in zip(rows, lines, strict=True):
            row[: len(line)] = [self._token_of.get(word, UNKNOWN) for word in line]
            row[len(line) : len(line) + 1] = EOS
        return torch.from_numpy(rows)

    def _num_words(self, tokens: Tensor) -> Tensor:
        """Words (B,) of sequences (B, T): the tokens before the end."""
        return self.spec.lengths(tokens) - (tokens == EOS).sum(1)

    def _ngram_metrics(self, samples: np.ndarray) -> dict[str, float]:
        """BLEU, Self-BLEU and distinct-2 of `samples` (B, T)."""
        against_held_out = self._references.scores_by_order(samples).mean(0)
        against_each_other = self_bleu(samples, self.spec, max(BLEU_ORDERS))
        metrics = {f"bleu{n}": float(against_held_out[n - 1]) for n in BLEU_ORDERS}
        metrics |= {f"self_bleu{n}": float(against_each_other[n - 1]) for n in BLEU_ORDERS}
        return metrics | {"distinct2": distinct(samples, self.spec, 2)}

    def _summarise(self, fates: Counter[str], distinct_words: int) -> CorpusSummary:
        lengths = self.spec.lengths(torch.cat([self.real_sequences, self.validation, self.held_out]))
        unknown = (self.held_out == UNKNOWN).sum() / self._num_words(self.held_out).sum()
        return CorpusSummary(
            source=self._source(),
            lines=fates.total(),
            kept=fates[_KEPT] + fates[_CUT],
            cut=fates[_CUT],
            dropped=_dropped(fates),
            parts=(len(self.real_sequences), len(self.validation), len(self.held_out)),
            distinct_words=distinct_words,
            vocab_size=self.spec.vocab_size,
            coverage=1 - float(unknown),
            length_histogram=tuple(torch.bincount(lengths, minlength=self.spec.seq_len + 1).tolist()),
        )

    def _source(self) -> str:
        return "built-in corpus" if self.settings.corpus is None else f"corpus {self.settings.corpus}"


def read_lines(corpus: str | None) -> list[str]:
    """The lines of a text; a byte-order mark is dropped, and line ends may be those of Windows.

    Args:
        corpus: path of a file, or None for the built-in English.

    Raises:
        ValueError: the file cannot be read or is not UTF-8 text; the message says in which line and at which byte.
    """
    if corpus is None:
        return list(docstring_sentences())
    try:
        data = Path(corpus).read_bytes()
    except OSError as problem:
        raise ValueError(f"corpus {corpus} cannot be read: {problem.strerror or problem}") from problem
    text = _decode_utf8(data, corpus).removeprefix("\ufeff").replace("\r\n", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def _decode_utf8(data: bytes, corpus: str) -> str:
    bad = data.find(b"\0")  # valid UTF-8, but in no text
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        text, bad = "", problem.start if bad < 0 else min(bad, problem.start)
    if bad >= 0:
        line = data.count(b"\n", 0, bad) + 1
        hint = "; it looks like UTF-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""
        raise ValueError(f"corpus {corpus} is not UTF-8 text: byte {data[bad]:#04x} at offset {bad}, in line {line}{hint}")
    return text


def _most_frequent(counts: Counter[str], vocab_size: int | None) -> Words:
    """Words by falling frequency, equal ones by code points; as many as a vocabulary of `vocab_size` has room for."""
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return tuple(ranked if vocab_size is None else ranked[: vocab_size - len(SPECIAL)])


def _fingerprint(settings: CorpusSettings, lines: list[str]) -> str:
    """The same wherever the file lies and however policies are evaluated."""
    chosen = {name: value for name, value in asdict(settings).items() if name not in ("corpus", "num_eval")}
    return _hash(json.dumps(chosen, sort_keys=True), *lines).hex()


def _hash(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()


def _dropped(fates: Counter[str]) -> dict[str, int]:
    return {reason: fates[reason] for reason in (_BLANK, _SHORT, _LONG)}


def _reasons(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count) or "none"


def _bars(histogram: Sequence[int]) -> str:
    """A histogram as one line of at most 80 characters; a space where there is nothing."""
    width = -(-len(histogram) // 80)
    sums = [sum(histogram[start : start + width]) for start in range(0, len(histogram), width)]
    return "".join("▁▂▃▄▅▆▇█"[8 * count // (max(sums) + 1)] if count else " " for count in sums)
