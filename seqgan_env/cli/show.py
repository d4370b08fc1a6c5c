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
from seqgan_env.cli.output import tell_of_no_data
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.training import run_directory
from seqgan_env.training.opinions import QUANTITIES, Judges, Quantity, token_name
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import load_run_with_rewards
from seqgan_env.types import RolloutPolicy, Task

PAGE = "samples.html"
_MLE_WEIGHTS = "mle.safetensors"
_SHARE_BEYOND = 0.02  # of the tokens, whose colours are those of the ends of the scale
_VISIBLE = {" ": "␣", "\t": "⇥", "\n": "⏎"}


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
    """What the colours of a quantity mean: `middle` has none, what is `reach` away all of it."""

    middle: float
    reach: float

    @classmethod
    def of(cls, quantity: Quantity, values: np.ndarray) -> Scale:
        """The scale of the values (M,) of all tokens of a page, of which some may be infinite."""
        finite = values[np.isfinite(values)]
        if not len(finite):
            return cls(0.0, 1.0)
        middle = float(np.median(finite)) if quantity.middle is None else quantity.middle
        reach = float(np.quantile(np.abs(finite - middle), 1 - _SHARE_BEYOND))
        return cls(middle, reach if reach > 0 else 1.0)

    def place(self, value: float) -> float:
        """Where a value lies, from -1 to 1."""
        return max(-1.0, min(1.0, (value - self.middle) / self.reach))


def show(arguments: argparse.Namespace) -> int:
    """`seqgan show`."""
    path: Path = arguments.run_path
    settings, task, agent, rewards = load_run_with_rewards(
        path, arguments.num_rollouts, trust_of(arguments)
    )
    judges = Judges(task, agent.policy, rewards)
    rng = torch.Generator(device=settings.device).manual_seed(arguments.seed)
    drawn = {"The agent": sample_sequences(agent.policy, task.spec, arguments.num, rng)}
    mle = _pretrained(path, agent.policy)
    if mle is not None:
        drawn["Maximum likelihood"] = sample_sequences(mle, task.spec, arguments.num, rng)
    if not tell_of_no_data(task, "the page shows none"):
        drawn["Real data, held out"] = task.held_out[: arguments.num]
    sections = [
        Section(heading, tokens, judges.of_sequences(tokens, rng))
        for heading, tokens in drawn.items()
    ]
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
    quantities = [each for each in QUANTITIES if each.name in sections[0].opinions]
    scales = {each.name: Scale.of(each, _written(sections, each.name, pad)) for each in quantities}
    tokens = {token for each in sections for token in each.tokens.flatten().tolist()} - {pad}
    names = {token: visible(token_name(task, token)) for token in sorted(tokens)}
    template = files("seqgan_env.cli").joinpath("show.html").read_text(encoding="utf-8")
    return string.Template(template).substitute(
        title=escape(title),
        about=escape(
            f"Task {settings.task}, agent {settings.agent}, reward {settings.reward} of "
            f"{settings.source}, seed {settings.seed}. Values are means of "
            f"{settings.num_rollouts} completions."
        ),
        rules="\n".join(map(_rules, quantities)),
        inputs="\n".join(_input(each, each is quantities[0]) for each in quantities),
        labels="".join(
            f'<label for="by-{each.name}">{escape(each.label)}</label>' for each in quantities
        ),
        legends="\n".join(_legend(each, scales[each.name]) for each in quantities),
        sections="\n".join(_section(each, quantities, scales, names) for each in sections),
    )


def visible(name: str) -> str:
    """A token's name, of which one can see that it is there."""
    return "".join(_VISIBLE.get(letter, letter) for letter in name) if not name.strip() else name


def _written(sections: Sequence[Section], name: str, pad_token: int) -> np.ndarray:
    """A quantity of every token of a page, (M,)."""
    return np.concatenate(
        [each.opinions[name][each.tokens != pad_token].double().cpu().numpy() for each in sections]
    )


def _input(quantity: Quantity, checked: bool) -> str:
    """The button that chooses a quantity."""
    return (
        f'<input class="choice" type="radio" name="by" id="by-{quantity.name}"'
        f"{' checked' if checked else ''}>"
    )


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
    low, high = scale.middle - scale.reach, scale.middle + scale.reach
    return (
        f'<div class="legend legend-{quantity.name}">{escape(quantity.meaning)} '
        f'<span class="scale">{low:.3g} <i></i> {high:.3g}</span></div>'
    )


def _section(
    section: Section,
    quantities: Sequence[Quantity],
    scales: Mapping[str, Scale],
    names: Mapping[int, str],
) -> str:
    """The sequences of one origin, a line each."""
    rows = [
        _row(tokens, {name: values[i].tolist() for name, values in section.opinions.items()},
             quantities, scales, names)
        for i, tokens in enumerate(section.tokens.tolist())
    ]  # fmt: skip
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
