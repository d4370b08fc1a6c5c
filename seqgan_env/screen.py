"""The console on which commands print, and when and how they say how far they are."""

from __future__ import annotations

from typing import IO

from rich.console import Console

# Off a terminal, whoever waits is told something this often.
SECONDS_BETWEEN_LINES = 20.0
# A step is not called late for less than this: small steps are of uneven length.
SECONDS_LATE = 10.0


def plain_console(file: IO[str] | None = None, highlight: bool = True) -> Console:
    """A console that prints every text as it stands.

    Rich would otherwise make an emoji of `:DNA:`, which stands in a plug-in's name such as
    `dna:DNA:`, and read brackets in samples as markup.

    Args:
        file: what is written to; standard output by default.
        highlight: whether numbers and paths are coloured.
    """
    return Console(file=file, highlight=highlight, emoji=False, markup=False)


def time_left(num_done: int, num_left: int, seconds: float, since: float) -> str:
    """How long what is left will take, in words; "" before a step is done and after the last.

    Every step is expected to take as long as those so far did on average. A step that takes ten
    seconds more is told to be late, and counts with the time that it has taken until now.

    Examples:
        >>> time_left(6, 2, seconds=60.0, since=4.0)
        'about 16 s left'
        >>> time_left(6, 2, seconds=60.0, since=80.0)
        'longer than expected, about 20 s left after this step'
        >>> time_left(7, 1, seconds=70.0, since=80.0)
        'longer than expected'

    Args:
        num_done: steps that are done.
        num_left: steps that are not, the one that runs among them.
        seconds: that the steps took that are done.
        since: seconds since the last of them.
    """
    if num_done <= 0 or num_left <= 0:
        return ""
    each = seconds / num_done
    if since <= each + SECONDS_LATE:
        return f"about {max(each * num_left - since, 1.0):.0f} s left"
    late = "longer than expected"
    if num_left == 1:
        return late
    each = (seconds + since) / (num_done + 1)
    return f"{late}, about {each * (num_left - 1):.0f} s left after this step"
