"""The check of a GPU runs without one too, so that it is not a machine's first run that finds its
faults.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_check import PublishedRun
from seqgan_env.training.run_directory import read_json

ROOT = Path(__file__).parents[1]


def test_the_published_run_is_extrapolated_to_the_papers_schedule() -> None:
    steps = {
        "mle_epoch": 1.0,
        "d_pretrain_step": 10.0,
        "g_steps": 100.0,
        "d_steps": 1000.0,
        "evaluation": 10_000.0,
    }
    assert PublishedRun("cpu", quick=True)._parts(steps) == {
        "maximum likelihood": 120.0,
        "pre-training of D": 500.0,
        "g-steps": 20_000.0,
        "d-steps": 200_000.0,
        "evaluations": 400_000.0,
    }


@pytest.mark.slow
def test_a_dry_run_on_the_cpu_measures_everything(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu_check",
        "--device",
        "cpu",
        "--quick",
        "--no-tests",
        "--out",
        str(out),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "extrapolated" in done.stdout
    found = read_json(out)["found"]
    assert {"sample", "rollout", "g_step", "mle", "discriminator", "round", "published run"} <= set(
        found
    )
    assert found["published run"]["seconds_in_all"] > 0
