"""What became of the lines of a corpus, counted and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

KEPT, CUT = "kept", "cut"  # what becomes of a line
BLANK, SHORT, LONG = "blank", "too short", "too long"
FATES = (KEPT, CUT, BLANK, SHORT, LONG)

_MOST_BARS = 40  # they fit into a line of a terminal behind their heading
_FEW_KNOWN = 0.5  # share of the held-out words below which the user is warned


@dataclass(frozen=True)
class CorpusSummary:
    """What became of a corpus. Every line is kept or dropped.

    Attributes:
        source: of the text.
        lines: in the text.
        kept: lines that became sequences, repeated ones as often as they stand there.
        cut: those of them that lost their end.
        dropped: lines by reason, "blank", "too short" or "too long".
        parts: lines to train on, to select on and to report on.
        distinct_words: in the training part.
        num_special: tokens that are no words: <unk>, and <eos> unless all sequences have one
            length.
        vocab_size: V, with these.
        coverage: share of the held-out words that are in the vocabulary.
        length_histogram: number of sequences by tokens written, 0..T, the end counted.
        length_was_chosen: whether T comes from the lines and not from the user.
        shared: lines that were left out because they stand in a file to select or to report on too.
        by_words: whether white space separates the words.
    """

    source: str
    lines: int
    kept: int
    cut: int
    dropped: dict[str, int]
    parts: tuple[int, int, int]
    distinct_words: int
    num_special: int
    vocab_size: int
    coverage: float
    length_histogram: tuple[int, ...]
    length_was_chosen: bool = False
    shared: int = 0
    by_words: bool = False

    def __str__(self) -> str:
        train, select, report = self.parts
        longest = len(self.length_histogram) - 1
        chosen = ""
        if self.length_was_chosen:
            chosen = (
                f"\n{longest} tokens are the longest sequence, chosen from the lines; --max-length "
                "sets another"
            )
        return (
            f"{self.source}: {self.lines} lines, {self.kept} kept ({self.cut} of them cut), "
            f"dropped {reasons(self.dropped)}\n"
            f"{train} lines to train on, {select} to select on, {report} to report on\n"
            f"{self.vocab_size} tokens of {self.num_special + self.distinct_words}; "
            f"{self.coverage:.1%} of held-out words are known\n"
            f"tokens in a sequence, 0..{longest}: "
            f"|{_bars(self.length_histogram)}|{chosen}{self._notes()}"
        )

    def _notes(self) -> str:
        """What the user should know, each in a line that begins with a line break."""
        notes = ""
        if self.shared:
            notes += (
                f"\n{self.shared} lines were left out that stand in a file to select or to report "
                "on too"
            )
        if self.coverage < _FEW_KNOWN:
            notes += (
                f"\nWARNING: only {self.coverage:.1%} of held-out words are known: these data "
                "hardly repeat their words, and a policy can learn little"
            )
            if self.by_words:
                notes += "; try --level char"
        return notes


def dropped(fates: Counter[str]) -> dict[str, int]:
    """How many lines were dropped for each reason, 0 counted, of how many have each fate."""
    return {reason: fates[reason] for reason in (BLANK, SHORT, LONG)}


def reasons(dropped: dict[str, int]) -> str:
    """How many lines were dropped for each reason, as a person reads it; "none" if none was."""
    told = []
    for reason, count in dropped.items():
        if count:
            told.append(f"{count} {reason}")
    return ", ".join(told) or "none"


def _bars(histogram: Sequence[int]) -> str:
    """A histogram as at most 40 characters; a space where there is nothing."""
    width = -(-len(histogram) // _MOST_BARS)  # numbers that share a bar
    sums = []
    for start in range(0, len(histogram), width):
        sums.append(sum(histogram[start : start + width]))
    line = ""
    for count in sums:
        if count:
            # One more than the largest, so that it gets the last of the eight and none beyond.
            line += "▁▂▃▄▅▆▇█"[8 * count // (max(sums) + 1)]
        else:
            line += " "
    return line
