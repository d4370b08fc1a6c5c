"""The authors' released oracle: what its own samples, uniform tokens and maximum likelihood score,
beside the published log.

python -m benchmarks.released_oracle WEIGHTS [--epochs 15] [--out FILE.json]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.progress import track

from agents.reinforce import Reinforce
from seqgan_env import RewardSettings, TokenVectorEnv, build_rewards, make_task
from seqgan_env.metrics.likelihood import nll_per_token
from seqgan_env.training.adversarial import evaluate_task
from seqgan_env.training.run_directory import write_json

PUBLISHED = {1: 10.17, 15: 9.12}  # the released log, nats per token


def main() -> None:
    """Trains, prints a line an epoch and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("weights", help="the released pickle")
    parser.add_argument(
        "--epochs",
        type=int,
        default=15,
        help="of maximum likelihood, Adam 1e-2, batch 64 (default: 15)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the policy (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    task = make_task("oracle-paper", weights=arguments.weights)
    rng = torch.Generator().manual_seed(arguments.seed)
    uniform = torch.randint(task.spec.vocab_size, (5000, task.spec.seq_len), generator=rng)
    own = nll_per_token(task.oracle, task.spec, task.held_out)  # type: ignore[attr-defined]
    of_uniform = nll_per_token(task.oracle, task.spec, uniform)  # type: ignore[attr-defined]
    print(f"own samples {own:.3f} (published 5.76), uniform tokens {of_uniform:.3f}")
    agent = Reinforce(
        TokenVectorEnv(64, build_rewards(task, RewardSettings(source="constant"))),
        seed=arguments.seed,
    )
    rows = []
    for epoch in track(range(1, arguments.epochs + 1), "epochs"):
        agent.pretrain(task.real_sequences, 1)
        metrics = evaluate_task(agent.policy, task, arguments.seed, "cpu")
        rows.append(
            {"epoch": epoch, "nll_oracle": metrics["nll_oracle"], "nll_gen": metrics["nll_gen"]}
        )
        note = f" (published {PUBLISHED[epoch]})" if epoch in PUBLISHED else ""
        print(
            f"epoch {epoch}: nll_oracle {metrics['nll_oracle']:.3f}{note}, nll_gen "
            f"{metrics['nll_gen']:.3f}"
        )
    if arguments.out:
        write_json(
            arguments.out,
            {"own_samples": own, "uniform": of_uniform, "epochs": rows, "seed": arguments.seed},
        )


if __name__ == "__main__":
    main()
