"""Sequence generation with a learned, moving reward, as Gymnasium environments.

Importing registers the ids SeqGAN/...
"""

__version__ = "0.1.0"

from seqgan_env.discriminators.base import Discriminator
from seqgan_env.discriminators.cnn import PAPER_CNN, CNNConfig, CNNDiscriminator
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.online import OnlineRewardModel, OnlineSettings
from seqgan_env.envs.registration import build_rewards, register_envs
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

register_envs()
