"""Makes rows from samples of any program, measured as those of a run are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqgan_env.bench.results import Result
from seqgan_env.bench.worker import NUM_SAMPLES, origin
from seqgan_env.metrics.likelihood import unigram_metrics
from seqgan_env.tasks.reading import read_lines
from seqgan_env.types import HasReferee, HasWords, MeasuresSamples

JSON_LINES = ".jsonl"  # of lists of words

_HEADER = re.compile(r"## (mle|best_knob|agent|constant)")  # of a run's samples.txt


def result_of_samples(
    path: Path,
    task_name: str,
    task: object,
    label: str,
    column: str | None = None,
    seed: int = 0,
    nll_gen: float | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Result:
    """The result of samples in a file, a sequence a line as `seqgan sample` prints it.

    Args:
        path: path of the file.
        task_name: name of the task that they are samples for.
        task: the task itself.
        label: label of the row.
        column: what the benchmark calls the task, where that is not its name.
        seed: seed of the runs that the row is paired with.
        nll_gen: negative log-likelihood of the held-out sequences under the policy that wrote the
            samples, in nats per token, if it is known.
        tell: called with the reason if the row has no score.

    Raises:
        ValueError: the file is wrong; the message says in which line.
    """
    column = column or task_name
    if not isinstance(task, MeasuresSamples):
        raise ValueError(f"task {task_name} cannot measure samples whose policy it does not know")
    samples = read_samples(path, task)
    known = {}
    if nll_gen is not None:
        known["nll_gen"] = nll_gen
    known |= judged(samples, task, tell)
    return Result(
        label=label,
        task=column,
        seed=seed,
        metrics=dict(task.measure(samples)) | known,
        key=hashlib.sha256(json.dumps(["samples", label, column, seed]).encode()).hexdigest()[:20],
        real=unigram_metrics(task.spec, task.held_out),
        samples=[task.decode(row) for row in samples[:NUM_SAMPLES]],
        origin=origin() | {"samples": f"{len(samples)} of {path.name}"},
    )


def judged(samples: Tensor, task: MeasuresSamples, tell: Callable[[str], None]) -> dict[str, float]:
    """The referee's metrics of the first samples.

    There are none where the task has no referee or the samples are fewer than it needs; `tell` is
    called with the reason.
    """
    # The referee judges as many as of a run: a divergence depends on the number of samples.
    referee = None
    if isinstance(task, HasReferee):
        referee = task.referee
    if referee is None:
        tell("the task has no referee; without one samples have no score")
        return {}
    needed = referee.num_samples
    if len(samples) < needed:
        tell(f"the referee needs {needed} samples; with {len(samples)} the row has no score")
        return {}
    return dict(referee.metrics(samples[:needed]))


def read_samples(path: Path, task: MeasuresSamples) -> Tensor:
    """Sequences (B, T) from the lines of a file, B 2 or more.

    In a file *.jsonl each line is a list of words.

    Raises:
        ValueError: the file cannot be read, is no UTF-8, has too few lines, or a line is no
            sequence of the task.
    """
    lines = read_lines(str(path), "samples")
    if lines and _HEADER.fullmatch(lines[0]):
        raise ValueError(
            f"samples {path} are those that a run writes, of several policies under headings "
            f"({lines[0]!r}); write one policy's by `seqgan sample RUN --num 2000 > FILE`"
        )
    if len(lines) < 2:
        raise ValueError(
            f"samples {path} has {len(lines)} lines; 2 or more are needed, a sequence each"
        )
    encode: Callable[[Any, str], Tensor] = type(task).encode
    if path.suffix == JSON_LINES:
        encode = _encode_json
    rows = []
    for i, line in enumerate(lines, start=1):
        rows.append(_encoded(encode, line, f"samples {path}, line {i}", task))
    return torch.stack(rows)  # (B, T)


def _encode_json(task: MeasuresSamples, line: str) -> Tensor:
    """The sequence (T,) of a list of words in JSON."""
    if not isinstance(task, HasWords):
        raise ValueError("this task reads lines as they are; name the file otherwise than *.jsonl")
    try:
        words = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"it is no JSON: {problem}") from problem
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("it is no list of strings; `seqgan sample RUN --words` writes such")
    return task.encode_words(words)


def _encoded(
    encode: Callable[[Any, str], Tensor], line: str, where: str, task: MeasuresSamples
) -> Tensor:
    """The sequence (T,) of a line; an error says where the line is."""
    try:
        return encode(task, line)
    except ValueError as problem:
        raise ValueError(f"{where}: {problem}") from problem
