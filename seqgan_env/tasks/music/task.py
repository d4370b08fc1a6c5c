"""The music task: writing melodies like those of a folder of MIDI files."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from seqgan_env.metrics.music import MusicMetrics
from seqgan_env.tasks.carried import check_parts
from seqgan_env.tasks.music.melody import Melody, finer_grid, melody_of, to_common_key
from seqgan_env.tasks.music.midi import Score, UnusableMidiError, read_score, write_melody
from seqgan_env.tasks.music.music_summary import MusicSummary
from seqgan_env.tasks.music.music_tokens import (
    LOWEST_PITCH,
    REST,
    SILENCE,
    VOCAB_SIZE,
    notes_of,
    sounding_pitches,
    token_of,
    word_of,
)
from seqgan_env.tasks.music.piano_roll import plot_piano_rolls
from seqgan_env.tasks.music.settings import MUSIC, SUFFIXES, MusicSettings
from seqgan_env.tasks.music.tunes import built_in_scores
from seqgan_env.tasks.real_data import RealDataTask, Words, digest, split
from seqgan_env.types import TokenSpec

_MANY_BETWEEN = 0.01  # the share of lost notes from which a finer grid is looked for
_MOST_NAMED = 5  # skipped files that an error names; it counts the others


class MusicTask(RealDataTask):
    """Writing melodies like those of some pieces: the highest voice of each, cut into windows of T
    steps.

    Tokens are those of `seqgan_env.tasks.music.music_tokens`: 88 keys, a rest and a hold. All
    windows of a piece are on one side of the split.

    Attributes:
        summary: what became of the files, the skipped ones by name.
        fingerprint: hash of the melodies and the settings.
        defaults: settings where none is given.
        presets: what presets of a run change.
    """

    defaults: ClassVar[MusicSettings] = MUSIC.settings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MUSIC.presets

    def __init__(self, settings: MusicSettings = MusicSettings(), name: str = "music") -> None:
        """Reads, quantises, splits and cuts the music.

        Raises:
            ValueError: the folder cannot be read, has no MIDI file or none to use, or too few to
                split.
        """
        self.settings = settings
        spec = TokenSpec(VOCAB_SIZE, settings.max_length)
        if settings.corpus is None:
            scores, skipped = _built_in()
        else:
            scores, skipped = _read(Path(settings.corpus))
        melodies = self._melodies(scores, skipped)

        # Cut every melody. Two files with one melody share their windows, for the key is the text.
        windows: dict[Words, np.ndarray] = {}
        pieces, usable, num_windows = [], [], []
        for melody in melodies:
            piece = _words(melody.tokens)
            windows[piece] = windows_of(melody.tokens, settings.max_length)  # (K, T)
            pieces.append(piece)
            num_windows.append(len(windows[piece]))
            if len(windows[piece]):
                usable.append(piece)
        if not usable:
            raise ValueError(self._nothing_to_use(len(pieces), skipped))

        # Split by whole pieces: windows of one piece are too alike to be on two sides.
        parts = []
        for side in split(usable, settings, self._source(), "melodies"):
            of_side = np.concatenate([windows[piece] for piece in side])
            parts.append(torch.from_numpy(of_side))
        super().__init__(name, spec, parts, settings.num_eval, MusicMetrics)
        self.summary = self._summarise(scores, melodies, num_windows, skipped)

        # Where the files lie and how policies are evaluated changes no sequence.
        chosen = asdict(settings)
        for name_of_setting in ("corpus", "num_eval"):
            del chosen[name_of_setting]
        self.fingerprint = digest(json.dumps(chosen, sort_keys=True), *map(" ".join, pieces)).hex()

    def encode(self, text: str) -> Tensor:
        """A melody written as words ("C4 - . E4") as a sequence (T,).

        Raises:
            ValueError: these are not T words, or one of them is no word of a melody.
        """
        words = text.split()
        if len(words) != self.spec.seq_len:
            raise ValueError(
                f"text {text[:40]!r} has {len(words)} words; a melody of this task has "
                f"{self.spec.seq_len}"
            )
        return torch.from_numpy(_tokens(words))

    def decode(self, tokens: Tensor) -> str:
        """The melody (T,) as words, one a step: the note struck, "-" a hold, "." a rest."""
        written = tokens[tokens != self.spec.pad_token]
        return " ".join(map(word_of, written.tolist()))

    def write_samples(self, samples: Tensor, folder: Path) -> None:
        """Melodies (B, T) as `000.mid`, `001.mid`, ... and `piano_roll.png`, in `folder`, which is
        made if need be.

        Raises:
            ValueError: the folder cannot be written.
        """
        steps_per_beat, num_steps = self.settings.steps_per_beat, self.spec.seq_len
        melodies = list(map(notes_of, samples.cpu().numpy()))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for i, notes in enumerate(melodies):
                write_melody(folder / f"{i:03}.mid", notes, num_steps, steps_per_beat)
            plot_piano_rolls(melodies, num_steps, steps_per_beat, folder / "piano_roll.png")
        except OSError as problem:
            raise ValueError(
                f"samples cannot be written to {folder}: {problem.strerror or problem}"
            ) from problem

    def essentials(self) -> dict[str, Any]:
        """Nothing: the settings tell what a sequence is."""
        return {}

    @classmethod
    def without_data(
        cls, settings: MusicSettings, name: str, essentials: Mapping[str, Any]
    ) -> Self:
        """The task without its melodies."""
        check_parts(essentials, {})
        task = cls.bare(name, TokenSpec(VOCAB_SIZE, settings.max_length))
        task.settings = settings
        return task

    def _melodies(self, scores: dict[str, Score], skipped: dict[str, str]) -> list[Melody]:
        """A melody of each piece that has one; the others go to `skipped`."""
        found = []
        for name, score in scores.items():
            melody = melody_of(score, self.settings.steps_per_beat)
            tokens: np.ndarray | None = melody.tokens
            if self.settings.transpose and melody.num_notes:
                tokens = to_common_key(melody.tokens)
            if melody.num_notes == 0:
                skipped[name] = "no notes on the 88 keys"
            elif tokens is None:
                skipped[name] = "too wide to be moved into C major or A minor"
            else:
                found.append(replace(melody, tokens=tokens))
        return found

    def _nothing_to_use(self, num_pieces: int, skipped: dict[str, str]) -> str:
        """The message of the error that no piece fills a window."""
        skips = ""
        if skipped:
            named = []
            for name, reason in skipped.items():
                named.append(f"{name}: {reason}")
            more = ""
            if len(named) > _MOST_NAMED:
                more = f", and {len(named) - _MOST_NAMED} more"
            skips = f" ({', '.join(named[:_MOST_NAMED])}{more})"
        length = self.settings.max_length
        hint = ""
        if num_pieces:
            hint = f"; no melody fills {length} steps: lower max_length or raise steps_per_beat"
        return f"{self._source()} has no music to use{skips}{hint}"

    def _summarise(
        self,
        scores: dict[str, Score],
        melodies: list[Melody],
        num_windows: list[int],
        skipped: dict[str, str],
    ) -> MusicSummary:
        """What became of the pieces, and what to try where the grid loses many notes."""
        notes = _total(melodies, "num_notes")
        between = _total(melodies, "num_between")
        finer = None
        if between > _MANY_BETWEEN * notes:
            # This reads every piece once more for each grid, so only where it is worth it.
            finer = finer_grid(list(scores.values()), self.settings.steps_per_beat, between)
        return MusicSummary(
            source=self._source(),
            steps_per_beat=self.settings.steps_per_beat,
            steps_per_window=self.spec.seq_len,
            pieces=len(melodies),
            skipped=skipped,
            notes=notes,
            off_keys=_total(melodies, "num_off_keys"),
            lower=_total(melodies, "num_lower"),
            between=between,
            off_grid=_total(melodies, "num_off_grid"),
            moved_beats=_total(melodies, "moved_beats"),
            too_short=num_windows.count(0),
            windows=sum(num_windows),
            steps=sum(len(melody.tokens) for melody in melodies),
            parts=(len(self.real_sequences), len(self.validation), len(self.held_out)),
            repaired=_total(scores.values(), "repaired"),
            finer=finer,
        )

    def _source(self) -> str:
        if self.settings.corpus is None:
            return "built-in music"
        return f"music folder {self.settings.corpus}"


def windows_of(tokens: np.ndarray, length: int) -> np.ndarray:
    """A melody (steps,) in windows (K, length), one behind the other; silent ones and what is left
    over at the end are left out.

    A note that is held over from the window before is struck again.
    """
    end = len(tokens) - len(tokens) % length
    windows = tokens[:end].reshape(-1, length).copy()  # (K, length)
    # What sounds is asked of the whole melody, for a hold at a cut looks back beyond it.
    sounding = sounding_pitches(tokens)[:end].reshape(-1, length)  # (K, length)
    first = sounding[:, 0]  # (K,)
    windows[:, 0] = np.where(first == SILENCE, REST, first - LOWEST_PITCH)
    silent = (sounding == SILENCE).all(1)  # (K,)
    sounding_windows: np.ndarray = windows[~silent]
    return sounding_windows


def _total(items: Iterable[Any], attribute: str) -> Any:
    """The sum of one attribute of many things."""
    return sum(map(operator.attrgetter(attribute), items))


def _built_in() -> tuple[dict[str, Score], dict[str, str]]:
    """The built-in pieces under their numbers, and none that is skipped."""
    scores = built_in_scores()
    names = map(str, range(len(scores)))
    return dict(zip(names, scores, strict=True)), {}


def _read(folder: Path) -> tuple[dict[str, Score], dict[str, str]]:
    """The pieces of a folder by file name, and by file name why others cannot be used."""
    if not folder.is_dir():
        raise ValueError(
            f"music folder {folder} is no folder; give one with files *.mid, *.midi or *.kar"
        )
    paths = list(filter(_is_music_file, folder.rglob("*")))
    if not paths:
        raise ValueError(f"music folder {folder} has no file *.mid, *.midi or *.kar")
    scores: dict[str, Score] = {}
    skipped: dict[str, str] = {}
    # File systems list files in any order; the task must not depend on it.
    for path in sorted(paths):
        name = path.relative_to(folder).as_posix()
        try:
            scores[name] = read_score(path)
        except UnusableMidiError as problem:
            skipped[name] = str(problem)
    return scores, skipped


def _is_music_file(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _words(tokens: np.ndarray) -> Words:
    """The words of a melody (steps,)."""
    return tuple(map(word_of, tokens.tolist()))


def _tokens(words: Sequence[str]) -> np.ndarray:
    """The tokens (steps,) int64 of a melody's words."""
    return np.array(list(map(token_of, words)), dtype=np.int64)
