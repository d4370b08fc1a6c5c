"""The text task: writing lines like those of a corpus, by words, by characters or by a tokenizer of
the user's own.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from seqgan_env.tasks.reading import read_lines
from seqgan_env.tasks.real_data import RealDataTask, Words, digest, split
from seqgan_env.tasks.text.corpus_summary import (
    BLANK,
    CUT,
    KEPT,
    LONG,
    SHORT,
    CorpusSummary,
    dropped,
    reasons,
)
from seqgan_env.tasks.text.settings import DEFAULT_LENGTH, TEXT, CorpusSettings
from seqgan_env.tasks.text.tokenizers import make_tokenizer, words_of
from seqgan_env.types import TokenSpec

EOS_WORD, UNKNOWN_WORD = SPECIAL = ("<eos>", "<unk>")
UNKNOWN_CHARACTER = "\ufffd"  # <unk> where every character is a word: one character for one
# Unknown to a policy that writes characters: what stands for the unknown, and what would not come
# back from a file, a carriage return and the mark of the byte order.
UNWRITABLE_CHARACTERS = (UNKNOWN_CHARACTER, "\r", "\ufeff")
EOS = 0

LONGEST_CHOSEN = 128
_FITTING = 0.9  # share of the lines that must fit into the default length
_COVERED = 0.95  # share of them that fits into a length that is chosen


class CorpusTask(RealDataTask):
    """Writing what the corpus could have said.

    Token 0 ends a sequence, 1 is any word outside the vocabulary; where all sequences have one
    length, there is no end and 0 is any such word.

    Attributes:
        vocabulary: the word of every token, the most frequent of the training part first behind the
            special ones.
        summary: what became of the lines.
        fingerprint: hash of the text and the settings; as long as it is the same, tokens mean the
            same words.
        defaults: settings where none is given.
        presets: what presets of a run change.
    """

    defaults: ClassVar[CorpusSettings] = TEXT.settings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = TEXT.presets

    def __init__(self, settings: CorpusSettings = CorpusSettings(), name: str = "text") -> None:
        """Reads, splits and numbers the corpus.

        Raises:
            ValueError: the file cannot be read or is not UTF-8 text, no line is usable, there are
                too few to split, or the tokenizer cannot be loaded or fails.
        """
        self.settings = settings  # with the length that is chosen below
        self.tokenizer = make_tokenizer(settings.level, settings.tokenizer)
        lines = read_lines(settings.corpus)
        words = [
            self._words(line, f"line {i} of {self._source()}")
            for i, line in enumerate(lines, start=1)
        ]
        # Where it is the usual length, there is nothing to report.
        self._length_was_chosen = False
        if settings.max_length is None:
            settings = replace(settings, max_length=chosen_length(words, settings))
            self.settings = settings
            self._length_was_chosen = settings.max_length != DEFAULT_LENGTH
        self.max_length: int = self.settings.max_length or DEFAULT_LENGTH
        fates = Counter(map(self._fate, words))
        parts = self._split(
            [w[: self.max_length] for w in words if self._fate(w) in (KEPT, CUT)], fates
        )
        self._by_characters = settings.level == "char" and settings.tokenizer is None
        counts = Counter(word for line in parts[0] for word in line if word not in self._reserved)
        special = (UNKNOWN_WORD,) if settings.fixed_length else SPECIAL
        self.unknown_token: int = special.index(UNKNOWN_WORD)
        self.vocabulary = special + _most_frequent(counts, settings.vocab_size, len(special))
        self._token_of = {
            word: token for token, word in enumerate(self.vocabulary) if word not in self._reserved
        }
        eos = None if settings.fixed_length else EOS
        spec = TokenSpec(len(self.vocabulary), self.max_length, eos, settings.min_length)
        super().__init__(
            name, spec, [self._number(part, spec) for part in parts], settings.num_eval
        )
        self.summary = self._summarise(fates, len(counts))
        self.fingerprint = _fingerprint(settings, lines, words)

    def encode(self, text: str) -> Tensor:
        """One line of text as a sequence (T,); T words are one that has no end.

        What `decode` wrote comes back as it was, but for a tokenizer whose words cannot be told
        apart once they are joined.

        Raises:
            ValueError: these are too few words, or more than T that are not to be cut.
        """
        # At the outside of a line of the corpus spaces mean nothing; a policy may write them.
        words = tuple(text) if self._by_characters else self._words(text, "the text")
        least, most = self._allowed()[0], self.max_length
        if len(words) < least or (len(words) > most and self._fate(words) == LONG):
            raise ValueError(
                f"text {text[:40]!r} has {len(words)} words or characters; this task allows "
                f"{least}..{most}"
            )
        return self._number([words[:most]], self.spec)[0]

    def decode(self, tokens: Tensor) -> str:
        """The line that a sequence (T,) writes, up to its end."""
        words: list[str] = []
        for token in tokens.tolist():
            if token in (self.spec.eos_token, self.spec.pad_token):
                break
            unknown = self._by_characters and token == self.unknown_token
            words.append(UNKNOWN_CHARACTER if unknown else self.vocabulary[token])
        return self.tokenizer.join(words)

    @property
    def _reserved(self) -> tuple[str, ...]:
        """Words that are no words of the vocabulary wherever they stand in a text."""
        return (*SPECIAL, *UNWRITABLE_CHARACTERS) if self._by_characters else SPECIAL

    def _words(self, line: str, where: str) -> Words:
        return words_of(self.tokenizer, line.lower() if self.settings.lowercase else line, where)

    def _allowed(self) -> tuple[int, int]:
        """The fewest and the most words of a line that is kept whole."""
        settings = self.settings
        return (
            (self.max_length,) * 2
            if settings.fixed_length
            else (settings.min_length, self.max_length - 1)
        )

    def _fate(self, words: Words) -> str:
        """What becomes of a line."""
        least, most = self._allowed()
        if not words:
            return BLANK
        if len(words) < least:
            return SHORT
        if len(words) <= most:
            return KEPT
        return CUT if self.settings.long_lines == "cut" else LONG

    def _split(self, lines: list[Words], fates: Counter[str]) -> list[list[Words]]:
        """The lines to train on, to select on and to report on, in their order; what is the same is
        on the same side.
        """
        settings = self.settings
        if not lines:
            raise ValueError(
                f"{self._source()} has no line to use among {fates.total()} "
                f"({reasons(dropped(fates))}){self._hint(fates)}"
            )
        return split(lines, settings, self._source(), "lines")

    def _hint(self, fates: Counter[str]) -> str:
        """What would keep some of the lines."""
        length = self.max_length
        if fates[LONG]:
            return f"; raise --max-length ({length}), or keep their beginnings by --long-lines cut"
        return (
            f"; lower --max-length ({length}) or leave --fixed-length out"
            if self.settings.fixed_length and fates[SHORT]
            else ""
        )

    def _number(self, lines: Sequence[Words], spec: TokenSpec) -> Tensor:
        """Sequences (M, T) of lines of up to T words: tokens, the end where there is room for it,
        padding.
        """
        rows = np.full((len(lines), spec.seq_len), spec.pad_token, dtype=np.int64)
        for row, line in zip(rows, lines, strict=True):
            row[: len(line)] = [self._token_of.get(word, self.unknown_token) for word in line]
            row[len(line) : len(line) + 1] = EOS
        return torch.from_numpy(rows)

    def _summarise(self, fates: Counter[str], distinct_words: int) -> CorpusSummary:
        lengths = self.spec.lengths(
            torch.cat([self.real_sequences, self.validation, self.held_out])
        )
        ends = 0 if self.spec.eos_token is None else (self.held_out == EOS).sum()
        unknown = (self.held_out == self.unknown_token).sum() / (
            self.spec.lengths(self.held_out).sum() - ends
        )
        return CorpusSummary(
            source=self._source(),
            lines=fates.total(),
            kept=fates[KEPT] + fates[CUT],
            cut=fates[CUT],
            dropped=dropped(fates),
            parts=(len(self.real_sequences), len(self.validation), len(self.held_out)),
            distinct_words=distinct_words,
            num_special=self.spec.vocab_size - len(self._token_of),
            vocab_size=self.spec.vocab_size,
            coverage=1 - float(unknown),
            length_histogram=tuple(
                torch.bincount(lengths, minlength=self.spec.seq_len + 1).tolist()
            ),
            length_was_chosen=self._length_was_chosen,
        )

    def _source(self) -> str:
        return (
            "built-in corpus" if self.settings.corpus is None else f"corpus {self.settings.corpus}"
        )


def chosen_length(lines: Sequence[Words], settings: CorpusSettings) -> int:
    """T for some lines where none is given."""
    lengths = np.sort([len(line) + 1 for line in lines if line])  # with the end
    if settings.fixed_length or not len(lengths) or np.mean(lengths <= DEFAULT_LENGTH) >= _FITTING:
        return max(DEFAULT_LENGTH, settings.min_length + 1)
    needed = int(lengths[math.ceil(_COVERED * len(lengths)) - 1])
    return max(min(needed, LONGEST_CHOSEN), settings.min_length + 1)


def _most_frequent(counts: Counter[str], vocab_size: int | None, num_special: int) -> Words:
    """Words by falling frequency, equal ones by code points; as many as a vocabulary of
    `vocab_size` has room for.
    """
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return tuple(ranked if vocab_size is None else ranked[: vocab_size - num_special])


def _fingerprint(settings: CorpusSettings, lines: list[str], words: list[Words]) -> str:
    """The same wherever the file lies and however policies are evaluated; of a tokenizer counts
    what it makes of the lines.
    """
    skipped = {"corpus", "num_eval", "tokenizer"} | (
        set() if settings.fixed_length else {"fixed_length"}
    )
    chosen = {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if field.name not in skipped
    }
    tokenized = [] if settings.tokenizer is None else [json.dumps(line) for line in words]
    return digest(json.dumps(chosen, sort_keys=True), *lines, *tokenized).hex()
