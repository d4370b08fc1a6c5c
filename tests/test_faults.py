"""An error inside a plug-in is one line that names what was asked for, and where it failed."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqgan_env.cli.main import main

MODULE = "faulty_seqgan"
SOURCE = """
from agents.reinforce import Reinforce
from seqgan_env import Discriminator, GRULanguageModel
from seqgan_env.discriminators.lstm import LSTMDiscriminator
from seqgan_env.tasks.oracle.task import OracleTask

COLOURS = ("red", "green")


class Fails:
    def __init__(self, *args, **kwargs):
        COLOURS.index("blue")


class Agent(Fails, Reinforce):
    pass


class Updates(Reinforce):
    def update(self):
        COLOURS.index("blue")


class Task(Fails, OracleTask):
    pass


class Evaluates(OracleTask):
    def evaluate(self, policy, rng):
        return {"blue": COLOURS.index("blue")}


class Source(Fails):
    def score(self, tokens):
        return None


def factory(task):
    return COLOURS.index("blue")


class Scores:
    def score(self, tokens):
        return COLOURS.index("blue")


class Policy(Fails, GRULanguageModel):
    pass


class Draws(GRULanguageModel):
    def advance(self, state, inputs):
        return COLOURS.index("blue")


class Judge(Fails, LSTMDiscriminator):
    pass


class Looks(LSTMDiscriminator):
    def forward(self, tokens, dropout_rng=None):
        return COLOURS.index("blue")


class Knob(Fails):
    name = "mine"

    def fits(self, policy):
        return True

    def __call__(self, policy):
        return policy


class Turns(Knob):
    def __init__(self):
        pass

    def __call__(self, policy):
        return COLOURS.index("blue")


class Metric(Fails):
    name = "mine"

    def __call__(self, samples, task):
        return 0.0


class Measures:
    name = "mine"

    def __call__(self, samples, task):
        return COLOURS.index("blue")


SEVERAL = [Measures()]


class Unmakeable(OracleTask):
    def __init__(self, settings):
        super().__init__(settings)
"""
SMALL = [
    *("--vocab-size", "6", "--seq-len", "3", "--num-real", "50", "--num-held-out", "50"),
    *("--num-eval", "50", "--rounds", "1", "--mle-epochs", "1", "--num-negatives", "20"),
    *("--batch-size", "8", "--num-rollouts", "1", "--no-control", "--track", "tensorboard"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop(MODULE, None)


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("agent", "Agent"),
        ("agent", "Updates"),
        ("task", "Task"),
        ("task", "Evaluates"),
        ("source", "Source"),
        ("source", "factory"),
        ("source", "Scores"),
        ("policy", "Policy"),
        ("policy", "Draws"),
        ("discriminator", "Judge"),
        ("discriminator", "Looks"),
        ("more-knobs", "Knob"),
        ("more-knobs", "Turns"),
        ("more-metrics", "Metric"),
        ("more-metrics", "Measures"),
        ("more-metrics", "SEVERAL"),
    ],
)
def test_an_error_inside_a_plug_in_names_it_with_its_line(
    flag: str, name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", f"--{flag}", f"{MODULE}:{name}", *SMALL, "--out", str(folder / "run")]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    kind = flag.removeprefix("more-").removesuffix("s")
    expected = (
        rf"seqgan: {kind} '{MODULE}:{name}' failed: ValueError: tuple.index\(x\): x not in tuple "
        rf"\({MODULE}.py, line (\d+)\); `seqgan --traceback ...` shows it all"
    )
    found = re.fullmatch(expected, line)
    assert found is not None, line
    assert 'COLOURS.index("blue")' in SOURCE.splitlines()[int(found[1]) - 1]


def test_a_class_that_does_not_take_what_it_is_made_with_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--task", f"{MODULE}:Unmakeable", *SMALL, "--out", str(folder / "run")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"task '{MODULE}:Unmakeable' failed: TypeError: Unmakeable.__init__() takes" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import math\nX = math.sqrt(-1)\n", f"math domain error ({MODULE}.py, line 2)"),
        (
            "class X:\n    def __init__(self, folder):\n        self.url = {}['url']\n"
            "    begin = log = end = print\n",
            f"cannot be made: KeyError: 'url' ({MODULE}.py, line 3)",
        ),
    ],
)
def test_an_error_that_was_wrapped_keeps_its_line(
    text: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / f"{MODULE}.py").write_text(text)
    words = ["train", *SMALL, "--track", f"{MODULE}:X", "--out", str(folder / "run")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"tracker '{MODULE}:X' cannot be" in error
    assert message in error


def test_a_tracker_that_fails_is_warned_of_with_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "class X:\n    def __init__(self, folder): ...\n    def begin(self, config): {}['url']\n"
    (folder / f"{MODULE}.py").write_text(f"{text}    log = end = print\n")
    words = ["train", *SMALL, "--no-knobs", "--track", f"{MODULE}:X", "--out", str(folder / "run")]
    assert main(words) == 0
    told = f"tracker {MODULE}:X has failed (KeyError: 'url'; {MODULE}.py, line 3)"
    assert told in capsys.readouterr().err


def test_an_error_of_this_package_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--agent", "grpo", "--set", "group_size=7"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("seqgan: agent grpo: group_size is 7")
    assert "--traceback" not in error
