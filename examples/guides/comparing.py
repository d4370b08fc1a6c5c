"""Two algorithms, compared so that a sceptic believes it.

Several seeds each, the same maximum likelihood under both, a reward that says nothing as a third
row, and one error rate for all verdicts of the page.
"""

import argparse
import tempfile
from pathlib import Path

from seqgan_env.cli.main import main as seqgan

SUITE = """
title = "reinforce or rloo?"
seeds = {seeds}

[settings]
{settings}

[tasks.oracle-tiny]

[rows.reinforce]
agent = "reinforce"

[rows.rloo]
agent = "rloo"

[rows."constant reward"]
agent = "reinforce"
source = "constant"
"""
FULL = "rounds = 160"
QUICK = """
rounds = 1
mle_epochs = 1
batch_size = 16
num_negatives = 100
task_options = { num_real = 500, num_validation = 200, num_held_out = 200, num_eval = 200 }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="folder of the results (default: one that is thrown away)")
    parser.add_argument("--quick", action="store_true", help="one seed of next to no training")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        out = Path(arguments.out or scratch) / "comparison"
        suite = Path(scratch) / "suite.toml"
        seeds, settings = (1, QUICK) if arguments.quick else (5, FULL)
        suite.write_text(SUITE.format(seeds=seeds, settings=settings), encoding="utf-8")
        raise SystemExit(seqgan(["bench", str(suite), "--out", str(out), "--workers", "2"]))


if __name__ == "__main__":
    main()
