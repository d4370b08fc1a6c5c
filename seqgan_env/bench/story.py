"""What a benchmark found, in a paragraph for each kind of task, and what it does not say."""

from __future__ import annotations

from collections.abc import Sequence

from seqgan_env.bench.jobs import REFERENCE
from seqgan_env.bench.leaderboard import INFINITE, KINDS, Entry, Standings
from seqgan_env.metrics.score import REFEREED


def story(standings: Standings) -> list[str]:
    """Paragraphs: who wins, whether the controls lose, what is infinitely far, and what does not
    follow.
    """
    paragraphs = [_of_kind(standings, kind) for kind in standings.kinds]
    return [*paragraphs, _caution(standings)]


def _of_kind(standings: Standings, kind: str) -> str:
    """A paragraph about the tasks of a kind."""
    entries, tasks = standings.entries(kind), standings.tasks_of(kind)
    sentences = [
        f"On {', '.join(tasks)}{_by(kind)}: {_winner(entries, KINDS[kind].score.unit)}",
        _ceiling(entries),
        _controls(entries),
        _marked(entries),
    ]
    return " ".join(filter(None, sentences))


def _by(kind: str) -> str:
    """Who judges, where it is not the exact divergence."""
    if KINDS[kind].score is REFEREED:
        return ", by the referee"
    return ""


def _winner(entries: Sequence[Entry], unit: str) -> str:
    """Who is nearer to the truth than the best knob, or who comes first of those that are not."""
    agents = [e for e in entries if not e.role and e.label != REFERENCE]
    rivals = [e for e in agents if e.score is not None]
    if not rivals:
        return (
            "there is nothing that could win: no row but maximum likelihood, controls and ceilings "
            "has a score."
        )
    best, better = rivals[0], [e for e in rivals if e.outcome == "better"]
    if better:
        says = (
            f"{_names(better)} {_verb(better, 'is', 'are')} nearer to the truth than every knob of "
            "maximum likelihood"
        )
        return f"{says}; {_names(better[:1])} leads by {better[0].against.mean:.4f} {unit}."
    if best.outcome == "one run":
        return (
            f"{_names([best])} has the highest score, but from one run; that shows no difference "
            "from the best knob."
        )
    nothing = "nothing is shown to be nearer to the truth than turning a knob of maximum likelihood"
    return f"{nothing}; {_names([best])} comes first of the rest."


def _ceiling(entries: Sequence[Entry]) -> str:
    """Whether there is anything to learn: a reward that sees the truth must help."""
    ceilings = [e for e in entries if e.role == "ceiling" and e.score is not None]
    if not ceilings:
        return ""
    better = [e for e in ceilings if e.outcome == "better"]
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
    controls = [e for e in entries if e.role == "control"]
    winners = [e for e in controls if e.outcome == "better"]
    known = [e for e in controls if e.outcome in ("worse", "same", INFINITE)]
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
    marked = [e for e in entries if e.outcome == INFINITE]
    if not marked:
        return ""
    return f"Infinitely far, since they never write some real sequences: {_names(marked)}."


def _caution(standings: Standings) -> str:
    """What does not follow from the page."""
    seeds = max(map(len, standings.runs.values()))
    over, few = f"{seeds} seeds", ""
    if seeds == 1:
        over, few = "1 seed", " One seed shows no spread at all."
    elif seeds < 5:
        few = " With so few, an interval is itself uncertain."

    verdicts = 0
    for kind in standings.kinds:
        outcomes = [entry.outcome for entry in standings.entries(kind)]
        verdicts += sum(outcome in ("better", "worse", "same") for outcome in outcomes)
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
    """The names as part of a sentence, of many the first three; one with a space is quoted."""
    names = []
    for entry in entries:
        name = entry.label
        if " " in name:
            name = f"“{name}”"
        names.append(name)
    if len(names) > 4:
        names = [*names[:3], f"{len(names) - 3} more"]
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _verb(entries: Sequence[Entry], one: str, several: str) -> str:
    """The form of a verb that agrees with so many subjects."""
    if len(entries) == 1:
        return one
    return several
