"""Runs the clients of other libraries, each in an environment of its own, and writes what became of
them into docs/compatibility.md.

`python -m benchmarks.compatibility --out docs/compatibility.md` makes the environments; a client
whose interpreter is given (`--python torchrl=/path/to/python`) is run there. `--clients` runs
some, and leaves the rows of the others as they are. A client that fails makes this fail, and its
rows stay.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from seqgan_env.names import choose
from seqgan_env.training.run_directory import write_text

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- compatibility:begin -->", "<!-- compatibility:end -->"


@dataclass(frozen=True)
class Client:
    """One example, and what the table says of it.

    Attributes:
        name: of the library.
        package: whose version is shown.
        requirement: what pip installs beside ours; empty where ours brings it.
        script: under examples/clients.
        faces: what is run: a description of the environment, further arguments, and whether it is
            to learn (else a quick run shows that it works).
        limits: what the library cannot take, and why.
    """

    name: str
    package: str
    requirement: str
    script: str
    faces: tuple[tuple[str, tuple[str, ...], bool], ...]
    limits: str


CLIENTS = {
    "gymnasium": Client(
        "Gymnasium's vector wrappers",
        "gymnasium",
        "",
        "gymnasium_wrappers.py",
        (("vector, next-step, dict view, FilterObservation, RecordEpisodeStatistics", (), True),),
        "its observation wrappers refuse same-step autoreset, NormalizeObservation also disabled",
    ),
    "torchrl": Client(
        "TorchRL",
        "torchrl",
        "torchrl",
        "torchrl_ppo.py",
        (
            ("vector, GymWrapper, ClipPPOLoss", (), True),
            ("single, GymEnv by id, ClipPPOLoss", ("--single",), False),
        ),
        "GymWrapper refuses next-step autoreset; GymEnv with num_envs makes processes, each with "
        "a discriminator of its own",
    ),
    "skrl": Client(
        "skrl",
        "skrl",
        "skrl",
        "skrl_ppo.py",
        (("vector, wrap_env, PPO", (), True),),
        "next-step autoreset would put the steps that only begin an episode into its memory",
    ),
    "tianshou": Client(
        "Tianshou",
        "tianshou",
        "tianshou>=2",
        "tianshou_ppo.py",
        (("64 single, DummyVectorEnv over one reward model, PPO", (), True),),
        "the native vector environment: its collector takes its own vector environments alone",
    ),
    "rllib": Client(
        "RLlib",
        "ray",
        "ray[rllib]",
        "rllib_ppo.py",
        (
            ("vector, next-step, vector_entry_point, PPO (new API stack)", (), True),
            ("single, by id, PPO (new API stack)", ("--single",), False),
        ),
        "same-step autoreset; env runners in other processes, each with a discriminator of its "
        "own; Gymnasium other than the one it pins",
    ),
}


def run_client(client: Client, python: str, seeds: Sequence[int]) -> list[str]:
    """The rows of the table, one a face.

    Raises:
        subprocess.CalledProcessError: the client failed.
        RuntimeError: one that is to learn did not, on some seed.
    """
    version = _output(
        [python, "-c", f"from importlib.metadata import version as v; print(v({client.package!r}))"]
    )
    gymnasium = _output([python, "-c", "import gymnasium; print(gymnasium.__version__)"])
    rows = []
    for face, arguments, learns in client.faces:
        outcome = _outcome(client, python, arguments, seeds if learns else ())
        of_library = f"{client.name} {version.strip()}"
        if client.package != "gymnasium":
            of_library += f" (Gymnasium {gymnasium.strip()})"
        rows.append(f"| {of_library} | {face} | {outcome} | {client.limits} |")
    return rows


def _outcome(client: Client, python: str, arguments: Sequence[str], seeds: Sequence[int]) -> str:
    """What a cell says of full runs with `seeds`, or of a quick run where there are none."""
    command = [python, str(ROOT / "examples" / "clients" / client.script), *arguments]
    if not seeds:
        _output([*command, "--quick"])
        return "runs"
    runs, seconds = [], []
    for seed in seeds:
        started = time.perf_counter()
        runs.append(_divergence(_output([*command, "--seed", str(seed)])))
        seconds.append(time.perf_counter() - started)
        print(f"{client.name}, seed {seed}: {runs[-1]}, {seconds[-1]:.0f} s", flush=True)
    if any(after >= before for before, after in runs):
        raise RuntimeError(f"{client.name} did not improve in {runs} (divergence before, after)")
    ends = ", ".join(f"{after:.2f}" for _, after in runs)
    return f"{mean(before for before, _ in runs):.2f} → {ends} ({mean(seconds):.0f} s)"


def _divergence(output: str) -> tuple[float, float]:
    found = re.search(r"divergence (\S+) -> (\S+)", output)
    if found is None:
        raise RuntimeError(f"no divergence in what the client printed: {output[-500:]}")
    return float(found[1]), float(found[2])


def _output(command: Sequence[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        print(done.stderr[-3_000:], file=sys.stderr)
        done.check_returncode()
    return done.stdout


def make_environment(client: Client, folder: Path) -> str:
    """The interpreter of a new virtual environment with ours, and then the library beside it.

    Ours is installed as constraints.txt pins it; the library then may replace what it must.
    """
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet"]
    constraint = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, *constraint, "--editable", str(ROOT)], check=True)
    if client.requirement:
        subprocess.run([*pip, client.requirement], check=True)
    return python


def table(rows: Mapping[str, Sequence[str]]) -> str:
    """The rows of each client under their heading, in Markdown, in the order of `CLIENTS`."""
    heading = "| library | environment | what came of it | what it cannot take |\n|---|---|---|---|"
    return "\n".join([heading] + [row for name in CLIENTS for row in rows.get(name, ())])


def rows_of(page: str) -> dict[str, list[str]]:
    """The rows that a page has between its markers, by client.

    Raises:
        ValueError: a marker is missing.
    """
    _, begin, rest = page.partition(BEGIN)
    section, end, _ = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the markers {BEGIN} and {END} are missing")
    lines = section.splitlines()
    return {
        name: [line for line in lines if line.startswith(f"| {client.name} ")]
        for name, client in CLIENTS.items()
    }


def replaced(page: str, name: str, rows: Sequence[str]) -> str:
    """The page with `rows` for the client `name`; other clients keep theirs."""
    section = table(rows_of(page) | {name: rows})
    return f"{page.partition(BEGIN)[0]}{BEGIN}\n{section}\n{END}{page.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", nargs="+", default=list(CLIENTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3, help="1..N of each client that learns")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=INTERPRETER")
    parser.add_argument("--out", type=Path, metavar="FILE", help="page that gets the table")
    given = parser.parse_args()
    pythons = dict(item.split("=", 1) for item in given.python)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.clients:
            client = CLIENTS[choose(CLIENTS, name, "client")]
            python = pythons.get(name) or make_environment(client, Path(folder) / name)
            rows = run_client(client, python, range(1, given.seeds + 1))
            print("\n".join(rows), flush=True)
            if given.out:
                page = given.out.read_text(encoding="utf-8")
                write_text(given.out, replaced(page, name, rows))


if __name__ == "__main__":
    main()
