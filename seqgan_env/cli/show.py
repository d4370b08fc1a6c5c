"""`seqgan show`: a page with samples of a run, every token coloured by what is thought of it."""

from __future__ import annotations

import argparse
import copy
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seqgan_env.cli.arguments import trust_of
from seqgan_env.cli.output import tell_of_no_data, told_if_slow
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.training import run_directory
from seqgan_env.training.opinions import QUANTITIES, Judges, Quantity, token_name
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import load_run_with_rewards
from seqgan_env.types import RolloutPolicy, Task

PAGE = "samples.html"
_MLE_WEIGHTS = "mle.safetensors"
_SHARE_BEYOND = 0.02  # of the tokens, whose colours are those of the ends of the scale
_VISIBLE = str.maketrans({" ": "␣", "\t": "⇥", "\n": "⏎"})


@dataclass(frozen=True)
class Section:
    """Sequences of one origin.

    Attributes:
        heading: whose they are.
        tokens: (B, T).
        opinions: (B, T) by quantity.
    """

    heading: str
    tokens: Tensor
    opinions: Mapping[str, Tensor]


@dataclass(frozen=True)
class Scale:
    """What the colours of a quantity mean.

    Attributes:
        middle: what has no colour.
        below: how far below it the colour is full.
        above: how far above it.
    """

    middle: float
    below: float
    above: float

    @classmethod
    def of(cls, quantity: Quantity, values: np.ndarray) -> Scale:
        """The scale of the values (M,) of all tokens of a page, of which some may be infinite."""
        finite = values[np.isfinite(values)]
        if not len(finite):
            return cls(0.0, 1.0, 1.0)
        if quantity.middle is None:
            # From what there is to what there is: a likelihood has no colour for above 1.
            share = _SHARE_BEYOND / 2
            low, middle, high = np.quantile(finite, [share, 0.5, 1 - share]).tolist()
            return cls(middle, middle - low, high - middle)
        # Where a middle means something, both sides are shown alike.
        reach = float(np.quantile(np.abs(finite - quantity.middle), 1 - _SHARE_BEYOND))
        return cls(quantity.middle, reach, reach)

    def place(self, value: float) -> float:
        """Where a value lies, from -1 to 1."""
        away = value - self.middle
        reach = self.below
        if away > 0:
            reach = self.above
        if away == 0 or abs(away) >= reach:  # the middle itself, or beyond an end
            return float(np.sign(away))
        return away / reach


def show(arguments: argparse.Namespace) -> int:
    """`seqgan show`."""
    path: Path = arguments.run_path
    with told_if_slow(f"reading the data of {path} ..."):
        settings, task, agent, rewards = load_run_with_rewards(
            path, arguments.num_rollouts, trust_of(arguments)
        )
    judges = Judges(task, agent.policy, rewards)

    # Sequences of the agent, of what it was before the rounds, and of the data.
    rng = torch.Generator(device=settings.device).manual_seed(arguments.seed)
    drawn = {"The agent": sample_sequences(agent.policy, task.spec, arguments.num, rng)}
    mle = _pretrained(path, agent.policy)
    if mle is not None:
        drawn["Maximum likelihood"] = sample_sequences(mle, task.spec, arguments.num, rng)
    if not tell_of_no_data(task, "the page shows none"):
        drawn["Real data, held out"] = task.held_out[: arguments.num]

    sections = []
    with told_if_slow(f"writing {arguments.num_rollouts} completions of every prefix ..."):
        for heading, tokens in drawn.items():
            sections.append(Section(heading, tokens, judges.of_sequences(tokens, rng)))
    out = arguments.out or path / PAGE
    run_directory.write_text(out, page(f"Samples of {path.name}", settings, task, sections))
    print(f"page: {out}")
    return 0


def _pretrained(path: Path, policy: RolloutPolicy) -> RolloutPolicy | None:
    """The policy behind pre-training; None where the run has none beside the agent's."""
    if not (path / _MLE_WEIGHTS).exists() or not isinstance(policy, nn.Module):
        return None
    pretrained = copy.deepcopy(policy)
    pretrained.load_state_dict(run_directory.read_weights(path / _MLE_WEIGHTS))
    return pretrained


def page(title: str, settings: TrainSettings, task: Task, sections: Sequence[Section]) -> str:
    """The page: everything it needs is in it, and nothing of a sequence is read as HTML."""
    pad = task.spec.pad_token

    # A run knows some quantities only: without an oracle there is no truth, for instance.
    quantities = [each for each in QUANTITIES if each.name in sections[0].opinions]
    scales, buttons, labels, legends = {}, [], "", []
    for each in quantities:
        scale = Scale.of(each, _written(sections, each.name, pad))
        scales[each.name] = scale
        buttons.append(_input(each, checked=each is quantities[0]))
        labels += f'<label for="by-{each.name}">{escape(each.label)}</label>'
        legends.append(_legend(each, scale))

    # The name of every token that is written on the page, computed once.
    tokens: set[int] = set()
    for section in sections:
        tokens.update(section.tokens.flatten().tolist())
    names = {}
    for token in sorted(tokens - {pad}):
        names[token] = visible(token_name(task, token))

    lists = [_section(each, quantities, scales, names) for each in sections]
    template = files("seqgan_env.cli").joinpath("show.html").read_text(encoding="utf-8")
    return string.Template(template).substitute(
        title=escape(title),
        about=escape(
            f"Task {settings.task}, agent {settings.agent}, reward {settings.reward} of "
            f"{settings.source}, seed {settings.seed}. Values are means of "
            f"{settings.num_rollouts} completions."
        ),
        rules="\n".join(map(_rules, quantities)),
        inputs="\n".join(buttons),
        labels=labels,
        legends="\n".join(legends),
        sections="\n".join(lists),
    )


def visible(name: str) -> str:
    """A token's name; blanks have a sign where the name is of blanks alone."""
    if name.strip():
        return name
    return name.translate(_VISIBLE)


def _written(sections: Sequence[Section], name: str, pad_token: int) -> np.ndarray:
    """A quantity of every token of a page, (M,)."""
    values = []
    for section in sections:
        is_written = section.tokens != pad_token  # (B, T)
        values.append(section.opinions[name][is_written].double().cpu().numpy())
    return np.concatenate(values)


def _input(quantity: Quantity, checked: bool) -> str:
    """The button that chooses a quantity."""
    state = " checked" if checked else ""
    return f'<input class="choice" type="radio" name="by" id="by-{quantity.name}"{state}>'


def _rules(quantity: Quantity) -> str:
    """What the page does where this quantity is chosen."""
    chosen = f"#by-{quantity.name}:checked ~"
    label = f'.bar label[for="by-{quantity.name}"]'
    return "\n".join(
        (
            f"{chosen} main .t {{ --x: var(--{quantity.name}, 0); }}",
            f"{chosen} .bar .legend-{quantity.name} {{ display: block; }}",
            f"{chosen} {label} {{ border-color: var(--accent); color: var(--accent); }}",
            f"#by-{quantity.name}:focus-visible ~ {label} {{ outline: 2px solid var(--accent); }}",
        )
    )


def _legend(quantity: Quantity, scale: Scale) -> str:
    """What the colours of a quantity mean."""
    low, high = scale.middle - scale.below, scale.middle + scale.above
    return (
        f'<div class="legend legend-{quantity.name}">{escape(quantity.meaning)} '
        f'<span class="scale">{low:.3g} <i></i> {high:.3g}, no colour: {scale.middle:.3g}</span>'
        "</div>"
    )


def _section(
    section: Section,
    quantities: Sequence[Quantity],
    scales: Mapping[str, Scale],
    names: Mapping[int, str],
) -> str:
    """The sequences of one origin, a line each."""
    opinions = {name: values.tolist() for name, values in section.opinions.items()}  # (B, T)
    rows = []
    for i, tokens in enumerate(section.tokens.tolist()):
        of_row = {name: values[i] for name, values in opinions.items()}  # (T,)
        rows.append(_row(tokens, of_row, quantities, scales, names))
    return f"<h2>{escape(section.heading)}</h2>\n<ol>\n{chr(10).join(rows)}\n</ol>"


def _row(
    tokens: Sequence[int],
    opinions: Mapping[str, Sequence[float]],
    quantities: Sequence[Quantity],
    scales: Mapping[str, Scale],
    names: Mapping[int, str],
) -> str:
    """One sequence, with its score behind it where there is one."""
    spans = []
    for position, token in enumerate(tokens):
        if token not in names:  # padding
            break
        told = [f"{names[token]} (token {token}, position {position + 1})"]
        style = []
        for quantity in quantities:
            value = opinions[quantity.name][position]
            told.append(f"{quantity.label} {value:.4g}")
            style.append(f"--{quantity.name}:{scales[quantity.name].place(value):.3f}")
        spans.append(
            f'<span class="t" style="{";".join(style)}" title="{escape(chr(10).join(told))}">'
            f"{escape(names[token])}</span>"
        )
    score = ""
    if "value" in opinions:
        score = f'<span class="score">score {opinions["value"][len(spans) - 1]:.4g}</span>'
    return f"<li>{' '.join(spans)}{score}</li>"
