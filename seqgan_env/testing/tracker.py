"""The checker of trackers."""

from __future__ import annotations

import base64
import copy
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seqgan_env import registry
from seqgan_env.testing.shared import call
from seqgan_env.tracking.base import (
    FINISHED,
    INTERRUPTED,
    Row,
    ShowsImages,
    ShowsTables,
    ShowsText,
    Tracker,
)

_CONFIG = {
    "settings": {"task": "oracle-tiny", "seed": 0, "agent_options": {"learning_rate": 1e-3}},
    "versions": {"python": "3"},
    "command": ["seqgan", "train"],
    "run_id": "0123456789abcdef0123456789abcdef",
}
_ROWS: Sequence[Row] = (
    {"metric": "KL(G||O) ↓", "mle": 0.5, "agent": math.nan},
    {"metric": "a | b", "mle": math.inf, "agent": 0.25},
)
_DOT = base64.b64decode(  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)


def check_tracker(cls: Callable[[Path], Any], folder: Path | None = None) -> None:
    """Verifies a tracker: it is told a run that is interrupted, and then the rest of it.

    What it would tell over a network it tells: set it to a mode of its own that does not.

    Examples:
        >>> class Silent:
        ...     def __init__(self, folder): ...
        ...     def begin(self, config): ...
        ...     def log(self, step, metrics): ...
        ...     def end(self, status): ...
        >>> check_tracker(Silent)

    Args:
        cls: makes a tracker of the folder of a run.
        folder: of the run; None for one that is removed afterwards.

    Raises:
        AssertionError: it lacks a method, raises, returns something, or changes what it is told.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            check_tracker(cls, Path(made) / "a run")
        return
    folder.mkdir(exist_ok=True)
    try:
        registry.TRACKERS.load(cls)
    except ValueError as problem:
        raise AssertionError(str(problem)) from None
    first = call("making the tracker", cls, folder)
    _tell(first, "begin", copy.deepcopy(_CONFIG))
    _tell(first, "log", 1, {"pretrain/nll_validation": 2.5})
    _tell(first, "log", 1, {"agent/policy_loss": math.nan, "task/score": -math.inf})
    _tell(first, "log", 2, {"agent/policy_loss": 1, "more/of the user's, 100 %": 0.5})
    _tell(first, "end", INTERRUPTED)

    second = call("making it again for a resumed run", cls, folder)
    _tell(second, "begin", copy.deepcopy(_CONFIG))
    _tell(second, "log", 2, {"agent/policy_loss": 1.0})
    _tell(second, "log", 2, {})
    _show(second, folder)
    _tell(second, "end", FINISHED)


def _show(tracker: Tracker, folder: Path) -> None:
    """What a tracker may take besides numbers."""
    if isinstance(tracker, ShowsText):
        _tell(tracker, "text", "samples", "## agent\n1 2 3\né 😀\n")
    if isinstance(tracker, ShowsTables):
        _tell(tracker, "table", "result", copy.deepcopy(_ROWS))
    if isinstance(tracker, ShowsImages):
        picture = folder / "picture.png"
        picture.write_bytes(_DOT)
        _tell(tracker, "image", "picture", picture)


def _tell(tracker: Any, method: str, *arguments: Any) -> None:
    before = repr(arguments)  # as text, for NaN is not NaN
    returned = call(f"{method}{arguments}", getattr(tracker, method), *arguments)
    assert returned is None, f"{method} returned {returned!r}; expected None"
    assert repr(arguments) == before, f"{method} changed what it was given"
