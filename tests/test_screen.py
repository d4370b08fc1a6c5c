"""What commands print is printed as it stands."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.table import Table

from seqgan_env.screen import SECONDS_LATE, plain_console, time_left

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


@pytest.mark.parametrize("since", [0.0, 3.0, 9.0, 10.1, 19.9, 20.1, 100.0, 1_000.0])
@pytest.mark.parametrize(("done", "left"), [(1, 1), (6, 2), (7, 1), (2, 98)])
def test_a_step_that_is_late_is_never_said_to_end_at_once(
    done: int, left: int, since: float
) -> None:
    told = time_left(done, left, seconds=10.0 * done, since=since)
    assert "about 0 s left" not in told
    assert ("longer than expected" in told) is (since > 10 + SECONDS_LATE)


def test_small_steps_of_uneven_length_are_not_called_late() -> None:
    assert time_left(24_387, 25_613, seconds=20.0, since=2.0) == "about 19 s left"


def test_steps_as_long_as_each_other_leave_what_is_left_of_them() -> None:
    assert time_left(3, 4, seconds=30.0, since=2.0) == "about 38 s left"
    assert time_left(3, 4, seconds=30.0, since=0.0) == "about 40 s left"


def test_the_longer_a_late_step_takes_the_longer_the_rest_is_expected_to_take() -> None:
    told = [time_left(3, 3, seconds=30.0, since=since) for since in (50.0, 90.0, 170.0)]
    assert told == [
        "longer than expected, about 40 s left after this step",
        "longer than expected, about 60 s left after this step",
        "longer than expected, about 100 s left after this step",
    ]


def test_nothing_is_said_of_the_time_left_before_a_step_is_done_and_after_the_last() -> None:
    assert time_left(0, 5, seconds=0.0, since=70.0) == ""
    assert time_left(5, 0, seconds=50.0, since=0.0) == ""
