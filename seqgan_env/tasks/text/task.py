"""The text task: writing lines like those of a corpus, by words, by characters or by a tokenizer of
the user's own.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from seqgan_env.checks import check_type
from seqgan_env.files import naming
from seqgan_env.names import choose
from seqgan_env.tasks.carried import check_parts, checked_words
from seqgan_env.tasks.reading import reported
from seqgan_env.tasks.real_data import RealDataTask, Words, allocated, sides
from seqgan_env.tasks.text.corpus_summary import (
    BLANK,
    CUT,
    FATES,
    KEPT,
    LONG,
    SHORT,
    CorpusSummary,
    dropped,
    reasons,
)
from seqgan_env.tasks.text.docstrings import docstring_sentences
from seqgan_env.tasks.text.formats import iterate_texts, natural_level
from seqgan_env.tasks.text.graphemes import graphemes, stands_alone
from seqgan_env.tasks.text.kept import Kept, is_kept, key_of, parts_of, read_kept, write_kept
from seqgan_env.tasks.text.numbering import NumberedLines
from seqgan_env.tasks.text.settings import DEFAULT_LENGTH, TEXT, CorpusSettings
from seqgan_env.tasks.text.tokenizers import (
    LEVELS,
    HuggingFace,
    Tokenizer,
    make_tokenizer,
    words_of,
)
from seqgan_env.types import TokenSpec

EOS_WORD, UNKNOWN_WORD = SPECIAL = ("<eos>", "<unk>")
UNKNOWN_CHARACTER = "\ufffd"  # <unk> where every character is a word: one character for one
# Unknown to a policy that writes characters: what stands for the unknown, and what would not come
# back from a file, a carriage return and the mark of the byte order.
UNWRITABLE_CHARACTERS = (UNKNOWN_CHARACTER, "\r", "\ufeff")
EOS = 0

LONGEST_CHOSEN = 128
_FITTING = 0.9  # share of the lines that must fit into the default length
_PURPOSES = ("to train on", "to select on", "to report on")
_LINES_AT_ONCE = 2**16
# Settings that are no part of the fingerprint: where texts lie, and how policies are evaluated.
_NOT_HASHED = ("corpus", "validation_corpus", "held_out_corpus", "column", "num_eval", "tokenizer")
# Settings that came later: at their default they must not change the fingerprints of old runs.
_HASHED_IF_CHANGED = ("fixed_length", "max_train_lines", "unicode_form")
# What is kept of a text that was read, beside its sequences.
_OF_COUNTED = {"fates": dict, "distinct_words": int, "num_shared": int, "length_was_chosen": bool}
_OF_KEPT = {"max_length": int, "vocabulary": list, "sizes": list, "fingerprint": str}
_COVERED = 0.95  # share of the lines that fits into a length that is chosen


class CorpusTask(RealDataTask):
    """Writing lines like those of a text.

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
        level = "word"
        if settings.tokenizer is None:
            level = natural_level(settings.corpus)
        level = settings.level or level
        settings = replace(settings, level=level)
        self._given = settings
        self.settings = settings  # with the length that is chosen below
        self._have_tokenizer(make_tokenizer(level, settings.tokenizer))

        self._key = key_of(settings, self._files(), self.tokenizer)
        kept = read_kept(self._key)
        if kept is None:
            self._read(name)
        else:
            with naming(kept.file):
                self._take(kept, name)

    def _read(self, name: str) -> None:
        """Reads all files and makes sequences of them."""
        # Choose T by the lines if need be.
        settings = self.settings
        self._num_lines: list[int] = []  # of each file
        lines = NumberedLines(self._lines_of_words())
        # Where it is the usual length, there is nothing to report.
        was_chosen = False
        if settings.max_length is None:
            settings = replace(settings, max_length=chosen_length(lines.lengths, settings))
            self.settings = settings
            was_chosen = settings.max_length != DEFAULT_LENGTH
        self.max_length: int = self.settings.max_length or DEFAULT_LENGTH

        # Split the lines. The words are those of the training part, for no other may be known.
        fates = self._fates(lines.lengths)
        parts, num_shared = self._parts(lines, fates)
        counts = self._counts(lines, parts[0])
        special = _special(settings)
        self._have_words(special + _most_frequent(counts, settings.vocab_size, len(special)))
        spec = _spec(settings, len(self.vocabulary), self.max_length)
        sequences = [self._sequences(lines, part, spec) for part in parts]
        super().__init__(name, spec, sequences, settings.num_eval)
        self._counted: dict[str, Any] = {
            "fates": dict(_counted(fates)),
            "distinct_words": len(counts),
            "num_shared": num_shared,
            "length_was_chosen": was_chosen,
        }
        self.summary = self._summarise()
        self.fingerprint = self._hash(lines)

    def _take(self, kept: Kept, name: str) -> None:
        """Takes what these files were read into before.

        Raises:
            ValueError: it cannot be what `keep_data` wrote.
        """
        about = kept.about
        self._counted = {}
        for part, kind in {**_OF_COUNTED, **_OF_KEPT}.items():
            check_type(part, about.get(part), kind)
            if part in _OF_COUNTED:
                self._counted[part] = about[part]
        for fate, number in about["fates"].items():
            check_type(choose(FATES, fate, "fate"), number, int)
        self.max_length = about["max_length"]
        self.settings = replace(self.settings, max_length=self.max_length)
        self._have_words(checked_words(about["vocabulary"], _special(self.settings)))
        spec = _spec(self.settings, len(self.vocabulary), self.max_length)
        sequences = parts_of(kept, about["sizes"], spec)
        super().__init__(name, spec, sequences, self.settings.num_eval)
        self.summary = self._summarise()
        self.fingerprint = about["fingerprint"]

    def keep_data(self, folder: Path) -> None:
        """Writes what a large text was read into, so that `kept_in` reads it no more.

        Of a small text, and of one that has changed since, nothing is written.

        Raises:
            ValueError: the folder cannot be written.
        """
        if self._key is None or self._key != key_of(self._given, self._files(), self.tokenizer):
            return
        if is_kept(folder, self._key):
            return
        parts = (self.real_sequences, self.validation, self.held_out)
        about = self._counted | {
            "max_length": self.max_length,
            "vocabulary": list(self.vocabulary),
            "sizes": list(map(len, parts)),
            "fingerprint": self.fingerprint,
        }
        write_kept(folder, self._key, about, parts, self.spec)

    def _have_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Takes what splits and joins; with or without data."""
        self.tokenizer = tokenizer
        self._by_characters = self.settings.level == "char" and self.settings.tokenizer is None

    def _have_words(self, vocabulary: Words) -> None:
        """Takes the word of every token; those that are reserved stand for no word of a text."""
        self.vocabulary = vocabulary
        self.unknown_token: int = vocabulary.index(UNKNOWN_WORD)
        self._token_of: dict[str, int] = {}
        for token, word in enumerate(vocabulary):
            if not self._is_reserved(word):
                self._token_of[word] = token

    def essentials(self) -> dict[str, Any]:
        """The level, T, the words, and what stands in the file of a tokenizer."""
        tokenizer = None
        if isinstance(self.tokenizer, HuggingFace):
            tokenizer = self.tokenizer.text
        return {
            "level": self.settings.level,
            "max_length": self.max_length,
            "tokenizer": tokenizer,
            "vocabulary": list(self.vocabulary),
        }

    @classmethod
    def without_data(
        cls, settings: CorpusSettings, name: str, essentials: Mapping[str, Any]
    ) -> Self:
        """The task without its text."""
        kinds = {"level": str, "max_length": int, "tokenizer": str | None, "vocabulary": list}
        check_parts(essentials, kinds)
        level, length = essentials["level"], essentials["max_length"]
        settings = replace(settings, level=choose(LEVELS, level, "level"), max_length=length)
        vocabulary = checked_words(essentials["vocabulary"], _special(settings))
        task = cls.bare(name, _spec(settings, len(vocabulary), length))
        task.settings, task.max_length = settings, length
        task._have_tokenizer(make_tokenizer(level, settings.tokenizer, essentials["tokenizer"]))
        task._have_words(vocabulary)
        return task

    def encode(self, text: str) -> Tensor:
        """One line of text as a sequence (T,); T words are one that has no end.

        What `decode` wrote comes back as it was, but for a tokenizer whose words cannot be told
        apart once they are joined: for those there are `words` and `encode_words`.

        Raises:
            ValueError: these are too few words, or more than T that are not to be cut.
        """
        if self._by_characters:
            # At the ends of a line of the corpus spaces mean nothing, and the tokenizer drops them.
            # A policy may write them.
            words = tuple(graphemes(self._uniform(text)))
        else:
            words = self._words(text, "the text")
        return self._finished(words, f"text {text[:40]!r}")

    def encode_words(self, words: Sequence[str]) -> Tensor:
        """The sequence (T,) of words as `words` gives them, whatever the tokenizer.

        Raises:
            ValueError: these are too few, or more than T that are not to be cut.
        """
        return self._finished(tuple(words), f"the list {words[:5]!r}")

    def _finished(self, words: Words, told: str) -> Tensor:
        """The sequence (T,) of a policy's words; T words are one that has no end."""
        least, most = self._allowed()[0], self.max_length
        if len(words) < least or (len(words) > most and self.settings.long_lines != "cut"):
            raise ValueError(
                f"{told} has {len(words)} words or characters; this task allows {least}..{most}"
            )
        return self._number(words[:most], self.spec)

    def words(self, tokens: Tensor) -> list[str]:
        """The words that a sequence (T,) writes, up to its end."""
        words: list[str] = []
        for token in tokens.tolist():
            if token in (self.spec.eos_token, self.spec.pad_token):
                break
            words.append(self.vocabulary[token])
        return words

    def decode(self, tokens: Tensor) -> str:
        """The line that a sequence (T,) writes, up to its end."""
        words = self.words(tokens)
        if self._by_characters:
            for i, word in enumerate(words):
                if word == UNKNOWN_WORD:
                    words[i] = UNKNOWN_CHARACTER
        return self.tokenizer.join(words)

    def _is_reserved(self, word: str) -> bool:
        """Whether a word of a text is unknown even if its text equals that of a token.

        These are the names of the special tokens, and characters that would not come back from a
        text as they are.
        """
        if not self._by_characters:
            return word in SPECIAL
        return word in SPECIAL or word in UNWRITABLE_CHARACTERS or not stands_alone(word)

    def _files(self) -> list[str | None]:
        """The corpus, and the texts to select and to report on where there are such."""
        files = [self.settings.corpus]
        for path in (self.settings.validation_corpus, self.settings.held_out_corpus):
            if path is not None:
                files.append(path)
        return files

    def _texts(self, path: str | None) -> Iterable[str]:
        """The texts of one of the files."""
        if path is None:
            return docstring_sentences()
        return iterate_texts(path, self.settings.column)

    def _lines_of_words(self) -> Iterator[Words]:
        """The words of all files, line by line; `_num_lines` gets how many lines each file has."""
        for path in self._files():
            source, number = self._source(path), 0  # of a file without lines too
            for number, text in enumerate(self._texts(path), start=1):
                yield self._words(text, f"line {number} of {source}")
            self._num_lines.append(number)

    def _words(self, line: str, where: str) -> Words:
        """The words of a line of the corpus; errors say `where` it stands."""
        return words_of(self.tokenizer, self._uniform(line), where)

    def _uniform(self, text: str) -> str:
        """A text with its Unicode and its case as the settings want them."""
        form = self.settings.unicode_form
        if form != "none" and not text.isascii():
            text = unicodedata.normalize(form, text)  # type: ignore[arg-type]
        if self.settings.lowercase:
            return text.lower()
        return text

    def _allowed(self) -> tuple[int, int]:
        """The fewest and the most words of a line that is kept whole."""
        settings = self.settings
        if settings.fixed_length:
            return (self.max_length,) * 2
        return (settings.min_length, self.max_length - 1)

    def _fates(self, lengths: np.ndarray) -> np.ndarray:
        """What becomes of lines of these lengths (M,), as places in `FATES`."""
        least, most = self._allowed()
        too_long = LONG
        if self.settings.long_lines == "cut":
            too_long = CUT
        # The first condition that holds decides.
        conditions = [lengths == 0, lengths < least, lengths <= most]
        fates = list(map(FATES.index, (BLANK, SHORT, KEPT, too_long)))
        found: np.ndarray = np.select(conditions, fates[:3], fates[3]).astype(np.int8)
        return found

    def _parts(self, lines: NumberedLines, fates: np.ndarray) -> tuple[list[np.ndarray], int]:
        """The lines to train on, to select on and to report on, by number in their order, and how
        many were left out because they stand in another part's file.

        What is the same is on the same side.
        """
        settings, names = self.settings, self._files()
        file_of_every = np.repeat(np.arange(len(names)), self._num_lines)  # (M,)
        kept = np.flatnonzero((fates == FATES.index(KEPT)) | (fates == FATES.index(CUT)))  # (K,)
        file_of = file_of_every[kept]  # (K,)
        for i, path in enumerate(names):
            if not (file_of == i).any():
                raise ValueError(self._no_line(path, _counted(fates[file_of_every == i])))

        # Split the corpus by the hashes of its lines; a part with a file of its own takes no share.
        keys = lines.keys(kept, self.max_length, settings.split_seed)  # (K,)
        validation_share, held_out_share = settings.validation_share, settings.held_out_share
        if settings.validation_corpus is not None:
            validation_share = 0.0
        if settings.held_out_corpus is not None:
            held_out_share = 0.0
        shares = (validation_share, held_out_share)
        of_corpus = file_of == 0
        part = np.zeros(len(kept), dtype=np.int8)  # (K,)
        part[of_corpus] = sides(keys[of_corpus], shares, self._source(), "lines")
        if settings.validation_corpus is not None:
            part[file_of == 1] = 1
        if settings.held_out_corpus is not None:
            part[file_of == len(names) - 1] = 2  # the last file, whether there is one before it
        num_shared = 0
        if len(names) > 1:
            part, num_shared = _apart(part, keys)

        parts = []
        for number in range(3):
            found = kept[part == number]
            parts.append(found)
            if not len(found):
                raise ValueError(
                    f"{self._source()} leaves no line {_PURPOSES[number]} once those are left out "
                    "that stand in another file too"
                )
        most = settings.max_train_lines
        if most is not None and most < len(parts[0]):
            # Those with the smallest hashes: a choice that more lines extend and do not change.
            drawn = np.argsort(keys[part == 0], kind="stable")[:most]
            parts[0] = parts[0][np.sort(drawn)]
        return parts, num_shared

    def _no_line(self, path: str | None, fates: Counter[str]) -> str:
        """The message of the error that a file has no line to use."""
        return (
            f"{self._source(path)} has no line to use among {fates.total()} "
            f"({reasons(dropped(fates))}){self._hint(fates)}"
        )

    def _hint(self, fates: Counter[str]) -> str:
        """What would keep some of the lines."""
        length = self.max_length
        if fates[LONG]:
            return f"; raise --max-length ({length}), or keep their beginnings by --long-lines cut"
        if self.settings.fixed_length and fates[SHORT]:
            return f"; lower --max-length ({length}) or leave --fixed-length out"
        return ""

    def _counts(self, lines: NumberedLines, part: np.ndarray) -> dict[str, int]:
        """How often each word that can have a token stands in some lines."""
        counts = lines.counts(part, self.max_length).tolist()
        found = {}
        for word, count in zip(lines.words, counts, strict=True):
            if count and not self._is_reserved(word):
                found[word] = count
        return found

    def _number(self, words: Words, spec: TokenSpec) -> Tensor:
        """The sequence (T,) of up to T words."""
        line = NumberedLines([words])
        return self._sequences(line, np.array([0]), spec)[0]

    def _sequences(self, lines: NumberedLines, part: np.ndarray, spec: TokenSpec) -> Tensor:
        """Sequences (K, T) of lines (K,): tokens, the end where there is room for it, padding.

        int64; very many are of a narrower integer type and in a temporary file (`allocated`).
        """
        # The token of every distinct word, (W,), W 1 or more: blank lines ask for a place too.
        unknown = self.unknown_token
        tokens = np.array([self._token_of.get(word, unknown) for word in lines.words or ("",)])
        rows = allocated((len(part), spec.seq_len), spec.pad_token)
        lines.matrix(part, tokens, EOS, spec.pad_token, rows)
        return torch.from_numpy(rows)

    def _summarise(self) -> CorpusSummary:
        """What became of the lines."""
        parts = (self.real_sequences, self.validation, self.held_out)
        histogram = torch.zeros(self.spec.seq_len + 1, dtype=torch.int64)  # by length, 0..T
        for part in parts:
            for block in part.split(_LINES_AT_ONCE):
                lengths = self.spec.lengths(block)
                histogram += torch.bincount(lengths, minlength=self.spec.seq_len + 1)

        # The share of held-out words that are unknown; ends are known and no words.
        num_words = int(self.spec.lengths(self.held_out).sum())
        if self.spec.eos_token is not None:
            num_words -= int((self.held_out == EOS).sum())
        unknown = (self.held_out == self.unknown_token).sum() / num_words
        counted = Counter(self._counted["fates"])
        return CorpusSummary(
            source=self._source(),
            lines=counted.total(),
            kept=counted[KEPT] + counted[CUT],
            cut=counted[CUT],
            dropped=dropped(counted),
            parts=(len(self.real_sequences), len(self.validation), len(self.held_out)),
            distinct_words=self._counted["distinct_words"],
            num_special=self.spec.vocab_size - len(self._token_of),
            vocab_size=self.spec.vocab_size,
            coverage=1 - float(unknown),
            length_histogram=tuple(histogram.tolist()),
            length_was_chosen=self._counted["length_was_chosen"],
            shared=self._counted["num_shared"],
            by_words=not self._by_characters and self.settings.tokenizer is None,
        )

    def _source(self, path: str | None = None) -> str:
        path = path or self.settings.corpus
        if path is None:
            return "built-in corpus"
        return f"corpus {path}"

    def _hash(self, lines: NumberedLines) -> str:
        """The fingerprint: a hash of the settings and the texts of all files.

        It is the same wherever the files lie and however policies are evaluated. Of a tokenizer
        counts what it makes of the lines.
        """
        settings, defaults = self.settings, CorpusSettings()
        chosen = {}
        for field in fields(settings):
            value = getattr(settings, field.name)
            is_default = value == getattr(defaults, field.name)
            if field.name in _NOT_HASHED or (field.name in _HASHED_IF_CHANGED and is_default):
                continue
            chosen[field.name] = value
        hashed = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode())
        with reported(lambda source, done, total: None):  # they have been reported once
            for path in self._files():
                for text in self._texts(path):
                    hashed.update(b"\0" + text.encode())
        if settings.tokenizer is not None:
            for words in lines:
                hashed.update(b"\0" + json.dumps(words).encode())
        return hashed.hexdigest()


def _special(settings: CorpusSettings) -> tuple[str, ...]:
    """The tokens that are no words; nothing ends before its time where all have one length."""
    if settings.fixed_length:
        return (UNKNOWN_WORD,)
    return SPECIAL


def _spec(settings: CorpusSettings, vocab_size: int, max_length: int) -> TokenSpec:
    eos = None
    if not settings.fixed_length:
        eos = EOS
    return TokenSpec(vocab_size, max_length, eos, settings.min_length)


def _counted(fates: np.ndarray) -> Counter[str]:
    """How many lines have each fate."""
    return Counter(dict(zip(FATES, np.bincount(fates, minlength=len(FATES)).tolist(), strict=True)))


def _apart(part: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, int]:
    """Leaves out the lines that stand in two parts, from the part that is used earlier.

    Args:
        part: (K,) of each line: 0 to train on, 1 to select on, 2 to report on.
        keys: (K,) hashes of the lines.

    Returns:
        The parts (K,), -1 for what is left out, and how many lines these are.
    """
    part = part.copy()
    # What is reported on stays whole. Validation is judged on too, so training gives way to both.
    reported = keys[part == 2]
    part[(part == 1) & np.isin(keys, reported)] = -1
    judged = keys[part >= 1]
    part[(part == 0) & np.isin(keys, judged)] = -1
    return part, int((part < 0).sum())


def chosen_length(lengths: np.ndarray, settings: CorpusSettings) -> int:
    """T for lines of these lengths (M,) where none is given.

    The usual one if nearly all lines fit into it, else what 95 % of them need, up to
    `LONGEST_CHOSEN`.
    """
    needed = np.sort(lengths[lengths > 0] + 1)  # with the end
    if settings.fixed_length or not len(needed) or np.mean(needed <= DEFAULT_LENGTH) >= _FITTING:
        return max(DEFAULT_LENGTH, settings.min_length + 1)
    covering = int(needed[math.ceil(_COVERED * len(needed)) - 1])
    return max(min(covering, LONGEST_CHOSEN), settings.min_length + 1)


def _most_frequent(counts: Mapping[str, int], vocab_size: int | None, num_special: int) -> Words:
    """Words by falling frequency, equal ones by code points; as many as a vocabulary of
    `vocab_size` has room for.
    """
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    if vocab_size is not None:
        ranked = ranked[: vocab_size - num_special]
    return tuple(ranked)
