"""The checker of tasks."""

from __future__ import annotations

import inspect
import json
from typing import Any

import torch
from torch import Tensor

from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.testing.shared import call, check_metrics
from seqgan_env.types import Task, TokenSpec


def check_task(task: Any) -> None:
    """Verifies a plug-in `Task`.

    Examples:
        >>> from seqgan_env import make_task
        >>> check_task(make_task("oracle-tiny", num_real=200, num_eval=200))

    Args:
        task: a task, or a class of tasks, of which one is made by its `defaults`.

    Raises:
        AssertionError: a part of the protocol is missing or misbehaves; the sentence says which,
            how, and what is expected.
    """
    if inspect.isclass(task):
        defaults = getattr(task, "defaults", None)
        frozen = getattr(getattr(defaults, "__dataclass_params__", None), "frozen", False)
        assert frozen, (
            f"{task.__name__} has no defaults, settings in an instance of a frozen dataclass; give "
            "its class one under this name"
        )
        task = call(task.__name__, task, defaults, "task")
    name = type(task).__name__
    assert isinstance(task, Task), (
        f"{name} lacks a part of a task; expected name, spec, real_sequences, validation, "
        "held_out, draw_real, evaluate, decode and to"
    )
    for part in ("real_sequences", "validation", "held_out"):
        _check_sequences(f"{name}.{part}", getattr(task, part), task.spec)
        assert len(getattr(task, part)), f"{name}.{part} is empty; expected sequences"
    draws = [
        call("draw_real", task.draw_real, 7, torch.Generator().manual_seed(0)) for _ in range(2)
    ]
    shape = tuple(draws[0].shape)
    expected = (7, task.spec.seq_len)
    assert shape == expected, f"draw_real(7, rng) gave shape {shape}; expected {expected}"
    _check_sequences("draw_real", draws[0], task.spec)
    assert torch.equal(*draws), (
        "draw_real gave other sequences for the same seed; draw from the generator it is given"
    )
    _check_text(task, task.held_out[0])
    _check_portable(task)
    policy = LSTMLanguageModel.initialised(task.spec, torch.Generator().manual_seed(0), 4, 4)
    found = [
        call("evaluate", task.evaluate, policy, torch.Generator().manual_seed(1)) for _ in range(2)
    ]
    check_metrics("evaluate", found[0])
    assert dict(found[0]) == dict(found[1]), (
        "evaluate gave other metrics for the same policy and seed; draw from the generator it is "
        "given"
    )


def _check_sequences(what: str, tokens: Any, spec: TokenSpec) -> None:
    assert isinstance(tokens, Tensor), f"{what} is a {type(tokens).__name__}; expected a tensor"
    try:
        spec.check_sequences(tokens, what)
    except ValueError as problem:
        raise AssertionError(str(problem)) from problem


def _check_portable(task: Any) -> None:
    """What a task tells of itself is JSON, from which one is made that writes the same."""
    if not hasattr(task, "essentials"):
        return
    name = type(task).__name__
    assert hasattr(task, "without_data"), (
        f"{name} has essentials and no without_data(settings, name, essentials), which makes it of "
        "them again"
    )
    essentials = call("essentials", task.essentials)
    try:
        read = json.loads(json.dumps(essentials))
    except (TypeError, ValueError) as problem:
        raise AssertionError(f"essentials gave what is no JSON: {problem}") from problem
    assert isinstance(read, dict), f"essentials gave {essentials!r:.60}; expected a dict"
    settings = getattr(task, "settings", getattr(type(task), "defaults", None))
    again = call("without_data", type(task).without_data, settings, task.name, read)
    assert (again.name, again.spec) == (task.name, task.spec), (
        f"without_data made a task {again.name!r} of {again.spec}; expected {task.name!r} of "
        f"{task.spec}"
    )
    call("to", again.to, "cpu")
    for tokens in task.held_out[:20]:
        text, expected = again.decode(tokens), task.decode(tokens)
        assert text == expected, (
            f"a task of without_data decodes {tokens.tolist()} as {text!r}; expected {expected!r}"
        )


def _check_text(task: Any, tokens: Tensor) -> None:
    """What `decode` writes is one line, which `encode`, where there is one, reads again."""
    text = call("decode", task.decode, tokens)
    assert isinstance(text, str), f"decode gave a {type(text).__name__}; expected a str"
    assert "\n" not in text, f"decode gave {text!r}; expected one line"
    if not hasattr(task, "encode"):
        return
    again = call("encode", task.encode, text)
    assert torch.equal(again.cpu(), tokens.cpu()), (
        f"encode gave another sequence than decode was given: {again.tolist()} from {text!r}, "
        f"which was {tokens.tolist()}"
    )
