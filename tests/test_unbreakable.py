"""A run bears signals, readers that leave, encodings, full disks and numbers that run away."""

import io
import itertools
import json
import math
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from seqgan_env.cli.main import main
from seqgan_env.cli.output import RunProgress, Tolerant, told_if_slow
from seqgan_env.training import run_directory
from seqgan_env.training.checkpoint import read_checkpoint, write_checkpoint
from seqgan_env.training.health import WORSE_THAN_UNIFORM, DivergenceError, check_health
from seqgan_env.training.interrupts import interruptible, uninterruptible
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import Trainer

TINY = [
    *("--mle-epochs", "1", "--rounds", "2", "--eval-every", "2", "--num-negatives", "100"),
    *("--batch-size", "16", "--num-rollouts", "1", "--no-knobs", "--no-control"),
]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


# -- signals


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_asks_once_and_those_after_it_do_nothing(number: signal.Signals) -> None:
    # Whoever started the tests may have had some of them ignored.
    before = {each: signal.signal(each, signal.default_int_handler) for each in SIGNALS}
    finished = False
    try:
        with interruptible():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
            for again in SIGNALS:
                signal.raise_signal(again)
            finished = True
        assert finished
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_no_signal_ends_what_is_being_written(number: signal.Signals) -> None:
    before = {each: signal.signal(each, signal.default_int_handler) for each in SIGNALS}
    try:
        with interruptible():
            with uninterruptible():
                signal.raise_signal(number)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_a_signal_that_the_caller_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def started(out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "seqgan_env.cli", "train", *TINY, "--out", str(out), *more]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A shell's background jobs ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_line(out: Path, beginning: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        log = out / run_directory.LOG
        if log.exists() and f"\n{beginning}" in "\n" + log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{out} never came to {beginning!r}")


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("phase", ["pre-train policy", "adversarial"])
def test_a_signal_ends_a_run_with_what_there_is(
    number: signal.Signals, phase: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    long = ["--mle-epochs", "100000"] if phase == "pre-train policy" else ["--rounds", "100000"]
    process = started(out, *long)
    wait_for_line(out, phase)
    process.send_signal(number)
    time.sleep(0.3)
    for again in SIGNALS:
        process.send_signal(again)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors.decode()
    result = run_directory.read_json(out / run_directory.RESULT)
    assert result["interrupted"] is True
    assert math.isfinite(result["agent"]["nll_gen"])
    assert (out / "policy.safetensors").exists()
    assert main(["sample", str(out), "--num", "2"]) == 0


# -- standard output


class Broken(io.StringIO):
    """A stream whose reader leaves after some characters."""

    def __init__(self, allowed: int) -> None:
        super().__init__()
        self.allowed = allowed

    def write(self, text: str) -> int:
        if self.tell() + len(text) > self.allowed:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


def test_a_reader_that_leaves_is_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Broken(5)
    tolerant = Tolerant(stream)
    for text in ("1234", "too long", "x"):
        assert tolerant.write(text) == len(text)
    tolerant.flush()
    assert stream.getvalue() == "1234"
    assert capsys.readouterr().err.splitlines() == [
        "seqgan: standard output cannot be written (Broken pipe); the run goes on"
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "environment"),
    [
        ("{} > /dev/full", {}),
        ("{} | head -1", {}),
        ("{} | true", {}),
        ("{} > out.txt", {"PYTHONIOENCODING": "latin-1"}),
        ("{} > out.txt", {"PYTHONIOENCODING": "ascii"}),
        ("{} >&-", {}),
    ],
)
def test_whatever_becomes_of_the_output_the_run_is_whole(
    shell: str, environment: dict[str, str], tmp_path: Path
) -> None:
    command = " ".join([sys.executable, "-m", "seqgan_env.cli", "train", *TINY, "--out", "run"])
    script = "set -o pipefail; " + shell.format(command)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    result = run_directory.read_json(tmp_path / "run" / run_directory.RESULT)
    assert result["interrupted"] is False
    assert (tmp_path / "run" / "curves.png").exists()


def test_off_a_terminal_there_is_a_line_a_phase_and_a_line_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 10))  # every call comes ten seconds after the last
    monkeypatch.setattr("seqgan_env.cli.output.time.monotonic", lambda: float(next(clock)))
    screen = io.StringIO()
    with RunProgress(Console(file=screen, width=200)) as progress:
        progress("read data", 0, 1, {})
        progress.log_to(tmp_path / run_directory.LOG)
        for done in range(1, 7):
            progress("adversarial", done, 6, {"agent/reward": done / 10})
    lines = (tmp_path / run_directory.LOG).read_text().splitlines()
    assert screen.getvalue().splitlines() == lines
    assert lines == [
        "read data: 0/1, 0 s",
        "adversarial: 1/6, 10 s, about 50 s left  reward 0.100",
        "adversarial: 3/6, 30 s, about 30 s left  reward 0.300",
        "adversarial: 5/6, 50 s, about 10 s left  reward 0.500",
        "adversarial: 6/6, 60 s  reward 0.600",
    ]


def test_nobody_waits_in_silence_within_a_phase_or_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seqgan_env.screen.SECONDS_LATE", 0.0)
    screen = io.StringIO()
    with RunProgress(Console(file=screen, width=200), beat=0.05) as progress:
        progress("knobs", 0, 2, {})
        progress("knobs", 1, 2, {})
        time.sleep(0.5)
        progress("knobs", 2, 2, {})
        during = screen.getvalue().splitlines()
        time.sleep(0.3)
    assert len(during) >= 4
    assert during[0].startswith("knobs: 0/2")
    assert {line.split(",")[0] for line in during[1:-1]} == {"knobs: 1/2"}
    assert during[1].endswith("longer than expected")
    behind = screen.getvalue().splitlines()[len(during) :]
    assert len(behind) >= 3
    assert {line.split(",")[0] for line in behind} == {"working"}
    assert behind[0].endswith("behind knobs")


def test_a_phase_within_another_that_is_over_leaves_the_outer_one_to_be_told() -> None:
    screen = io.StringIO()
    with RunProgress(Console(file=screen, width=200), beat=0.05) as progress:
        progress("read data", 0, 1, {})
        progress("read corpus, kB", 5, 5, {})
        time.sleep(0.3)
        progress("read data", 1, 1, {})
    lines = screen.getvalue().splitlines()
    assert len(lines) >= 4
    assert {line.split(",")[0] for line in lines[2:-1]} == {"read data: 0/1"}


def test_a_command_says_what_it_does_once_it_is_slow_and_not_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with told_if_slow("measuring ...", seconds=10):
        pass
    assert capsys.readouterr().err == ""
    with told_if_slow("measuring ...", seconds=0.01):
        time.sleep(0.3)
    assert capsys.readouterr() == ("", "seqgan: measuring ...\n")


@pytest.mark.parametrize("discriminator", ["small", "ratio"])
def test_every_phase_is_told_when_it_begins(tmp_path: Path, discriminator: str) -> None:
    lines = itertools.islice(itertools.product("abcdefg", repeat=4), 400)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(" ".join(line) for line in lines))
    small = {"corpus": str(corpus), "num_eval": 50}
    options, of_discriminator = {}, "pre-train discriminator"
    if discriminator == "ratio":
        options, of_discriminator = {"mle_epochs": 2}, "fit discriminator to real data"
    settings = TrainSettings(
        rounds=1,
        mle_epochs=1,
        batch_size=8,
        num_negatives=50,
        task="text",
        task_options=small,
        discriminator=discriminator,
        discriminator_options=options,
    )
    told: dict[str, int] = {}

    def progress(phase: str, done: int, total: int, metrics: dict[str, float]) -> None:
        told.setdefault(phase, done)

    Trainer(settings, progress)()
    assert {phase for phase, done in told.items() if done} == set()
    expected = {"pre-train policy", "knobs of MLE", "adversarial", "referee on agent"}
    assert expected | {of_discriminator} <= set(told)


# -- folders


def test_a_folder_in_use_is_refused_even_when_forced(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with run_directory.created(out):
        run_directory.write_json(out / run_directory.CONFIG, {"mine": 1})
        program = (
            "from pathlib import Path\nfrom seqgan_env.training import run_directory\n"
            f"with run_directory.created(Path({str(out)!r}), force=True): pass"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert "another run writes to" in done.stderr
        assert run_directory.read_json(out / run_directory.CONFIG) == {"mine": 1}


def test_a_symbolic_link_is_named(tmp_path: Path) -> None:
    with run_directory.created(tmp_path / "run"):
        run_directory.write_json(tmp_path / "run" / run_directory.CONFIG, {})
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with (
        pytest.raises(ValueError, match="is a symbolic link; give the folder it points to"),
        run_directory.created(tmp_path / "link", force=True),
    ):
        pass
    assert (tmp_path / "run" / run_directory.CONFIG).exists()


def test_all_files_of_a_run_have_the_mode_that_the_user_gives_to_files(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        run_directory.write_weights(tmp_path / "w.safetensors", {"a": torch.ones(2)})
        run_directory.write_json(tmp_path / "r.json", {"a": 1})
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


@contextmanager
def small_disk(folder: Path, kibibytes: int = 96) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)], check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_what_was_there_stays_whole(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder):
        path = folder / "w.safetensors"
        run_directory.write_weights(path, {"a": torch.ones(10)})
        with pytest.raises(ValueError, match=r"w\.safetensors cannot be written: No space left"):
            run_directory.write_weights(path, {"a": torch.ones(100_000)})
        assert torch.equal(run_directory.read_weights(path)["a"], torch.ones(10))
        assert {entry.name for entry in folder.iterdir()} == {"w.safetensors"}


def test_a_checkpoint_for_which_there_is_no_room_leaves_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder):
        write_checkpoint(folder, {"round": 1, "weights": torch.ones(10)})
        with pytest.raises(ValueError, match="cannot be written: No space left"):
            write_checkpoint(folder, {"round": 2, "weights": torch.ones(100_000)})
        state = read_checkpoint(folder)
        assert state is not None
        assert state["round"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("kibibytes", [8, 96, 1200])
def test_a_run_on_a_full_disk_ends_in_one_line(kibibytes: int, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder, kibibytes):
        process = started(folder / "run")
        _, errors = process.communicate(timeout=300)
        (line,) = errors.decode().splitlines()
        assert process.returncode == 2
        assert "cannot be written: No space left on device" in line
        for path in (folder / "run").glob("*.json"):
            run_directory.read_json(path)  # whole


@pytest.mark.slow
def test_a_disk_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder):
        again = ["mount", "-o", "remount,ro", str(folder)]
        subprocess.run(again, check=True)
        process = started(folder / "run")
        _, errors = process.communicate(timeout=300)
        (line,) = errors.decode().splitlines()
        assert process.returncode == 2
        assert "cannot be written: Read-only file system" in line


def test_the_command_line_needs_no_fcntl() -> None:
    program = "import sys; sys.modules['fcntl'] = None\nimport seqgan_env.cli.main"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


# -- numbers that run away


@pytest.mark.parametrize(
    ("metrics", "what"),
    [
        ({"mle_loss": math.nan}, "mle_loss is nan"),
        ({"agent/policy_loss": math.inf}, "agent/policy_loss is inf"),
        ({"agent/grad_norm": math.nan}, "agent/grad_norm is nan"),
        ({"nll_validation": 1e31}, "nats per token; uniform tokens have 3.91"),
        ({"task/nll_gen": math.nan}, "task/nll_gen is nan"),
    ],
)
def test_numbers_that_have_run_away_are_named(metrics: dict[str, float], what: str) -> None:
    with pytest.raises(DivergenceError, match="'adversarial', round 3") as raised:
        check_health("adversarial", 3, metrics, 50, None)
    assert what in str(raised.value)
    assert "try a smaller learning_rate" in str(raised.value)


def test_bad_but_honest_numbers_are_no_divergence() -> None:
    worst = 0.99 * WORSE_THAN_UNIFORM * math.log(50)
    honest = {"task/nll_gen": worst, "task/kl_mean": math.inf, "task/kl_mean_error": math.nan}
    check_health("adversarial", 3, honest, 50, nn.Linear(2, 2))
    check_health("adversarial", 3, {"task/nll_gen": math.inf}, 50, None)  # a copy cannot write all


def test_a_weight_that_is_not_finite_is_found() -> None:
    model = nn.Linear(2, 2)
    nn.init.constant_(model.bias, math.nan)
    with pytest.raises(DivergenceError, match="a weight of the policy is not finite"):
        check_health("pre-train policy", 1, {}, 50, model)
    with pytest.raises(DivergenceError, match=r"of the discriminator is not finite.* of"):
        check_health("adversarial", 1, {}, 50, nn.Linear(2, 2), model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "option", "phase"),
    [
        ("--set", "mle_learning_rate=1e30", "pre-train policy"),
        ("--set", "learning_rate=1e30", "adversarial"),
        ("--set-discriminator", "learning_rate=1e38", "pre-train discriminator"),
    ],
)
def test_a_run_that_diverges_stops_with_one_line_and_saves_nothing_of_it(
    flag: str, option: str, phase: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", *TINY, flag, option, "--out", str(out)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert f"training diverged in phase {phase!r}" in errors[0]
    assert not list(out.glob("*.safetensors"))
    assert not (out / run_directory.RESULT).exists()


def test_a_result_is_valid_json_whatever_it_holds(tmp_path: Path) -> None:
    run_directory.write_json(
        tmp_path / "r.json", {"a": math.nan, "b": [math.inf, {"c": -math.inf}]}
    )

    def refuse(name: str) -> float:
        raise AssertionError(name)

    json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)
