"""The picture of a run: what is drawn can be read, and what there is nothing of is not drawn."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("matplotlib")

from seqgan_env.training.plots import figure_of

METRICS = {"bleu4": 0.3, "self_bleu4": 0.4, "nll_gen": 3.0, "referee_js": 0.2}
EPOCHS = [{"phase": 0.0, "epoch": 1.0, "nll_validation": 3.0}]
ROUND = {
    "phase": 1.0,
    "round": 1.0,
    "agent/reward": 0.5,
    "discriminator/accuracy_real_heldout": 0.6,
} | {f"task/{name}": value for name, value in METRICS.items()}
KNOBS = {"T 0.9": METRICS | {"temperature": 0.9}, "top-k 50": METRICS}


def titles(figure: Any) -> list[str]:
    """Of the panels that are shown."""
    return [axes.get_title() for axes in figure.axes if axes.axison]


def test_every_panel_shown_has_something_drawn() -> None:
    for history in ([], EPOCHS[:1], [*EPOCHS, ROUND]):
        figure = figure_of(history, KNOBS, {"mle": METRICS, "agent": METRICS})
        shown = [axes for axes in figure.axes if axes.axison]
        assert shown
        for axes in shown:
            assert axes.lines or axes.containers, axes.get_title()


def test_a_run_that_ended_before_its_rounds_has_no_panel_of_them() -> None:
    before = titles(figure_of(EPOCHS, {}, {"mle": METRICS}))
    behind = titles(figure_of([*EPOCHS, ROUND], {}, {"mle": METRICS}))
    more = set(behind) - set(before)
    assert len(more) == 2
    assert any(title.startswith("Discriminator") for title in more)
    assert any(title.startswith("Reward") for title in more)


def test_a_legend_names_only_what_is_drawn() -> None:
    figure = figure_of(EPOCHS, {}, {"mle": METRICS})
    for axes in figure.axes:
        handles, _ = axes.get_legend_handles_labels()
        for handle in handles:
            assert not hasattr(handle, "get_xdata") or len(handle.get_xdata())


def test_no_legend_lies_on_what_is_drawn() -> None:
    figure = figure_of(EPOCHS, {}, {"mle": METRICS})
    figure.draw_without_rendering()
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is not None:
            assert legend.get_window_extent().y1 < axes.get_window_extent().y0


def test_metrics_by_round_are_called_what_the_table_calls_them() -> None:
    assert "BLEU-4 by round" in titles(figure_of(EPOCHS, {}, {"mle": METRICS}))
