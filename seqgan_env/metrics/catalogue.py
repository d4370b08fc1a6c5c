"""Every metric once: how it is called, in what unit, and which way is good.

The command line, the pictures, the tables and the report read it here. A metric of the user's own
is an object with a `name` that is called with samples and a task (`MeasuresMore`). Among the
metrics of a run its name has the prefix `MORE`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from seqgan_env import registry
from seqgan_env.types import Task

if TYPE_CHECKING:
    from torch import Tensor

LOW, EITHER, HIGH = -1, 0, 1  # which way is good
NATS, SHARE = "nats per token", "share of ln 2"
MORE = "more/"

_ARROWS = {LOW: " ↓", EITHER: "", HIGH: " ↑"}


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: under which a task gives it.
        label: in a table.
        good: `LOW`, `HIGH` or `EITHER`.
        axis: along a run's picture, with the unit; "" if it is in none.
        chart: along a chart of a report, with the unit; "" if it is in none.
        title: of its column in a report; "" for its name.
        digits: behind the point in the table of a run.
        digits_in_report: behind the point there.
        in_table: whether the table of a run has it.
        shown_live: under which name a running job tells it; "" if it does not.
    """

    name: str
    label: str
    good: int = EITHER
    axis: str = ""
    chart: str = ""
    title: str = ""
    digits: int = 3
    digits_in_report: int = 3
    in_table: bool = True
    shown_live: str = ""

    @property
    def row(self) -> str:
        """The label with an arrow towards what is good."""
        return self.label + _ARROWS[self.good]


# In the order of the table of a run.
_METRICS = (
    Metric("score", "score", HIGH, chart=f"score, {NATS}", digits=4, shown_live="task/score"),
    Metric("score_reverse", "  in KL(G||O) alone", HIGH, digits=4),
    Metric("score_forward", "  in KL(O||G) alone", HIGH, digits=4),
    Metric(
        "referee_score", "referee's score", HIGH, chart=f"score by the referee, {SHARE}", digits=4
    ),
    Metric(
        "kl_mean",
        "mean of both KLs",
        LOW,
        axis=f"mean of both KL divergences ({NATS})",
        digits=4,
        shown_live="kl_mean",
    ),
    Metric(
        "kl_reverse",
        "KL(G||O)",
        LOW,
        axis=f"KL(G||O) ({NATS})",
        chart=f"KL(G‖O), {NATS} (low is good)",
    ),
    Metric(
        "kl_forward",
        "KL(O||G)",
        LOW,
        axis=f"KL(O||G) ({NATS})",
        chart=f"KL(O‖G), {NATS} (low is good)",
    ),
    Metric("js", "JS / ln 2", LOW),
    Metric("tv", "total variation", LOW),
    Metric("precision", "precision", HIGH),
    Metric("recall", "recall", HIGH),
    Metric("referee_js", "referee's JS / ln 2", LOW, axis=f"JS divergence, lower bound ({SHARE})"),
    Metric(
        "nll_oracle",
        "nll_oracle",
        axis=f"nll_oracle ({NATS})",
        chart=f"nll_oracle, {NATS} (low is good)",
        shown_live="task/nll_oracle",
    ),
    Metric(
        "nll_gen",
        "nll_gen",
        LOW,
        axis=f"nll_gen on held-out data ({NATS})",
        chart=f"nll_gen, {NATS} (low is diverse)",
        shown_live="task/nll_gen",
    ),
    Metric("entropy", "entropy"),
    Metric("perplexity_heldout", "perplexity", LOW),
    Metric("bleu2", "BLEU-2"),
    Metric("bleu3", "BLEU-3"),
    Metric(
        "bleu4",
        "BLEU-4",
        axis="BLEU-4 against held-out data",
        chart="BLEU-4, 0 to 1 (high is good)",
    ),
    Metric("bleu5", "BLEU-5"),
    Metric(
        "self_bleu4",
        "Self-BLEU-4",
        LOW,
        axis="Self-BLEU-4",
        chart="Self-BLEU-4, 0 to 1 (low is diverse)",
    ),
    Metric("distinct2", "distinct-2", HIGH),
    Metric("perplexity_samples", "perplexity of samples"),
    Metric("perplexity_reverse", "reverse perplexity", LOW),
    Metric("copied_share", "copied from training"),
    Metric("length_ks", "length distance (KS)", LOW),
    Metric("mse", "mean squared error", LOW),
    Metric("pitch_class_divergence", "pitch-class divergence", LOW),
    Metric("interval_divergence", "interval divergence", LOW),
    Metric("validity", "valid", HIGH, title="valid"),
    Metric("uniqueness", "unique among valid", HIGH),
    Metric("novelty", "novel among unique", HIGH),
    Metric("internal_diversity", "internal diversity", HIGH),
    Metric("scaffolds", "scaffolds", HIGH, digits=0, digits_in_report=0),
    Metric("kl_score", "KL score (GuacaMol)", HIGH),
    Metric("qed_mean", "mean QED"),
    Metric("wasserstein_qed", "Wasserstein, QED", LOW),
    Metric("wasserstein_logp", "Wasserstein, log P", LOW),
    Metric("wasserstein_sa", "Wasserstein, SA", LOW),
    Metric("wasserstein_weight", "Wasserstein, weight", LOW, digits=1),
    Metric("effective_vocabulary", "eff. vocab.", title="effective vocabulary", digits_in_report=1),
    Metric(
        "discriminator/accuracy_real_heldout",
        "accuracy on held-out real data",
        chart="accuracy, share of held-out real",
        in_table=False,
    ),
    Metric(
        "discriminator/accuracy_generated_heldout",
        "accuracy on generated data",
        chart="accuracy, share of generated",
        in_table=False,
    ),
    Metric(
        "discriminator/log_ratio_correlation",
        "correlation with the true log-ratio",
        chart="correlation, -1 to 1",
        in_table=False,
    ),
    # These stand in no table of a run; `seqgan evaluate` shows them.
    Metric("self_bleu2", "Self-BLEU-2", LOW, in_table=False),
    Metric("self_bleu3", "Self-BLEU-3", LOW, in_table=False),
    Metric("self_bleu5", "Self-BLEU-5", LOW, in_table=False),
    Metric("distinct1", "distinct-1", HIGH, in_table=False),
    Metric("distinct3", "distinct-3", HIGH, in_table=False),
    Metric("mean_length", "mean length", in_table=False),
    Metric("length_p", "its p-value", in_table=False),
    Metric("unique_tokens", "different tokens", in_table=False),
    Metric("unique_share", "different samples", HIGH, in_table=False),
    Metric("sa_mean", "mean SA", in_table=False),
    Metric("logp_mean", "mean log P", in_table=False),
    # By these settings are chosen (`seqgan_env.metrics.validation`); nothing is reported by them.
    Metric("validation/kl_mean", "mean of both KLs, validation", LOW, digits=4, in_table=False),
    Metric("validation/kl_reverse", "KL(G||O), validation", LOW, in_table=False),
    Metric("validation/kl_forward", "KL(O||G), validation", LOW, in_table=False),
    Metric("validation/referee_js", "JS / ln 2 by n-grams, validation", LOW, in_table=False),
)
METRICS = {metric.name: metric for metric in _METRICS}
TABLE = [metric for metric in _METRICS if metric.in_table]
HEALTH = [metric for metric in _METRICS if metric.name.startswith("discriminator/")]


def metric_named(name: str) -> Metric:
    """A metric of the catalogue; one labelled by its name where that is not there, such as one of
    the user's own.
    """
    return METRICS.get(name) or Metric(name, name.removeprefix(MORE))


@dataclass(frozen=True)
class Plane:
    """Two metrics between which knobs trade.

    Attributes:
        x: a metric; low is good.
        y: a metric.
        title: of the picture.
    """

    x: str
    y: str
    title: str

    def holds(self, metrics: Mapping[str, float]) -> bool:
        """Whether a policy with these metrics has a finite place in the plane."""
        x, y = metrics.get(self.x, math.nan), metrics.get(self.y, math.nan)
        return math.isfinite(x) and math.isfinite(y)


@dataclass(frozen=True)
class Family:
    """The metrics of tasks of one kind.

    Attributes:
        quality: the one that is usually reported.
        quality_high_is_good: whether it should be high.
        diversity: what it is bought with; the lower, the more diverse.
        by_round: drawn by round, where a run has the first of them.
        planes: in which knobs trade.
        divergences: how far a policy is from the truth, the ranking one first.
        beside: what stands beside the score in a report.
    """

    quality: Metric
    quality_high_is_good: bool
    diversity: Metric
    by_round: tuple[str, ...]
    planes: tuple[Plane, ...]
    divergences: tuple[str, ...]
    beside: tuple[str, ...]


_DIVERGENCES = ("kl_mean", "kl_reverse", "kl_forward", "js")
OF_ORACLES = Family(
    METRICS["nll_oracle"],
    False,
    METRICS["nll_gen"],
    ("kl_mean", "nll_oracle", "nll_gen"),
    (
        Plane("kl_forward", "kl_reverse", "Both divergences: towards the lower left is better"),
        Plane("nll_gen", "nll_oracle", "Likelihoods: a mixture wins here, so nothing is ranked"),
    ),
    _DIVERGENCES,
    (*_DIVERGENCES, "nll_oracle", "nll_gen", "effective_vocabulary"),
)
OF_REAL_DATA = Family(
    METRICS["bleu4"],
    True,
    METRICS["self_bleu4"],
    ("bleu4", "self_bleu4", "nll_gen"),
    (Plane("self_bleu4", "bleu4", "Quality against variety: nothing is ranked here"),),
    ("referee_js",),
    ("referee_js", "bleu4", "self_bleu4", "nll_gen", "effective_vocabulary"),
)
# Of oracle tasks where the referee judges policies without likelihoods.
JUDGED_BESIDE = ("referee_js", "js", "nll_oracle", "effective_vocabulary")
FAMILIES = (OF_ORACLES, OF_REAL_DATA)


@runtime_checkable
class MeasuresMore(Protocol):
    """A metric of the user's own.

    It may have a `label` and a direction `good` (`LOW`, `EITHER` or `HIGH`) too.
    """

    name: str

    def __call__(self, samples: Tensor, task: Task) -> float:
        """The metric of finished sequences (B, T) of a task."""
        ...


def load_metrics(name: str | None) -> list[MeasuresMore]:
    """The metrics that a name or `package.module:NAME` is, one or a sequence of them; none for
    None.

    Raises:
        ValueError: there is no such object, it is no metric, or two have one name.
    """
    if name is None:
        return []
    metrics = registry.METRICS.load_several(name)
    for metric in metrics:
        if not isinstance(metric, MeasuresMore):
            raise ValueError(
                f"metric {name!r} is {metric!r}; a metric has a name and is called with samples "
                "and a task"
            )
    names = [metric.name for metric in metrics]
    for one in names:
        if names.count(one) > 1:  # one would overwrite the other in the metrics of a run
            raise ValueError(f"metric {name!r} holds two metrics with the name {one!r}")
    return metrics


def described(metric: MeasuresMore) -> Metric:
    """How a metric of the user's own stands in tables."""
    label = getattr(metric, "label", metric.name)
    return Metric(MORE + metric.name, label, getattr(metric, "good", EITHER))


def measure_more(metrics: Sequence[MeasuresMore], samples: Tensor, task: Task) -> dict[str, float]:
    """The value of each of the user's metrics, under its name with the prefix `MORE`.

    Raises:
        ValueError: one gives no number.
    """
    found = {}
    for metric in metrics:
        value: Any = metric(samples, task)
        try:
            found[MORE + metric.name] = float(value)
        except (TypeError, ValueError) as problem:
            raise ValueError(f"metric {metric.name} gave {value!r}; expected a number") from problem
    return found


def more_of(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """The names of the user's metrics among those of some runs, in alphabetical order."""
    names: set[str] = set()
    names.update(*rows)
    return sorted(name for name in names if name.startswith(MORE))
