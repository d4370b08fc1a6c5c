"""The best weights so far are those of the least value, and nothing else moves them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seqgan_env.best_weights import BestWeights

values = st.lists(st.floats(allow_nan=True), max_size=6)


def module_of(number: float) -> nn.Linear:
    module = nn.Linear(1, 1)
    nn.init.constant_(module.weight, number)
    return module


@given(values, st.integers(0, 6))
def test_the_first_of_the_least_is_kept_through_a_state(given: list[float], pause: int) -> None:
    best, live = BestWeights(), module_of(0)
    for number, value in enumerate(given):
        if number == pause:
            resumed = BestWeights()
            resumed.load_state_dict(best.state_dict())
            best = resumed
        with torch.no_grad():
            live.weight.fill_(number)
        best.see(value, live)
    seen = [value for value in given if value < math.inf]  # neither NaN nor infinity
    last = max(len(given) - 1, 0)
    best.restore(live)
    expected = given.index(min(seen)) if seen else last
    assert live.weight.item() == expected


@pytest.mark.parametrize("value", [1.0, math.inf, math.nan])
def test_it_says_what_it_keeps(value: float) -> None:
    best = BestWeights()
    assert best.see(1.0, module_of(1))
    assert not best.see(value, module_of(2))
    assert best.value == 1.0
