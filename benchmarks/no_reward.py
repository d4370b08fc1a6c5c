"""What beats the best knob without any reward: maximum likelihood that gets more out of the same
data.

    python -m benchmarks.no_reward --seeds 3 --out benchmarks/results/no-reward.json

The knobs turn one policy of maximum likelihood. It could have been trained longer, or its last
epochs could have been averaged. Neither sees a reward, and neither is a cheat; but who compares an
agent with a weak maximum likelihood will take them for the agent's merit. Every seed is an oracle,
data and a policy of its own.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.turned_agents import measured_knobs
from seqgan_env.generators.knobs import UNTURNED
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.metrics.catalogue import METRICS, OF_ORACLES
from seqgan_env.metrics.likelihood import nll_per_token
from seqgan_env.metrics.score import RANKING
from seqgan_env.tasks import make_task
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.run_directory import read_json, versions, write_json

SHOWN = OF_ORACLES.divergences
AVERAGED = 5  # last epochs

State = dict[str, Tensor]


def epochs_of(
    task: OracleTask, seed: int, dim: int, num_epochs: int, decay: float
) -> tuple[LSTMLanguageModel, list[State]]:
    """A policy of maximum likelihood, of its best validation epoch, and its weights after each of
    the last epochs.
    """
    rng = torch.Generator().manual_seed(seed)
    model = LSTMLanguageModel.initialised(task.spec, rng, dim, dim)
    likelihood = MaximumLikelihood(model, rng, 8e-2, learning_rate_decay=decay, weight_decay=0.1)
    best, kept, states = math.inf, model.state_dict(), list[State]()
    for _ in range(num_epochs):
        likelihood.fit(task.real_sequences, 1)
        states = [*states, copy.deepcopy(model.state_dict())][-AVERAGED:]
        found = nll_per_token(model, task.spec, task.validation)
        if found < best:
            best, kept = found, states[-1]
    model.load_state_dict(kept)
    return model, states


def averaged(model: LSTMLanguageModel, states: Sequence[State]) -> LSTMLanguageModel:
    """The policy whose weights are the mean of several."""
    mean = copy.deepcopy(model)
    mean.load_state_dict(
        {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    )
    return mean


def run(seed: int) -> dict[str, Any]:
    """Everything on one oracle; every policy as it is and at its own best knob."""
    task = make_task("oracle-tiny", oracle_seed=seed)
    assert isinstance(task, OracleTask)
    mle, last = epochs_of(task, seed, 32, 40, 0.95)
    longer, last_of_longer = epochs_of(task, seed, 32, 80, 0.975)
    policies = {
        "maximum likelihood": mle,
        "mean of its last 5 epochs": averaged(mle, last),
        "80 epochs": longer,
        "80 epochs, mean of the last 5": averaged(longer, last_of_longer),
    }
    found: dict[str, Any] = {}
    for name, policy in policies.items():
        rows, best = measured_knobs(task, policy, seed + 1)
        found[name] = {metric: rows[UNTURNED.name][metric] for metric in SHOWN}
        found[f"{name}, best knob"] = {metric: rows[best][metric] for metric in SHOWN}
        found[f"{name}, best knob"]["knob"] = best
    return {"seed": seed, "rows": found}


def table(runs: Sequence[dict[str, Any]]) -> str:
    """The mean over oracles, with the range of the scores."""
    labels = [METRICS[metric].label for metric in SHOWN]
    lines = [f"| | score (range) | {' | '.join(labels)} |", "|---" * (len(labels) + 2) + "|"]
    for name in runs[0]["rows"]:
        rival = [r["rows"]["maximum likelihood, best knob"][RANKING.divergence] for r in runs]
        scores = [
            of - r["rows"][name][RANKING.divergence] for of, r in zip(rival, runs, strict=True)
        ]
        cells = [
            f"{statistics.mean(r['rows'][name][metric] for r in runs):.3f}" for metric in SHOWN
        ]
        spread = f"{statistics.mean(scores):+.4f} ({min(scores):+.4f} to {max(scores):+.4f})"
        lines.append(f"| {name} | {spread} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--first", type=int, default=5, metavar="N", help="the first oracle's seed (default: 5)"
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="how many oracles (default: 3)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write everything as JSON, and go on from there"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    content: dict[str, Any] = (
        read_json(arguments.out) if arguments.out and arguments.out.exists() else {"runs": []}
    )
    done = {found["seed"] for found in content["runs"]}
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        if seed not in done:
            content["runs"].append(run(seed))
            print(f"oracle {seed} done", flush=True)
        if arguments.out:
            write_json(arguments.out, content | {"versions": versions()})
    if not content["runs"]:
        parser.error("there are no oracles to tell of; --seeds is at least 1")
    print(table(content["runs"]))


if __name__ == "__main__":
    main()
