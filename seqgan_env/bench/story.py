"""Tells in sentences what a benchmark found and what it does not show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from seqgan_env.bench.jobs import REFERENCE
from seqgan_env.bench.leaderboard import INFINITE, KINDS, Entry, Run, Standings
from seqgan_env.metrics.score import REFEREED
from seqgan_env.training.interpreter import NO_CAUSE, Evidence, Finding, cause_of


def story(standings: Standings) -> list[str]:
    """A paragraph for each kind of task, and one of what does not follow.

    The first ones say who wins, whether the controls lose and who is infinitely far. Tasks that
    cannot be ranked have one too.
    """
    paragraphs = []
    for kind in standings.kinds:
        paragraphs.append(_of_kind(standings, kind))
    return [*paragraphs, *left_out(standings), _caution(standings)]


def left_out(standings: Standings) -> list[str]:
    """A sentence on the tasks that cannot be ranked; none where there are none."""
    if not standings.left_out:
        return []
    return [f"In no leaderboard: {'; '.join(standings.left_out.values())}."]


def _of_kind(standings: Standings, kind: str) -> str:
    """A paragraph about the tasks of a kind."""
    entries = standings.entries(kind)
    sentences = [
        _opening(standings, kind),
        _ceiling(entries),
        _controls(entries),
        _marked(entries),
    ]
    # Where nothing else explains the ranking, the reason is the ceiling, which has been told.
    sentences += [sentence for sentence in _reason(standings, entries) if sentence not in sentences]
    return " ".join(filter(None, sentences))


def in_short(standings: Standings, kind: str) -> list[str]:
    """Three sentences about a kind of task: who wins, why that is probably so, what to try next."""
    return [_opening(standings, kind), *_reason(standings, standings.entries(kind))]


def _opening(standings: Standings, kind: str) -> str:
    """The first sentence about a kind: on which tasks who wins, and by whose judgement."""
    tasks = ", ".join(standings.tasks_of(kind))
    return f"On {tasks}{_by(kind)}: {_winner(standings.entries(kind), KINDS[kind].score.unit)}"


def _reason(standings: Standings, entries: Sequence[Entry]) -> list[str]:
    """Why the first rival probably stands where it does, and what to try next.

    A cause is told if it holds in at least half of the runs, with the figures of the first of them.
    """
    rivals = _rivals(entries)
    if not rivals:
        return [NO_CAUSE, "Add an agent that learns from a reward: --agents reinforce."]
    best = rivals[0]
    gained = best.outcome == "better" or (best.outcome == "one run" and best.against.mean > 0)
    runs = best.all_runs

    # Runs by the rule that explains them; some runs none explains.
    explained: dict[str, list[tuple[int, Finding]]] = {}
    for run in runs:
        cause = cause_of(_evidence(standings, run), gained)
        if cause is not None:
            explained.setdefault(cause.rule, []).append((run.result.seed, cause))

    # Of rules that explain as many runs, the one that was met first.
    of_rule = max(explained.values(), key=len, default=[])
    num = len(of_rule)
    if 2 * num < len(runs):
        return [_ceiling(entries) or NO_CAUSE, _next(best)]

    seed, cause = of_rule[0]
    says = f"{cause.says[0].lower()}{cause.says[1:]}"
    if len(runs) > 1:
        where = f"in {num} of {len(runs)} runs, with the figures of seed {seed}"
        says = f"{where}, {says}"
    advice = cause.advice
    # A reward that taught needs no change, and one run is too little for advice from its cause.
    if best.outcome == "one run" or cause.rule == "reward_taught":
        advice = _next(best)
    return [f"Of {_names([best])}: {says}", advice]


def _next(best: Entry) -> str:
    """What to try next where the runs themselves advise nothing."""
    return {
        "better": "See whether it holds on other tasks and oracles, since the interval is over "
        "seeds alone.",
        "worse": "Change one thing at a time (learning rate, d-steps, rounds) and compare on the "
        "same seeds; until then take the knob.",
        "one run": "Run it over five seeds (--seeds 5), for one shows no difference.",
    }.get(best.outcome, "More seeds (--seeds) can show a smaller difference, if there is one.")


def _evidence(standings: Standings, run: Run) -> Evidence:
    """The numbers of a run, beside those of the reference and the control with the same seed."""
    task, seed, settings = run.result.task, run.result.seed, run.result.settings
    metrics = {"agent": run.metrics}
    for label in standings.labels:
        for other in standings.runs.get((label, task), []):
            if other.result.seed != seed:
                continue
            # The control of a run is its own agent under a reward that says nothing.
            theirs = other.result.settings
            same = theirs.get("agent") == settings.get("agent")
            if label == REFERENCE:
                metrics["mle"] = other.metrics
            elif same and theirs.get("source") == "constant" and other is not run:
                metrics["constant"] = other.metrics
    return Evidence(metrics=metrics, rows=run.result.curve, settings=settings)


def _by(kind: str) -> str:
    """Who judges, where it is not the exact divergence."""
    if KINDS[kind].score is REFEREED:
        return ", by the referee"
    return ""


def _winner(entries: Sequence[Entry], unit: str) -> str:
    """Who is nearer to the truth than the best knob, or who comes first of those that are not."""
    rivals = _rivals(entries)
    if not rivals:
        return (
            "there is nothing that could win: no row but maximum likelihood, controls and ceilings "
            "has a score."
        )
    best, better = rivals[0], _with_outcome(rivals, "better")
    if better:
        says = (
            f"{_names(better)} {_verb(better, 'is', 'are')} nearer to the truth than every knob of "
            "maximum likelihood"
        )
        return f"{says}; {_names(better[:1])} leads by {_score(better[0])} {unit}."
    if best.outcome == "one run":
        return (
            f"{_names([best])} has the highest score, but from one run; that shows no difference "
            "from the best knob."
        )
    nothing = "nothing is shown to be nearer to the truth than turning a knob of maximum likelihood"
    return f"{nothing}; {_names([best])} comes first of the rest, at {_score(best)} {unit}."


def _rivals(entries: Sequence[Entry]) -> list[Entry]:
    """The rows that can win: those with a score that are no reference, control or ceiling."""
    rivals = []
    for entry in entries:
        if not entry.role and entry.label != REFERENCE and entry.score is not None:
            rivals.append(entry)
    return rivals


def _with_outcome(entries: Sequence[Entry], *outcomes: str) -> list[Entry]:
    """The rows whose outcome is one of `outcomes`."""
    return [entry for entry in entries if entry.outcome in outcomes]


def _with_role(entries: Sequence[Entry], role: str) -> list[Entry]:
    """The rows of a role."""
    return [entry for entry in entries if entry.role == role]


def _score(entry: Entry) -> str:
    """A score with its interval."""
    assert entry.score is not None
    if math.isnan(entry.score.low):
        return f"{entry.score.value:+.4f}"
    return f"{entry.score.value:+.4f} ({entry.score.low:+.4f} to {entry.score.high:+.4f})"


def _ceiling(entries: Sequence[Entry]) -> str:
    """Whether there is anything to learn: a reward that sees the truth must help."""
    ceilings = []
    for entry in _with_role(entries, "ceiling"):
        if entry.score is not None:
            ceilings.append(entry)
    if not ceilings:
        return ""
    better = _with_outcome(ceilings, "better")
    if not better:
        return (
            f"Not even a reward that sees the truth ({_names(ceilings)}) is shown to help, so "
            "there is little to tell apart here."
        )
    return (
        f"With a reward that sees the truth {_names(better)} {_verb(better, 'is', 'are')} better, "
        "so there is something to learn."
    )


def _controls(entries: Sequence[Entry]) -> str:
    """Whether rewards that say nothing lose, as they should."""
    controls = _with_role(entries, "control")
    winners = _with_outcome(controls, "better")
    # One run alone has no test, and its outcome is none of these.
    known = _with_outcome(controls, "worse", "same", INFINITE)
    if not controls:
        return "There is no control, a reward that says nothing, beside them."
    if winners:
        return (
            f"Beware: {_names(winners)}, whose reward says nothing, "
            f"{_verb(winners, 'beats', 'beat')} the best knob too."
        )
    if not known:
        return (
            f"Whether the controls, whose reward says nothing ({_names(controls)}), are worse, one "
            "run cannot show."
        )
    return (
        f"The controls, whose reward says nothing ({_names(controls)}), are not better, as it "
        "should be."
    )


def _marked(entries: Sequence[Entry]) -> str:
    """Who is infinitely far from the truth."""
    marked = _with_outcome(entries, INFINITE)
    if not marked:
        return ""
    return f"Infinitely far, since they never write some real sequences: {_names(marked)}."


def _caution(standings: Standings) -> str:
    """What does not follow from the page."""
    # An interval from few seeds rests on a spread that is hardly known itself.
    seeds = max(map(len, standings.runs.values()))
    over, few = f"{seeds} seeds", ""
    if seeds == 1:
        over, few = "1 seed", " One seed shows no spread at all."
    elif seeds < 5:
        few = " With so few, an interval is itself uncertain."

    verdicts = 0
    for kind in standings.kinds:
        verdicts += len(_with_outcome(standings.entries(kind), "better", "worse", "same"))
    holm = ""
    if verdicts:
        holm = (
            f" By Holm's correction the chance that any of the {verdicts} verdicts finds a "
            "difference where there is none is one in twenty at most; an interval excludes 0 where "
            "its verdict says better or worse, and only there."
        )
    return (
        "What this does not say: anything about other tasks, sizes, budgets or hyperparameters. "
        f"Intervals are over at most {over} of the policy, not over tasks and data.{few}{holm}"
    )


def _names(entries: Sequence[Entry]) -> str:
    """The labels as part of a sentence; of more than four the first three are named.

    A label with a space is quoted.
    """
    names = []
    for entry in entries:
        name = entry.label
        if " " in name:
            name = f"“{name}”"
        names.append(name)
    if len(names) > 4:  # a fourth name is no longer than "1 more"
        names = [*names[:3], f"{len(names) - 3} more"]
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _verb(entries: Sequence[Entry], one: str, several: str) -> str:
    """The form of a verb that agrees with so many subjects."""
    if len(entries) == 1:
        return one
    return several
