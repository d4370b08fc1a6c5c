"""Steps of training that a GPU replays as one piece of work, as a CUDA graph.

A step on a small batch is hundreds of kernels of a few microseconds each. Launching them one by one
takes several times as long as what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_WARM_UP = 3  # calls before a recording, in which libraries load and optimizers make their state
_MOST_RECORDINGS = 4  # of shapes; a recording keeps its memory

Step = Callable[..., Tensor]
Shapes = tuple[torch.Size, ...]


class GraphedStep:
    """A step that is recorded at its fourth call with tensors of some shapes, and replayed from
    then on.

    Every call runs the step exactly once, whether as it is, or as a replay. The step must ask the
    device nothing, and do the same work on the same memory in every call, but for its arguments.
    Whoever holds it must make a new one as soon as that is no longer so. Gradients must be those of
    leaves that the step makes itself: others may have been used on a stream that is not recorded.
    """

    def __init__(self, step: Step) -> None:
        """
        Args:
            step: tensors on a GPU to one tensor on it.
        """
        self._step = step
        self._num_calls: dict[Shapes, int] = {}
        self._recordings: dict[Shapes, _Recording] = {}

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no recordings, which belong to this process and to this step's memory."""
        return {"_step": self._step, "_num_calls": {}, "_recordings": {}}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What the step returns. A replay overwrites it: it holds until the next call."""
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes in self._recordings:
            return self._recordings[shapes](*inputs)
        self._num_calls[shapes] = self._num_calls.get(shapes, 0) + 1
        if self._num_calls[shapes] <= _WARM_UP or len(self._recordings) == _MOST_RECORDINGS:
            return self._step(*inputs)
        self._recordings[shapes] = _Recording(self._step, inputs)
        return self._recordings[shapes](*inputs)


class _Recording:
    """The work of one call, with the memory that its arguments and its result lie in."""

    def __init__(self, step: Step, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        self._graph = torch.cuda.CUDAGraph()
        device = inputs[0].device
        with (
            torch.cuda.device(device),
            torch.cuda.graph(self._graph, stream=torch.cuda.Stream(device)),
        ):
            self._output = step(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._output
