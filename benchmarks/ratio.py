r"""What the q of a ratio discriminator is worth itself, beside the policy that it has taught.

    for seed in 0 1 2; do
        seqgan train --task oracle-tiny --seed $seed --oracle-seed $seed --discriminator ratio \
            --set learning_rate=5e-4 --rounds 320 --no-control --out runs/ratio-$seed
    done
    python -m benchmarks.ratio runs/ratio-0 runs/ratio-1 runs/ratio-2

Reads run directories of oracle tasks and prints a row for each policy of each run: maximum
likelihood, its best knob, the agent, and q where it is one language model. All are measured with
the same draws, and errors are those of the draws.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from seqgan_env.discriminators.ratio import RatioDiscriminator
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.metrics.catalogue import OF_ORACLES
from seqgan_env.training import run_directory
from seqgan_env.training.adversarial import evaluate_task
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import build_agent, build_task

COLUMNS = OF_ORACLES.divergences


def rows(path: Path) -> dict[str, dict[str, float]]:
    """The metrics of every policy of a run.

    Raises:
        ValueError: it is no finished run with a ratio discriminator.
    """
    found: dict[str, dict[str, float]] = run_directory.read_json(path / run_directory.RESULT)
    settings = TrainSettings(**run_directory.read_json(path / run_directory.CONFIG)["settings"])
    who = ("mle", "best_knob", "agent")
    table: dict[str, dict[str, float]] = {name: found[name] for name in who if name in found}
    task = build_task(settings)
    discriminator = build_agent(settings, task, settings.source)[1].discriminator
    if not isinstance(discriminator, RatioDiscriminator):
        raise ValueError(f"{path} has no ratio discriminator; run it with --discriminator ratio")
    discriminator.load_state_dict(run_directory.read_weights(path / "discriminator.safetensors"))
    if len(discriminator.models) == 1:
        q = discriminator.models[0]
        assert isinstance(q, LanguageModel)
        table["q"] = evaluate_task(q, task, settings.seed, settings.device)
    return table


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'run':24}{'policy':12}" + "".join(f"{name:>12}" for name in COLUMNS))
    for path in arguments.runs:
        for name, metrics in rows(path).items():
            cells = "".join(f"{metrics[column]:12.4f}" for column in COLUMNS)
            print(f"{path.name:24}{name:12}{cells}", flush=True)


if __name__ == "__main__":
    main()
