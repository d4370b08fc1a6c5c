"""What commands print is printed as it stands."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.table import Table

from seqgan_env.screen import plain_console

LIBRARY = Path(__file__).parents[1] / "seqgan_env"


def test_names_of_plug_ins_become_no_emoji_and_brackets_no_markup() -> None:
    said = io.StringIO()
    screen = plain_console(said)
    screen.print("task dna:DNA: [red]")
    screen.print(Table("a column", title=":DNA: [b]"))
    assert "task dna:DNA: [red]" in said.getvalue()
    assert ":DNA: [b]" in said.getvalue()


def test_every_console_is_a_plain_one() -> None:
    for path in LIBRARY.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "screen.py":
            assert not re.search(r"(?<!plain_)\bConsole\(", text), path
