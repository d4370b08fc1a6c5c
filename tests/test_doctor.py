"""`seqgan doctor`: every route is measured, nothing of it stays set, and slow kernels are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from seqgan_env import native
from seqgan_env.cli import doctor
from seqgan_env.cli.doctor import TORCH, Size, Timing, advice
from seqgan_env.cli.main import main
from seqgan_env.discriminators.cnn import SMALL_CNN
from seqgan_env.training.run_directory import read_json

TINY = Size("tiny", 12, 5, 40, 8, SMALL_CNN)


def test_every_route_of_this_machine_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "SIZES", (TINY,))
    before = os.environ.get(native.SETTING)
    path = tmp_path / "doctor.json"

    assert main(["doctor", "--out", str(path)]) == 0

    routes = {*native.variants_here(), TORCH}
    timings = read_json(path)["timings"]
    assert [timing["operation"] for timing in timings] == list(doctor.NAMES)
    assert all(timing["seconds"].keys() == routes for timing in timings)
    said = capsys.readouterr().out
    assert os.environ.get(native.SETTING) == before
    for name in (*routes, *doctor.NAMES):
        assert name in said, name


def test_the_routes_are_those_that_are_asked_for() -> None:
    for route in (*native.variants_here(), TORCH):
        with doctor.using(route):
            assert native.variant() == route


def _timing(ratio: float) -> Timing:
    used = native.variant()
    return Timing("tiny", "D epoch", {used: 1.0, TORCH: ratio}, {used: ratio, TORCH: 1.0})


@pytest.mark.skipif(native.variant() == TORCH, reason="no kernels in use")
def test_kernels_slower_than_torch_are_named() -> None:
    assert any("D epoch" in sentence for sentence in advice([_timing(0.5)]))
    assert not any("D epoch" in sentence for sentence in advice([_timing(1.5)]))


@pytest.mark.skipif(native.variant() == TORCH, reason="no kernels in use")
@pytest.mark.parametrize(("has_threads", "num_threads"), [(False, 2), (False, 1), (True, 2)])
def test_kernels_that_leave_threads_idle_are_named(
    has_threads: bool, num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "has_threads", lambda: has_threads)
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)
    said = any("without OpenMP" in sentence for sentence in advice([_timing(1.5)]))
    assert said == (num_threads > 1 and not has_threads)
