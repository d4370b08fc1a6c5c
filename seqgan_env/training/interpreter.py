"""What the numbers of a run say, in plain words: what happened, why it probably did, and what to
try next.

Every case is a rule: a condition on the numbers alone, with the reason for its threshold, and two
sentences. An outcome says what happened; the first that holds is told. A cause says why; the first
that holds is told, and where none does it is said that the numbers do not show one. A cause is
what usually lies behind such numbers, never a proof.
"""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqgan_env.files import MIB, naming, read_text
from seqgan_env.metrics.catalogue import METRICS, MORE
from seqgan_env.metrics.score import RANKING, REFEREED, Score
from seqgan_env.training import run_directory
from seqgan_env.training.repetition import command_over_seeds, time_over_seeds
from seqgan_env.trust import PATHS, names_of_code

# A difference of two measured numbers counts from two standard errors: by chance alone one in
# twenty is larger.
ERRORS = 2.0
# A loss on the training data so far below what held-out data allows is memory. By the inequality
# of Hellman and Raviv nobody who is right in a share a of balanced cases has a cross-entropy below
# 2 (1 - a) ln 2; the margin is for a loss that is measured while it falls.
MEMORY_MARGIN = 0.05
# A discriminator that is right so often, on data that it has never seen, has a probability near 0
# for whatever the policy writes, so that all rewards are alike.
SATURATED_ACCURACY = 0.98
# Advantages that differ by less are rounding, in single precision.
CONSTANT_STD = 1e-6
# The mean of a reward between 0 and 1 that is so low says "bad" to everything.
FLOOR = 0.01
# A policy that gives up a quarter of the words that it used has changed what it writes, not how.
LOST_VOCABULARY = 0.25
# The share of the rounds, or epochs, at the end over which a trend is asked for.
TAIL = 0.25
# The share of the rounds at each end whose mean reward is taken: one round alone is noise.
ENDS = 0.1
# The weight that is advised for a source of the user's own beside the discriminator.
SMALL_WEIGHT = 0.1
# A fall of the validation likelihood over the last quarter of the epochs that is worth more epochs:
# the scores of agents on the small oracle tasks are of this size.
MLE_GAIN = 0.005  # nats per token
# A validation curve whose lowest point lies in the first half, and that rises by more than this
# behind it, has had more passes over the data than the data bears.
OVERFIT_SHARE, OVERFIT_RISE = 0.5, 0.01  # of the epochs; nats per token

MOST_BYTES_OF_METRICS = 256 * MIB

Row = Mapping[str, float]


@dataclass(frozen=True)
class Evidence:
    """The numbers of a run.

    Attributes:
        metrics: by policy (`mle`, `best_knob`, `agent`, `constant`) its metrics and scores, as
            `result.json` has them; empty of a run that has no result.
        rows: of `metrics.csv`: one an MLE epoch (`phase` 0) and a round (`phase` 1).
        best_knob: name of the best knob; None where none was measured.
        score_error: standard error of the agent's score over draws; None where it has none.
        settings: of the run, as far as they are known.
        path: of the run directory, for the commands that are advised; "" of one in no folder.
        diverged: the message of a divergence that ended the run; "" otherwise.
        last_line: of the log of a run without a result.
        interrupted: whether the run was ended early.
        num_knobs: how many knobs were measured; None where it is not known.
        seconds: by phase of the run, as far as they are known.
        kept_round: the round whose policy is the agent's; None where it is the last one's.
        has_checkpoint: whether its folder has one, from which it goes on.
    """

    metrics: Mapping[str, Row] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    best_knob: str | None = None
    score_error: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""
    diverged: str = ""
    last_line: str = ""
    interrupted: bool = False
    num_knobs: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    kept_round: int | None = None
    has_checkpoint: bool = False

    @property
    def knows_the_truth(self) -> bool:
        """Whether the truth is known exactly, as on oracle tasks; real data leaves it unknown."""
        return any(RANKING.divergence in metrics for metrics in self.metrics.values())

    @property
    def is_control(self) -> bool:
        """Whether the reward says nothing about a sequence, on purpose."""
        from seqgan_env.rewards.sources import is_control  # loads torch

        source = self.settings.get("source")
        return isinstance(source, str) and is_control(source)

    @property
    def terms(self) -> list[tuple[float, str]]:
        """Weights and names of the sources; none where the settings name none that can be read."""
        from seqgan_env.rewards.sources import read_source  # loads torch

        source = self.settings.get("source")
        if not isinstance(source, str):
            return []
        return list(read_source(source).terms)

    @property
    def pays_a_probability(self) -> bool:
        """Whether the reward is a probability, as far as the settings do not say otherwise."""
        from seqgan_env.rewards.sources import LOGITS  # loads torch

        names = [name for _, name in self.terms]
        return self.settings.get("score_as") != "logit" and any(name in names for name in LOGITS)

    @property
    def has_discriminator(self) -> bool:
        """Whether a discriminator takes part in the reward."""
        from seqgan_env.rewards.sources import DISCRIMINATOR  # loads torch

        return DISCRIMINATOR in [name for _, name in self.terms]

    @property
    def own_terms(self) -> list[tuple[float, str]]:
        """Those that pay for something else than likeness to the data."""
        from seqgan_env.rewards.sources import CONTROLS, LOGITS  # loads torch

        others = (*CONTROLS, *LOGITS)
        return [(weight, name) for weight, name in self.terms if name not in others]

    @property
    def score(self) -> tuple[Score, float] | None:
        """The score that ranks the agent: the exact one, or the referee's."""
        agent = self.metrics.get("agent", {})
        for score in _RANKING:
            if score.name in agent:
                return score, agent[score.name]
        return None

    @property
    def epochs(self) -> list[float]:
        """nll_validation by MLE epoch; empty where the policy has no likelihood."""
        values = []
        for row in self.rows:
            if "nll_validation" in row:
                values.append(row["nll_validation"])
        if not all(map(math.isfinite, values)):
            return []
        return values

    def by_round(self, *names: str) -> list[tuple[float, ...]]:
        """Round and these metrics, of the rounds that have all of them as finite numbers."""
        found = []
        for row in self.rows:
            values = tuple([row.get(name, math.nan) for name in ("round", *names)])
            if all(map(math.isfinite, values)):
                found.append(values)
        return found

    def of(self, policy: str, metric: str) -> float:
        """A metric of a policy; not a number where there is none."""
        return self.metrics.get(policy, {}).get(metric, math.nan)


@dataclass(frozen=True)
class Finding:
    """A rule that holds.

    Attributes:
        rule: its name.
        says: a sentence with its figures.
        advice: a sentence on what to try next.
    """

    rule: str
    says: str
    advice: str


@dataclass(frozen=True)
class Explanation:
    """Three sentences on a run.

    Attributes:
        outcome: what happened.
        cause: why it probably did; None where no rule holds.
    """

    outcome: Finding
    cause: Finding | None

    @property
    def sentences(self) -> list[str]:
        """What happened, why it probably did, what to try next."""
        if self.outcome.rule in _SPEAK_FOR_THEMSELVES:
            return [self.outcome.says, self.outcome.advice]
        if self.cause is None and self.outcome.rule == "unscored":
            return [self.outcome.says, self.outcome.advice]
        if self.cause is None:
            return [self.outcome.says, NO_CAUSE, self.outcome.advice]
        return [self.outcome.says, self.cause.says, self.cause.advice]


def explain(evidence: Evidence) -> Explanation:
    """What the numbers of a run say."""
    outcome = _first(OUTCOMES, evidence)
    assert outcome is not None
    if outcome.rule == "unscored":
        return Explanation(outcome, _first(WITHOUT_A_SCORE, evidence))
    if outcome.rule not in ("better", "as_well", "worse"):
        return Explanation(outcome, None)
    return Explanation(outcome, cause_of(evidence, outcome.rule == "better"))


def cause_of(evidence: Evidence, gained: bool) -> Finding | None:
    """The first cause that holds, of a gain or of the lack of one; None where none does."""
    return _first(OF_A_GAIN if gained else OF_NO_GAIN, evidence)


def _first(rules: Sequence[Rule], evidence: Evidence) -> Finding | None:
    return next((found for rule in rules if (found := rule(evidence))), None)


def read_evidence(path: Path) -> Evidence:
    """The numbers in a run directory, finished or not.

    Raises:
        ValueError: it is no run directory, or a file is damaged.
    """
    config = run_directory.read_json(path / run_directory.CONFIG)
    settings = config.get("settings")
    if not isinstance(settings, Mapping):
        raise ValueError(f"{path / run_directory.CONFIG} is not the configuration of a run")
    result, rows, num_knobs = {}, list[Row](), None
    if (path / run_directory.RESULT).exists():
        result = run_directory.read_json(path / run_directory.RESULT)
        num_knobs = 0
    if (path / run_directory.KNOBS).exists():
        with naming(path / run_directory.KNOBS):
            num_knobs = len(_read_table(path / run_directory.KNOBS))
    if (path / run_directory.METRICS).exists():
        rows = read_rows(path / run_directory.METRICS)
    diverged, log = "", ""
    if (path / run_directory.DIVERGED).exists() and not result:
        diverged = read_text(path / run_directory.DIVERGED, "the reason of a divergence", MIB)
    if (path / run_directory.LOG).exists():
        log = read_text(
            path / run_directory.LOG, str(path / run_directory.LOG), MOST_BYTES_OF_METRICS
        )
    with naming(path / run_directory.RESULT):
        return Evidence(
            metrics={name: _numbers(row) for name, row in result.items() if name in POLICIES},
            rows=rows,
            best_knob=result.get("best_knob_name"),
            score_error=result.get("score_error"),
            settings=settings,
            path=str(path),
            diverged=" ".join(diverged.split()),
            last_line=(log.strip().splitlines() or [""])[-1],
            interrupted=bool(result.get("interrupted")),
            num_knobs=num_knobs,
            seconds=_numbers(result.get("seconds", {})),
            kept_round=result.get("kept_round"),
            has_checkpoint=(path / run_directory.CHECKPOINT).exists(),
        )


def read_rows(path: Path) -> list[Row]:
    """The rows of a table of numbers, without its empty cells.

    Raises:
        ValueError: the file is missing or damaged, or a cell is no number.
    """
    with naming(path):
        return [_row(cells) for cells in _read_table(path)]


def _read_table(path: Path) -> list[dict[str | None, str]]:
    """The rows of a table as they stand."""
    return list(csv.DictReader(io.StringIO(read_text(path, str(path), MOST_BYTES_OF_METRICS))))


def _row(cells: Mapping[str | None, str]) -> dict[str, float]:
    """A row of a table; under None stand the cells that have no column."""
    if None in cells:
        raise ValueError(f"a row has more cells than there are columns: {cells[None]}")
    return {name: float(cell) for name, cell in cells.items() if name is not None and cell}


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of a result; null, which stands for what is not finite, becomes NaN."""
    return {name: math.nan if value is None else float(value) for name, value in row.items()}


# What happened. The first that holds is told; the last one always does.


def diverged(run: Evidence) -> Finding | None:
    """The run ended in a `DivergenceError`: a loss or weight was not finite, or worse than uniform
    tokens a hundredfold.
    """
    if not run.diverged:
        return None
    says = f"The run broke off: {run.diverged.partition('; try')[0]}."
    return Finding(
        "diverged",
        says,
        f"Halve the learning rate of that phase and start again{_command('seqgan train --force')}; "
        "--resume would go on from numbers that are already running away.",
    )


def unfinished(run: Evidence) -> Finding | None:
    """There is no result, or it was written when somebody ended the run."""
    if run.metrics and not run.interrupted:
        return None
    where = ""
    if run.last_line:
        where = f" The last line of its log is: {run.last_line}"
    says = f"The run has not come to its end, so nothing of it can be judged.{where}"
    if run.interrupted:
        says = "The run was ended early, so its numbers are those of an unfinished training."
    advice = "Let it come to its end"
    if run.path and run.has_checkpoint:
        advice += f"; `{_of_run('seqgan train --resume', run)}` goes on with it"
    elif run.path:
        advice += "; it has no checkpoint to go on from, so it begins anew"
    return Finding("unfinished", says, f"{advice}.")


def unscored(run: Evidence) -> Finding | None:
    """The agent has no score, since no knob was measured or nothing can judge."""
    if run.score is not None:
        return None
    why, advice = _why_unscored(run)
    return Finding("unscored", f"The agent has no score, since {why}.", advice)


def _why_unscored(run: Evidence) -> tuple[str, str]:
    """The reason of a missing score, and what would give one."""
    if run.settings.get("knobs") is False:
        return (
            "knobs were switched off (--no-knobs): a score compares the agent with the best knob "
            "of maximum likelihood",
            "Leave --no-knobs out, and there will be a score.",
        )
    agent = run.metrics.get("agent", {})
    if not any(score.divergence in agent for score in _RANKING):
        return (
            "nothing could judge it: its truth is not known exactly, and there is too little real "
            "data for a referee",
            "Give more real sequences; some hundreds make a referee that can be relied on.",
        )
    if run.num_knobs:
        return (
            "no knob of maximum likelihood is at a finite distance from the truth",
            "Ask the referee, which needs no likelihoods: --referee.",
        )
    return (
        "no knob of maximum likelihood could be measured to compare it with: its policy has no "
        "temperature that can be turned, or its task measures no knobs",
        "Take a policy that can be turned (--policy, or one with with_temperature); without a "
        "score, compare the agent with maximum likelihood as it is.",
    )


def infinitely_far(run: Evidence) -> Finding | None:
    """The score is not finite: some real sequences have probability 0 under the agent."""
    if run.score is None or math.isfinite(run.score[1]):
        return None
    return Finding(
        "infinitely_far",
        "The agent gives some real sequences no probability at all, so that KL(O||G) is infinite "
        "and the score with it.",
        "Leave out what cuts words off (truncations, masks), or ask the referee, which needs no "
        "likelihoods: --referee.",
    )


def better(run: Evidence) -> Finding | None:
    """The score is above 0 by more than `ERRORS` standard errors of its draws."""
    assert run.score is not None
    if not run.score[1] > ERRORS * _error_of_score(run):
        return None
    return Finding(
        "better",
        f"In this run the agent came nearer to the truth than the best knob of maximum likelihood "
        f"({run.best_knob}) by {_by(run)}; one seed says nothing about another.",
        f"Repeat it over five seeds, with its controls{_bench(run)}.",
    )


def as_well(run: Evidence) -> Finding | None:
    """The score differs from 0 by no more than `ERRORS` standard errors of its draws."""
    assert run.score is not None
    if abs(run.score[1]) > ERRORS * _error_of_score(run):
        return None
    return Finding(
        "as_well",
        f"The best knob of maximum likelihood ({run.best_knob}), which needs no training, does as "
        f"well as the agent: the score is {_by(run)}, which is no difference.",
        f"Only several seeds can show a smaller difference{_bench(run)}.",
    )


def worse(run: Evidence) -> Finding | None:
    """The score is below 0 by more than `ERRORS` standard errors of its draws."""
    assert run.score is not None
    if not run.score[1] < -ERRORS * _error_of_score(run):
        return None
    beside = ""
    gained = run.of("mle", "kl_mean") - run.of("agent", "kl_mean")
    error = math.hypot(run.of("mle", "kl_mean_error"), run.of("agent", "kl_mean_error"))
    if gained > ERRORS * error:
        beside = f", though the agent came {gained:.4f} nearer than maximum likelihood as it is"
    elif -gained > ERRORS * error:
        beside = (
            f", and even maximum likelihood as it is was nearer than the agent, by {-gained:.4f}"
        )
    return Finding(
        "worse",
        f"The best knob of maximum likelihood ({run.best_knob}), which needs no training, is "
        f"nearer to the truth than the agent: the score is {_by(run)}{beside}.",
        "Take the knob, or look at the curves for the round at which the agent was nearest, and "
        "try half and twice its learning rate.",
    )


Rule = Callable[[Evidence], Finding | None]

OUTCOMES: tuple[Rule, ...] = (
    diverged,
    unfinished,
    unscored,
    infinitely_far,
    better,
    as_well,
    worse,
)


# Why it probably happened, the gravest first.


def control_reward(run: Evidence) -> Finding | None:
    """The source is one of the controls, which say nothing about a sequence."""
    if not run.is_control:
        return None
    return Finding(
        "control_reward",
        f"The reward ({run.settings.get('source')}) says nothing about a sequence; this is a "
        "control, and whatever it reached was not taught by a reward.",
        "Compare it with the same agent under a reward that says something: --source "
        "discriminator.",
    )


def constant_reward(run: Evidence) -> Finding | None:
    """In every round the advantages of the batch differed by no more than rounding does
    (`CONSTANT_STD`).
    """
    stds = [std for _, std in run.by_round("agent/advantage_std")]
    if not stds or max(stds) > CONSTANT_STD:
        return None
    return Finding(
        "constant_reward",
        f"The reward gave no signal: in all {len(stds)} rounds whatever was written was paid the "
        "same, so that there was nothing to follow.",
        "Print what the reward says of a few real and a few written sequences "
        f"(`{_of_run('seqgan show', run)}`); it must tell them apart.",
    )


def floor_reward(run: Evidence) -> Finding | None:
    """A reward that is never negative stayed below `FLOOR` in the last quarter of the rounds. Of
    the form `rollout`, whose mean over tokens is a mean of scores.
    """
    paid = [reward for _, reward in run.by_round("agent/reward")]
    tail = paid[-math.ceil(TAIL * len(paid)) :]
    form = run.settings.get("reward", "rollout")
    if not paid or form != "rollout" or min(paid) < 0 or max(tail) >= FLOOR:
        return None
    advice = "Pre-train the policy for longer, so that some of what it writes is paid"
    if run.pays_a_probability:
        advice = (
            f"Pay the logit in place of the probability (--score-as logit), or {advice.lower()}"
        )
    return Finding(
        "floor_reward",
        f"The reward lies at its floor: over the last {len(tail)} rounds it was {max(tail):.4f} at "
        "most, so that hardly any sequence was told from another.",
        f"{advice}.",
    )


def pulled_away(run: Evidence) -> Finding | None:
    """A source that pays for something else than likeness to the data took part, and the distance
    from the data rose beyond `ERRORS`. Where it is measured alone, or nothing but such sources
    paid, what they pay rose, too.
    """
    distance = _distance_risen(run)
    if distance is None:
        return None
    followed = []
    for weight, name in run.own_terms:
        if _is_followed(run, weight, name):
            followed.append((weight, name))
    if not followed:
        return None
    names = _and([name for _, name in followed])
    what = _what_rose(run, followed)
    return Finding(
        "pulled_away",
        f"The reward pulls away from the data: {what} {distance}; what {names} asks for is not "
        "likeness to the data.",
        f"{_less_of(run, followed)}, or stop after fewer rounds{_fewer_rounds(run)}.",
    )


def _is_followed(run: Evidence, weight: float, name: str) -> bool:
    """Whether the policy went where this source pays more, as far as the numbers tell."""
    alone = _measured_alone(run, name)
    if alone is not None:
        return (alone[1] - alone[0]) * weight > 0
    if len(run.own_terms) < len(run.terms):
        return True  # beside a discriminator, which adapts, the sum tells nothing of a term
    paid = _paid(run)
    return paid is None or paid[1] > paid[0]


def _what_rose(run: Evidence, followed: Sequence[tuple[float, str]]) -> str:
    """The sources with their values before and after; the whole reward where they have none."""
    changes = []
    for _, name in followed:
        alone = _measured_alone(run, name)
        if alone is not None:
            changes.append(_change_of(name, *alone))
    paid = _paid(run)
    if not changes and paid is not None and paid[1] > paid[0]:
        what = f"the reward ({run.settings['source']})"
        changes.append(_change_of(what, *paid))
    if not changes:
        return f"under {run.settings['source']}"
    return f"while {_and(changes)},"


def _change_of(what: str, before: float, after: float) -> str:
    verb = "fell" if after < before else "rose"
    return f"{what} {verb} from {before:.3f} to {after:.3f}"


def _measured_alone(run: Evidence, source: str) -> tuple[float, float] | None:
    """What a source is of maximum likelihood and of the agent, where a metric has its name."""
    wanted = _plain(source.rpartition(":")[2].rpartition(".")[2])
    for metric in run.metrics.get("agent", {}):
        if _plain(metric.removeprefix(MORE)) == wanted:
            found = run.of("mle", metric), run.of("agent", metric)
            if all(map(math.isfinite, found)):
                return found
    return None


def _plain(name: str) -> str:
    """A name without what spellings of it differ in."""
    return name.replace("_", "").replace("-", "").casefold()


def _paid(run: Evidence) -> tuple[float, float] | None:
    """The mean reward of the first rounds and of the last ones (`ENDS`); None of fewer than two."""
    rewards = [reward for _, reward in run.by_round("agent/reward")]
    if len(rewards) < 2:
        return None
    num = math.ceil(ENDS * len(rewards))
    return sum(rewards[:num]) / num, sum(rewards[-num:]) / num


def _distance_risen(run: Evidence) -> str | None:
    """How the distance from the data rose beyond `ERRORS`; None where it did not.

    The exact divergence tells, or else the referee's, or, where there is neither, the likelihood of
    held-out data.
    """
    for score in _RANKING:
        name = score.divergence
        before, after = run.of("mle", name), run.of("agent", name)
        if math.isnan(after - before):
            continue
        error = math.hypot(run.of("mle", f"{name}_error"), run.of("agent", f"{name}_error"))
        if math.isnan(error):
            error = 0.0
        if after - before <= ERRORS * error:
            return None
        label = METRICS[name].label
        return f"the distance from the data ({label}) rose from {before:.3f} to {after:.3f}"
    before, after = run.of("mle", "nll_gen"), run.of("agent", "nll_gen")
    if not after > before:
        return None
    return (
        f"real held-out sequences became less likely, from {before:.3f} to {after:.3f} nats per "
        "token"
    )


def _less_of(run: Evidence, followed: Sequence[tuple[float, str]]) -> str:
    """The advice to pay less for these sources, with the sum that would do so."""
    from seqgan_env.rewards.sources import DISCRIMINATOR  # loads torch

    names = [name for _, name in followed]
    if len(run.own_terms) < len(run.terms):
        terms = []
        for weight, name in run.terms:
            terms.append((weight / 2 if name in names else weight, name))
        return f"Lower the weight of {_and(names)} (--source {shlex.quote(_sum_of(terms))})"
    terms = [(1.0, DISCRIMINATOR)]
    for weight, name in run.terms:
        terms.append((math.copysign(SMALL_WEIGHT, weight), name))
    return f"Let the discriminator pay beside it (--source {shlex.quote(_sum_of(terms))})"


def _sum_of(terms: Sequence[tuple[float, str]]) -> str:
    """A sum of sources as it is written."""
    text = ""
    for weight, name in terms:
        sign = " - " if weight < 0 else " + "
        factor = "" if abs(weight) == 1 else f"{abs(weight):g} * "
        text += f"{sign}{factor}{name}"
    if text.startswith(" - "):
        return f"-{text[3:]}"
    return text[3:]


def _fewer_rounds(run: Evidence) -> str:
    """Half of the rounds, as a flag. The round at which the policy was nearest to held-out data
    would be chosen on what is reported.
    """
    rounds = run.settings.get("rounds")
    if isinstance(rounds, int) and rounds > 1:
        return f" (--rounds {rounds // 2})"
    return " (--rounds)"


def memorised(run: Evidence) -> Finding | None:
    """In the second half of the evaluated rounds, the discriminator's loss on what it is trained on
    was lower than its accuracy on unseen data allows anyone, by more than `MEMORY_MARGIN`. The
    policy moves too slowly for fresh negatives to explain that.
    """
    seen = run.by_round(
        "discriminator/loss",
        "discriminator/accuracy_real_heldout",
        "discriminator/accuracy_generated_heldout",
    )
    late = seen[len(seen) // 2 :]
    if not late or not all(_is_memory(loss, real, made) for _, loss, real, made in late):
        return None
    _, loss, real, made = late[-1]
    return Finding(
        "memorised",
        "The discriminator knows its training data by heart: its loss there is "
        f"{loss:.3f}, but of unseen sequences it recognises only {real:.0%} of the real ones, and "
        f"{made:.0%} of those written.",
        "Train it less (--d-epochs, --d-pretrain-epochs), regularise it (--set-discriminator), or "
        f"give {_more_data(run)}.",
    )


def _is_memory(loss: float, real: float, made: float) -> bool:
    """Whether a training loss is too low for these accuracies on unseen data."""
    accuracy = max(0.5, (real + made) / 2)
    return loss < 2 * (1 - accuracy) * math.log(2) - MEMORY_MARGIN


def saturated(run: Evidence) -> Finding | None:
    """In the second half of the evaluated rounds, the discriminator was right on unseen data, real
    and written, in `SATURATED_ACCURACY` of all cases.
    """
    seen = run.by_round(
        "discriminator/accuracy_real_heldout", "discriminator/accuracy_generated_heldout"
    )
    late = seen[len(seen) // 2 :]
    if not late or min(min(real, made) for _, real, made in late) < SATURATED_ACCURACY:
        return None
    follows = "hardly anything that the policy tries is told from the rest"
    advice = "Train the discriminator less (--d-epochs, --d-steps)"
    if run.pays_a_probability:
        follows = "its probability is near 0 for whatever the policy tries"
        advice = f"Pay the logit (--score-as logit), {advice[0].lower()}{advice[1:]}"
    return Finding(
        "saturated",
        "The discriminator tells real from written nearly without error, on unseen data too "
        f"({late[-1][1]:.1%} and {late[-1][2]:.1%}), so that {follows}.",
        f"{advice}, or give the policy more epochs of maximum likelihood first.",
    )


def collapsed(run: Evidence) -> Finding | None:
    """From round 0 to the end the effective vocabulary fell by more than `LOST_VOCABULARY`,
    KL(O||G) rose, KL(G||O) fell, and their mean rose, each beyond `ERRORS`: what is left is likely,
    and the rest of the truth was given up for it. Of real data, which has no divergences, nll_gen
    rose.
    """
    words = run.by_round("task/effective_vocabulary")
    if len(words) < 2 or words[-1][1] > (1 - LOST_VOCABULARY) * words[0][1]:
        return None
    if not run.by_round("task/kl_mean"):
        return _narrowed(run, words[0][1], words[-1][1])
    rose = _change(run, "kl_forward") > 0 and _change(run, "kl_mean") > 0
    if not rose or _change(run, "kl_reverse") >= 0:
        return None
    return Finding(
        "collapsed",
        f"The policy gave up variety: its effective vocabulary fell from {words[0][1]:.1f} to "
        f"{words[-1][1]:.1f} words, KL(O||G) rose by {_change(run, 'kl_forward'):.3f} and KL(G||O) "
        f"fell by {-_change(run, 'kl_reverse'):.3f}, as when steps are too large.",
        _smaller_steps(run),
    )


def _narrowed(run: Evidence, before: float, after: float) -> Finding | None:
    """`collapsed`, of real data."""
    likelihoods = run.by_round("task/nll_gen")
    if len(likelihoods) < 2 or likelihoods[-1][1] <= likelihoods[0][1]:
        return None
    rise = likelihoods[-1][1] - likelihoods[0][1]
    return Finding(
        "collapsed",
        f"The policy gave up variety: its effective vocabulary fell from {before:.1f} to "
        f"{after:.1f} words, and real held-out sequences became less likely, by {rise:.3f} nats "
        "per token.",
        _smaller_steps(run),
    )


def exploited(run: Evidence) -> Finding | None:
    """Both KL divergences rose beyond `ERRORS` from round 0 to the end: the policy went to where
    the truth is not.
    """
    forward, reverse = _change(run, "kl_forward"), _change(run, "kl_reverse")
    if not (forward > 0 and reverse > 0):
        return None
    along = ""
    if run.has_discriminator:
        along = "keep the discriminator learning along (--d-steps 1 or more), "
    return Finding(
        "exploited",
        f"The policy left the truth in both directions, KL(G||O) by {reverse:.3f} and KL(O||G) by "
        f"{forward:.3f}: the reward pays for something else, or its noise was followed.",
        f"Lower the learning rate{_half_rate(run)}, {along}or hold the policy near maximum "
        "likelihood (--set kl_weight=0.1).",
    )


def overshot(run: Evidence) -> Finding | None:
    """The mean of both divergences was lowest in an earlier round, and has risen since beyond
    `ERRORS`; the last round's policy was kept.
    """
    rows = run.by_round("task/kl_mean", "task/kl_mean_error")
    if len(rows) < 3 or run.settings.get("keep_best_round"):
        return None
    best, last = min(rows, key=lambda row: row[1]), rows[-1]
    if last[1] - best[1] <= ERRORS * math.hypot(best[2], last[2]) or best is rows[0]:
        return None
    return Finding(
        "overshot",
        f"The agent was nearest to the truth in round {best[0]:.0f} (mean of both KLs "
        f"{best[1]:.4f}) and has moved away since (round {last[0]:.0f}: {last[1]:.4f}).",
        "Keep the round that is best on validation data (--keep-best-round), or lower the learning "
        f"rate{_half_rate(run)}.",
    )


def none_nearer(run: Evidence) -> Finding | None:
    """The best round was to be kept, and it is round 0."""
    if run.kept_round != 0:
        return None
    return Finding(
        "none_nearer",
        "No round was nearer to the validation data than maximum likelihood, so the agent's policy "
        "is that of round 0.",
        f"Try half its learning rate{_half_rate(run)}, or another reward.",
    )


def control_as_well(run: Evidence) -> Finding | None:
    """The same agent under a constant reward is as near to the truth, within `ERRORS`."""
    agent, control = run.of("agent", "kl_mean"), run.of("constant", "kl_mean")
    error = math.hypot(run.of("agent", "kl_mean_error"), run.of("constant", "kl_mean_error"))
    if not control <= agent + ERRORS * error:
        return None
    return Finding(
        "control_as_well",
        f"It was not the reward that did it: the same agent under a constant reward came as near "
        f"({control:.4f} against {agent:.4f}, mean of both KLs).",
        "Finish maximum likelihood first (--mle-epochs, a falling learning rate), so that further "
        "training as such gains nothing, and then ask again what the reward adds.",
    )


def mle_unfinished(run: Evidence) -> Finding | None:
    """The validation likelihood was best in the last tenth of the epochs, and still fell by more
    than `MLE_GAIN` over the last quarter of them.
    """
    epochs = run.epochs
    tail = math.ceil(TAIL * len(epochs))
    if len(epochs) < 4:
        return None
    best = epochs.index(min(epochs))
    gain = epochs[-1 - tail] - epochs[best]
    if best < 0.9 * (len(epochs) - 1) or gain <= MLE_GAIN:
        return None
    last = "in its last epoch"
    if tail > 1:
        last = f"over its last {tail} epochs"
    return Finding(
        "mle_unfinished",
        f"Maximum likelihood was not finished: {last} the validation likelihood still improved by "
        f"{gain:.4f} nats per token, so that a part of any gain, or any gap, is unfinished "
        "optimisation.",
        f"Give it twice the epochs (--mle-epochs {2 * len(epochs)}) before judging the reward.",
    )


def overfitted(run: Evidence) -> Finding | None:
    """The validation likelihood was best in the first half of the epochs (`OVERFIT_SHARE`), and
    rose by more than `OVERFIT_RISE` behind it.
    """
    epochs = run.epochs
    if len(epochs) < 4:
        return None
    best, rise = epochs.index(min(epochs)), epochs[-1] - min(epochs)
    if best >= OVERFIT_SHARE * (len(epochs) - 1) or rise <= OVERFIT_RISE:
        return None
    return Finding(
        "overfitted",
        f"Maximum likelihood overfits its training data: the validation likelihood was best in "
        f"epoch {best + 1} of {len(epochs)} and was {rise:.3f} nats per token worse at the end.",
        f"It would help most to give {_more_data(run)}; else a smaller policy, or more weight "
        "decay (--set mle_weight_decay=X).",
    )


def still_improving(run: Evidence) -> Finding | None:
    """The mean of both divergences is lowest in the last evaluated round, and fell beyond `ERRORS`
    over the last quarter of the rounds.
    """
    rows = run.by_round("task/kl_mean", "task/kl_mean_error")
    if len(rows) < 3:
        return None
    last, best = rows[-1], min(value for _, value, _ in rows)
    before = [row for row in rows[:-1] if row[0] <= (1 - TAIL) * last[0]][-1]
    gain, error = before[1] - last[1], math.hypot(before[2], last[2])
    if last[1] > best or gain <= ERRORS * error:
        return None
    return Finding(
        "still_improving",
        f"The agent was still coming nearer to the truth at the end: from round {before[0]:.0f} to "
        f"{last[0]:.0f} the mean of both KLs fell by {gain:.4f}.",
        f"Train for longer (--rounds {2 * last[0]:.0f}).",
    )


def hardly_moved(run: Evidence) -> Finding | None:
    """From round 0 to the end neither divergence changed beyond `ERRORS`."""
    if not run.by_round("task/kl_forward", "task/kl_forward_error")[1:]:
        return None
    if _change(run, "kl_forward") or _change(run, "kl_reverse"):
        return None
    return Finding(
        "hardly_moved",
        "The adversarial phase hardly changed the policy: neither KL divergence moved by more than "
        "its error.",
        "Train for longer (--rounds), or with a larger learning rate.",
    )


def reward_taught(run: Evidence) -> Finding | None:
    """The agent is nearer to the truth than maximum likelihood, and than itself under a constant
    reward, beyond `ERRORS`.
    """
    agent, error = run.of("agent", "kl_mean"), run.of("agent", "kl_mean_error")
    gaps = []
    for other in ("mle", "constant"):
        gap = run.of(other, "kl_mean") - agent
        if not gap > ERRORS * math.hypot(error, run.of(other, "kl_mean_error")):
            return None
        gaps.append(gap)
    return Finding(
        "reward_taught",
        f"The reward did teach something here: the mean of both KLs is {gaps[0]:.4f} lower than "
        f"that of maximum likelihood, and {gaps[1]:.4f} lower than under a constant reward.",
        f"See whether it holds over five seeds{_bench(run)}.",
    )


# What lies behind a score above 0, and what behind one that is not; in the order in which they are
# asked.
OF_A_GAIN: tuple[Rule, ...] = (
    control_reward,
    control_as_well,
    mle_unfinished,
    still_improving,
    reward_taught,
)
OF_NO_GAIN: tuple[Rule, ...] = (
    control_reward,
    constant_reward,
    pulled_away,
    floor_reward,
    memorised,
    saturated,
    none_nearer,
    collapsed,
    exploited,
    overshot,
    mle_unfinished,
    overfitted,
    still_improving,
    hardly_moved,
    control_as_well,
    reward_taught,
)

# Of a run without a score: those that tell of harm, whether or not there is a gain.
WITHOUT_A_SCORE: tuple[Rule, ...] = (
    control_reward,
    constant_reward,
    pulled_away,
    collapsed,
    exploited,
)

POLICIES = ("mle", "best_knob", "constant", "agent")
_RANKING = (RANKING, REFEREED)
_SPEAK_FOR_THEMSELVES = ("diverged", "unfinished", "infinitely_far")
NO_CAUSE = "The numbers show no single cause."


def _error_of_score(run: Evidence) -> float:
    """The standard error of the score; 0 where it is not known."""
    return run.score_error or 0.0


def _by(run: Evidence) -> str:
    """The score with its error and unit."""
    assert run.score is not None
    score, value = run.score
    error = "" if run.score_error is None else f" ± {run.score_error:.4f}"
    return f"{value:+.4f}{error} {score.unit}"


def _change(run: Evidence, divergence: str) -> float:
    """The change of a divergence from round 0 to the last evaluated one; 0 where it is not beyond
    `ERRORS`, or not known.
    """
    rows = run.by_round(f"task/{divergence}", f"task/{divergence}_error")
    if len(rows) < 2:
        return 0.0
    change = rows[-1][1] - rows[0][1]
    return change if abs(change) > ERRORS * math.hypot(rows[0][2], rows[-1][2]) else 0.0


def _and(parts: Sequence[str]) -> str:
    """Parts of a sentence, joined."""
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _command(text: str) -> str:
    return f" (`{text}`)"


def _of_run(command: str, run: Evidence) -> str:
    """A command on the run's folder, with the trust that its own plug-ins need."""
    words = [command, shlex.quote(run.path or "RUN")]
    for name, value in run.settings.items():
        if name not in PATHS and isinstance(value, str) and names_of_code(value):
            return " ".join([*words, "--trust"])
    return " ".join(words)


def _bench(run: Evidence) -> str:
    """The command that repeats a run over seeds with all of its settings, and how long it takes."""
    if not {"agent", "task", "source"} <= run.settings.keys():
        return ""
    told = _command(command_over_seeds(run.settings))
    policies = [name for name in run.metrics if name != "best_knob"]
    time = time_over_seeds(run.seconds, len(policies))
    if time:
        told += f", which takes {time} (--workers K runs K jobs at a time)"
    return told


def _more_data(run: Evidence) -> str:
    """More of what is learned from, by its name."""
    if run.knows_the_truth:
        return "more sequences of the oracle (--num-real)"
    return "more real data"


def _smaller_steps(run: Evidence) -> str:
    """The advice to let the policy, or what it learns from, move less."""
    if run.has_discriminator:
        return (
            f"Lower the learning rate{_half_rate(run)}, or the steps of the discriminator "
            "(--d-steps, --d-epochs)."
        )
    return (
        f"Lower the learning rate{_half_rate(run)}, or hold the policy near maximum likelihood "
        "(--set kl_weight=0.1)."
    )


def _half_rate(run: Evidence) -> str:
    """Half of the agent's learning rate as a flag, where it was set."""
    rate = run.settings.get("agent_options", {}).get("learning_rate")
    if not isinstance(rate, (int, float)):
        return " (--set learning_rate=X)"
    return f" (--set learning_rate={rate / 2:g})"
