"""Which plug-in an error came from, for the one line that the command line shows of it.

An error inside a user's class says neither which class that was nor where. `registry.import_object`
makes all code of names, so it tells here what was asked for; the traceback tells the rest.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from seqgan_env.agents import PACKAGE

_OURS = ("seqgan_env", PACKAGE)  # their errors are worded for users
_HINT = "`seqgan --traceback ...` shows it all"


@dataclass(frozen=True)
class _PlugIn:
    """Code from outside that was asked for by name.

    Attributes:
        called: its kind and name, as in "agent 'mypkg:Agent'".
        package: that it was asked of.
        thing: class, function or object, or a sequence of objects; None before it is imported.
    """

    called: str
    package: str
    thing: Any

    def runs_in(self, frame: FrameType) -> bool:
        """Whether a frame belongs to a method of the thing, or is the function itself."""
        several = isinstance(self.thing, Sequence)
        return any(_runs(thing, frame) for thing in (self.thing if several else [self.thing]))


_asked_for: dict[str, _PlugIn] = {}


def remember(called: str, module: str, thing: Any = None) -> None:
    """Notes what was asked for by name, unless it is this project's own.

    Args:
        called: what it is called in messages, as in "agent 'mypkg:Agent'".
        module: of which it was asked.
        thing: what was found there; None as long as it is not imported.
    """
    package = module.partition(".")[0]
    if package not in _OURS:
        _asked_for[called] = _PlugIn(called, package, thing)


def in_words(problem: BaseException) -> str:
    """The class of an error and what it says, in one line."""
    return f"{type(problem).__name__}: {' '.join(str(problem).split())}".rstrip(": ")


def told(problem: BaseException) -> str:
    """An error in one line. What came from a plug-in is named with its file and line."""
    text = " ".join(str(problem).split())
    detail = in_words(problem)
    frames = _frames_outside(problem)
    if frames:
        return f"{_plug_in_of(frames)} failed: {detail} ({_place(*frames[-1])}); {_HINT}"
    refused = _refused_call(problem, text)
    if refused:
        return f"{refused} failed: {detail}; {_HINT}"
    # Who wrapped an error has named the plug-in, but not the line.
    where = place_behind(problem)
    if where:
        return f"{text} ({where}); {_HINT}"
    return text


def place_behind(problem: BaseException) -> str:
    """File and line of a plug-in where an error, or what caused it, came from; "" if from none."""
    cause: BaseException | None = problem
    while cause is not None:
        frames = _frames_outside(cause)
        if frames:
            return _place(*frames[-1])
        cause = cause.__cause__
    return ""


def _frames_outside(problem: BaseException) -> list[tuple[FrameType, int]]:
    """Frames of plug-ins that an error passed through, with lines; the innermost one last."""
    packages = {plug_in.package for plug_in in _asked_for.values()}
    found = []
    for frame, line in traceback.walk_tb(problem.__traceback__):
        if _module(frame).partition(".")[0] in packages:
            found.append((frame, line))
    return found


def _plug_in_of(frames: Sequence[tuple[FrameType, int]]) -> str:
    """What was asked for and failed; the function of the innermost frame where that is not
    clear.
    """
    for frame, _ in reversed(frames):
        for plug_in in _asked_for.values():
            if plug_in.runs_in(frame):
                return plug_in.called
    innermost = frames[-1][0]
    package = _module(innermost).partition(".")[0]
    candidates = [plug_in for plug_in in _asked_for.values() if plug_in.package == package]
    if len(candidates) == 1:
        return candidates[0].called
    return f"{_module(innermost)}:{innermost.f_code.co_qualname}"


def _runs(thing: Any, frame: FrameType) -> bool:
    code = frame.f_code
    if getattr(thing, "__code__", None) is code:
        return True
    if thing is None or not code.co_argcount:
        return False
    owner = frame.f_locals.get(code.co_varnames[0])  # self or cls, if it is a method
    if inspect.isclass(thing):
        return owner is thing or isinstance(owner, thing)
    return owner is thing


def _refused_call(problem: BaseException, text: str) -> str:
    """The plug-in that does not take the arguments with which it was made; "" if none.

    Python raises this error before there is a frame of the plug-in.
    """
    if isinstance(problem, TypeError):
        for plug_in in _asked_for.values():
            name = getattr(plug_in.thing, "__qualname__", "")
            if name and text.startswith((f"{name}(", f"{name}.__init__(")):
                return plug_in.called
    return ""


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _place(frame: FrameType, line: int) -> str:
    """File and line, as in "mypkg/scores.py, line 12"."""
    path = Path(frame.f_code.co_filename)
    depth = len(_module(frame).split("."))
    if path.name == "__init__.py":
        depth += 1
    return f"{'/'.join(path.parts[-depth:])}, line {line}"
