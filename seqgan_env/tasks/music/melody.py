"""From the notes of a piece to one melody on a grid of time steps, and into the key without
accidentals.

The melody is what sounds highest at each step (the skyline; Uitdenbogerd & Zobel 1999). The key is
the one of the 24 whose profile correlates best with how long each pitch class sounds (Krumhansl &
Schmuckler; profiles of Krumhansl & Kessler 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqgan_env.tasks.music.midi import Score
from seqgan_env.tasks.music.music_tokens import (
    LOWEST_PITCH,
    NUM_KEYS,
    SILENCE,
    from_notes,
    highest_notes,
    is_onset,
    sounding_pitches,
)

_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_A = 9  # the pitch class of A, where C is 0
_GRIDS = (3, 4, 6, 8, 12, 16, 24, 48)  # usual numbers of steps in a beat, coarse to fine
_LOST = 0.1  # the share of lost notes that a finer grid may still lose


@dataclass(frozen=True)
class Melody:
    """A melody on the grid and what became of the notes.

    Attributes:
        tokens: (steps,) int64, to the end of the last note.
        num_notes: notes of the piece on the 88 keys.
        num_off_keys: notes elsewhere, left out.
        num_lower: notes on the keys below others for as long as they last.
        num_between: notes on the keys that are the highest for a while, but at no step: the grid is
            too coarse for them.
        num_off_grid: notes on the keys that begin between steps and were moved to the nearest.
        moved_beats: by how much these were moved, in beats, together.
    """

    tokens: np.ndarray
    num_notes: int
    num_off_keys: int
    num_lower: int
    num_between: int
    num_off_grid: int
    moved_beats: float


def melody_of(score: Score, steps_per_beat: int) -> Melody:
    """The highest voice of a piece; every time goes to the nearest step, and a note lasts one step
    at least.
    """
    ticks = score.ticks_per_beat
    every = np.array(score.notes, dtype=np.int64).reshape(-1, 3)  # start, end and pitch of each
    on_keys = (every[:, 2] >= LOWEST_PITCH) & (every[:, 2] < LOWEST_PITCH + NUM_KEYS)
    notes = every[on_keys]
    starts, ends, pitches = notes.T  # (K,) each, in ticks and MIDI pitches

    # Move the notes to the grid, and find the highest one of each step.
    first = _nearest(starts * steps_per_beat, ticks)
    last = np.maximum(_nearest(ends * steps_per_beat, ticks), first + 1)
    steps = list(zip(first.tolist(), last.tolist(), pitches.tolist(), strict=True))
    num_steps = int(last.max(initial=0))
    lost = set(range(len(notes))) - set(highest_notes(steps, num_steps).tolist())

    # A lost note that is the highest at some tick is lost to the grid, not to a higher voice.
    between = lost & _ever_highest(starts, ends, pitches)
    moved = np.abs(first * ticks - starts * steps_per_beat)  # in 1 / (ticks * steps_per_beat) beats
    return Melody(
        tokens=from_notes(steps, num_steps),
        num_notes=len(notes),
        num_off_keys=len(score.notes) - len(notes),
        num_lower=len(lost) - len(between),
        num_between=len(between),
        num_off_grid=int((moved > 0).sum()),
        moved_beats=float(moved.sum() / (ticks * steps_per_beat)),
    )


def _ever_highest(starts: np.ndarray, ends: np.ndarray, pitches: np.ndarray) -> set[int]:
    """Which of K notes are the highest at some time, whatever the grid.

    Args:
        starts: (K,) ticks.
        ends: (K,) ticks.
        pitches: (K,).
    """
    # Between two neighbouring times nothing begins or ends, so that each span is one step.
    times = np.unique(np.concatenate([starts, ends]))
    first, last = np.searchsorted(times, starts), np.searchsorted(times, ends)
    spans = list(zip(first.tolist(), last.tolist(), pitches.tolist(), strict=True))
    return set(highest_notes(spans, len(times)).tolist()) - {-1}


def finer_grid(scores: Sequence[Score], steps_per_beat: int, num_between: int) -> int | None:
    """The coarsest usual grid that keeps nine of ten of the notes that this one has no step for;
    None where none does.

    Args:
        scores: of all pieces.
        steps_per_beat: of this grid.
        num_between: notes that are lost on it.
    """
    for finer in _GRIDS:
        if finer <= steps_per_beat:
            continue
        lost = 0
        for score in scores:
            lost += melody_of(score, finer).num_between
        if lost <= _LOST * num_between:
            return finer
    return None


def _nearest(numerator: np.ndarray, denominator: int) -> np.ndarray:
    """The whole numbers nearest to fractions; halves go up."""
    whole: np.ndarray = (2 * numerator + denominator) // (2 * denominator)
    return whole


def estimate_key(tokens: np.ndarray) -> tuple[int, bool]:
    """The pitch class of the tonic, 0 for C, and whether the key is minor.

    The melody (steps,) has one note or more.
    Of keys that fit alike it is a major one, then the one whose tonic is nearest above the first
    note, so that a melody that is moved takes its key along.
    """
    pitches = sounding_pitches(tokens)
    classes = pitches[pitches != SILENCE] % 12
    durations = np.bincount(classes, minlength=12)
    keys = []
    for profile in (_MAJOR, _MINOR):
        for tonic in range(12):
            keys.append(np.roll(profile, tonic))
    rotated = np.array(keys)  # (24, 12): major keys first, from C upwards
    rotated -= rotated.mean(1, keepdims=True)
    # The rest of the correlation is the same for all.
    fit = (rotated / np.linalg.norm(rotated, axis=1, keepdims=True)) @ durations  # (24,)
    # Rounded, for keys that fit alike by symmetry differ in the last bits.
    alike = np.flatnonzero(fit.round(9) == fit.round(9).max()).tolist()
    best = min(alike, key=lambda key: (key >= 12, (key - classes[0]) % 12))
    return best % 12, best >= 12


def to_common_key(tokens: np.ndarray) -> np.ndarray | None:
    """The melody (steps,) in C major or A minor, by the smallest shift that stays on the keys; None
    where none does.
    """
    tonic, minor = estimate_key(tokens)
    target = 0  # C
    if minor:
        target = _A
    up = (target - tonic) % 12  # semitones; an octave less is the way down
    struck = is_onset(tokens)  # (steps,); only these tokens are pitches that a shift moves
    keys = tokens[struck]
    for shift in sorted((up, up - 12), key=lambda shift: (abs(shift), shift)):
        if keys.min() + shift >= 0 and keys.max() + shift < NUM_KEYS:
            return np.where(struck, tokens + shift, tokens)
    return None
