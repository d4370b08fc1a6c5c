"""One run of a trial as a process of its own, which stops behind every measurement until it is told
to go on.

python -m seqgan_env.sweep.worker KEY, with the job as the first line of its standard input. Every
further line lets it compute up to the next measurement, which it writes to its standard output as
a line of JSON. It measures on validation data alone and evaluates nothing else: no held-out number
exists in this process.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import torch

from seqgan_env.bench.jobs import Job
from seqgan_env.metrics.validation import ValidationDivergence, divergence_in
from seqgan_env.plugins import learns_from_reward
from seqgan_env.registry import find_in_working_folder
from seqgan_env.training.adversarial import AdversarialTraining, Pretraining
from seqgan_env.training.health import DivergenceError, check_health
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import build_agent, build_task
from seqgan_env.types import RolloutPolicy

ANOTHER_JOB = 3  # exit code where code, data or versions have changed since the sweep began


def measurements(settings: TrainSettings) -> Iterator[dict[str, Any]]:
    """Runs what `Trainer` runs, without its evaluations, and yields what is measured on validation
    data: every `eval_every` rounds and after the last one.

    An agent that learns from no reward is measured once, after its pre-training.

    Yields:
        `round`, the `metric` and its `value`.

    Raises:
        DivergenceError: training has run away.
        ValueError: the task has too few validation sequences, or the policy no divergence.
    """
    task = build_task(settings)
    on_validation = ValidationDivergence(task)
    agent, rewards = build_agent(settings, task, settings.source)

    def progress(phase: str, done: int, total: int, metrics: dict[str, float]) -> None:
        check_health(
            phase, done, metrics, task.spec.vocab_size, agent.policy, rewards.discriminator
        )

    Pretraining(agent, task, settings.mle_epochs, settings.keep_best, settings.epoch_tokens).run(
        progress
    )
    if not learns_from_reward(settings.agent):
        yield _measured(0, on_validation(agent.policy, settings.seed, settings.device))
        return

    def measure(policy: RolloutPolicy) -> dict[str, float]:
        # Round 0 is the same for all trials that agree in pre-training, and no reason to end one.
        if training.round < 0 < settings.rounds and not settings.keep_best_round:
            return {}
        return on_validation(policy, settings.seed, settings.device)

    training = AdversarialTraining(agent, rewards, settings.schedule(), settings.seed, measure)
    least = math.inf
    for row in training.run(progress):
        if divergence_in(row) is None:
            continue
        found = _measured(int(row["round"]), row)
        if settings.keep_best_round:  # the run would end with the best policy so far
            least = min(least, found["value"])
            found["value"] = least
        if found["round"] or not settings.rounds:
            yield found


def _measured(number: int, row: dict[str, float]) -> dict[str, Any]:
    found = divergence_in(row)
    if found is None:
        raise ValueError("the policy has no divergence on the validation data of this task")
    metric, value = found
    return {"round": number, "metric": metric, "value": value}


def main() -> None:
    """Runs the job on stdin, in step with whoever writes there."""
    # Ctrl-C reaches the whole group; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What an agent prints goes to the log and not among the measurements.
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    line = sys.stdin.readline()
    find_in_working_folder([line])  # an agent can be a module of the user's own
    job = Job.from_json(line)
    allowed = threading.Semaphore(0)

    def listen() -> None:
        for _ in sys.stdin:
            allowed.release()
        os._exit(1)  # the parent is gone

    threading.Thread(target=listen, daemon=True).start()

    def tell(**message: Any) -> None:
        told.write(json.dumps(message) + "\n")
        told.flush()

    allowed.acquire()
    if job.key != sys.argv[1]:
        sys.exit(ANOTHER_JOB)
    torch.set_num_threads(job.settings.threads)
    try:
        for measured in measurements(job.settings):
            tell(**measured)
            allowed.acquire()
    except DivergenceError as problem:
        tell(diverged=str(problem))


if __name__ == "__main__":
    main()
