"""The flags of `seqgan sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqgan_env.cli.arguments import add_trust, later, positive


def add_command(commands: Any) -> None:
    """Adds `seqgan sweep` to the command line."""
    sweep = commands.add_parser(
        "sweep",
        help="choose settings of a suite's rows by validation data",
        description=(
            "Searches the settings that [sweep] of a suite names, every row for itself, by the "
            "divergence on validation data; held-out data is never read. Writes a table and "
            "best.toml, a suite for `seqgan bench` with the settings chosen and seeds that chose "
            "nothing. The same command again goes on where it was stopped."
        ),
        allow_abbrev=False,
    )
    sweep.add_argument("suite", type=Path, metavar="SUITE.toml", help="a suite with [sweep]")
    sweep.add_argument(
        "--trials",
        type=positive,
        metavar="N",
        help="of every row, those of before counted (default: the suite's, or 20)",
    )
    sweep.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the sweep (default: runs/SUITE-sweep)"
    )
    sweep.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="K",
        help="runs of a trial that compute at a time (default: 1); it changes no number",
    )
    sweep.add_argument(
        "--storage",
        metavar="URL",
        help="of Optuna's database, for one sweep at a time (default: DIR/sweep.db by SQLite)",
    )
    add_trust(sweep)
    sweep.set_defaults(run=later("seqgan_env.sweep.commands:sweep"))
