"""What the tokens of a melody mean: 88 piano keys, a rest and a hold, one token per time step.

A key strikes a note, `HOLD` goes on with what was before (a note or silence; at the beginning,
silence), `REST` is silence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

NUM_KEYS, LOWEST_PITCH = 88, 21  # A0..C8 as MIDI pitches
REST, HOLD = 88, 89
VOCAB_SIZE = 90
SILENCE = -1  # in place of a pitch

REST_WORD, HOLD_WORD = ".", "-"

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_NOTE = re.compile(r"([A-G])([#b]?)(-?\d)")


def pitch_name(pitch: int) -> str:
    """The name of a MIDI pitch, with sharps: 60 is C4."""
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"


def word_of(token: int) -> str:
    """A token as a person reads it: "C4", "-" for a hold, "." for a rest.

    It is "" for a number that is no token.
    """
    if 0 <= token < NUM_KEYS:
        return pitch_name(token + LOWEST_PITCH)
    return {REST: REST_WORD, HOLD: HOLD_WORD}.get(token, "")


def token_of(word: str) -> int:
    """The token that a word means; "Bb4" is as good as "A#4".

    Raises:
        ValueError: the word means none.
    """
    if word in (REST_WORD, HOLD_WORD):
        if word == REST_WORD:
            return REST
        return HOLD
    found = _NOTE.fullmatch(word)
    token = -1  # refused below
    if found:
        letter, accidental, octave = found.groups()
        shift = {"": 0, "#": 1, "b": -1}[accidental]
        pitch = _NAMES.index(letter) + shift + 12 * (int(octave) + 1)  # MIDI begins at C-1
        token = pitch - LOWEST_PITCH
    if not 0 <= token < NUM_KEYS:
        raise ValueError(
            f"{word!r} is no word of a melody; allowed are A0..C8 with # or b, {HOLD_WORD!r} and "
            f"{REST_WORD!r}"
        )
    return token


def sounding_pitches(tokens: np.ndarray) -> np.ndarray:
    """The MIDI pitch that sounds at each step, (B, T) as `tokens`; `SILENCE` where none does."""
    steps = np.arange(tokens.shape[-1])
    # The step that a hold goes back to.
    latest = np.maximum.accumulate(np.where(tokens == HOLD, 0, steps), axis=-1)
    held = np.take_along_axis(tokens, latest, axis=-1)
    return np.where(is_onset(held), held + LOWEST_PITCH, SILENCE)


def is_onset(tokens: np.ndarray) -> np.ndarray:
    """Where a note is struck, as `tokens`."""
    return (tokens >= 0) & (tokens < NUM_KEYS)


def notes_of(tokens: np.ndarray) -> list[tuple[int, int, int]]:
    """The notes (first step, step of the end, MIDI pitch) of one melody (T,)."""
    pitches = sounding_pitches(tokens)
    starts = np.flatnonzero(is_onset(tokens))  # (K,)
    # A note ends at the next break: where another is struck, in a silence, or at the end.
    breaks = np.flatnonzero(is_onset(tokens) | (pitches == SILENCE))
    breaks = np.append(breaks, len(tokens))
    ends = breaks[np.searchsorted(breaks, starts, side="right")]  # (K,)
    return list(zip(starts.tolist(), ends.tolist(), pitches[starts].tolist(), strict=True))


def highest_notes(notes: Sequence[tuple[int, int, int]], num_steps: int) -> np.ndarray:
    """The number of the highest note at each step, (num_steps,); -1 where none sounds.

    Of two notes of one pitch it is the one that began later.

    Args:
        notes: the first step, the step of the end and the MIDI pitch of each.
        num_steps: of the result.
    """
    highest = np.full(num_steps, -1)
    # Low notes first: each overwrites those below it.
    for i in sorted(range(len(notes)), key=lambda i: (notes[i][2], notes[i][0])):
        start, end, _ = notes[i]
        highest[start:end] = i
    return highest


def from_notes(notes: Sequence[tuple[int, int, int]], num_steps: int) -> np.ndarray:
    """The melody (num_steps,) of the highest notes, as in `highest_notes`; all on the keys.

    A note that sounds again when a higher one ends is struck again there.
    """
    highest = highest_notes(notes, num_steps)
    struck = np.diff(highest, prepend=-1) != 0
    pitches = np.array(notes, dtype=np.int64).reshape(-1, 3)[:, 2]
    # Where no note sounds, `highest` is -1 and takes the last one, the rest.
    keys = np.append(pitches - LOWEST_PITCH, REST)[highest]  # (num_steps,)
    return np.where(struck | (highest < 0), keys, HOLD).astype(np.int64)
