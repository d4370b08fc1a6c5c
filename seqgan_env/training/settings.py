"""The settings of a training run: one dataclass, from which the command line, its help and
config.json are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from seqgan_env.checks import check_kinds, check_range, check_seed
from seqgan_env.metrics.catalogue import load_metrics
from seqgan_env.names import choose
from seqgan_env.plugins import (
    accepts,
    check_agent_environment,
    check_agent_options,
    load_knobs,
    options_from_settings,
    takes_policy,
    training_settings,
)
from seqgan_env.registry import DEFAULT_TASK, SOURCES
from seqgan_env.rewards.forms import FORMS
from seqgan_env.tasks import check_settings, infer_task, presets_of, seq_len_of

# What loads torch is imported where it is used: the command line reads the settings before.
if TYPE_CHECKING:
    from seqgan_env.training.adversarial import Schedule

# What a benchmark sets for every job by itself.
DECIDED_BY_THE_HARNESS = ("task", "seed", "threads", "knobs", "control")

_FEWEST_EVALUATIONS = 4  # of a run of few rounds

# What a batch may be; more would be a slip, and would take the memory of any machine.
_MOST = {"batch_size": 2**20, "num_rollouts": 2**20, "num_negatives": 2**24}


# Settings that hold the options of what a user may bring; a task's say more about themselves.
OPTIONS_OF_PLUG_INS = ("agent_options", "policy_options", "discriminator_options")

# Options of agents that are about the LSTM which they make where no policy is given.
OF_THE_LSTM = ("embedding_dim", "hidden_dim")


def _setting(default: Any, text: str, metavar: str | None = None) -> Any:
    return field(default=default, metadata={"help": text, "metavar": metavar})


@dataclass(frozen=True)
class TrainSettings:
    """What `seqgan train` does. The fields' texts are the command line's help."""

    task: str = _setting(
        DEFAULT_TASK,
        "what is written: a name from `seqgan list tasks`, or package.module:Class (default: "
        f"what takes the settings that are given, {DEFAULT_TASK} where it does)",
        "NAME",
    )
    task_options: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "settings of the task, e.g. num_eval=500; those of the tasks of this package "
            "have flags of their own, too",
            "metavar": "KEY=VALUE",
            "flag": "--set-task",
        },
    )
    agent: str = _setting(
        "reinforce", "who writes: a name from `seqgan list agents`, or package.module:Class", "NAME"
    )
    policy: str | None = _setting(
        None,
        "the language model that the agent trains: a name from `seqgan list policies`, or "
        "package.module:Class (default: the agent's own, an LSTM)",
        "NAME",
    )
    policy_options: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "hyperparameters of that policy, e.g. hidden_dim=64",
            "metavar": "KEY=VALUE",
            "flag": "--set-policy",
        },
    )
    reward: str = _setting("rollout", f"reward form: {', '.join(FORMS)}", "FORM")
    source: str = _setting(
        "discriminator",
        f"score source: {', '.join(SOURCES.builtin)}, an installed one, package.module:Name, or a "
        "sum: 'discriminator + 0.5 * bleu'",
        "SOURCE",
    )
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
        None, "knobs of your own beside them: an installed name, or package.module:NAME", "NAME"
    )
    more_metrics: str | None = _setting(
        None,
        "metrics of your own: package.module:NAME, one or a sequence of them, or the name of an "
        "installed one",
        "NAME",
    )
    referee: bool = _setting(
        False,
        "judge final policies by the referee on oracle tasks too; on real data it always does",
    )
    control: bool = _setting(True, "train the same agent under a constant reward too")
    mle_epochs: int = _setting(
        40, "epochs of maximum likelihood before the adversarial phase", "EPOCHS"
    )
    epoch_tokens: int = _setting(
        2_000_000,
        "most tokens of such an epoch, padding counted; a larger corpus takes several epochs to "
        "pass through; 0 takes all",
        "TOKENS",
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
    eval_every: int = _setting(
        20, "rounds between evaluations; a quarter of them where there are fewer", "ROUNDS"
    )
    validate: bool = _setting(
        False, "measure the divergence on validation data, too, wherever the task is evaluated"
    )
    keep_best_round: bool = _setting(
        False,
        "keep the policy of the evaluated round with the least divergence on validation data, "
        "which it measures as --validate does; round 0 is one of them (no: the last round, as the "
        "paper)",
    )
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
        check_kinds(TrainSettings, vars(self))
        check_seed(self.seed)
        check_range("threads", self.threads, 0, 1_024)
        for name, most in _MOST.items():
            check_range(name, getattr(self, name), 1, most)
        of_task = check_settings(self.task, self.task_options)
        choose(FORMS, self.reward, "reward form")
        from seqgan_env.discriminators.loading import load_discriminator
        from seqgan_env.rewards.sources import check_source

        check_source(self.source)
        load_discriminator(self.discriminator)
        load_knobs(self.more_knobs)
        load_metrics(self.more_metrics)
        self._check_policy()
        self._check_options()
        seq_len = seq_len_of(self.task, of_task)
        check_agent_environment(self.agent, self.agent_options, self.batch_size, seq_len)
        from seqgan_env.building import check_device

        check_device(self.device)
        for name in ("eval_every", "mle_epochs"):
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
            "epoch_tokens",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is 0 or more")

    def _check_policy(self) -> None:
        if self.policy is None:
            if self.policy_options:
                raise ValueError(
                    f"policy_options {', '.join(self.policy_options)} were given without a policy; "
                    "name one, or give the agent's own the agent's options"
                )
            return
        from seqgan_env.generators.policies import load_policy

        load_policy(self.policy)
        if not takes_policy(self.agent):
            raise ValueError(
                f"policy {self.policy!r} was given; agent {self.agent!r} takes none, it writes by "
                "one of its own"
            )
        for name in OF_THE_LSTM:
            if name in self.agent_options:
                raise ValueError(
                    f"agent option {name} is about the agent's own LSTM; with policy "
                    f"{self.policy!r} set the policy's options"
                )

    def _check_options(self) -> None:
        """Raises a ValueError for an option that cannot be, before data is read or a job begun."""
        from seqgan_env.discriminators.loading import check_discriminator_options
        from seqgan_env.generators.policies import check_policy_options

        check_agent_options(self.agent, self.agent_options)
        check_discriminator_options(self.discriminator, self.discriminator_options)
        if self.policy is not None:
            check_policy_options(self.policy, self.policy_options)

    @property
    def measures_validation(self) -> bool:
        """Whether the divergence on validation data is measured by round."""
        return self.validate or self.keep_best_round

    def schedule(self) -> Schedule:
        """The counts of Algorithm 1."""
        from seqgan_env.training.adversarial import Schedule

        chosen: dict[str, Any] = {}
        for each in fields(Schedule):
            if hasattr(self, each.name):  # a schedule has counts that are no settings
                chosen[each.name] = getattr(self, each.name)
        if self.eval_every > self.rounds:  # a curve has more points than its ends
            chosen["eval_every"] = max(1, self.rounds // _FEWEST_EVALUATIONS)
        return Schedule(**chosen)


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


_NAMES = [each.name for each in fields(TrainSettings)]


def settings_from(preset: str, changes: Mapping[str, Any]) -> TrainSettings:
    """The settings of a preset, then what the task and the agent's class ask for, then `changes`.

    Options are merged key by key; of a preset's agent options, an agent gets those that it takes,
    and a policy that is named gets those that are about the LSTM in whose place it stands. A task
    that is not named is inferred from its settings.

    Args:
        preset: name.
        changes: settings of a run, and settings of its task, by their own names or in
            `task_options`.

    Raises:
        ValueError: a setting that cannot be, or that the task does not take.
    """
    changes = with_task(preset, changes)
    base = dict(PRESETS[preset])
    base |= presets_of(changes["task"]).get(preset, {})
    agent = changes.get("agent", TrainSettings.agent)
    own = training_settings(agent)
    following = options_from_settings(agent)
    for name in (*own, *following.values()):
        choose(_NAMES, name, f"setting that agent {agent} asks for")

    # Options of the preset's LSTM are the policy's where one is named.
    of_preset = dict(base.get("agent_options", {}))
    policy = changes.get("policy")
    if policy is not None:
        of_lstm = {}
        for key in OF_THE_LSTM:
            if key in of_preset:
                of_lstm[key] = of_preset.pop(key)
        changes = {**changes, "policy_options": _policy_options(policy, of_lstm, changes)}

    # A preset is for all agents: what this one does not take is not meant for it. Its own defaults
    # stand above the preset's, and what was given above both.
    options = {}
    for key, value in of_preset.items():
        if accepts(agent, key):
            options[key] = value
    options |= own.get("agent_options", {}) | changes.get("agent_options", {})
    of_task = base.get("task_options", {}) | changes["task_options"]
    merged = {**base, **own, **changes, "agent_options": options, "task_options": of_task}
    for kind in ("discriminator", "policy"):
        merged[f"{kind}_options"] = options_of(kind, base, own, changes)
    settings = replace(TrainSettings(), **merged)

    # Some options are settings of the run unless they are given.
    followed = {option: getattr(settings, name) for option, name in following.items()}
    return replace(settings, agent_options=followed | options)


def options_of(kind: str, *groups: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the discriminator or the policy, merged key by key.

    Where a group names another discriminator or policy, the options of earlier groups are dropped:
    they were not about that one.

    Args:
        kind: "discriminator" or "policy".
        groups: settings of a run, `preset` among them, in the order in which they override each
            other.
    """
    so_far, owner, options = dict[str, Any](), None, dict[str, Any]()
    for group in groups:
        so_far |= group
        preset = PRESETS.get(so_far.get("preset", ""), {})
        named = so_far.get(kind, preset.get(kind, getattr(TrainSettings, kind)))
        if named != owner:
            owner, options = named, {}
        options |= group.get(f"{kind}_options", {})
    return options


def options_under(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of plug-ins, of `settings` with those `given` over them, key by key.

    Those of a discriminator, a policy or an LSTM in whose place another one is given are dropped.
    """
    of_agent = dict(settings.get("agent_options", {}))
    if given.get("policy") and "policy" not in settings:
        for name in OF_THE_LSTM:
            of_agent.pop(name, None)
    return {
        "agent_options": of_agent | given.get("agent_options", {}),
        "policy_options": options_of("policy", settings, given),
        "discriminator_options": options_of("discriminator", settings, given),
    }


def settings_of_task(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some settings that are a task's: the options of it, and what is no setting of a run.

    Raises:
        ValueError: one is given both ways.
    """
    short = {}
    for name, value in changes.items():
        if name not in _NAMES:
            short[name] = value
    options = dict(changes.get("task_options", {}))
    for name in short.keys() & options.keys():
        raise ValueError(f"{name} is given twice, once among the task's options")
    return short | options


def with_task(preset: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run alone: `task` is there, and its settings are in `task_options`.

    Args:
        preset: name; it may have a task.
        changes: as of `settings_from`.

    Raises:
        ValueError: there is no such preset or task, or the task does not take a setting.
    """
    of_preset = PRESETS[choose(PRESETS, preset, "preset")]
    of_task = settings_of_task(changes)
    task = changes.get("task") or of_preset.get("task") or infer_task(of_task)
    check_settings(task, of_task)
    of_run = {}
    for name, value in changes.items():
        if name in _NAMES:
            of_run[name] = value
    return of_run | {"task": task, "task_options": of_task}


def _policy_options(
    policy: str, of_lstm: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of a policy: a preset's of the LSTM where it takes them, under those given."""
    from seqgan_env.generators.policies import policy_option_names

    allowed = policy_option_names(policy)
    taken = {}
    for name, value in of_lstm.items():
        if allowed is None or name in allowed:
            taken[name] = value
    given: dict[str, Any] = changes.get("policy_options", {})
    return taken | given
