"""How a run is asked to end: Ctrl-C, SIGTERM and SIGHUP all mean the same.

While its results are written nothing ends it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP comes when a terminal is closed; Windows does not have it.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, the first of these signals raises KeyboardInterrupt, and those after it do nothing.

    So a run is asked to end once, and a second Ctrl-C, or the SIGTERM that follows a SIGHUP, cannot
    spoil what is written then. Outside the main thread, where Python delivers no signals, nothing
    changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise KeyboardInterrupt(signal.Signals(number).name)

    with _handled_by(ask):
        yield


@contextmanager
def uninterruptible() -> Iterator[None]:
    """Inside, these signals do nothing: what is written takes a moment, and is the end of a run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handled_by(lambda number, frame: None):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, the signals that are not ignored get this handler."""
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        # `nohup` has SIGHUP ignored, and a shell the SIGINT of its background jobs.
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])
