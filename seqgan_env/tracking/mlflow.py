"""MLflow: a run of the store in `MLFLOW_TRACKING_URI`, or of a database in the run's folder."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from seqgan_env.tracking.base import FINISHED, INTERRUPTED, Row, markdown

EXPERIMENT = "seqgan-env"
RUN_ID = "seqgan_env.run_id"  # the tag by which a resumed run is found

_STATUS = {FINISHED: "FINISHED", INTERRUPTED: "KILLED"}
_FORBIDDEN = re.compile(r"[^\w.\- :/]")
_MOST_PARAMS = 100  # in one call
_LONGEST_PARAM = 6_000


class MLflowTracker:
    """Speaks to a client of its own, so that the caller's active run and store stay as they are.

    `MLFLOW_EXPERIMENT_NAME` names the experiment. Without `MLFLOW_TRACKING_URI` the store is
    `mlflow.db` in the run's folder, and files are beside it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._client: Any = None
        self._run = ""

    def begin(self, config: Mapping[str, Any]) -> None:
        """Begins a run, or goes on with the one that has this `run_id` as its tag."""
        self._client = MlflowClient(
            os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.folder}/mlflow.db"
        )
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
        found = self._client.search_runs(
            [experiment], f"tags.`{RUN_ID}` = '{config['run_id']}'", max_results=1
        )
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, "RUNNING")
            return
        tags = {RUN_ID: config["run_id"]}
        run = self._client.create_run(experiment, run_name=self.folder.name, tags=tags)
        self._run = run.info.run_id
        params = [
            Param(_allowed(name), str(value)[:_LONGEST_PARAM])
            for name, value in _flat(config.get("settings", {}))
        ]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run, params=params[start : start + _MOST_PARAMS])

    def _experiment(self, name: str) -> str:
        """The id of the experiment, which is made where there is none."""
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        beside = None
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            beside = (self.folder / "mlflow").as_uri()
        return str(self._client.create_experiment(name, artifact_location=beside))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """All numbers in one call."""
        now = int(time.time() * 1_000)
        entries = [Metric(_allowed(name), value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run, metrics=entries)

    def text(self, name: str, text: str) -> None:
        """A file of text."""
        self._client.log_text(self._run, text, f"{_allowed(name)}.txt")

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """A file in Markdown."""
        self._client.log_text(self._run, markdown(rows), f"{_allowed(name)}.md")

    def image(self, name: str, file: Path) -> None:
        """The file."""
        self._client.log_artifact(self._run, str(file))

    def end(self, status: str) -> None:
        """Sets the status of the run."""
        if self._run:
            self._client.set_terminated(self._run, _STATUS.get(status, "FAILED"))


def _allowed(name: str) -> str:
    """A name without what MLflow refuses in one."""
    return _FORBIDDEN.sub("_", name)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings one by one; options by their names behind a dot."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
