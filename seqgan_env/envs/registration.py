"""The one place where the settings of an environment become objects."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from seqgan_env.building import check_device, undisturbed
from seqgan_env.checks import check_seed
from seqgan_env.discriminators.base import Discriminator
from seqgan_env.discriminators.loading import load_discriminator, make_discriminator
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.face import check_rewards
from seqgan_env.envs.online import OnlineRewardModel, OnlineSettings
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.names import allowed, choose
from seqgan_env.registry import DEFAULT_TASK
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.rewards.sources import DISCRIMINATOR, is_control, names_in
from seqgan_env.tasks import load_task, make_task, setting_names
from seqgan_env.types import RolloutPolicy, Task

DEFAULT_DISCRIMINATOR = "small"

# An environment takes all its settings as keyword arguments; their names tell whose each is.
_REWARD_SETTINGS = [field.name for field in fields(RewardSettings)]
_MODEL_SETTINGS = [
    "policy",
    "discriminator",
    "discriminator_options",
    "d_batch_size",
    "model_seed",
    "device",
]
_ONLINE_SETTINGS = ["rollout_policy", *(field.name for field in fields(OnlineSettings))]
_FACE_SETTINGS = [
    "render_mode",
    "episode_statistics",
    "online",
    "observation",
    "observation_window",
    "autoreset_mode",
]


@undisturbed()
def build_rewards(
    task: Task,
    settings: RewardSettings = RewardSettings(),
    policy: RolloutPolicy | None = None,
    discriminator: Discriminator | str | None = None,
    discriminator_options: Mapping[str, Any] | None = None,
    model_seed: int = 0,
    device: str = "cpu",
    d_batch_size: int | None = None,
) -> RewardModel:
    """A reward model of a task.

    A policy or a discriminator that is not given is a new one, seeded by `model_seed`.

    Examples:
        >>> from seqgan_env import TokenVectorEnv, make_task
        >>> task = make_task("oracle-tiny", num_real=100)
        >>> rewards = build_rewards(task, RewardSettings(source="oracle", reward="terminal"))
        >>> envs = TokenVectorEnv(4, rewards)
        >>> _ = envs.reset(seed=0)
        >>> envs.play(task.real_sequences[:4]).shape  # what each token of four sequences is paid
        torch.Size([4, 10])

    Args:
        task: what is written.
        settings: source and form.
        policy: the live policy.
        discriminator: for source "discriminator": an object, or the name of a new one, an installed
            one's or `package.module:Class`; "small" if not given.
        discriminator_options: of a new discriminator's class.
        model_seed: of new models.
        device: of new models.
        d_batch_size: sequences in a step of a new discriminator's training; by default its own. The
            same as its option `batch_size`.

    Raises:
        ValueError: there is no such discriminator or device, or a discriminator does not take an
            option.
    """
    check_seed(model_seed, "model_seed")
    check_device(device)
    # On the CPU, so that new models are the same on every device. The policy draws first.
    rng = torch.Generator(device="cpu").manual_seed(model_seed)
    policy = policy or LSTMLanguageModel.initialised(task.spec, rng).to(device)
    options = dict(discriminator_options or {})
    if d_batch_size is not None:
        options["batch_size"] = d_batch_size
    if isinstance(discriminator, Discriminator):
        if options:
            raise ValueError(
                f"{', '.join(options)} was given for a discriminator that is made already"
            )
        return RewardModel(task, settings, policy, discriminator)
    name = discriminator or DEFAULT_DISCRIMINATOR
    load_discriminator(name)  # a name that is none is told where no discriminator is used, too
    if DISCRIMINATOR not in names_in(settings.source):
        return RewardModel(task, settings, policy)
    made = make_discriminator(name, task.spec, rng, options, settings.score_as).to(device)
    return RewardModel(task, settings, policy, made)


@undisturbed()
def rewards_from(task: str, settings: dict[str, Any], online: bool | None = None) -> RewardModel:
    """The reward model that the keyword arguments of an environment describe.

    Args:
        task: name of the task.
        settings: settings of the task, of `RewardSettings`, of `build_rewards` and of
            `OnlineSettings`, and `rollout_policy`.
        online: whether it learns from the episodes written under it; by default if no policy or
            discriminator is shared in, which somebody else would train.

    Raises:
        TypeError: an unknown keyword; with the nearest valid one.
        ValueError: a setting that cannot be.
    """
    groups = (setting_names(task), _REWARD_SETTINGS, _MODEL_SETTINGS, _ONLINE_SETTINGS)
    valid = list(chain.from_iterable(groups))
    for key in settings:
        if key not in valid:  # in Python's words, for which libraries look that probe with one
            raise TypeError(
                f"an environment of task {task} got an unexpected keyword argument {key!r}; "
                f"{allowed([*valid, *_FACE_SETTINGS], key)}"
            )
    of_task, reward, models, schedule = [_pick(settings, group) for group in groups]
    # Checked first: an unknown device should not cost the reading of the task's data.
    device = models.get("device", "cpu")
    check_device(device)
    made = make_task(task, **of_task).to(device)
    rewards = build_rewards(made, RewardSettings(**reward), **models)
    policy_given = models.get("policy") is not None
    if online is None:
        # Whoever shares a model trains it, and a control must not learn.
        shared = policy_given or isinstance(models.get("discriminator"), Discriminator)
        online = not shared and not is_control(rewards.settings.source)
    if online:
        return _learning_online(rewards, policy_given, **schedule)
    if schedule:
        raise ValueError(
            f"{', '.join(schedule)} is about online learning, which is off here; make the env with "
            "online=True"
        )
    return rewards


def _pick(settings: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those of the settings that have one of the names."""
    picked = {}
    for key, value in settings.items():
        if key in names:
            picked[key] = value
    return picked


def _learning_online(
    rewards: RewardModel, policy_given: bool, rollout_policy: str | None = None, **schedule: Any
) -> OnlineRewardModel:
    """The same models, learning online.

    A policy that is given is rolled out as it is ("live"), else one is fitted ("clone").
    """
    # Whether a policy is given leaves one choice; the setting can only agree with it.
    if policy_given:
        fitting, needed = "live", "fits a policy of its own; leave out policy"
    else:
        fitting, needed = "clone", "rolls out the policy you give; none was given"
    if choose(("clone", "live"), rollout_policy or fitting, "rollout_policy") != fitting:
        raise ValueError(f"rollout_policy {rollout_policy!r} {needed}")
    settings = OnlineSettings(**schedule)
    return OnlineRewardModel(
        rewards.task,
        rewards.settings,
        rewards.policy,
        rewards.discriminator,
        settings,
        fit_policy=not policy_given,
    )


def make_env(
    task: str | None,
    rewards: RewardModel | None = None,
    render_mode: str | None = None,
    episode_statistics: bool = True,
    online: bool | None = None,
    observation: str = "tokens",
    observation_window: int | None = None,
    **settings: Any,
) -> TokenEnv:
    """A single environment, from a reward model to share or from settings of a task and a reward.

    Examples:
        >>> import gymnasium as gym
        >>> import seqgan_env  # importing registers the ids
        >>> env = gym.make("SeqGAN/Oracle-v0", source="oracle", reward="difference", seq_len=5)
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(7)
        >>> observation  # 50 means "not written yet"
        array([ 7, 50, 50, 50, 50], dtype=int32)
        >>> env.unwrapped.discount
        1.0

    Entry point of every id. Without a task it is that of the rewards, or the default one.
    """
    return TokenEnv(
        _shared_or_new(task, rewards, settings, online),
        render_mode,
        episode_statistics,
        online is not False,
        observation,
        observation_window,
    )


def make_vector_env(
    task: str | None,
    num_envs: int = 1,
    rewards: RewardModel | None = None,
    render_mode: str | None = None,
    episode_statistics: bool = True,
    online: bool | None = None,
    observation: str = "tokens",
    observation_window: int | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    **settings: Any,
) -> TokenVectorEnv:
    """A vector environment of `num_envs` sequences, made of the settings that `make_env` takes.

    Vector entry point of every id. It steps all sequences at once.
    """
    return TokenVectorEnv(
        num_envs,
        _shared_or_new(task, rewards, settings, online),
        render_mode,
        online is not False,
        autoreset_mode,
        observation,
        observation_window,
        episode_statistics,
    )


def _shared_or_new(
    task: str | None, rewards: RewardModel | None, settings: dict[str, Any], online: bool | None
) -> RewardModel:
    """The rewards that were given, or new ones made of the settings.

    Raises:
        ValueError: rewards were given together with what contradicts them.
    """
    if rewards is None:
        return rewards_from(task or DEFAULT_TASK, settings, online)
    check_rewards(rewards)
    if task is not None:
        _check_task(task, rewards)
    if settings:
        raise ValueError(
            f"rewards were given together with {', '.join(settings)}; a shared reward model has "
            "its own settings"
        )
    if online and not isinstance(rewards, OnlineRewardModel):
        raise ValueError(
            "online=True was given together with rewards that are driven from outside; share an "
            "OnlineRewardModel"
        )
    return rewards


def _check_task(task: str, rewards: RewardModel) -> None:
    """Raises a ValueError if rewards that are shared in are of another kind of task."""
    cls = load_task(task)
    # A task may be a function that makes one; of what class is not known before it is called.
    if inspect.isclass(cls) and not isinstance(rewards.task, cls):
        raise ValueError(
            f"rewards of task {rewards.task.name!r} were given to an environment of task {task!r}; "
            "share rewards of that task, or make a SeqGAN/Task-v0, which takes any"
        )
