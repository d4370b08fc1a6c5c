"""MIDI files: the notes of all parts but the drums are read, a melody is written."""

from __future__ import annotations

import io
import itertools
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

# A meta event: its kind, its length, the sharps (flats as negative bytes) and whether it is minor.
_KEY_SIGNATURE, _MOST_SHARPS = re.compile(rb"\xff\x59\x02..", re.DOTALL), 7
_DRUM_CHANNEL = 9  # of 0..15, in General MIDI
_PROGRAM, _VELOCITY = 0, 80  # a piano, neither soft nor loud
_BEATS_PER_MINUTE = 120
_LEAST_TICKS_PER_BEAT = 480  # what sequencers usually write


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
    notes: list[Note] = []
    num_drums = latest = 0
    for channel, note in itertools.chain.from_iterable(map(_notes, file.tracks)):
        if channel == _DRUM_CHANNEL:
            num_drums += 1
        else:
            notes.append(note)
            latest = max(latest, note.end)
    if not notes and num_drums:
        raise UnusableMidiError("drums only")
    if not notes:
        raise UnusableMidiError("no notes")
    if latest > MOST_BEATS * file.ticks_per_beat:
        raise UnusableMidiError(f"over {MOST_BEATS} beats")
    return Score(file.ticks_per_beat, tuple(notes), num_drums, repaired)


def _mido() -> Any:
    """The library that knows the format; its notes are read and written here."""
    return load("mido", "MIDI")


def _load(path: Path) -> tuple[Any, bool]:
    """A file as the library reads it, and whether values had to be brought into their range."""
    try:
        content = read_bytes(path, "it", MOST_BYTES)
    except ValueError as problem:
        reason = "cannot be read"
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            reason = "too large"
        raise UnusableMidiError(reason) from problem
    if not content.startswith(b"MThd"):
        raise UnusableMidiError("not a MIDI file")
    mido = _mido()
    try:
        return mido.MidiFile(file=io.BytesIO(content)), False
    # Of damage the library raises OSError, EOFError, KeyError, IndexError, struct.error and more.
    except Exception:
        return _repaired(mido, content), True


def _repaired(mido: Any, content: bytes) -> Any:
    """The file with its velocities brought into their range, and C major for bad key signatures.

    Nothing that is read here depends on a key signature.
    """
    content = _KEY_SIGNATURE.sub(_valid_key, content)
    try:
        return mido.MidiFile(file=io.BytesIO(content), clip=True)
    except Exception as problem:  # as above
        raise UnusableMidiError("damaged") from problem


def _valid_key(found: re.Match[bytes]) -> bytes:
    """A key signature as it is, or C major in place of one that is none."""
    sharps, minor = found[0][3], found[0][4]
    # Flats are negative numbers in two's complement: 7 of them are the byte 249.
    if minor <= 1 and (sharps <= _MOST_SHARPS or sharps >= 256 - _MOST_SHARPS):
        return found[0]
    return found[0][:3] + bytes(2)


def _notes(track: Any) -> Iterator[tuple[int, Note]]:
    """The notes of a track with their channels; one that is struck again ends there, one left open
    ends with the track.
    """
    open_notes: dict[tuple[int, int], int] = {}  # from channel and pitch to the tick of the start
    now = 0
    for message in track:
        now += message.time  # ticks since the message before, of whatever kind
        if message.type not in ("note_on", "note_off"):
            continue
        key = (message.channel, message.note)
        if key in open_notes:
            yield message.channel, Note(open_notes.pop(key), now, message.note)
        if message.type == "note_on" and message.velocity:  # without velocity it is an end
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
    events = []
    for start, end, pitch in notes:
        events += [(start, "note_on", pitch), (end, "note_off", pitch)]
    return sorted(events)
