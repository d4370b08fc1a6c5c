"""Steps, learns online, makes and closes environments for long, and asks whether anything grew.

    python -m benchmarks.soak --out benchmarks/results/soak.json

Random valid steps go through every task, source of scores and form of reward; updates of the online
mode through one environment; making and closing through all. Of memory counts what the process
keeps after a warm-up, which fills caches and the allocator's pools.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import seqgan_env
from seqgan_env.rewards.forms import FORMS

assert seqgan_env  # registers the ids

_SMALL: dict[str, Any] = {"num_rollouts": 1}
_ORACLE: dict[str, Any] = {
    "num_real": 64,
    "num_validation": 64,
    "num_held_out": 64,
    "num_eval": 64,
    "seq_len": 6,
}
TASKS: dict[str, dict[str, Any]] = {
    "SeqGAN/Oracle-v0": _ORACLE,
    "SeqGAN/Text-v0": {"max_length": 8},
    "SeqGAN/Music-v0": {"max_length": 8},
}
SOURCES = ("discriminator", "optimal", "oracle", "bleu", "constant", "random", "noise")
ORACLES_ONLY = ("optimal", "oracle")
SUMS = ("token",)  # forms that need a score that is a sum over tokens
NUM_ENVS = 64


def combinations() -> list[tuple[str, dict[str, Any]]]:
    """Ids with the settings of every environment that can be."""
    found = []
    for (name, settings), source, form in itertools.product(TASKS.items(), SOURCES, FORMS):
        if source in ORACLES_ONLY and settings is not _ORACLE:
            continue
        if form in SUMS and source != "optimal":
            continue
        reward = {"source": source, "reward": form}
        if form in SUMS:
            reward["score_as"] = "logit"
        found.append((name, settings | _SMALL | reward))
    return found


def walk(envs: Any, num_steps: int, rng: np.random.Generator) -> int:
    """Random steps, `num_steps` or a few more, all envs together; how many they were.

    Every reward is finite and every observation is in its space.
    """
    obs, _ = envs.reset(seed=int(rng.integers(2**31)))
    done = 0
    while done < num_steps:
        actions = rng.integers(envs.single_action_space.n, size=envs.num_envs)
        obs, rewards, _, truncated, _ = envs.step(actions)
        if not np.isfinite(rewards).all() or truncated.any():
            raise RuntimeError(f"rewards {rewards}, truncated {truncated}")
        done += envs.num_envs
    if obs not in envs.observation_space:
        raise RuntimeError(f"observation {obs} is not in {envs.observation_space}")
    return done


def resident() -> int:
    """Bytes of memory that this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open files, pipes and sockets."""
    return len(list(Path("/proc/self/fd").iterdir()))


def grown(work: Callable[[int], None], num: int) -> dict[str, float]:
    """What a fifth of the work leaves behind in a warm process, and all of the rest.

    Args:
        work: does so many units of it.
        num: units in all.
    """
    started, warm = time.perf_counter(), max(1, num // 5)
    work(warm)
    memory, files = resident(), descriptors()
    work(num - warm)
    return {
        "units": num,
        "megabytes": round((resident() - memory) / 2**20, 1),
        "descriptors": descriptors() - files,
        "seconds": round(time.perf_counter() - started, 1),
    }


def steps(num: int) -> dict[str, float]:
    """Random steps over every combination, which are made once."""
    rng, found = np.random.default_rng(0), combinations()
    made = [
        gym.make_vec(name, num_envs=NUM_ENVS, online=False, **settings) for name, settings in found
    ]

    def work(units: int) -> None:
        for envs in made:
            walk(envs, units // len(made), rng)

    result = grown(work, num) | {"combinations": len(made)}
    for envs in made:
        envs.close()
    return result


def online_updates(num: int) -> dict[str, float]:
    """Updates of the discriminator by the episodes that an environment sees."""
    settings: dict[str, Any] = _ORACLE | _SMALL | {"seq_len": 2, "vocab_size": 8}
    often: dict[str, Any] = {
        "d_interval": 8,
        "d_memory": 64,
        "d_epochs": 1,
        "warm_up": 8,
        "warm_up_epochs": 1,
    }
    envs: Any = gym.make_vec("SeqGAN/Oracle-v0", num_envs=8, **settings, **often)
    rng = np.random.default_rng(0)

    def work(units: int) -> None:
        walk(envs, units * 2 * envs.num_envs, rng)  # two steps end every episode

    result = grown(work, num)
    if envs.rewards.num_updates < num:
        raise RuntimeError(f"{envs.rewards.num_updates} updates were made; {num} were meant")
    envs.close()
    return result


def making(num: int) -> dict[str, float]:
    """Making, a few steps, closing."""
    rng, found = np.random.default_rng(0), combinations()

    def work(units: int) -> None:
        for name, settings in itertools.islice(itertools.cycle(found), units):
            envs = gym.make_vec(name, num_envs=4, **settings)
            walk(envs, 8, rng)
            envs.close()

    return grown(work, num)


KINDS = {
    "steps": (steps, 10**6),
    "online updates": (online_updates, 10**5),
    "make": (making, 10**3),
}


def main() -> None:
    """Soaks, prints the table and writes it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the whole")
    parser.add_argument("--only", choices=list(KINDS), nargs="+", default=list(KINDS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name in arguments.only:
        soak, num = KINDS[name]
        results[name] = soak(int(num * arguments.share))
        print(name, results[name], flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
