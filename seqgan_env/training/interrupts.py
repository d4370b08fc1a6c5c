"""How a run is asked to end: Ctrl-C, SIGTERM and SIGHUP all mean the same."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
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

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        # `nohup` has SIGHUP ignored, and a shell the SIGINT of its background jobs.
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, ask)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])
