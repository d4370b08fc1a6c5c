r"""Which settings make maximum likelihood strongest: chosen by validation likelihood on some
oracles, checked on others.

    python -m benchmarks.mle_search --task oracle-tiny \
        --out benchmarks/results/mle-search-oracle-tiny.json

Oracle tasks vary the oracle's seed, and with it the data and the model's seed; other tasks vary the
model's seed alone. The choice is made on seeds 0 to 4 and looks at nothing but the best validation
likelihood of a run; seeds 5 to 9 then compare what was chosen with Adam at a constant rate. Runs
are kept in --out, so that an interrupted search goes on.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.metrics.likelihood import nll_per_token
from seqgan_env.tasks import make_task
from seqgan_env.training.run_directory import read_json, versions, write_json

Settings = dict[str, float]

CHOOSE_ON, CHECK_ON = range(5), range(5, 10)
CONSTANT: dict[str, Settings] = {
    "oracle-tiny": {
        "learning_rate": 1e-2,
        "learning_rate_decay": 1.0,
        "weight_decay": 0.0,
        "epochs": 20,
    },
    "oracle-small": {
        "learning_rate": 1e-2,
        "learning_rate_decay": 1.0,
        "weight_decay": 0.0,
        "epochs": 20,
    },
    "oracle-paper": {
        "learning_rate": 1e-2,
        "learning_rate_decay": 1.0,
        "weight_decay": 0.0,
        "epochs": 12,
    },
    "text": {"learning_rate": 5e-3, "learning_rate_decay": 1.0, "weight_decay": 0.0, "epochs": 12},
    "music": {"learning_rate": 5e-3, "learning_rate_decay": 1.0, "weight_decay": 0.0, "epochs": 20},
}
SIZES = {
    "oracle-tiny": (32, 32),
    "oracle-small": (32, 32),
    "oracle-paper": (32, 32),
    "text": (64, 128),
    "music": (64, 128),
}
GRIDS: dict[str, dict[str, Sequence[float]]] = {
    "oracle-tiny": {
        "learning_rate": (1e-2, 2e-2, 4e-2, 8e-2),
        "learning_rate_decay": (0.9, 0.95),
        "weight_decay": (0.1,),
        "epochs": (40,),
    },
    "oracle-small": {
        "learning_rate": (4e-2, 8e-2),
        "learning_rate_decay": (0.9, 0.95),
        "weight_decay": (0.1,),
        "epochs": (40,),
    },
    "oracle-paper": {
        "learning_rate": (2e-2, 4e-2, 8e-2),
        "learning_rate_decay": (0.8, 0.9),
        "weight_decay": (0.1,),
        "epochs": (20,),
    },
    "text": {
        "learning_rate": (5e-3, 1e-2, 2e-2),
        "learning_rate_decay": (0.8, 0.85),
        "weight_decay": (0.1,),
        "epochs": (8,),
    },
    "music": {
        "learning_rate": (1e-2, 2e-2, 4e-2),
        "learning_rate_decay": (0.9, 0.95),
        "weight_decay": (0.1,),
        "epochs": (30,),
    },
}
# Candidates beside the grid: what the preset "tiny" has where a task says nothing else.
BESIDE_THE_GRID: dict[str, list[Settings]] = {
    "oracle-paper": [
        {
            "learning_rate": 8e-2,
            "learning_rate_decay": 0.95,
            "weight_decay": 0.1,
            "epochs": 40,
        }
    ]
}


def run(task_name: str, seed: int, settings: Settings, corpus: str | None) -> dict[str, float]:
    """The best validation likelihood of a run, the epoch that has it, and its held-out likelihood
    (nats per token).
    """
    given: dict[str, Any] = {"corpus": corpus} if corpus else {}
    if task_name.startswith("oracle"):
        given["oracle_seed"] = seed
    if task_name == "text":
        given["vocab_size"] = 5000
    task = make_task(task_name, **given)
    rng = torch.Generator().manual_seed(seed)
    model = LSTMLanguageModel.initialised(task.spec, rng, *SIZES[task_name])
    options = {name: value for name, value in settings.items() if name != "epochs"}
    likelihood = MaximumLikelihood(model, rng, **options)  # type: ignore[arg-type]
    started = time.perf_counter()
    best = {"validation": float("inf")}
    for epoch in range(1, int(settings["epochs"]) + 1):
        likelihood.fit(task.real_sequences, 1)
        validation = nll_per_token(model, task.spec, task.validation)
        if validation < best["validation"]:
            held_out = nll_per_token(model, task.spec, task.held_out)
            best = {"validation": validation, "held_out": held_out, "epoch": float(epoch)}
    return best | {"seconds": time.perf_counter() - started}


def label(settings: Settings) -> str:
    """Settings as a person reads them."""
    return (
        f"lr {settings['learning_rate']:g} x {settings['learning_rate_decay']:g} an epoch, weight "
        f"decay {settings['weight_decay']:g}, {settings['epochs']:g} epochs"
    )


def main() -> None:
    """Runs what is missing, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--task", choices=sorted(GRIDS), default="oracle-tiny")
    parser.add_argument("--corpus", help="of tasks text and music (default: what is built in)")
    parser.add_argument(
        "--seeds",
        type=int,
        default=len(CHOOSE_ON),
        metavar="N",
        help="of each kind, at most 5 (default: 5)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write everything as JSON, and go on from there"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    grid = GRIDS[arguments.task]
    candidates = [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
    ]
    candidates += BESIDE_THE_GRID.get(arguments.task, [])
    content = read_json(arguments.out) if arguments.out and arguments.out.exists() else {"runs": {}}
    content |= {"task": arguments.task, "versions": versions()}

    def value(settings: Settings, seed: int) -> dict[str, float]:
        key = f"{label(settings)}, seed {seed}"
        if key not in content["runs"]:
            content["runs"][key] = run(arguments.task, seed, settings, arguments.corpus)
            if arguments.out:
                write_json(arguments.out, content)
        found: dict[str, float] = content["runs"][key]
        return found

    def mean(settings: Settings, seeds: Sequence[int], name: str) -> float:
        return statistics.mean(value(settings, seed)[name] for seed in seeds)

    choose_on, check_on = CHOOSE_ON[: arguments.seeds], CHECK_ON[: arguments.seeds]
    constant = CONSTANT[arguments.task]
    for settings in [constant, *candidates]:
        seconds, epoch = (mean(settings, choose_on, name) for name in ("seconds", "epoch"))
        print(
            f"{label(settings)}: validation {mean(settings, choose_on, 'validation'):.4f}, best "
            f"epoch {epoch:.0f}, {seconds:.1f} s",
            flush=True,
        )
    chosen = min(candidates, key=lambda settings: mean(settings, choose_on, "validation"))
    content["chosen"] = chosen
    print(f"chosen: {label(chosen)}")
    for name in ("validation", "held_out"):
        pairs = [(value(chosen, seed)[name], value(constant, seed)[name]) for seed in check_on]
        differences = [new - old for new, old in pairs]
        content[f"check_{name}"] = {
            "chosen": [new for new, _ in pairs],
            "constant": [old for _, old in pairs],
        }
        print(
            f"check on seeds {list(check_on)}, {name}: chosen - constant = "
            f"{statistics.mean(differences):+.4f}"
        )
    if arguments.out:
        write_json(arguments.out, content)


if __name__ == "__main__":
    main()
