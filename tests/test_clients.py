"""The clients of other libraries run, and the verdict on them is exact."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import compatibility
from seqgan_env.tasks import make_task

FOLDER = Path(__file__).parents[1] / "examples" / "clients"
SMALL: dict[str, Any] = {"vocab_size": 5, "seq_len": 3, "num_real": 50, "num_held_out": 4_000}
RUNS = [
    ("gymnasium", "gymnasium_wrappers.py", ()),
    ("torchrl", "torchrl_ppo.py", ()),
    ("torchrl", "torchrl_ppo.py", ("--single",)),
    ("skrl", "skrl_ppo.py", ()),
    ("tianshou.trainer", "tianshou_ppo.py", ()),
    ("ray.rllib", "rllib_ppo.py", ()),
    ("ray.rllib", "rllib_ppo.py", ("--single",)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("module", "script", "arguments"), RUNS)
def test_a_client_runs_where_its_library_is_installed(
    module: str, script: str, arguments: tuple[str, ...]
) -> None:
    pytest.importorskip(module, exc_type=ImportError)
    command = [sys.executable, str(FOLDER / script), "--quick", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2_000:]
    before, after = compatibility._divergence(done.stdout)
    assert before > 0
    assert after > 0


def test_every_client_is_in_the_table_and_short() -> None:
    scripts = {path.name for path in FOLDER.glob("*.py")} - {"verdict.py"}
    assert scripts == {client.script for client in compatibility.CLIENTS.values()}
    for script in scripts:
        assert len((FOLDER / script).read_text().splitlines()) <= 120


def test_the_verdict_on_a_uniform_policy_is_its_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import verdict

    found = verdict.verdict(lambda obs: torch.zeros(len(obs), 5), **SMALL)
    task = make_task("oracle-tiny", **SMALL)
    every = torch.cartesian_prod(*[torch.arange(5)] * 3)
    log_oracle = task.oracle.log_prob(every).double().numpy()  # type: ignore[attr-defined]
    reverse = (-3 * np.log(5) - log_oracle).mean() / 3
    forward = (np.exp(log_oracle) * (log_oracle + 3 * np.log(5))).sum() / 3
    assert found["kl_reverse"] == pytest.approx(reverse, abs=0.05)
    assert found["kl_forward"] == pytest.approx(forward, abs=0.05)
    assert found["divergence"] == pytest.approx((found["kl_reverse"] + found["kl_forward"]) / 2)


def test_a_client_run_again_replaces_its_rows_alone() -> None:
    page = f"above\n{compatibility.BEGIN}\n{compatibility.END}\nbelow\n"
    page = compatibility.replaced(page, "skrl", ["| skrl 1 | old |"])
    page = compatibility.replaced(page, "torchrl", ["| TorchRL 2 | a |", "| TorchRL 2 | b |"])
    page = compatibility.replaced(page, "skrl", ["| skrl 3 | new |"])
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert rows == ["| TorchRL 2 | a |", "| TorchRL 2 | b |", "| skrl 3 | new |"]
    assert page.startswith("above\n")
    assert page.endswith("\nbelow\n")
    with pytest.raises(ValueError, match="markers"):
        compatibility.replaced("none", "skrl", [])


def test_a_client_that_does_not_improve_fails_the_run(tmp_path: Path) -> None:
    script = tmp_path / "worse.py"
    script.write_text("print('X: divergence 1.000 -> 1.500')\n")
    client = compatibility.Client("X", "pytest", "", str(script), (("vector", (), True),), "")
    with pytest.raises(RuntimeError, match="did not improve"):
        compatibility.run_client(client, sys.executable, [1])
    script.write_text("print('X: divergence 1.000 -> 0.500')\n")
    (row,) = compatibility.run_client(client, sys.executable, [1, 2])
    assert "1.00 → 0.50, 0.50" in row
