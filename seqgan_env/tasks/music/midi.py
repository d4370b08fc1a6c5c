"""MIDI files: the notes of all parts but the drums are read, a melody is written."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from seqgan_env.extras import load
from seqgan_env.files import MIB, read_bytes
from seqgan_env.training.run_directory import write_atomically

MOST_BYTES = 4 * MIB  # a symphony has a tenth of it
MOST_BEATS = 10_000  # over an hour; damage easily makes a piece of years

_KEY_SIGNATURE, _MOST_SHARPS = re.compile(rb"\xff\x59\x02..", re.DOTALL), 7
_DRUM_CHANNEL = 9  # of 0..15, in General MIDI
_PROGRAM, _VELOCITY = 0, 80  # a piano, neither soft nor loud
_BEATS_PER_MINUTE = 120
_LEAST_TICKS_PER_BEAT = 480


class UnusableMidiError(ValueError):
    """A file without notes to use; the message is the reason, and leaves out which file."""


class Note(NamedTuple):
    """A note from tick `start` to before tick `end`; `pitch` is 0..127, 60 is C4."""

    start: int
    end: int
    pitch: int


@dataclass(frozen=True)
class Score:
    """The notes of a piece, in any order.

    Attributes:
        ticks_per_beat: of the time of the notes; a beat is a quarter note.
        notes: of all parts but the drums; they may overlap.
        num_drums: notes of drums that were left out.
        repaired: whether values out of their range, such as a velocity above 127, were brought into
            it.
    """

    ticks_per_beat: int
    notes: tuple[Note, ...]
    num_drums: int = 0
    repaired: bool = False


def read_score(path: Path) -> Score:
    """The notes of a file of type 0 or 1, all tracks together.

    Raises:
        UnusableMidiError: it cannot be read, is damaged, has no notes, or is of a kind that knows
            no common beat.
    """
    file, repaired = _load(path)
    if file.type == 2:
        raise UnusableMidiError("tracks without a common time")
    if file.ticks_per_beat <= 0:
        raise UnusableMidiError("time in frames, not in beats")
    parts = [part for track in file.tracks for part in _notes(track)]
    notes = tuple(note for channel, note in parts if channel != _DRUM_CHANNEL)
    if not notes:
        raise UnusableMidiError("drums only" if parts else "no notes")
    if max(note.end for note in notes) > MOST_BEATS * file.ticks_per_beat:
        raise UnusableMidiError(f"over {MOST_BEATS} beats")
    return Score(file.ticks_per_beat, notes, len(parts) - len(notes), repaired)


def _mido() -> Any:
    """The library that knows the format; its notes are read and written here."""
    return load("mido", "MIDI")


def _load(path: Path) -> tuple[Any, bool]:
    """A file as the library reads it, and whether values had to be brought into their range."""
    try:
        content = read_bytes(path, "it", MOST_BYTES)
    except ValueError as problem:
        too_large = path.is_file() and path.stat().st_size > MOST_BYTES
        raise UnusableMidiError("too large" if too_large else "cannot be read") from problem
    if not content.startswith(b"MThd"):
        raise UnusableMidiError("not a MIDI file")
    mido = _mido()
    try:
        return mido.MidiFile(file=io.BytesIO(content)), False
    # of damage the library raises OSError, EOFError, KeyError, IndexError, struct.error and more
    except Exception:
        return _repaired(mido, content), True


def _repaired(mido: Any, content: bytes) -> Any:
    """The same with values brought into their range: velocities, and key signatures that are none,
    of which nothing here depends.
    """
    content = _KEY_SIGNATURE.sub(_valid_key, content)
    try:
        return mido.MidiFile(file=io.BytesIO(content), clip=True)
    except Exception as problem:  # as above
        raise UnusableMidiError("damaged") from problem


def _valid_key(found: re.Match[bytes]) -> bytes:
    """A key signature as it is, or C major in place of one that is none."""
    sharps, minor = found[0][3], found[0][4]
    is_valid = minor <= 1 and (sharps <= _MOST_SHARPS or sharps >= 256 - _MOST_SHARPS)
    return found[0] if is_valid else found[0][:3] + bytes(2)


def _notes(track: Any) -> Iterator[tuple[int, Note]]:
    """The notes of a track with their channels; one that is struck again ends there, one left open
    ends with the track.
    """
    open_notes: dict[tuple[int, int], int] = {}
    now = 0
    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        key = (message.channel, message.note)
        if key in open_notes:
            yield message.channel, Note(open_notes.pop(key), now, message.note)
        if message.type == "note_on" and message.velocity:
            open_notes[key] = now
    for (channel, pitch), start in open_notes.items():
        yield channel, Note(start, now, pitch)


def write_melody(
    path: Path, notes: Sequence[tuple[int, int, int]], num_steps: int, steps_per_beat: int
) -> None:
    """Writes notes (first step, step of the end, pitch) as a file of type 0 that lasts `num_steps`;
    atomically.

    It names a tempo of 120 beats a minute and a piano, so that any player plays it.
    """
    mido = _mido()
    scale = -(-_LEAST_TICKS_PER_BEAT // steps_per_beat)  # ticks in a step
    track = mido.MidiTrack(
        [
            mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(_BEATS_PER_MINUTE)),
            mido.Message("program_change", program=_PROGRAM),
        ]
    )
    now = 0
    for step, kind, pitch in _events(notes):
        track.append(mido.Message(kind, note=pitch, velocity=_VELOCITY, time=(step - now) * scale))
        now = step
    track.append(mido.MetaMessage("end_of_track", time=(num_steps - now) * scale))
    file = mido.MidiFile(type=0, ticks_per_beat=scale * steps_per_beat, tracks=[track])
    write_atomically(path, file.save)


def _events(notes: Sequence[tuple[int, int, int]]) -> list[tuple[int, str, int]]:
    """Steps in order, what happens and the pitch; an end comes before a beginning ("note_off" <
    "note_on").
    """
    begins = [(start, "note_on", pitch) for start, _, pitch in notes]
    return sorted(begins + [(end, "note_off", pitch) for _, end, pitch in notes])
