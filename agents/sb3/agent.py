"""Algorithms of Stable-Baselines3 and sb3-contrib as agents that Algorithm 1 trains.

Every agent is `Class(env, seed=0, **hyperparameters)`: those of SB3's constructor by their SB3
names, those of the policy, and those of pre-training. Its `update` is one collection of whole
episodes and one training. `docs/sb3_defaults.md` tells where the defaults come from.
"""

from __future__ import annotations

import copy
import inspect
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import sb3_contrib
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import HumanOutputFormat, Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import configure_logger
from torch import Tensor

from agents.base import PolicyConfig
from agents.sb3.policy import (
    LanguageModelPolicy,
    MaskableLanguageModelPolicy,
    RecurrentLanguageModelPolicy,
    TrustRegionLanguageModelPolicy,
)
from agents.sb3.q_policy import LanguageModelDQNPolicy, LanguageModelQRDQNPolicy
from agents.sb3.state import load_model_state, load_streams_state, model_state, streams_state
from agents.sb3.vec_env import CopyableMonitor, SequenceVecEnv
from seqgan_env.checks import hints_of
from seqgan_env.envs.vector_env import TokenVectorEnv, without_wrappers
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.names import choose
from seqgan_env.native.fast_routes import Snapshot
from seqgan_env.types import TokenSpec

_OF_POLICY = (
    "language_model_class",
    "language_model_kwargs",
    "value_dims",
    "value_rate",
    "temperature",
    "n_quantiles",
)
_NOT_FOR_USERS = (
    "self",
    "policy",
    "env",
    "seed",
    "device",
    "_init_setup_model",
    "use_sde",
    "sde_sample_freq",
)
# What SB3 takes and then fails at, or diverges by.
_FROM_0 = ("learning_rate", "vf_coef", "value_rate", "learning_starts")
_FROM_1 = (
    "batch_size",
    "buffer_size",
    "cg_max_steps",
    "line_search_max_iter",
    "n_critic_updates",
    "n_epochs",
    "n_quantiles",
    "stats_window_size",
    "sub_sampling_factor",
    "target_update_interval",
)
_ABOVE_0 = ("clip_range", "clip_range_vf", "max_grad_norm", "target_kl", "temperature")
_SHARES = (
    "exploration_final_eps",
    "exploration_fraction",
    "exploration_initial_eps",
    "gae_lambda",
    "gamma",
    "line_search_shrinking_factor",
    "tau",
)
_SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
_METRIC_NAMES = {
    "policy_gradient_loss": "policy_loss",
    "entropy_loss": "entropy",
    "policy_objective": "policy_loss",
}
_NEGATED = ("entropy_loss", "policy_objective")


class CopyOf:
    """Makes copies of a language model, where SB3's policies expect a class."""

    def __init__(self, model: LanguageModel) -> None:
        """
        Args:
            model: what is copied.
        """
        self.model = model

    def __call__(self, spec: TokenSpec) -> LanguageModel:
        """A copy; raises a ValueError if it writes other sequences than those of `spec`."""
        if self.model.spec != spec:
            raise ValueError(
                f"the policy writes sequences of {self.model.spec}, the task of {spec}"
            )
        return copy.deepcopy(self.model)


class SB3Agent(ABC):
    """An SB3 algorithm whose policy is built around the language model.

    Attributes:
        model: SB3's model: `save`, `load`, `predict`, `set_logger` and the rest are as its users
            know them.
        policy: the language model that writes, the same object that `model.policy` trains.
        callback: SB3 callbacks to run in every update, or None.
    """

    control_options: ClassVar[dict[str, Any]] = {}
    algorithm: ClassVar[type[BaseAlgorithm]]
    policy_class: ClassVar[type[BasePolicy]]
    # The hyperparameter that says how many steps of each env an update collects.
    collected: ClassVar[str]

    callback: BaseCallback | list[BaseCallback] | None = None

    def __init_subclass__(cls) -> None:
        """Lets `inspect.signature` name the hyperparameters, so that options can be checked."""
        super().__init_subclass__()
        if hasattr(cls, "algorithm"):
            cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]

    def __init__(
        self,
        env: TokenVectorEnv,
        seed: int = 0,
        policy: LanguageModel | None = None,
        config: PolicyConfig = PolicyConfig(),
        **hyperparameters: Any,
    ) -> None:
        """
        Args:
            env: vector environment to learn in.
            seed: of the weights, all sampling and all orders.
            policy: language model whose copy is trained; a new LSTM if not given.
            config: sizes of the new LSTM, and how the policy is fitted.
            hyperparameters: of the SB3 constructor and of the SB3 policy; see
                `hyperparameter_names`.

        Raises:
            ValueError: a hyperparameter is unknown, or its value does not fit, or `env` is wrapped:
                its wrappers would be left out.
            TypeError: `env` is no `TokenVectorEnv`.
        """
        self.env = without_wrappers(env)
        for name in hyperparameters:
            choose(
                self.hyperparameter_names(), name, f"hyperparameter of {self.algorithm.__name__}"
            )
        self.check_options(hyperparameters)
        settings = self.defaults() | hyperparameters
        if policy is not None:
            if "language_model_class" in settings:
                raise ValueError("policy and language_model_class were both given; give one")
            settings["language_model_class"] = CopyOf(policy)
        self._check_settings(settings)
        self._streams = _GlobalStreams(seed)
        cpu_rng = torch.Generator().manual_seed(seed)
        with self._streams:
            self.model = self._build_model(settings, config, seed)
            if policy is None and isinstance(self.policy, LSTMLanguageModel):
                dims = (self.policy.embedding.embedding_dim, self.policy.lstm.hidden_size)
                self.policy.load_state_dict(
                    LSTMLanguageModel.initialised(self.env.task.spec, cpu_rng, *dims).state_dict()
                )
        self._likelihood = config.fitter(self.policy, cpu_rng)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Raises a ValueError for a value that cannot be, whatever the environment."""
        for name, value in options.items():
            cls._check_option(name, value)

    @classmethod
    def check_environment(
        cls, options: Mapping[str, Any], num_envs: int, seq_len: int | None
    ) -> None:
        """Raises a ValueError for an update that would end inside episodes of T = `seq_len`, where
        that is known.
        """
        steps = options.get(cls.collected)
        if seq_len is None or cls.collected not in options:
            return
        if not isinstance(steps, int) or steps < 1 or steps % seq_len:
            raise ValueError(
                f"{cls.collected} is {steps!r}; allowed are multiples of seq_len {seq_len}: an "
                "update that ends inside episodes would go on with them under another reward"
            )

    @classmethod
    def hyperparameter_names(cls) -> list[str]:
        """The hyperparameters that the constructor takes: SB3's, and those of the SB3 policy."""
        of_algorithm = [
            name
            for name in inspect.signature(cls.algorithm).parameters
            if name not in _NOT_FOR_USERS
        ]
        policy_parameters = [
            p for base in cls.policy_class.__mro__ for p in inspect.signature(base).parameters
        ]
        of_policy = [name for name in _OF_POLICY if name in policy_parameters]
        return [*of_algorithm, *of_policy]

    @abstractmethod
    def defaults(self) -> dict[str, Any]:
        """The hyperparameters that differ from SB3's own, for this environment."""

    @property
    @abstractmethod
    def policy(self) -> LanguageModel:
        """The live policy."""

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        """Maximum likelihood on `sequences` (M, T); the SB3 policy's actor is the fitted model."""
        return self._likelihood.fit(sequences, num_epochs)

    def update(self) -> dict[str, float]:
        """One g-step: SB3 collects whole episodes in every env and trains on them once.

        Returns:
            `reward` (mean per token) and what SB3 logs of training, under its names without
            `train/`, but `policy_loss`, and `entropy` in nats per token.
        """
        # With an end token the last collection ended inside episodes, of a reward now past. SB3
        # resets where it has no last observation.
        if self.env.core.lengths.any():
            self.model._last_obs = None
        rewards = _MeanReward()
        with self._streams:
            self.model.learn(
                self._steps_per_update(),
                self._callbacks(rewards),
                self._log_interval(),
                reset_num_timesteps=False,
            )
        return {"reward": rewards.mean} | _training_metrics(self.model.logger.name_to_value)

    def state_dict(self) -> dict[str, Any]:
        """Everything that goes on from one update to the next, the environment's episodes too."""
        return {
            "model": model_state(self.model),
            "likelihood": self._likelihood.state_dict(),
            "streams": streams_state(self._streams.state),
            "env": self.env.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        load_model_state(self.model, state["model"])
        self._likelihood.load_state_dict(state["likelihood"])
        self._streams.state = load_streams_state(state["streams"])
        self.env.load_state_dict(state["env"])

    def _build_model(
        self, settings: Mapping[str, Any], config: PolicyConfig, seed: int
    ) -> BaseAlgorithm:
        of_policy = {name: settings[name] for name in _OF_POLICY if name in settings}
        if "language_model_class" not in of_policy:
            of_policy["language_model_kwargs"] = {
                "embedding_dim": config.embedding_dim,
                "hidden_dim": config.hidden_dim,
            } | dict(of_policy.get("language_model_kwargs") or {})
        rest = {
            name: value
            for name, value in settings.items()
            if name not in of_policy and name != "policy_kwargs"
        }
        policy_kwargs = (
            {"spec": self.env.task.spec} | of_policy | dict(settings.get("policy_kwargs") or {})
        )
        try:
            model = self.algorithm(
                self.policy_class,
                CopyableMonitor(SequenceVecEnv(self.env)),
                policy_kwargs=policy_kwargs,
                seed=seed,
                device=self.env.rewards.device,
                **rest,
            )
        except (AssertionError, TypeError) as problem:
            raise ValueError(
                f"{self.algorithm.__name__} refuses its hyperparameters: {problem}"
            ) from problem
        model.set_logger(_logger(model))
        return model

    @classmethod
    def _check_option(cls, name: str, value: Any) -> None:
        if name == "language_model_class" and not callable(value):
            raise ValueError(
                f"language_model_class is {value!r}; expected a class, in code. On the command "
                "line there is --policy package.module:Class"
            )
        if name in _SCHEDULES and callable(value):
            raise ValueError(
                f"{name} is a schedule, but an agent does not know how many updates will come; "
                "give a number"
            )
        for number in value if isinstance(value, (list, tuple)) else (value,):
            _check_range(name, number)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        self.check_environment(settings, self.env.num_envs, self.env.task.spec.seq_len)

    def _steps_per_update(self) -> int:
        steps = getattr(self.model, self.collected)
        return int(getattr(steps, "frequency", steps)) * self.env.num_envs

    def _log_interval(self) -> int:
        return 1

    def _callbacks(self, rewards: BaseCallback) -> CallbackList:
        given = self.callback or []
        return CallbackList([rewards, *(given if isinstance(given, list) else [given])])


def _num_steps(env: TokenVectorEnv) -> int:
    """What an update collects by default, in all envs."""
    return env.num_envs * env.task.spec.seq_len


def _default_batch_size(env: TokenVectorEnv) -> int:
    """A quarter of what is collected; all of it where a quarter would be less than two steps or
    broken.
    """
    num_steps = _num_steps(env)
    if num_steps % 4 or num_steps < 8:
        return num_steps
    return num_steps // 4


def _check_range(name: str, value: Any) -> None:
    """Raises a ValueError for a number out of its range; anything else is let through."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if name in _FROM_0 and not value >= 0:
        raise ValueError(f"{name} is {value}; allowed is 0 or more")
    if name in (*_FROM_1, "value_dims") and not value >= 1:
        raise ValueError(f"{name} is {value}; allowed is 1 or more")
    if name in _ABOVE_0 and not value > 0:
        raise ValueError(f"{name} is {value}; allowed is any number above 0")
    if name in _SHARES and not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; allowed is 0..1")


def _signature(cls: type[SB3Agent]) -> inspect.Signature:
    """The constructor's signature, with hyperparameters by name for `**hyperparameters`."""
    own = list(inspect.signature(SB3Agent.__init__).parameters.values())[1:-1]
    hints: dict[str, Any] = {}
    for described in (*reversed(cls.policy_class.__mro__), cls.algorithm):
        hints |= hints_of(described.__init__)  # type: ignore[misc]
    by_name = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=..., annotation=hints.get(name, Any)
        )
        for name in cls.hyperparameter_names()
    ]
    return inspect.Signature([*own, *by_name])


class _ActorCriticAgent(SB3Agent):
    """The on-policy algorithms."""

    collected = "n_steps"

    def defaults(self) -> dict[str, Any]:
        return {
            "n_steps": self.env.task.spec.seq_len,
            "gamma": self.env.discount,
            "gae_lambda": 1.0,
            "normalize_advantage": _num_steps(self.env) > 1,  # one has no spread
        }

    @property
    def policy(self) -> LanguageModel:
        model: LanguageModel = self.model.policy.language_model  # type: ignore[assignment]
        return model

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        super()._check_settings(settings)
        num_steps = settings["n_steps"] * self.env.num_envs
        if settings["normalize_advantage"] and num_steps == 1:
            raise ValueError(
                "normalize_advantage is True; allowed is False where an update collects one step, "
                "whose advantage has no spread"
            )


class PPO(_ActorCriticAgent):
    """Proximal policy optimisation (Schulman et al. 2017).

    Use it where scores are dear, since every batch is used four times, or to compare with what is
    known of PPO elsewhere.
    """

    algorithm: ClassVar[type[BaseAlgorithm]] = sb3.PPO
    policy_class: ClassVar[type[BasePolicy]] = LanguageModelPolicy

    def defaults(self) -> dict[str, Any]:
        return super().defaults() | {
            "batch_size": _default_batch_size(self.env),
            "n_epochs": 4,
            "learning_rate": 3e-5,
            "value_rate": 30.0,
            "max_grad_norm": 5.0,
        }


class _ContribPPO(PPO):
    """PPO of sb3-contrib, which normalises a minibatch of one step too, to what is no number."""

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        super()._check_settings(settings)
        batch_size = settings["batch_size"]
        if not settings["normalize_advantage"] or not isinstance(batch_size, int) or not batch_size:
            return
        num_steps = settings["n_steps"] * self.env.num_envs
        if 1 in (batch_size, num_steps % batch_size):
            raise ValueError(
                f"batch_size is {batch_size}: the {num_steps} steps of an update leave a minibatch "
                "of one step, whose advantage has no spread; allowed is another, or "
                "normalize_advantage False"
            )


class MaskablePPO(_ContribPPO):
    """PPO that is told which tokens are allowed (Huang and Ontanon 2022); the others never leave
    the end token's mask either.

    Use it where the task has a `min_length`.
    """

    algorithm, policy_class = sb3_contrib.MaskablePPO, MaskableLanguageModelPolicy


class RecurrentPPO(_ContribPPO):
    """PPO on minibatches of consecutive steps; see `RecurrentLanguageModelPolicy`.

    Use it to compare with the recurrent policies of sb3-contrib; `ppo` trains the same language
    model.
    """

    algorithm, policy_class = sb3_contrib.RecurrentPPO, RecurrentLanguageModelPolicy


class A2C(_ActorCriticAgent):
    """Advantage actor-critic (Mnih et al. 2016).

    Use it as the simplest of Stable-Baselines3: one step on each batch.
    """

    algorithm, policy_class = sb3.A2C, LanguageModelPolicy

    def defaults(self) -> dict[str, Any]:
        adam = {
            "use_rms_prop": False,
            "learning_rate": 3e-4,
            "value_rate": 10.0,
            "max_grad_norm": 5.0,
        }
        return super().defaults() | adam


class TRPO(_ActorCriticAgent):
    """Trust-region policy optimisation (Schulman et al. 2015).

    Use it where a step must not change the policy by more than is said, whatever the reward's
    scale.
    """

    algorithm, policy_class = sb3_contrib.TRPO, TrustRegionLanguageModelPolicy

    def defaults(self) -> dict[str, Any]:
        return super().defaults() | {
            "batch_size": _default_batch_size(self.env),
            "target_kl": 5e-5,
        }


class _ValueAgent(SB3Agent):
    """The off-policy algorithms: they write by the Boltzmann policy of their action values; see
    `agents.sb3.q_policy`.
    """

    collected = "train_freq"

    def defaults(self) -> dict[str, Any]:
        steps = _num_steps(self.env)
        batch_size = min(256, steps)
        return {
            "train_freq": self.env.task.spec.seq_len,
            "gamma": self.env.discount,
            "buffer_size": steps,
            "learning_starts": 0,
            "batch_size": batch_size,
            "gradient_steps": 4 * steps // batch_size,
            "target_update_interval": steps,
            "exploration_initial_eps": 0.0,
            "exploration_final_eps": 0.0,
            "learning_rate": 5e-5,
            "value_rate": 10.0,
            "temperature": 0.25,
        }

    def update(self) -> dict[str, float]:
        if not self._seen.matches(self.policy.parameters()):  # pre-trained or loaded since
            self._target.load_state_dict(self._online.state_dict())
        metrics = super().update()
        self._seen.take(self.policy.parameters())
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """As of any SB3 agent, and whether the weights are those that the last update left."""
        return super().state_dict() | {"seen": self._seen.matches(self.policy.parameters())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        super().load_state_dict(state)
        if state["seen"]:
            self._seen.take(self.policy.parameters())

    @cached_property
    def _seen(self) -> Snapshot:
        """The weights behind the last update."""
        return Snapshot()

    @property
    @abstractmethod
    def _online(self) -> torch.nn.Module: ...

    @property
    @abstractmethod
    def _target(self) -> torch.nn.Module: ...

    @property
    def policy(self) -> LanguageModel:
        model: LanguageModel = self._online.language_model  # type: ignore[assignment]
        return model

    def _log_interval(self) -> int:
        return self.env.num_envs  # episodes

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        super()._check_settings(settings)
        random_actions = ("exploration_initial_eps", "exploration_final_eps", "learning_starts")
        for name in random_actions:
            if self.env.task.spec.min_length and settings[name] > 0:
                raise ValueError(
                    f"{name} is {settings[name]}; allowed is 0, for the end token is masked and "
                    "SB3's random actions are not"
                )


class DQN(_ValueAgent):
    """Deep Q-learning (Mnih et al. 2015).

    Use it to compare: it follows a fixed signal, and a learned, moving one leads it astray
    (`docs/results.md`).
    """

    algorithm, policy_class = sb3.DQN, LanguageModelDQNPolicy

    @property
    def _online(self) -> torch.nn.Module:
        return self.model.q_net  # type: ignore[attr-defined, no-any-return]

    @property
    def _target(self) -> torch.nn.Module:
        return self.model.q_net_target  # type: ignore[attr-defined, no-any-return]


class QRDQN(_ValueAgent):
    """Quantile-regression DQN (Dabney et al. 2018).

    Use it to compare, as `dqn`.
    """

    algorithm, policy_class = sb3_contrib.QRDQN, LanguageModelQRDQNPolicy

    def defaults(self) -> dict[str, Any]:
        return super().defaults() | {"n_quantiles": 25, "max_grad_norm": 10.0}

    @property
    def _online(self) -> torch.nn.Module:
        return self.model.quantile_net  # type: ignore[attr-defined, no-any-return]

    @property
    def _target(self) -> torch.nn.Module:
        return self.model.quantile_net_target  # type: ignore[attr-defined, no-any-return]


class _MeanReward(BaseCallback):
    """The mean reward per token of a collection."""

    def __init__(self) -> None:
        super().__init__()
        self.total, self.count = 0.0, 0

    def _on_step(self) -> bool:
        rewards = self.locals["rewards"]
        self.total, self.count = self.total + float(rewards.sum()), self.count + len(rewards)
        return True

    @property
    def mean(self) -> float:
        return self.total / max(1, self.count)


class _GlobalStreams:
    """SB3 draws from the global generators of Python, NumPy and torch; inside `with` they are the
    agent's own.

    So an agent's numbers depend on its seed alone, and nobody else's on the agent. Its networks and
    buffers have torch's default number type, which inside is float32.

    Attributes:
        state: of the agent's own streams, while nobody is inside.
    """

    def __init__(self, seed: int) -> None:
        with self._restored():
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
            self.state = _global_state()

    def __enter__(self) -> None:
        self._others, self._number = _global_state(), torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        _set_global_state(self.state)

    def __exit__(self, *exception: object) -> None:
        self.state = _global_state()
        _set_global_state(self._others)
        torch.set_default_dtype(self._number)

    @staticmethod
    @contextmanager
    def _restored() -> Iterator[None]:
        state = _global_state()
        yield
        _set_global_state(state)


def _global_state() -> tuple[Any, Any, Tensor, list[Tensor]]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda  # noqa: NPY002


def _set_global_state(state: tuple[Any, Any, Tensor, list[Tensor]]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(state[2])
    if state[3]:
        torch.cuda.set_rng_state_all(state[3])


def _logger(model: BaseAlgorithm) -> Logger:
    """What SB3's `learn` would set up in every update, but once, and without a temporary directory
    where nothing is written.
    """
    if model.tensorboard_log is not None:
        return configure_logger(
            model.verbose, model.tensorboard_log, type(model).__name__, reset_num_timesteps=True
        )
    return Logger(None, [HumanOutputFormat(sys.stdout)] if model.verbose else [])


def _training_metrics(logged: Mapping[str, Any]) -> dict[str, float]:
    metrics = {}
    for key, value in logged.items():
        if key.startswith("train/"):
            name = key.removeprefix("train/")
            metrics[_METRIC_NAMES.get(name, name)] = (
                -float(value) if name in _NEGATED else float(value)
            )
    return metrics
