"""From one machine to a cluster: the same jobs in parts, and one report of all of them.

Each part is what a task of a job array runs on a node of its own, into a folder of its own. Here
two of them run one after the other.
"""

import argparse
import tempfile
from pathlib import Path

from seqgan_env.cli.main import main as seqgan

NUM_PARTS = 2
FULL = ["--agents", "reinforce", "rloo", "--tasks", "oracle-tiny", "--seeds", "5"]
QUICK = ["--agents", "reinforce", "--tasks", "oracle-tiny", "--seeds", "1", "--rounds", "1"]
QUICK += ["--mle-epochs", "1", "--batch-size", "16", "--num-negatives", "100"]
QUICK += ["--num-real", "500", "--num-validation", "200", "--num-held-out", "200"]
QUICK += ["--num-eval", "200"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="folder of the results (default: one that is thrown away)")
    parser.add_argument("--quick", action="store_true", help="one seed of next to no training")
    arguments = parser.parse_args()

    grid = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(arguments.out or scratch)
        parts = [out / f"part-{part}" for part in range(1, NUM_PARTS + 1)]
        for part, folder in enumerate(parts, start=1):
            shard = ["--shard", f"{part}/{NUM_PARTS}", "--out", str(folder)]
            if seqgan(["bench", *grid, *shard]):
                raise SystemExit(f"part {part} has jobs that failed")
        raise SystemExit(seqgan(["report", *map(str, parts), "--out", str(out / "page")]))


if __name__ == "__main__":
    main()
