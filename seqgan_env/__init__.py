"""Sequence generation with a learned, moving reward, as Gymnasium environments.

Importing registers the ids SeqGAN/... What stands in `__all__` is imported when it is asked for, so
that the command line can speak before torch is loaded.
"""

import importlib
from typing import TYPE_CHECKING, Any

from seqgan_env.envs.ids import register_envs

if TYPE_CHECKING:
    from seqgan_env.discriminators.base import Discriminator
    from seqgan_env.discriminators.cnn import PAPER_CNN, CNNConfig, CNNDiscriminator
    from seqgan_env.discriminators.trainer import DiscriminatorTrainer
    from seqgan_env.envs.env import TokenEnv
    from seqgan_env.envs.online import OnlineRewardModel, OnlineSettings
    from seqgan_env.envs.registration import build_rewards
    from seqgan_env.envs.vector_env import TokenVectorEnv
    from seqgan_env.generators.gru import GRULanguageModel
    from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
    from seqgan_env.rewards.model import RewardModel, RewardSettings
    from seqgan_env.rewards.sources import WeightedSum
    from seqgan_env.tasks import make_task
    from seqgan_env.training.adversarial import Schedule, pretrain_policy, train_adversarial
    from seqgan_env.types import (
        AdditiveScorer,
        GeneratorAgent,
        PrefixValue,
        RolloutPolicy,
        SequenceScorer,
        Task,
        TokenSpec,
    )

__version__ = "0.1.0"

__all__ = [
    "PAPER_CNN",
    "AdditiveScorer",
    "CNNConfig",
    "CNNDiscriminator",
    "Discriminator",
    "DiscriminatorTrainer",
    "GRULanguageModel",
    "GeneratorAgent",
    "LSTMLanguageModel",
    "LanguageModel",
    "OnlineRewardModel",
    "OnlineSettings",
    "PrefixValue",
    "RewardModel",
    "RewardSettings",
    "RolloutPolicy",
    "Schedule",
    "SequenceScorer",
    "Task",
    "TokenEnv",
    "TokenSpec",
    "TokenVectorEnv",
    "WeightedSum",
    "build_rewards",
    "make_task",
    "pretrain_policy",
    "register_envs",
    "train_adversarial",
]

# Where each name is defined.
_HOMES = {
    "seqgan_env.discriminators.base": ("Discriminator",),
    "seqgan_env.discriminators.cnn": ("PAPER_CNN", "CNNConfig", "CNNDiscriminator"),
    "seqgan_env.discriminators.trainer": ("DiscriminatorTrainer",),
    "seqgan_env.envs.env": ("TokenEnv",),
    "seqgan_env.envs.online": ("OnlineRewardModel", "OnlineSettings"),
    "seqgan_env.envs.registration": ("build_rewards",),
    "seqgan_env.envs.vector_env": ("TokenVectorEnv",),
    "seqgan_env.generators.gru": ("GRULanguageModel",),
    "seqgan_env.generators.language_model": ("LanguageModel", "LSTMLanguageModel"),
    "seqgan_env.rewards.model": ("RewardModel", "RewardSettings"),
    "seqgan_env.rewards.sources": ("WeightedSum",),
    "seqgan_env.tasks": ("make_task",),
    "seqgan_env.training.adversarial": ("Schedule", "pretrain_policy", "train_adversarial"),
    "seqgan_env.types": (
        "AdditiveScorer",
        "GeneratorAgent",
        "PrefixValue",
        "RolloutPolicy",
        "SequenceScorer",
        "Task",
        "TokenSpec",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A name of `__all__`, imported the first time that it is asked for (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_envs()
