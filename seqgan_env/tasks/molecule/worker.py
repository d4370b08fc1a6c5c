"""A process that computes properties: a line in, a line out, until its input ends.

It imports no torch, and so starts in a fraction of a second.
"""

from __future__ import annotations

import json
import sys

from seqgan_env.tasks.molecule.chemistry import PROPERTIES


def main() -> None:
    """Answers lines `[[name, argument, ...], [smiles, ...]]` with `[value, ...]`."""
    for line in sys.stdin:
        (name, *arguments), texts = json.loads(line)
        values = [PROPERTIES[name](smiles, *arguments) for smiles in texts]
        print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
