"""Damages files in thousands of ways and drives them through everything that reads one.

    python -m benchmarks.fuzz_files --mutants 10000 --out benchmarks/results/fuzz-files.json

Every mutant is read by a process that may have 4 GiB and 10 s, and that is watched for what it
executes: Python's audit events tell of every module that is imported from the mutant's folder, of
every program that is started and of every connection. A mutant ends in one of these ways:

- `error`: a `ValueError` that names the file or its folder,
- `valid`: an object; most small damage to numbers leaves a file that can be meant,
- anything else is a failure: another exception, an error that does not say which file, a process
  that dies or takes too long, or something that is executed.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

BYTES, SECONDS = 4 * 2**30, 10
SUSPECT = "touched"  # what the modules that are planted in every folder would make

Loader = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        file: that is damaged, below the folder of its kind.
        load: reads the folder.
        is_text: whether numbers and words in it can be changed as such.
    """

    file: str
    load: Loader
    is_text: bool


# -- what reads files


def _load_run(folder: Path) -> object:
    from seqgan_env.training.trainer import load_run

    return load_run(folder)


def _load_carried(folder: Path) -> object:
    from seqgan_env.training.trainer import load_run

    return load_run(folder / "words", needs_data=False)


def _load_rewards(folder: Path) -> object:
    from seqgan_env.training.trainer import load_run_with_rewards

    return load_run_with_rewards(folder, num_rollouts=1)


def _load_checkpoint(folder: Path) -> object:
    from seqgan_env.files import naming
    from seqgan_env.training.checkpoint import read_checkpoint
    from seqgan_env.training.trainer import Trainer, read_config

    state = read_checkpoint(folder)
    trainer = Trainer(read_config(folder))
    if state is not None:
        with naming(f"the checkpoint of {folder}"):  # as the command line does
            trainer.load_state_dict(state)
    return trainer


def _oracle(name: str) -> Loader:
    def load(folder: Path) -> object:
        from seqgan_env.tasks import make_task

        sizes = {"num_real": 8, "num_validation": 8, "num_held_out": 8, "num_eval": 8}
        return make_task("oracle-tiny", weights=str(folder / name), **sizes)

    return load


def _load_music(folder: Path) -> object:
    from seqgan_env.tasks.music.midi import UnusableMidiError, read_score

    try:
        return read_score(folder / "piece.mid")
    except UnusableMidiError as problem:  # the task adds the name of the file
        raise ValueError(f"{folder / 'piece.mid'}: {problem}") from problem


def _load_corpus(folder: Path) -> object:
    from seqgan_env.tasks import make_task

    return make_task("text", corpus=str(folder / "corpus.txt"), num_eval=2)


def _load_tokenizer(folder: Path) -> object:
    from seqgan_env.tasks import make_task

    names = {name: str(folder / name) for name in ("corpus.txt", "tokenizer.json")}
    return make_task("text", corpus=names["corpus.txt"], tokenizer=names["tokenizer.json"])


def _load_suite(folder: Path) -> object:
    from seqgan_env.bench.jobs import read_suite

    return read_suite(folder / "suite.toml").jobs()


def _load_samples(folder: Path) -> object:
    from seqgan_env.bench.samples import read_samples
    from seqgan_env.tasks import make_task

    sizes = {"num_real": 8, "num_validation": 8, "num_held_out": 8, "num_eval": 8}
    task: Any = make_task("oracle-tiny", **sizes)
    return read_samples(folder / "samples.txt", task)


def _load_results(folder: Path) -> object:
    from seqgan_env.bench.report import write_report

    return write_report([folder], folder / "report", "fuzzed", [])


TARGETS: dict[str, Target] = {
    "config.json": Target("config.json", _load_run, True),
    "config.json, with what paid": Target("config.json", _load_rewards, True),
    "task.json": Target("words/task.json", _load_carried, True),
    "policy weights": Target("policy.safetensors", _load_run, False),
    "discriminator weights": Target("discriminator.safetensors", _load_rewards, False),
    "checkpoint": Target("checkpoint.pt", _load_checkpoint, False),
    "oracle, safetensors": Target("oracle.safetensors", _oracle("oracle.safetensors"), False),
    "oracle, pickle": Target("oracle.pkl", _oracle("oracle.pkl"), False),
    "MIDI": Target("piece.mid", _load_music, False),
    "corpus": Target("corpus.txt", _load_corpus, True),
    "tokenizer": Target("tokenizer.json", _load_tokenizer, True),
    "suite": Target("suite.toml", _load_suite, True),
    "samples": Target("samples.txt", _load_samples, True),
    "result": Target("results/one.json", _load_results, True),
}

# -- whole files to begin with


def plant(folder: Path) -> None:
    """Writes a whole file of every kind into `folder`, and modules that tell if they are run."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    from seqgan_env.bench.results import Result
    from seqgan_env.tasks import make_task
    from seqgan_env.tasks.music.midi import write_melody
    from seqgan_env.training import run_directory
    from seqgan_env.training.checkpoint import write_checkpoint
    from seqgan_env.training.settings import TrainSettings
    from seqgan_env.training.trainer import Trainer, write_config

    torch.set_num_threads(1)
    sizes = {"num_real": 16, "num_validation": 8, "num_held_out": 8, "num_eval": 8}
    settings = TrainSettings(
        task_options=sizes, batch_size=4, num_negatives=8, mle_epochs=1, num_rollouts=1
    )
    trainer = Trainer(settings)
    write_config(settings, folder, trainer.task)
    policy: Any = trainer.agent.policy
    run_directory.write_weights(folder / "policy.safetensors", policy.state_dict())
    discriminator: Any = trainer.rewards.discriminator
    run_directory.write_weights(folder / "discriminator.safetensors", discriminator.state_dict())
    write_checkpoint(folder, trainer.state_dict())
    oracle: Any = make_task("oracle-tiny", **sizes)
    weights = {
        name: tensor for name, tensor in oracle.oracle.state_dict().items() if "bias_hh" not in name
    }
    run_directory.write_weights(folder / "oracle.safetensors", weights)
    (folder / "oracle.pkl").write_bytes(pickle.dumps(_released_arrays(), protocol=3))
    write_melody(folder / "piece.mid", [(0, 2, 60), (2, 4, 64), (5, 8, 67)], 8, 2)
    lines = [
        f"the {noun} {verb} here" for noun in ["cat", "dog", "cow", "fox"] for verb in "abcdefg"
    ]
    (folder / "corpus.txt").write_text("\n".join(lines) + "\n")
    words = sorted({word for line in lines for word in line.split()})
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(["<unk>", *words])}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace("x", "y")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "suite.toml").write_text(SUITE)
    rng = random.Random(0)
    rows = [" ".join(str(rng.randrange(50)) for _ in range(10)) for _ in range(4)]
    (folder / "samples.txt").write_text("\n".join(rows) + "\n")
    _plant_words(folder, str(folder / "corpus.txt"))
    _write_results(folder, Result)
    for name in ("evil", "os2", "sitecustomize"):
        trace = f"import pathlib\npathlib.Path({str(folder / SUSPECT)!r}).touch()\n"
        (folder / f"{name}.py").write_text(trace + "class A: pass\n")


def _plant_words(folder: Path, corpus: str) -> None:
    """A run of a text that has a tokenizer, neither of which is there any more."""
    from seqgan_env.training import run_directory
    from seqgan_env.training.settings import TrainSettings
    from seqgan_env.training.trainer import Trainer, write_config

    gone, tokenizer = folder / "gone.txt", folder / "gone.json"
    shutil.copy(corpus, gone)
    shutil.copy(folder / "tokenizer.json", tokenizer)
    options = {"corpus": str(gone), "tokenizer": str(tokenizer), "num_eval": 2}
    settings = TrainSettings(task="text", task_options=options, batch_size=4)
    trainer = Trainer(settings)
    (folder / "words").mkdir()
    write_config(settings, folder / "words", trainer.task)
    policy: Any = trainer.agent.policy
    run_directory.write_weights(folder / "words" / "policy.safetensors", policy.state_dict())
    gone.unlink()
    tokenizer.unlink()


SUITE = """title = "fuzzed"
seeds = 2
[settings]
preset = "tiny"
rounds = 2
batch_size = 8
agent_options = { learning_rate = 0.01 }
[tasks.small]
task = "oracle-tiny"
num_real = 100
[tasks.words]
task = "text"
tokenizer = "english"
[rows.reinforce]
agent = "reinforce"
source = "discriminator + 0.5 * bleu"
[rows.constant]
source = "constant"
"""


def _released_arrays() -> list[np.ndarray]:
    """Of the authors' list: the embedding, four gates and the output layer; V 50, E and H 32."""
    rng = np.random.default_rng(0)
    gate = [(32, 32), (32, 32), (32,)]
    shapes = [(50, 32), *gate * 4, (32, 50), (50,)]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def _write_results(folder: Path, make: Any) -> None:
    from seqgan_env.metrics.score import SELECT

    (folder / "results").mkdir()
    metrics = {
        "nll_oracle": 2.0,
        "nll_gen": 2.1,
        "kl_mean": 0.5,
        "kl_reverse": 0.4,
        "kl_forward": 0.6,
        "kl_mean_error": 0.01,
    }
    curve = [{"round": 1.0, "seconds": 2.0, "task/kl_mean": 0.5, "budget/env_steps": 10.0}]
    for name, label, shift in (("mle", "mle", 0.0), ("one", "reinforce", -0.1), ("two", "ppo", 0)):
        for seed in (0, 1):
            row = {key: value + shift + 0.01 * seed for key, value in metrics.items()}
            file = f"{name}{seed or ''}.json"
            turned = row | {SELECT + key: value for key, value in row.items()}
            knobs = {"temperature 0.9": turned} if name == "mle" else {}
            make(label, "oracle-tiny", seed, row, knobs=knobs, curve=curve, samples=["1 2"]).write(
                folder / "results" / file
            )


# -- how they are damaged

NUMBERS = ["0", "-1", "1e999", "NaN", "2147483648", "9223372036854775808", "1e-320", "0x7fffffff"]
NUMBERS += ["99999999999999999999999999", "-0.0", "1.5", "true", '"7"', "null", "[]", "{}", "[1]"]
NAMES = ["evil:A", "os:system", "evil", "os2:A", "subprocess:Popen", "", "\u2028", "\x00", "../x"]
NAMES += ["paper", "ratio", "ppo", "mle", "text", "music", "english", "/dev/zero", "a" * 10_000]
NAMES += ["<script>", "\ud83d", "discriminator + evil:A", "cuda", "lstm", "gru", "oracle-paper"]


def damaged(content: bytes, target: Target, rng: random.Random) -> bytes:
    """One to four kinds of damage."""
    kinds = [_flip, _cut, _repeat, _insert, _splice, _edges]
    if target.is_text:
        kinds += [_number, _name, _nest, _number, _name, _line]
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        content = rng.choice(kinds)(content, rng)
    return content


def _place(content: bytes, rng: random.Random) -> int:
    # Headers are where damage does most.
    return rng.randrange(min(len(content), rng.choice([64, 1024, len(content) + 1])) + 1)


def _flip(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    at, length = _place(content, rng), rng.choice([1, 8, 64, 1024])
    return content[:at] + content[at : at + length] * rng.choice([2, 10, 1000]) + content[at:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.randbytes(rng.choice([1, 4, 16])) + content[at:]


def _splice(content: bytes, rng: random.Random) -> bytes:
    a, b = _place(content, rng), _place(content, rng)
    return content[:a] + content[b:]


def _edges(content: bytes, rng: random.Random) -> bytes:
    """A number of 1, 2, 4 or 8 bytes becomes the least or the greatest one."""
    at, size = _place(content, rng), rng.choice([1, 2, 4, 8])
    value = rng.choice([b"\x00", b"\xff", b"\x7f", b"\x80"])
    return content[:at] + value * size + content[at + size :]


def _spans(content: bytes, digits: bool) -> list[tuple[int, int]]:
    """Where words of digits, or of letters, begin and end."""
    found, start = [], -1
    for i, byte in enumerate(content + b"\n"):
        inside = chr(byte).isdigit() if digits else chr(byte).isalpha()
        if inside and start < 0:
            start = i
        elif not inside and start >= 0:
            found.append((start, i))
            start = -1
    return found


def _replaced(content: bytes, by: str, digits: bool, rng: random.Random) -> bytes:
    spans = _spans(content, digits)
    if not spans:
        return content
    start, end = rng.choice(spans)
    return content[:start] + by.encode("utf-8", "surrogatepass") + content[end:]


def _number(content: bytes, rng: random.Random) -> bytes:
    return _replaced(content, rng.choice(NUMBERS), True, rng)


def _name(content: bytes, rng: random.Random) -> bytes:
    return _replaced(content, rng.choice(NAMES), False, rng)


def _nest(content: bytes, rng: random.Random) -> bytes:
    at, depth = _place(content, rng), rng.choice([10, 1000, 100_000])
    return content[:at] + rng.choice([b"[", b'{"a":', b"[["]) * depth + content[at:]


def _line(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at : at + 1] = rng.choice([[], [lines[at]] * 2, [lines[at], rng.choice(lines)]])
    return b"\n".join(lines)


SPECIAL = ("a pipe", "/dev/zero", "a folder", "missing", "empty", "a link to itself", "1 TiB")


def make_special(path: Path, kind: str) -> None:
    """Puts something other than a file where the file was."""
    path.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "/dev/zero":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "a link to itself":
        path.symlink_to(path)
    elif kind == "1 TiB":
        with path.open("wb") as file:
            file.truncate(2**40)


# -- the process that reads

_watched: list[str] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"):
        _watched.append(f"{event} {str(arguments)[:80]}")


def _serve(pipe: Connection) -> None:
    """Reads folders until the pipe closes; tells of each how it ended."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    import torch

    import seqgan_env.training.trainer

    assert seqgan_env
    torch.set_num_threads(1)
    sys.addaudithook(_audit)
    while True:
        try:
            name, folder = pipe.recv()
        except EOFError:
            return
        pipe.send(_outcome(TARGETS[name], folder))


def _outcome(target: Target, folder: Path) -> tuple[str, str]:
    _watched.clear()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            target.load(folder)
        outcome = ("valid", "")
    except ValueError as problem:
        is_named = str(folder) in str(problem)
        outcome = ("error" if is_named else "no name", f"{type(problem).__name__}: {problem}")
    except BaseException as problem:  # whatever else comes out of a file is a failure
        outcome = (type(problem).__name__, str(problem))
    if _watched or (folder / SUSPECT).exists():
        return "executed", "; ".join(_watched)
    return outcome


class Reader:
    """A process that reads mutants; a new one where the last has died or was too slow."""

    def __init__(self, whole: Path, names: Sequence[str]) -> None:
        """Fuzzes copies of undamaged files.

        Args:
            whole: folder of undamaged files.
            names: kinds of file.

        Raises:
            RuntimeError: an undamaged one is not read; errors would say nothing.
        """
        self._whole, self._names = whole, names
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        for name in self._names:  # loads the libraries that each needs, out of the mutants' time
            self._pipe.send((name, self._whole))
            outcome, said = self._pipe.recv()
            if outcome != "valid":
                raise RuntimeError(f"the undamaged {name} is not read: {outcome}: {said}")

    def read(self, name: str, folder: Path) -> tuple[str, str]:
        """How a folder ended: a class and what was said."""
        self._pipe.send((name, folder))
        try:
            if self._pipe.poll(SECONDS):
                outcome: tuple[str, str] = self._pipe.recv()
                return outcome
            outcome = ("hang", f"over {SECONDS} s")
        except (EOFError, ConnectionResetError):
            outcome = ("died", "")
        self.close()
        self._start()
        return outcome

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


@contextlib.contextmanager
def _planted() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        whole = Path(folder).resolve() / "whole"
        whole.mkdir()
        plant(whole)
        yield whole


def fuzz(
    mutants: int, seed: int = 0, names: list[str] | None = None, keep: Path | None = None
) -> dict[str, Counter[str]]:
    """Counts by kind of file how its mutants ended.

    Args:
        mutants: of all kinds together; the same number of each, special files among them.
        seed: of the damage.
        names: kinds of file; all if not given.
        keep: folder for mutants that failed.
    """
    names = names or list(TARGETS)
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    with _planted() as whole:
        reader = Reader(whole, names)
        for i in range(mutants):
            name = names[i % len(names)]
            target, which = TARGETS[name], i // len(names)
            folder = whole.with_name("mutant")
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(whole, folder)
            path = folder / target.file
            if which < len(SPECIAL):
                make_special(path, SPECIAL[which])
            else:
                rng = random.Random(f"{seed} {name} {which}")
                path.write_bytes(damaged(path.read_bytes(), target, rng))
            kind, said = reader.read(name, folder)
            counts[name][kind] += 1
            if kind not in ("error", "valid"):
                print(f"{name} {which} {kind}: {said[:300]}", flush=True)
                if keep is not None and which >= len(SPECIAL):
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, keep / f"{name.replace(' ', '-')}-{which}-{path.name}")
        reader.close()
    return counts


def main() -> None:
    """Fuzzes, prints the table and writes it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(TARGETS), nargs="+")
    parser.add_argument("--keep", type=Path, help="folder for mutants that failed")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()
    counts = fuzz(arguments.mutants, arguments.seed, arguments.only, arguments.keep)
    print("| file | mutants | clear error | valid object | anything else |\n|---|---|---|---|---|")
    for name, count in counts.items():
        rest = count.total() - count["error"] - count["valid"]
        print(f"| {name} | {count.total()} | {count['error']} | {count['valid']} | {rest} |")
    if arguments.out:
        content = {"mutants": arguments.mutants, "seed": arguments.seed, "counts": counts}
        content["seconds"] = round(time.perf_counter() - started, 1)
        arguments.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
