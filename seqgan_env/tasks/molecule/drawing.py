"""Molecules as pictures, and how their properties are distributed."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from seqgan_env.extras import load
from seqgan_env.tasks.molecule.chemistry import molecule, qed, rdkit
from seqgan_env.tasks.molecule.table import PropertyTable

MOST_SHOWN = 20

_COLUMNS, _COLUMNS_OF_PAGE = 5, 3  # of a picture, and of an SVG, which a page shows small
_CELL = (230, 190)  # pixels
_BINS = 30
_REAL, _WRITTEN = "#7f7f7f", "#4c72b0"
# By property: what stands below its histogram.
PROPERTIES_SHOWN = {
    "qed": "QED, 0 to 1",
    "log_p": "log P",
    "accessibility": "synthetic accessibility, 1 (easy) to 10",
    "weight": "molecular weight, g/mol",
}


def draw_grid(smiles: Sequence[str], as_svg: bool = False) -> bytes:
    """The first `MOST_SHOWN` of some texts as drawn molecules with their QED, a PNG or an SVG.

    A text that is no molecule is a place with a star that says so.
    """
    drawn, legends = [], []
    for text in smiles[:MOST_SHOWN]:
        found = molecule(text)
        if found is None:
            # RDKit writes no legend where there is nothing above it.
            drawn.append(molecule("*"))
            legends.append("no molecule")
        else:
            drawn.append(found)
            legends.append(f"QED {qed(text):.2f}")
    columns = _COLUMNS
    if as_svg:
        columns = _COLUMNS_OF_PAGE
    picture = rdkit("Chem.Draw").MolsToGridImage(
        drawn,
        molsPerRow=columns,
        subImgSize=_CELL,
        legends=legends,
        useSVG=as_svg,
        returnPNG=not as_svg,
    )
    # RDKit gives an SVG as text, a PNG as bytes.
    data: bytes = picture
    if as_svg:
        data = picture.encode()
    return data


def plot_properties(table: PropertyTable, smiles: Sequence[str], real: Sequence[str]) -> bytes:
    """Histograms of the molecules among some texts and among real ones, a PNG.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figures = load("matplotlib.figure", "the histograms of properties")
    figure = figures.Figure(figsize=(11, 6.5), layout="constrained")
    planes = figure.subplots(2, 2).flat
    for axis, (name, label) in zip(planes, PROPERTIES_SHOWN.items(), strict=True):
        written = _finite(table.numbers(name, smiles))
        data = _finite(table.numbers(name, real))
        both = np.concatenate([written, data])
        if len(both):
            # The same bins for both, so that the histograms can be compared by eye.
            edges = np.histogram_bin_edges(both, bins=_BINS)
            style = {"bins": edges, "density": True}
            if len(data):
                axis.hist(data, **style, color=_REAL, alpha=0.45, label=f"{len(data)} held-out")
            if len(written):
                told = f"{len(written)} written ({len(written) / len(smiles):.0%} are molecules)"
                axis.hist(written, **style, histtype="step", lw=2, color=_WRITTEN, label=told)
        axis.set(xlabel=label, ylabel="density")
        axis.grid(alpha=0.3)
    # One legend for the figure: the numbers are the same in every plane.
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _finite(values: np.ndarray) -> np.ndarray:
    """The values (N,) of what is a molecule, of (B,)."""
    found: np.ndarray = values[np.isfinite(values)]
    return found
