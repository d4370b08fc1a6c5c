"""The reference agents, under the name of this package: `from seqgan_env.agents import Reinforce`.

They are plug-ins in a package of their own, `agents`, which imports this one and never the other
way round. So nothing of it is imported before a name is asked for. `agents` is also the import
name of the distribution openai-agents, and of many a folder of a project; where Python finds such a
module in place of ours, what is asked for here is an ImportError that says so.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_env.extras import remedy

if TYPE_CHECKING:
    from agents.actor_critic import ActorCritic, ActorCriticConfig
    from agents.base import LanguageModelAgent, PolicyConfig
    from agents.baselines import (
        MLE,
        PolicyGradientBLEU,
        ScheduledSampling,
        ScheduledSamplingConfig,
        SeqGAN,
        Uniform,
    )
    from agents.distillation import Distillation, DistillationConfig, Teacher
    from agents.grpo import GRPO, GRPOConfig
    from agents.policy_gradient import PolicyGradient, PolicyGradientConfig
    from agents.reinforce import Reinforce, ReinforceConfig, returns_to_go
    from agents.sb3.agent import A2C, DQN, PPO, QRDQN, TRPO, MaskablePPO, RecurrentPPO, SB3Agent
    from agents.sb3.features import PrefixExtractor
    from agents.sb3.language_model import SB3LanguageModel
    from agents.sb3.vec_env import SequenceVecEnv
    from agents.sequence_level import (
        RAFT,
        RLOO,
        MaliGAN,
        Rank,
        SequenceLevel,
        SequenceLevelConfig,
    )
    from agents.sequence_ppo import SequencePPO, SequencePPOConfig

__all__ = [
    "A2C",
    "DQN",
    "GRPO",
    "MLE",
    "PPO",
    "QRDQN",
    "RAFT",
    "RLOO",
    "TRPO",
    "ActorCritic",
    "ActorCriticConfig",
    "Distillation",
    "DistillationConfig",
    "GRPOConfig",
    "LanguageModelAgent",
    "MaliGAN",
    "MaskablePPO",
    "PolicyConfig",
    "PolicyGradient",
    "PolicyGradientBLEU",
    "PolicyGradientConfig",
    "PrefixExtractor",
    "Rank",
    "RecurrentPPO",
    "Reinforce",
    "ReinforceConfig",
    "SB3Agent",
    "SB3LanguageModel",
    "ScheduledSampling",
    "ScheduledSamplingConfig",
    "SeqGAN",
    "SequenceLevel",
    "SequenceLevelConfig",
    "SequencePPO",
    "SequencePPOConfig",
    "SequenceVecEnv",
    "Teacher",
    "Uniform",
    "returns_to_go",
]

PACKAGE = "agents"

# Where each name is defined, in the package `agents`.
_HOMES = {
    "actor_critic": ("ActorCritic", "ActorCriticConfig"),
    "base": ("LanguageModelAgent", "PolicyConfig"),
    "baselines": (
        "MLE",
        "PolicyGradientBLEU",
        "ScheduledSampling",
        "ScheduledSamplingConfig",
        "SeqGAN",
        "Uniform",
    ),
    "distillation": ("Distillation", "DistillationConfig", "Teacher"),
    "grpo": ("GRPO", "GRPOConfig"),
    "policy_gradient": ("PolicyGradient", "PolicyGradientConfig"),
    "reinforce": ("Reinforce", "ReinforceConfig", "returns_to_go"),
    "sb3.agent": (
        "A2C",
        "DQN",
        "PPO",
        "QRDQN",
        "TRPO",
        "MaskablePPO",
        "RecurrentPPO",
        "SB3Agent",
    ),
    "sb3.features": ("PrefixExtractor",),
    "sb3.language_model": ("SB3LanguageModel",),
    "sb3.vec_env": ("SequenceVecEnv",),
    "sequence_level": (
        "RAFT",
        "RLOO",
        "MaliGAN",
        "Rank",
        "SequenceLevel",
        "SequenceLevelConfig",
    ),
    "sequence_ppo": ("SequencePPO", "SequencePPOConfig"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_OF_OURS = "sequence_level.py"  # a file that the folder of our package has


def told(problem: Exception) -> str:
    """An error of an import, with its class where that is news and with what mends it."""
    if not isinstance(problem, ImportError):
        return f"{type(problem).__name__}: {problem}"
    return collision_behind(problem) or f"{problem} {remedy(problem.name)}".rstrip()


def collision_behind(problem: ImportError) -> str:
    """What stands in the way, and what to do, where an import failed since Python finds another
    module `agents` in place of ours; "" where something else was wrong.
    """
    if (problem.name or "").partition(".")[0] != PACKAGE:
        return ""
    folders = _folders()
    if any((folder / _OF_OURS).is_file() for folder in folders):
        return ""
    if not folders:
        return f"the package {PACKAGE!r} of seqgan-env is missing; install seqgan-env again"
    return (
        f"the module {PACKAGE!r} that Python finds, in {folders[0]}, is not that of seqgan-env. If "
        "it is the distribution openai-agents, give the two separate environments; if it is a "
        "folder of your own, rename it or start Python elsewhere"
    )


def _folders() -> list[Path]:
    """Where the package `agents` that Python finds has its files; nothing is imported."""
    loaded = sys.modules.get(PACKAGE)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(PACKAGE)
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin or PACKAGE).parent]


def __getattr__(name: str) -> Any:
    """A name of `__all__`, imported the first time that it is asked for (PEP 562).

    Raises:
        AttributeError: there is no such name.
        ImportError: another module `agents` stands in the way of ours, or a library is missing; the
            message says what to do.
    """
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"{PACKAGE}.{_HOME_OF[name]}"), name)
    except ImportError as problem:
        raise ImportError(f"{__name__}.{name}: {told(problem)}", name=problem.name) from problem
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
