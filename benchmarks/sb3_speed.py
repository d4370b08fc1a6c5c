r"""Environment steps per second of PPO, collecting and training: ours against stock
Stable-Baselines3, in one run.

ours    `SequenceVecEnv` over one `TokenVectorEnv`, and `LanguageModelPolicy`.
stock   `DummyVecEnv` of single environments, `ActorCriticPolicy` with SB3's Categorical, and a
        features extractor that encodes the prefix anew with an LSTM of the same size.

Both have the same hyperparameters, the same reward and the same number of steps; they take turns,
after a warm-up each. Two ways of training are measured: four epochs of four minibatches, our
agent's default, and SB3's ten epochs of minibatches of 64. Of these the parts are timed as well.

    python -m benchmarks.sb3_speed [--quick] [--source constant oracle] \
        [--repeats 5] [--threads N] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor
from torch import Tensor, nn

from agents.sb3.policy import LanguageModelPolicy
from agents.sb3.vec_env import SequenceVecEnv
from benchmarks.measuring import machine
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.run_directory import write_json

DIM = 32
PARTS = ("forward", "backward", "norm", "Adam")  # of the training with a minibatch


class PrefixLSTM(BaseFeaturesExtractor):
    """The last hidden state of an LSTM over the prefix."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, DIM)
        self.vocab_size = int(observation_space.high[0])
        self.embedding = nn.Embedding(self.vocab_size + 1, DIM)  # the start token reads as padding
        self.lstm = nn.LSTM(DIM, DIM, batch_first=True)

    def forward(self, observations: Tensor) -> Tensor:
        tokens = observations.long()
        lengths = (tokens != self.vocab_size).sum(1)
        inputs = torch.cat([torch.full_like(tokens[:, :1], self.vocab_size), tokens[:, :-1]], dim=1)
        hidden = self.lstm(self.embedding(inputs))[0]
        last = lengths.clamp(max=tokens.shape[1] - 1)
        features: Tensor = hidden[torch.arange(len(tokens)), last]
        return features


class CollectTime(BaseCallback):
    """Seconds spent collecting."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def _on_rollout_start(self) -> None:
        self._began = time.perf_counter()

    def _on_rollout_end(self) -> None:
        self.seconds += time.perf_counter() - self._began

    def _on_step(self) -> bool:
        return True


def build(
    task: OracleTask, source: str, num_envs: int, batch_size: int, num_epochs: int
) -> dict[str, sb3.PPO]:
    """The two models."""
    hyperparameters: dict[str, Any] = {
        "n_steps": task.spec.seq_len,
        "batch_size": batch_size,
        "n_epochs": num_epochs,
        "gamma": 1.0,
        "seed": 0,
        "device": "cpu",
    }
    rewards = RewardModel(task, RewardSettings(reward="terminal", source=source), task.oracle)
    ours_env = VecMonitor(SequenceVecEnv(TokenVectorEnv(num_envs, rewards)))
    stock_env = DummyVecEnv(
        [lambda: Monitor(TokenEnv(rewards, episode_statistics=False))] * num_envs
    )
    stock_kwargs = {"features_extractor_class": PrefixLSTM, "net_arch": {"pi": [], "vf": [64]}}
    return {
        "ours": sb3.PPO(
            LanguageModelPolicy, ours_env, policy_kwargs={"spec": task.spec}, **hyperparameters
        ),
        "stock": sb3.PPO("MlpPolicy", stock_env, policy_kwargs=stock_kwargs, **hyperparameters),
    }


def cycle(model: sb3.PPO) -> tuple[float, float]:
    """Steps per second of one collect and train, and of the collecting alone."""
    steps, collecting = model.n_steps * model.n_envs, CollectTime()
    began = time.perf_counter()
    model.learn(steps, callback=collecting, reset_num_timesteps=False)
    return steps / (time.perf_counter() - began), steps / collecting.seconds


def measure(models: dict[str, sb3.PPO], repeats: int) -> dict[str, Any]:
    """Medians and ranges of steps per second, and the ratio of ours to stock in each turn."""
    for model in models.values():
        cycle(model)
    turns = [{name: cycle(model) for name, model in models.items()} for _ in range(repeats)]
    result: dict[str, Any] = {}
    for part, what in enumerate(("whole", "collecting")):
        for name in models:
            result[f"{name}_{what}"] = summary([turn[name][part] for turn in turns])
        result[f"ratio_{what}"] = summary(
            [turn["ours"][part] / turn["stock"][part] for turn in turns]
        )
    return result


def parts(model: sb3.PPO) -> dict[str, float]:
    """Milliseconds of a minibatch of one training by part; what is left is SB3's own Python."""
    model.learn(model.n_steps * model.n_envs, reset_num_timesteps=False)  # fills the buffer
    seconds = dict.fromkeys(PARTS, 0.0)
    num_steps = 0

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **options: Any) -> Any:
            nonlocal num_steps
            began = time.perf_counter()
            found = function(*args, **options)
            seconds[part] += time.perf_counter() - began
            num_steps += part == "Adam"
            return found

        return wrapper

    policy: Any = model.policy
    with (
        patch.object(policy, "evaluate_actions", timed("forward", policy.evaluate_actions)),
        patch.object(Tensor, "backward", timed("backward", Tensor.backward)),
        patch.object(nn.utils, "clip_grad_norm_", timed("norm", nn.utils.clip_grad_norm_)),
        patch.object(policy.optimizer, "step", timed("Adam", policy.optimizer.step)),
    ):
        began = time.perf_counter()
        model.train()
        whole = time.perf_counter() - began
    found = {part: 1000 * spent / num_steps for part, spent in seconds.items()}
    return found | {"the rest": 1000 * whole / num_steps - sum(found.values())}


def measure_parts(models: dict[str, sb3.PPO], repeats: int) -> dict[str, Any]:
    """Medians and ranges of the parts, ours and stock in turns."""
    turns = [{name: parts(model) for name, model in models.items()} for _ in range(repeats)]
    return {
        name: {part: summary([turn[name][part] for turn in turns]) for part in turns[0][name]}
        for name in models
    }


def show_parts(found: dict[str, Any]) -> Table:
    """Medians, and the ratio of the sums."""
    table = Table("", *found["ours"], "sum", title="milliseconds of a minibatch of 64")
    for name, by_part in found.items():
        medians = [part["median"] for part in by_part.values()]
        table.add_row(name, *(f"{median:.2f}" for median in (*medians, sum(medians))))
    return table


def summary(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def show(found: dict[str, dict[str, Any]], about: dict[str, Any]) -> Table:
    """Medians, and the range of the ratios."""
    where = (
        f"{about['cpu']}, {about['threads']} thread(s), torch {about['versions']['torch']}, commit "
        f"{about['commit']}"
    )
    table = Table(
        "training",
        "reward",
        "part",
        "ours",
        "stock",
        "ratio",
        title=f"PPO, steps per second\n{where}",
    )
    for name, result in found.items():
        for what in ("whole", "collecting"):
            ratio = result[f"ratio_{what}"]
            rates = (f"{result[f'{whose}_{what}']['median']:,.0f}" for whose in ("ours", "stock"))
            table.add_row(
                *name.split(", "),
                what,
                *rates,
                f"{ratio['median']:.2f}x ({ratio['min']:.2f} to {ratio['max']:.2f})",
            )
    return table


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small sizes and few turns, to check that everything runs",
    )
    parser.add_argument("--source", nargs="+", default=["constant", "oracle"])
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--vocab-size", type=int, default=5000)
    parser.add_argument("--seq-len", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the measurements as JSON")
    args = parser.parse_args()
    if args.quick:
        args.source, args.num_envs, args.vocab_size, args.repeats = ["constant"], 16, 200, 2
    torch.set_num_threads(args.threads)
    task = OracleTask(
        OracleSettings(
            args.vocab_size, args.seq_len, DIM, DIM, num_real=10, num_held_out=10, num_eval=10
        )
    )
    steps = args.num_envs * args.seq_len
    trainings = {
        "4 epochs of 4 minibatches": (steps // 4, 4),
        "10 epochs of minibatches of 64": (64, 10),
    }  # the agent's, SB3's
    found = {
        f"{name}, {source}": measure(build(task, source, args.num_envs, *training), args.repeats)
        for name, training in trainings.items()
        for source in args.source
    }
    by_part = measure_parts(build(task, "constant", args.num_envs, 64, 10), args.repeats)
    about = machine() | {"threads": args.threads}
    output = Console(width=150)
    output.print(show(found, about))
    output.print(show_parts(by_part))
    if args.out:
        settings = {name: value for name, value in vars(args).items() if name != "out"}
        result = {"settings": settings, "machine": about, "steps_per_second": found}
        write_json(args.out, result | {"milliseconds_of_a_minibatch": by_part})


if __name__ == "__main__":
    main()
