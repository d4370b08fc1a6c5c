"""Melodies as pictures: time to the right, pitch upwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqgan_env.extras import load
from seqgan_env.tasks.music.music_tokens import pitch_name
from seqgan_env.training.run_directory import write_atomically

MOST_SHOWN = 20

_COLUMNS = 2
_MOST_SEMITONES = 48  # four octaves on one axis
_GAP = 0.12  # steps, between a note and the next one of the same pitch
_COLOUR = "#4c72b0"


def plot_piano_rolls(
    melodies: Sequence[Sequence[tuple[int, int, int]]],
    num_steps: int,
    steps_per_beat: int,
    path: Path,
) -> None:
    """Draws the first `MOST_SHOWN` melodies, all on the same axes, and writes a PNG, atomically.

    Args:
        melodies: the notes (first step, step of the end, MIDI pitch) of each.
        num_steps: that each lasts.
        steps_per_beat: for the axis of time.
        path: of the file.
    """
    figures = load("matplotlib.figure", "a piano roll")
    shown = melodies[:MOST_SHOWN]
    rows = max(1, -(-len(shown) // _COLUMNS))
    figure = figures.Figure(figsize=(11, 0.6 + 1.5 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    pitches = []
    for notes in shown:
        for _, _, pitch in notes:
            pitches.append(pitch)
    low, high = shown_range(pitches or [60])  # around C4 where all are silent

    # Draw one melody in each plane. An odd number leaves the last plane empty.
    for i, (axis, notes) in enumerate(zip(axes.flat, shown, strict=False)):
        for start, end, pitch in notes:
            span = (start / steps_per_beat, (end - start - _GAP) / steps_per_beat)
            if low <= pitch <= high:
                axis.broken_barh([span], (pitch - 0.5, 1), color=_COLOUR, linewidth=0)
            else:
                _mark_outside(axis, span[0], pitch, low, high)
        axis.set_title(f"{i:03}", loc="left", fontsize=8, pad=2)

    # Give all planes the same axes, with a line at every C and G and at eight beats or so.
    num_beats = num_steps // steps_per_beat
    for axis in axes.flat:
        axis.set(xlim=(0, num_steps / steps_per_beat), ylim=(low - 0.5, high + 0.5))
        axis.set_yticks(list(filter(_is_c_or_g, range(low, high + 1))))
        axis.yaxis.set_major_formatter(lambda pitch, _: pitch_name(round(pitch)))
        axis.set_xticks(range(0, num_beats + 1, max(1, num_beats // 8)))
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    figure.supxlabel("beats", fontsize=9)
    figure.supylabel("pitch", fontsize=9)
    if len(melodies) > len(shown):
        figure.suptitle(f"the first {len(shown)} of {len(melodies)} melodies", fontsize=10)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))


def shown_range(pitches: Sequence[int]) -> tuple[int, int]:
    """The lowest and the highest pitch of the axis of some notes (K,), K 1 or more.

    All of them where that is few octaves; else a few around the middle one, so that a note far away
    does not press the others together.
    """
    low, high = min(pitches), max(pitches)
    if high - low > _MOST_SEMITONES:
        # The middle one is on the axis itself, so that some pitch is near.
        ordered = sorted(pitches)
        middle = ordered[len(ordered) // 2]
        near = [pitch for pitch in pitches if abs(pitch - middle) <= _MOST_SEMITONES // 2]
        low, high = min(near), max(near)
    return low - 1, high + 1


def _is_c_or_g(pitch: int) -> bool:
    return pitch % 12 in (0, 7)


def _mark_outside(axis: Any, beat: float, pitch: int, low: int, high: int) -> None:
    """A mark at the edge of the axis, with the name of the note that lies beyond."""
    edge, marker, side = low, "v", "bottom"
    if pitch > high:
        edge, marker, side = high, "^", "top"
    axis.plot([beat], [edge], marker, color=_COLOUR, markersize=3)
    axis.text(beat, edge, f"  {pitch_name(pitch)}", fontsize=6, verticalalignment=side)
