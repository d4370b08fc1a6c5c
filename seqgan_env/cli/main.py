"""The command line: its commands and their flags.

What a command does is imported when it is called, so that help, errors and lists come at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from gymnasium.error import Error as GymnasiumError

from seqgan_env import faults, registry
from seqgan_env.bench import flags as bench_flags
from seqgan_env.bench.results import RESULTS
from seqgan_env.cli.arguments import (
    Parser,
    add_settings,
    add_task_settings,
    add_trust,
    given_settings,
    later,
    positive,
    seed_value,
)
from seqgan_env.metrics.catalogue import METRICS
from seqgan_env.names import choose
from seqgan_env.rewards.forms import FORMS
from seqgan_env.sweep.flags import add_command as add_sweep
from seqgan_env.training import run_directory
from seqgan_env.training.settings import PRESETS, TrainSettings, with_task


def _rewards() -> dict[str, str]:
    origin = "seqgan_env.rewards.forms:FORMS"
    return {form.name: f"{origin}  discount {form.discount:g}" for form in FORMS.values()}


def _knobs() -> dict[str, str]:
    """Those that are always measured, and those that --more-knobs takes by name."""
    from seqgan_env.generators.knobs import KNOBS  # loads torch; no other list does

    builtin = {knob.name: "seqgan_env.generators.knobs:KNOBS" for knob in KNOBS}
    return builtin | registry.KNOBS.names()


def _metrics() -> dict[str, str]:
    """Those that a run's table may hold, with their labels, and those that --more-metrics takes."""
    origin = "seqgan_env.metrics.catalogue:METRICS"
    builtin = {name: f"{origin}  {metric.row.strip()}" for name, metric in METRICS.items()}
    return builtin | registry.METRICS.names()


# What `seqgan list` shows: name to origin, of each kind.
LISTINGS: dict[str, Callable[[], dict[str, str]]] = {
    "tasks": registry.TASKS.names,
    "agents": registry.AGENTS.names,
    "rewards": _rewards,
    "sources": registry.SOURCES.names,
    "discriminators": registry.DISCRIMINATORS.names,
    "policies": registry.POLICIES.names,
    "knobs": _knobs,
    "metrics": _metrics,
    "trackers": registry.TRACKERS.names,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 2 for what the user can mend, 130 after
    Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = build_parser().parse_args(
        words, argparse.Namespace(command_line=words, trust=False)
    )
    if arguments.trust:
        sys.path.append(str(Path.cwd()))
    else:
        registry.find_in_working_folder(words)  # --agent may name a module of the user's own
    try:
        code: int = arguments.run(arguments)
    except (ValueError, TypeError, GymnasiumError) as problem:
        if arguments.traceback:
            raise
        print(f"seqgan: {faults.told(problem)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("seqgan: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `seqgan sample RUN | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="seqgan",
        description="Sequence generation as reinforcement learning (SeqGAN).",
        allow_abbrev=False,
    )
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_train(commands)
    sample = commands.add_parser(
        "sample", help="write sequences with the trained policy of a run", allow_abbrev=False
    )
    sample.add_argument("run_path", type=Path, metavar="RUN", help="run directory")
    sample.add_argument(
        "--num", type=positive, default=20, metavar="N", help="sequences (default: 20)"
    )
    _add_seed(sample, "the draws")
    sample.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="X",
        help="divides the logits (default: 1)",
    )
    sample.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="DIR",
        help="of a music run's files (default: RUN/samples)",
    )
    sample.add_argument(
        "--words",
        action="store_true",
        help="print every sequence as a list of its words in JSON, which `seqgan evaluate "
        "--samples FILE.jsonl` reads exactly, whatever the tokenizer",
    )
    add_trust(sample)
    sample.set_defaults(run=_of_a_run("seqgan_env.cli.runs:sample"))
    _add_evaluate(commands)
    listing = commands.add_parser(
        "list",
        help="list what there is of a kind, and where it comes from",
        allow_abbrev=False,
    )
    listing.add_argument("what", metavar="|".join(LISTINGS))
    listing.set_defaults(run=_list)
    _add_show(commands)
    _add_play(commands)
    _add_doctor(commands)
    _add_explain(commands)
    bench_flags.add_commands(commands)
    add_sweep(commands)
    parser.introduce_commands()
    return parser


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure the trained policy of a run, or samples from elsewhere",
        description=(
            "Measures the trained policy of a run; or, with --samples, sequences that any program "
            "wrote, and puts them as a row into a benchmark."
        ),
        allow_abbrev=False,
    )
    evaluate.add_argument("run_path", type=Path, nargs="?", metavar="RUN", help="run directory")
    _add_seed(evaluate, "the draws, or of the row's run")
    evaluate.add_argument(
        "--referee",
        dest="judge_anew",  # `referee` is a setting of runs
        action="store_true",
        help="train the referee's classifiers against fresh samples of a run, which takes about a "
        "minute (default: its row is the one in the run's result)",
    )
    evaluate.add_argument(
        "--keys",
        action="store_true",
        help="name metrics as result.json does, in place of their labels",
    )
    bench_flags.add_samples_arguments(evaluate)
    add_trust(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="pre-train, adversarial phase, table, plot",
        description="Trains an agent by Algorithm 1 and measures it beside its controls.",
        allow_abbrev=False,
    )
    train.add_argument(
        "--preset",
        default="tiny",
        metavar="NAME",
        help=f"settings to start from: {', '.join(PRESETS)} (default: tiny)",
    )
    train.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="DIR",
        help="run directory (default: runs/TASK-AGENT-SEED)",
    )
    train.add_argument(
        "--force", action="store_true", default=False, help="overwrite an existing run directory"
    )
    train.add_argument(
        "--resume",
        type=Path,
        default=None,
        metavar="RUN",
        help="go on with an unfinished run, with the settings that it has",
    )
    train.add_argument(
        "--track",
        action="append",
        default=None,
        metavar="NAME",
        help=f"tell the run to {', '.join(registry.TRACKERS.builtin)}, an installed tracker or "
        "package.module:Class; may be given several times (default: tensorboard, where it is "
        "installed)",
    )
    train.add_argument(
        "--hyperparameters",
        type=Path,
        default=None,
        metavar="FILE",
        help="YAML in the style of rl-zoo3, with a section for the task: its Gym id, its name or "
        "default; other flags go over it",
    )
    add_settings(train, [field.name for field in fields(TrainSettings)])
    add_task_settings(train)
    add_trust(train)
    train.set_defaults(run=_train)


def _add_show(commands: Any) -> None:
    show = commands.add_parser(
        "show",
        help="draw samples of a run with what is thought of every token, as a page",
        description=(
            "Writes an HTML page with samples of a run's policy, of maximum likelihood and of "
            "held-out real data. Every token is coloured by its value, its reward, the "
            "discriminator's opinion or its likelihood."
        ),
        allow_abbrev=False,
    )
    show.add_argument("run_path", type=Path, metavar="RUN", help="run directory")
    show.add_argument(
        "--num", type=positive, default=12, metavar="N", help="sequences of each (default: 12)"
    )
    _add_num_rollouts(show)
    _add_seed(show, "the draws")
    show.add_argument(
        "--out", type=Path, metavar="FILE", help="the page (default: RUN/samples.html)"
    )
    add_trust(show)
    show.set_defaults(run=_of_a_run("seqgan_env.cli.show:show"))


def _add_play(commands: Any) -> None:
    play = commands.add_parser(
        "play",
        help="write a sequence yourself and see what a run thinks of every token",
        description=(
            "Steps through the environment of a run, token by token as you type them, and shows "
            "value, reward, the discriminator's opinion and what the policy would write."
        ),
        allow_abbrev=False,
    )
    play.add_argument("run_path", type=Path, metavar="RUN", help="run directory")
    play.add_argument(
        "--num-suggestions",
        type=positive,
        default=8,
        metavar="N",
        help="tokens that the policy suggests (default: 8)",
    )
    _add_num_rollouts(play)
    _add_seed(play, "the environment")
    add_trust(play)
    play.set_defaults(run=_of_a_run("seqgan_env.cli.play:play"))


def _add_doctor(commands: Any) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="what this machine has, how fast the kernels are on it, and what would help",
        description=(
            "Prints processor, kernels, threads and extras, and measures every operation of a run "
            "by each variant of the kernels and by torch, in under a minute."
        ),
        allow_abbrev=False,
    )
    doctor.add_argument(
        "--threads", type=positive, metavar="N", help="of torch and the kernels (default: all)"
    )
    doctor.add_argument("--out", type=Path, metavar="FILE", help="the same as JSON, in seconds")
    doctor.set_defaults(run=later("seqgan_env.cli.doctor:doctor"))


def _add_explain(commands: Any) -> None:
    explain = commands.add_parser(
        "explain",
        help="say in plain words what a run or a benchmark found, and what to try next",
        description=(
            "Reads the numbers of a run, finished or not, or of a benchmark, and says what "
            "happened, why it probably did, and what to try next."
        ),
        allow_abbrev=False,
    )
    explain.add_argument("path", type=Path, metavar="RUN|BENCH", help="folder of either")
    explain.set_defaults(run=_explain)


def _add_seed(parser: argparse.ArgumentParser, of: str) -> None:
    parser.add_argument(
        "--seed", type=seed_value, default=0, metavar="N", help=f"of {of} (default: 0)"
    )


def _add_num_rollouts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--num-rollouts",
        type=positive,
        default=64,
        metavar="N",
        help="completions of a prefix behind its value (default: 64)",
    )


def _train(arguments: argparse.Namespace) -> int:
    """`seqgan train`; what is wrong with the task is said before torch is loaded."""
    for name in arguments.track or ():
        registry.TRACKERS.origin(name)
    if arguments.resume is None:
        with_task(arguments.preset, given_settings(arguments))
    return later("seqgan_env.cli.runs:train")(arguments)


def _explain(arguments: argparse.Namespace) -> int:
    """`seqgan explain`; that there is neither run nor benchmark is said before torch is loaded."""
    path: Path = arguments.path
    is_benchmark = any((path / RESULTS).glob("*.json"))
    if not is_benchmark and not (path / run_directory.CONFIG).is_file():
        raise ValueError(
            f"{path} is neither a run, which has a {run_directory.CONFIG}, nor a benchmark, which "
            f"has {RESULTS}/*.json"
        )
    return later("seqgan_env.cli.explain:explain_path")(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    """`seqgan evaluate`, of samples or of a run."""
    run = "seqgan_env.cli.evaluation:evaluate"
    of_samples = bench_flags.chose_samples(arguments)
    return later(run)(arguments) if of_samples else _of_a_run(run)(arguments)


def _of_a_run(name: str) -> Callable[[argparse.Namespace], int]:
    """What a command does with a run, `package.module:function`; that there is none is said before
    torch is loaded.
    """

    def run(arguments: argparse.Namespace) -> int:
        run_directory.read_json(arguments.run_path / run_directory.CONFIG)
        return later(name)(arguments)

    return run


def _list(arguments: argparse.Namespace) -> int:
    found = LISTINGS[choose(LISTINGS, arguments.what, "listing")]()
    width = max([16, *map(len, found)])
    for name, origin in found.items():
        print(f"{name:{width}} {origin}")
    return 0
