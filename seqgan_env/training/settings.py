"""The settings of a training run: one dataclass, from which the command line, its help and
config.json are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch

from seqgan_env.names import choose
from seqgan_env.plugins import accepts, options_from_settings, training_settings
from seqgan_env.rewards.model import FORMS, SOURCES
from seqgan_env.tasks import TASKS, setting_names
from seqgan_env.training.adversarial import Schedule


def _setting(default: Any, text: str, metavar: str | None = None) -> Any:
    return field(default=default, metadata={"help": text, "metavar": metavar})


@dataclass(frozen=True)
class TrainSettings:
    """What `seqgan train` does. The fields' texts are the command line's help."""

    task: str = _setting("oracle-tiny", f"what is written: {', '.join(TASKS)}", "NAME")
    agent: str = _setting(
        "reinforce", "who writes: a name from `seqgan list agents`, or package.module:Class", "NAME"
    )
    reward: str = _setting("rollout", f"reward form: {', '.join(FORMS)}", "FORM")
    source: str = _setting("discriminator", f"score source: {', '.join(SOURCES)}", "NAME")
    score_as: str = _setting(
        "logit", "what the sources discriminator and optimal pay: probability or logit", "KIND"
    )
    seed: int = _setting(
        0, "of the models, all sampling and all orders; the task's data have their own", "N"
    )
    batch_size: int = _setting(256, "sequences of one g-step (num_envs)", "SEQUENCES")
    num_rollouts: int = _setting(4, "N, Monte Carlo completions of a prefix", "N")
    sync_rate: float = _setting(
        1.0, "1 rolls out the live policy; below, a copy that moves by this rate each round", "RATE"
    )
    discriminator: str = _setting(
        "small",
        "who tells real from generated: a name from `seqgan list discriminators`, or "
        "package.module:Class",
        "NAME",
    )
    discriminator_options: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "hyperparameters of the discriminator, e.g. hidden_dim=128",
            "metavar": "KEY=VALUE",
            "flag": "--set-discriminator",
        },
    )
    d_batch_size: int | None = _setting(
        None,
        "sequences in a step of its training (default: its own, small 256, paper 64)",
        "SEQUENCES",
    )
    knobs: bool = _setting(
        True, "measure what turning the pre-trained policy reaches: temperatures and other knobs"
    )
    more_knobs: str | None = _setting(
        None, "knobs of your own beside them: package.module:NAME", "NAME"
    )
    referee: bool = _setting(
        False,
        "judge final policies by the referee on oracle tasks too; on real data it always does",
    )
    control: bool = _setting(True, "train the same agent under a constant reward too")
    mle_epochs: int = _setting(
        40, "epochs of maximum likelihood before the adversarial phase", "EPOCHS"
    )
    keep_best: bool = _setting(
        True, "keep the epoch with the best validation likelihood (no: the last one, as the paper)"
    )
    d_pretrain_steps: int = _setting(1, "d-steps before the first round", "STEPS")
    d_pretrain_epochs: int = _setting(6, "epochs of each of them", "EPOCHS")
    rounds: int = _setting(160, "outer passes of Algorithm 1", "ROUNDS")
    g_steps: int = _setting(1, "agent updates in a round", "STEPS")
    d_steps: int = _setting(1, "d-steps in a round", "STEPS")
    d_epochs: int = _setting(1, "epochs of a d-step", "EPOCHS")
    num_negatives: int = _setting(
        2_000, "fresh negatives of a d-step, and as many real sequences", "SEQUENCES"
    )
    eval_every: int = _setting(20, "rounds between evaluations", "ROUNDS")
    weights: str | None = _setting(
        None, "oracle weights: the authors' released pickle, or safetensors", "FILE"
    )
    corpus: str | None = _setting(
        None,
        "task text: UTF-8 text, a sentence a line; task music: a folder of MIDI files (default: "
        "what is built in)",
        "PATH",
    )
    level: str = _setting(
        "word", "tokens of task text: word (split at white space) or char", "LEVEL"
    )
    tokenizer: str | None = _setting(
        None,
        "of task text, in place of level: english, a JSON file of the library tokenizers, or "
        "package.module:name",
        "NAME",
    )
    max_length: int | None = _setting(
        None,
        "longest sequence of task text, end token included (default: 20); steps of task music "
        "(default: 32)",
        "TOKENS",
    )
    fixed_length: bool = _setting(
        False, "task text: only sequences of exactly max_length words, without an end"
    )
    vocab_size: int | None = _setting(
        None, "V; of an oracle the number of tokens, of a text the cap by frequency", "TOKENS"
    )
    steps_per_beat: int = _setting(2, "time steps in a quarter note of task music", "STEPS")
    transpose: bool = _setting(False, "task music: move every piece into C major or A minor")
    seq_len: int | None = _setting(None, "T of an oracle task", "TOKENS")
    oracle_seed: int = _setting(0, "of an oracle's parameters and data", "N")
    fresh: bool = _setting(False, "oracle tasks: every d-step sees new real data")
    threads: int = _setting(
        1, "torch threads; one gives the same numbers on any machine; 0 leaves torch's choice", "N"
    )
    device: str = _setting("cpu", "where the models live: cpu, cuda", "NAME")
    agent_options: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "hyperparameters of the agent, e.g. learning_rate=1e-3",
            "metavar": "KEY=VALUE",
            "flag": "--set",
        },
    )

    def __post_init__(self) -> None:
        choose(TASKS, self.task, "task")
        choose(FORMS, self.reward, "reward form")
        choose(SOURCES, self.source, "source")
        _check_device(self.device)
        for name in ("batch_size", "num_rollouts", "eval_every", "num_negatives", "mle_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is 1 or more")
        if self.d_batch_size is not None and self.d_batch_size < 1:
            raise ValueError(f"d_batch_size is {self.d_batch_size}; allowed is 1 or more")
        for name in (
            "d_pretrain_steps",
            "d_pretrain_epochs",
            "rounds",
            "g_steps",
            "d_steps",
            "d_epochs",
            "threads",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is 0 or more")

    def schedule(self) -> Schedule:
        """The counts of Algorithm 1."""
        return Schedule(
            **{f.name: getattr(self, f.name) for f in fields(Schedule) if hasattr(self, f.name)}
        )

    def task_settings(self) -> dict[str, Any]:
        """What differs from the task's own defaults."""
        valid = setting_names(self.task)
        chosen = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name in valid
        }
        return {name: value for name, value in chosen.items() if value is not None}


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise ValueError(
            f"device {name!r} is none that torch knows; allowed are cpu and cuda"
        ) from problem
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but torch finds no GPU; allowed is cpu")


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "paper": {
        "task": "oracle-paper",
        "score_as": "probability",
        "batch_size": 64,
        "num_rollouts": 16,
        "discriminator": "paper",
        "mle_epochs": 120,
        "keep_best": False,
        "d_pretrain_steps": 50,
        "d_pretrain_epochs": 3,
        "rounds": 200,
        "d_steps": 5,
        "d_epochs": 3,
        "num_negatives": 10_000,
        "eval_every": 5,
        "agent_options": {
            "learning_rate": 1e-2,
            "baseline": "none",
            "mle_learning_rate": 1e-2,  # the paper's Adam at a constant rate
            "mle_learning_rate_decay": 1.0,
            "mle_weight_decay": 0.0,
        },
    },
}


# What the preset "tiny" changes for a task: words and notes need a larger model and fewer, dearer
# rounds.
TINY_BY_TASK: dict[str, dict[str, Any]] = {
    "text": {
        "batch_size": 64,
        "mle_epochs": 8,
        "rounds": 60,
        "vocab_size": 5000,
        "agent_options": {
            "embedding_dim": 64,
            "hidden_dim": 128,
            "learning_rate": 1e-3,
            "mle_learning_rate": 2e-2,
            "mle_learning_rate_decay": 0.8,
            "mle_weight_decay": 0.1,
        },
    },
    "music": {
        "batch_size": 64,
        "mle_epochs": 30,
        "rounds": 60,
        "num_negatives": 1_000,
        "agent_options": {
            "embedding_dim": 64,
            "hidden_dim": 128,
            "learning_rate": 1e-3,
            "mle_learning_rate": 4e-2,
            "mle_learning_rate_decay": 0.9,
            "mle_weight_decay": 0.1,
        },
    },
}


def settings_from(preset: str, changes: Mapping[str, Any]) -> TrainSettings:
    """The settings of a preset for the task, then those that the agent's class asks for, then
    `changes`.

    Agent options are merged key by key; of a preset's, an agent gets those that it takes.
    """
    base = PRESETS[choose(PRESETS, preset, "preset")]
    if preset == "tiny":
        base = TINY_BY_TASK.get(changes.get("task", ""), base)
    agent = changes.get("agent", TrainSettings.agent)
    own = training_settings(agent)
    options = {
        key: value for key, value in base.get("agent_options", {}).items() if accepts(agent, key)
    }
    options |= own.get("agent_options", {}) | changes.get("agent_options", {})
    settings = replace(TrainSettings(), **{**base, **own, **changes, "agent_options": options})
    following = {
        option: getattr(settings, name) for option, name in options_from_settings(agent).items()
    }
    return replace(settings, agent_options=following | options)
