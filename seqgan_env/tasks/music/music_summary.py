"""What became of the pieces of a folder of music, counted and in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MusicSummary:
    """What became of the music. Every file is a piece or skipped.

    Attributes:
        source: of the music.
        steps_per_beat: time steps in a quarter note.
        steps_per_window: T.
        pieces: with a melody.
        skipped: file names, each with the reason.
        notes: of the pieces on the 88 keys; `off_keys`: elsewhere, left out.
        lower: notes below others for as long as they last, left out.
        between: notes that are the highest at no step, though for a while, left out.
        off_grid: notes that began between two steps and were moved, by `moved_beats` together.
        too_short: pieces that fill no window.
        windows: sequences that the pieces were cut into.
        steps: of all melodies; those outside the windows are left over at an end, or silent.
        parts: windows to train on, to select on and to report on.
        repaired: files with values out of their range.
        finer: steps per beat that would keep most of `between`, where these are many.
    """

    source: str
    steps_per_beat: int
    steps_per_window: int
    pieces: int
    skipped: dict[str, str]
    notes: int
    off_keys: int
    lower: int
    between: int
    off_grid: int
    moved_beats: float
    too_short: int
    windows: int
    steps: int
    parts: tuple[int, int, int]
    repaired: int = 0
    finer: int | None = None

    def __str__(self) -> str:
        train, select, report = self.parts
        # Steps behind the last whole window of a piece, and those of silent windows.
        left_over = self.steps - self.windows * self.steps_per_window
        moved = ""
        if self.off_grid:
            moved = f", by {self.moved_beats / self.off_grid:.3f} beats on average"
        lines = [
            f"{self.source}: {self.pieces} pieces, {self.notes} notes; left out {self.lower} of "
            f"lower voices, {self.between} between steps, {self.off_keys} off the keys; moved "
            f"{self.off_grid} to a step{moved}",
            f"cut into {self.windows} windows of {self.steps_per_window} steps, "
            f"{self.steps_per_beat} to a beat; left over {left_over} of {self.steps} steps, "
            f"{self.too_short} pieces too short",
            f"{train} windows to train on, {select} to select on, {report} to report on",
        ]
        if self.finer is not None:
            lines.append(f"--steps-per-beat {self.finer} would keep most of those between steps")
        if self.repaired:
            lines.append(f"{self.repaired} files had values out of range, which were repaired")
        if self.skipped:
            lines.append(f"skipped {len(self.skipped)} files")
        for name, reason in self.skipped.items():
            lines.append(f"  {name}: {reason}")
        return "\n".join(lines)
