"""Jobs on a real Ray cluster of two nodes, on this machine: the same results, and nothing lost with
a worker.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqgan_env.bench.compare import differences
from seqgan_env.bench.jobs import Job
from seqgan_env.bench.runner import Progress, Watch, opened, run_jobs
from tests.test_bench import PLUGIN, ROOT, run, suite

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster  # noqa: E402  only where ray is

from seqgan_env.bench.ray_pool import RayPool  # noqa: E402

STORE_BYTES = 80 * 2**20


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of two nodes with a CPU each, whose workers find this checkout."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = str(ROOT)
    node: dict[str, Any] = {
        "num_cpus": 1,
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
    }
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()


def run_on(
    address: str, jobs: list[Job], folder: Path, watch: Watch = lambda progress: None
) -> Progress:
    with opened(folder):
        return run_jobs(
            jobs,
            folder,
            RayPool(folder, address, None, {job.settings.agent for job in jobs}),
            watch,
        )


def workers() -> list[int]:
    """The process ids of Ray workers that run a job now."""
    titles = {
        path.parent.name: path.read_bytes()
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    }
    return [int(pid) for pid, title in titles.items() if title.startswith(b"ray::run_job")]


def test_a_cluster_finds_what_one_machine_finds_even_if_it_loses_a_worker(
    address: str, tmp_path: Path
) -> None:
    jobs = suite({"noise": {"source": "noise"}, "optimal": {"source": "optimal"}}, rounds=3).jobs()
    run(jobs, tmp_path / "here")
    killed: list[int] = []

    def kill_one(progress: Progress) -> None:
        ours = workers()
        if (
            not killed
            and progress.running
            and time.monotonic() - progress.running[0][1] > 3
            and ours
        ):
            os.kill(ours[0], signal.SIGKILL)
            killed.append(ours[0])

    progress = run_on(address, jobs, tmp_path / "there", kill_one)
    assert killed
    assert (len(progress.done), progress.failed) == (3, [])
    assert differences(tmp_path / "here", tmp_path / "there") == []
    assert not workers()


def test_agents_of_the_users_own_go_along_and_what_fails_keeps_its_traceback(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sent_along.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    jobs = suite({"faulty": {"agent": "sent_along:Faulty"}}).jobs()
    progress = run_on(address, jobs, tmp_path / "out")
    assert [job.label for job in progress.done] == ["mle"]
    ((job, path),) = progress.failed
    assert job.label == "faulty"
    assert 'sent_along.py", line 6, in update' in path.read_text()
    assert "RuntimeError: no idea what to do" in path.read_text()
    sys.modules.pop("sent_along")


def test_a_cluster_that_is_not_there_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ValueError, match=r"no Ray cluster at '127\.0\.0\.1:1'"):
        RayPool(tmp_path, "127.0.0.1:1", None, set())
