"""The console on which commands print."""

from __future__ import annotations

from typing import IO

from rich.console import Console


def plain_console(file: IO[str] | None = None, highlight: bool = True) -> Console:
    """A console that prints every text as it stands.

    Rich would otherwise make an emoji of `:DNA:`, which stands in a plug-in's name such as
    `dna:DNA:`, and read brackets in samples as markup.

    Args:
        file: what is written to; standard output by default.
        highlight: whether numbers and paths are coloured.
    """
    return Console(file=file, highlight=highlight, emoji=False, markup=False)
