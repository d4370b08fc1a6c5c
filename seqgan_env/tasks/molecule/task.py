"""The molecule task: writing molecules like those of a file, as SMILES or SELFIES."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from seqgan_env.metrics.molecules import NUM_MEASURED, MoleculeMetrics, spread
from seqgan_env.names import choose
from seqgan_env.tasks.carried import check_parts, checked_words
from seqgan_env.tasks.molecule.chemistry import molecule
from seqgan_env.tasks.molecule.drawing import draw_grid, plot_properties
from seqgan_env.tasks.molecule.fragments import built_in_molecules
from seqgan_env.tasks.molecule.notation import from_selfies, to_selfies, tokens_of
from seqgan_env.tasks.molecule.settings import MOLECULE, MoleculeSettings
from seqgan_env.tasks.molecule.table import PropertyTable
from seqgan_env.tasks.reading import read_lines
from seqgan_env.tasks.real_data import RealDataTask, Words, digest, split
from seqgan_env.tasks.text.formats import format_of
from seqgan_env.training import run_directory
from seqgan_env.types import TokenSpec

EOS_WORD, EOS = "<eos>", 0
SEPARATORS = {".csv": ",", ".tsv": "\t"}
_DEFAULT_COLUMN = "smiles"
_COVERED = 0.99  # share of the molecules that fits into a length that is chosen
_DAMAGED, _TWICE, _LONG = "no molecule", "there already", "too long"  # why a line is left out
# The settings that change no sequence; the others are in the fingerprint.
_NOT_IN_FINGERPRINT = ("corpus", "column", "num_eval", "target", "diversity_filter")
_PICTURE, _HISTOGRAMS, _TEXT = "molecules.png", "properties.png", "molecules.smi"


@dataclass(frozen=True)
class MoleculeSummary:
    """What became of the lines of a file.

    Attributes:
        source: of the molecules.
        lines: of the file.
        dropped: by reason, how many were left out.
        parts: molecules to train on, to select on and to report on.
        vocab_size: V.
        seq_len: T.
    """

    source: str
    lines: int
    dropped: Mapping[str, int]
    parts: tuple[int, ...]
    vocab_size: int
    seq_len: int

    def __str__(self) -> str:
        left_out = _counted(self.dropped)
        if left_out:
            left_out = f"; left out {left_out}"
        train, select, report = self.parts
        return (
            f"{self.source}: {self.lines} lines, {sum(self.parts)} molecules{left_out}\n"
            f"{self.vocab_size} tokens, up to {self.seq_len} in a sequence, the end counted\n"
            f"{train} molecules to train on, {select} to select on, {report} to report on"
        )


class MoleculeTask(RealDataTask):
    """Writing molecules like those of a file.

    Token 0 ends a sequence; the others are those of `seqgan_env.tasks.molecule.notation` that occur
    in the file. A molecule that occurs twice, under whatever SMILES, counts once, so that the
    three parts share none. Its text stays as it is: RDKit reads it, and rewrites nothing.

    Attributes:
        vocabulary: the text of every token, frequent ones first.
        table: properties of molecules, for sources and metrics.
        summary: what became of the lines.
        fingerprint: hash of the molecules and the settings.
        defaults: settings where none is given.
        presets: what presets of a run change.
    """

    defaults: ClassVar[MoleculeSettings] = MOLECULE.settings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MOLECULE.presets

    def __init__(
        self, settings: MoleculeSettings = MoleculeSettings(), name: str = "molecule"
    ) -> None:
        """Reads, checks and splits the molecules.

        Raises:
            ValueError: RDKit is not installed, the file cannot be read or has too few molecules, or
                the target is none.
        """
        if molecule(settings.target) is None:
            raise ValueError(f"target {settings.target!r} is no molecule that RDKit can read")
        self.table = PropertyTable()

        # Read the molecules, choose T if need be, and leave out what does not fit into it.
        lines = read_molecules(settings)
        kept, dropped = self._usable(lines, settings)
        if settings.max_length is None:
            settings = replace(settings, max_length=_covering_length(kept))
        self.settings = settings
        assert settings.max_length is not None
        fitting = [words for words in kept if len(words) < settings.max_length]
        dropped[_LONG] = len(kept) - len(fitting)
        if not fitting:
            told = _counted(dropped) or "no lines"
            raise ValueError(f"{self._source()} has no molecule to use ({told})")
        sides = split(fitting, settings, self._source(), "molecules")

        # Number the words. Ties go by the alphabet, so that the file's order changes no token.
        counts = Counter(itertools.chain.from_iterable(fitting))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        self._have_words((EOS_WORD, *ranked))
        spec = TokenSpec(len(self.vocabulary), settings.max_length, EOS, min_length=1)
        parts = [self._number(side, spec) for side in sides]
        metrics = partial(MoleculeMetrics, smiles_of=self._smiles_of_array, table=self.table)
        super().__init__(name, spec, parts, settings.num_eval, metrics)
        self.summary = MoleculeSummary(
            self._source(),
            len(lines),
            dropped,
            tuple(map(len, parts)),
            spec.vocab_size,
            spec.seq_len,
        )
        chosen = asdict(settings)
        for name_of_setting in _NOT_IN_FINGERPRINT:
            del chosen[name_of_setting]
        texts = map("".join, fitting)
        self.fingerprint = digest(json.dumps(chosen, sort_keys=True), *texts).hex()

    def _have_words(self, vocabulary: tuple[str, ...]) -> None:
        """Takes the text of every token; the end's is none that a molecule can have."""
        self.vocabulary = vocabulary
        self._token_of = dict(zip(vocabulary, itertools.count()))
        del self._token_of[vocabulary[EOS]]

    def essentials(self) -> dict[str, Any]:
        """T and the words."""
        return {"max_length": self.spec.seq_len, "vocabulary": list(self.vocabulary)}

    @classmethod
    def without_data(
        cls, settings: MoleculeSettings, name: str, essentials: Mapping[str, Any]
    ) -> Self:
        """The task without its molecules."""
        check_parts(essentials, {"max_length": int, "vocabulary": list})
        vocabulary = checked_words(essentials["vocabulary"], (EOS_WORD,))
        spec = TokenSpec(len(vocabulary), essentials["max_length"], EOS, min_length=1)
        task = cls.bare(name, spec)
        task.settings = replace(settings, max_length=spec.seq_len)
        task.table = PropertyTable()
        task._have_words(vocabulary)
        return task

    def encode(self, text: str) -> Tensor:
        """A molecule's text as a sequence (T,); one of T tokens has no end.

        Raises:
            ValueError: it is not of the notation, has a token that the file has not, is empty, or
                too long.
        """
        words = tokens_of(text, self.settings.notation)
        for word in words:
            if word not in self._token_of:
                raise ValueError(
                    f"text {text[:40]!r} has the token {word!r}; this task's "
                    f"{self.spec.vocab_size - 1} tokens are {' '.join(self.vocabulary[1:])}"
                )
        if not 1 <= len(words) <= self.spec.seq_len:
            raise ValueError(
                f"text {text[:40]!r} has {len(words)} tokens; this task allows "
                f"1..{self.spec.seq_len}"
            )
        return self._number([words], self.spec)[0]

    def decode(self, tokens: Tensor) -> str:
        """The text of a sequence (T,) in its notation, up to its end."""
        return self._text_of(tokens.tolist())

    def smiles(self, tokens: Tensor) -> list[str]:
        """The SMILES of sequences (B, T), which need not be molecules."""
        return self._smiles_of_array(tokens.cpu().numpy())

    def pictures(self, samples: Tensor) -> dict[str, bytes]:
        """Pictures of sequences (B, T): bytes of PNG by file name.

        One draws the first of them. The other shows the properties of all, beside those of
        held-out molecules where the task has its data.

        Raises:
            ValueError: matplotlib is not installed.
        """
        smiles = self.smiles(samples)
        real: list[str] = []
        if self.no_data is None:
            real = self._smiles_of_array(spread(self.held_out.cpu().numpy(), NUM_MEASURED))
        return {
            _PICTURE: draw_grid(smiles),
            _HISTOGRAMS: plot_properties(self.table, smiles, real),
        }

    def drawing(self, lines: Sequence[str]) -> str:
        """Sequences as `decode` writes them, as one SVG."""
        if self.settings.notation == "selfies":
            lines = list(map(from_selfies, lines))
        return draw_grid(lines, as_svg=True).decode()

    def write_samples(self, samples: Tensor, folder: Path) -> None:
        """Sequences (B, T) as `molecules.smi`, `molecules.png` and `properties.png` in `folder`,
        which is made if need be.

        Raises:
            ValueError: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            run_directory.write_text(folder / _TEXT, "\n".join(self.smiles(samples)) + "\n")
            for name, picture in self.pictures(samples).items():
                run_directory.write_bytes(folder / name, picture)
        except OSError as problem:
            raise ValueError(
                f"samples cannot be written to {folder}: {problem.strerror or problem}"
            ) from problem

    def _usable(
        self, lines: Sequence[str], settings: MoleculeSettings
    ) -> tuple[list[Words], dict[str, int]]:
        """The tokens of every molecule that can be read, each once, and how many lines by reason
        cannot be used.
        """
        canonical = self.table.values("canonical", lines)
        known = Counter(canonical)
        dropped = {_DAMAGED: known.pop(None, 0), _TWICE: known.total() - len(known)}
        # Backwards, so that the first text of a molecule stays, and the molecules stand in the
        # order of their last texts.
        first: dict[str, str] = {}
        for key, line in zip(canonical[::-1], lines[::-1], strict=True):
            if key:
                first[key] = line
        kept = []
        for smiles in reversed(list(first.values())):
            text: str | None = smiles
            if settings.notation == "selfies":
                text = to_selfies(smiles)  # None where RDKit knows more than SELFIES
            if text is None:
                dropped[_DAMAGED] += 1
            else:
                kept.append(tokens_of(text, settings.notation))
        return kept, dropped

    def _number(self, lines: Sequence[Words], spec: TokenSpec) -> Tensor:
        """Sequences (M, T) of up to T tokens, the end where there is room for it, padding."""
        rows = np.full((len(lines), spec.seq_len), spec.pad_token, dtype=np.int64)
        for row, line in zip(rows, lines, strict=True):
            row[: len(line)] = list(map(self._token_of.__getitem__, line))
            row[len(line) : len(line) + 1] = EOS  # an empty slice where the line has T tokens
        return torch.from_numpy(rows)

    def _smiles_of_array(self, tokens: np.ndarray) -> list[str]:
        """The SMILES of sequences (B, T)."""
        texts = list(map(self._text_of, tokens.tolist()))
        if self.settings.notation == "selfies":
            return list(map(from_selfies, texts))
        return texts

    def _text_of(self, tokens: Sequence[int]) -> str:
        """The words before the end, joined."""
        words = []
        for token in tokens:
            if token in (EOS, self.spec.pad_token):
                break
            words.append(self.vocabulary[token])
        return "".join(words)

    def _source(self) -> str:
        if self.settings.corpus is None:
            return "built-in fragments"
        return f"molecules {self.settings.corpus}"


def _counted(dropped: Mapping[str, int]) -> str:
    """How many lines were left out for each reason, in words; "" where none was."""
    told = []
    for reason, num in dropped.items():
        if num:
            told.append(f"{num} {reason}")
    return ", ".join(told)


def _covering_length(molecules: Sequence[Words]) -> int:
    """The smallest T into which 99 % of the molecules fit with their end; 2 or more."""
    if not molecules:
        return 2
    needed = sorted(map(len, molecules))
    return max(2, needed[math.ceil(_COVERED * len(needed)) - 1] + 1)


def read_molecules(settings: MoleculeSettings) -> list[str]:
    """The SMILES of a file, `max_molecules` of them at most, in its order.

    Raises:
        ValueError: the file cannot be read, or the table has no such column.
    """
    if settings.corpus is None:
        found = list(built_in_molecules())
    else:
        path = Path(settings.corpus)
        lines = read_lines(settings.corpus, "molecules")
        separator = SEPARATORS.get(format_of(settings.corpus))
        if separator is None and settings.column is not None:
            raise ValueError(
                f"column {settings.column!r} was given for {path}; only "
                f"*{', *'.join(SEPARATORS)} have columns with headings"
            )
        if separator is None:
            found = _first_words(lines)
        else:
            found = _column(lines, separator, settings.column, path)
    if settings.max_molecules is None or len(found) <= settings.max_molecules:
        return found
    # Those with the smallest hashes: a choice that neither the order nor other molecules change.
    chosen = sorted(set(found), key=lambda text: digest(str(settings.split_seed), text))
    wanted = set(chosen[: settings.max_molecules])
    return [text for text in found if text in wanted]


def _first_words(lines: Sequence[str]) -> list[str]:
    """The first word of each line; what follows it in a *.smi file is a name."""
    found = []
    for line in lines:
        words = line.split()
        if words:
            found.append(words[0])
    return found


def _column(lines: Sequence[str], separator: str, column: str | None, path: Path) -> list[str]:
    """The texts of one column of a table, without empty ones.

    Args:
        lines: of the file, the headings first.
        separator: between the fields of a line.
        column: its heading; None is the one called "smiles", in any case.
        path: of the file, for messages.

    Raises:
        ValueError: the table has no such column.
    """
    rows = list(csv.reader(lines, delimiter=separator))
    heading = []
    if rows:
        heading = rows[0]
    names = list(map(str.strip, heading))
    if column is None:
        lower_names = list(map(str.lower, names))
        if _DEFAULT_COLUMN not in lower_names:
            raise ValueError(
                f"molecules {path} has the columns {', '.join(names) or 'none'}; say which holds "
                "the SMILES by --column"
            )
        column = names[lower_names.index(_DEFAULT_COLUMN)]
    at = names.index(choose(names, column, f"column of {path}"))
    found = []
    for row in rows[1:]:
        # A row may end early: it lacks this field then.
        if len(row) > at and row[at].strip():
            found.append(row[at].strip())
    return found
