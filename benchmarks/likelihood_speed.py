"""Milliseconds of the likelihood under an output layer, alone and with its gradients.

    python -m benchmarks.likelihood_speed [--quick] [--threads N] [--repeats N] [--out FILE.json]

Every variant of the kernels that runs here, torch's route and torch's float32 matrix products of
the same shapes take turns in one process, after a turn that warms up. The products are those that
the work cannot do without: one for the log-probabilities, three for the loss with its gradients
(for states, weight and bias). The share of a route is their time in its own, the median over turns:
100 % would be a route whose exponentials and sums cost nothing. What is shown is the median of the
milliseconds; half the range stands in the JSON beside it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.measuring import in_own_process, machine, seconds_in_turns
from seqgan_env import native
from seqgan_env.cli.doctor import TORCH, using
from seqgan_env.generators.sampling import linear_log_probs, linear_weighted_nll
from seqgan_env.training.run_directory import write_json

PRODUCTS = "products"


@dataclass(frozen=True)
class Size:
    """How large an output layer is, and of how many states the likelihood is asked.

    Attributes:
        name: what has this size.
        num_states: R.
        vocab_size: V.
        hidden_dim: H.
    """

    name: str
    num_states: int
    vocab_size: int
    hidden_dim: int


SIZES: tuple[Size, ...] = (
    Size("64 sequences at the paper's size", 1280, 5000, 32),
    Size("sentences of the built-in English", 768, 2531, 32),
    Size("captions, a model q of the density ratio", 768, 4600, 128),
)
QUICK: tuple[Size, ...] = (Size("small", 64, 500, 32),)


class Layer:
    """An output layer with parameters as they start, states, and tokens that follow them."""

    def __init__(self, size: Size) -> None:
        rng = torch.Generator().manual_seed(0)
        rows, vocab, depth = size.num_states, size.vocab_size, size.hidden_dim
        self.hidden = torch.randn(rows, depth, generator=rng).tanh().requires_grad_()
        self.weight = (torch.randn(vocab, depth, generator=rng) * 0.1).requires_grad_()
        self.bias = (torch.randn(vocab, generator=rng) * 0.1).requires_grad_()
        self.targets = torch.randint(vocab, (rows,), generator=rng)
        self.row_weights = torch.rand(rows, generator=rng)
        self.grad_logits = torch.randn(rows, vocab, generator=rng)

    def log_probs(self) -> None:
        """Of the tokens, without gradients."""
        with torch.no_grad():
            linear_log_probs(self.hidden, self.weight, self.bias, self.targets)

    def loss_and_gradients(self) -> None:
        """Of the weighted likelihood."""
        parameters = (self.hidden, self.weight, self.bias)
        loss = linear_weighted_nll(*parameters, self.targets, self.row_weights)
        torch.autograd.grad(loss, parameters)

    @torch.no_grad()
    def logits(self) -> Tensor:
        """h W + b (R, V): the product of `log_probs`."""
        return torch.addmm(self.bias, self.hidden, self.weight.t())

    @torch.no_grad()
    def three_products(self) -> None:
        """The products of `loss_and_gradients`."""
        self.logits()
        torch.mm(self.grad_logits, self.weight)
        torch.mm(self.grad_logits.t(), self.hidden)


WORKS: dict[str, tuple[Callable[[Layer], object], Callable[[Layer], object]]] = {
    "log-probabilities": (Layer.log_probs, Layer.logits),
    "loss and gradients": (Layer.loss_and_gradients, Layer.three_products),
}


def by_route(work: Callable[[Layer], object], layer: Layer) -> dict[str, Callable[[], object]]:
    """The work of a layer by every route that there is here."""

    def through(route: str) -> Callable[[], object]:
        def run() -> None:
            with using(route):
                work(layer)

        return run

    return {route: through(route) for route in (*native.variants_here(), TORCH)}


def row_of(size: Size, name: str, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """What the turns of one work say, in milliseconds by route, the products among them."""
    shares = {}
    for route, of_route in seconds.items():
        pairs = zip(seconds[PRODUCTS], of_route, strict=True)
        shares[route] = statistics.median(product / whole for product, whole in pairs)
    return asdict(size) | {
        "work": name,
        "milliseconds": {route: 1e3 * statistics.median(s) for route, s in seconds.items()},
        "spread": {route: 1e3 * (max(s) - min(s)) / 2 for route, s in seconds.items()},
        "share_of_products": shares,
    }


def measured(sizes: tuple[Size, ...], repeats: int) -> list[dict[str, Any]]:
    """A row for every size and work, in this process."""
    rows = []
    for size in sizes:
        layer = Layer(size)
        for name, (work, products) in WORKS.items():
            works = by_route(work, layer) | {PRODUCTS: partial(products, layer)}
            seconds_in_turns(works, 1)
            rows.append(row_of(size, name, seconds_in_turns(works, repeats)))
    return rows


def texts(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A table's lines, the names of its columns first: milliseconds by route, in brackets the share
    of the products.
    """
    routes = list(rows[0]["milliseconds"])
    lines = [["states, V, H", "work", *routes]]
    for row in rows:
        size = f"{row['num_states']:,}, {row['vocab_size']:,}, {row['hidden_dim']}"
        cells = [f"{size} ({row['name']})", row["work"]]
        for route in routes:
            share = "" if route == PRODUCTS else f" ({row['share_of_products'][route]:.0%})"
            cells.append(f"{row['milliseconds'][route]:.1f}{share}")
        lines.append(cells)
    return lines


def show(rows: Sequence[Mapping[str, Any]], about: dict[str, Any]) -> Table:
    """The table for a terminal."""
    (size, work, *routes), *lines = texts(rows)
    table = Table(title=f"{about['cpu']}, torch {about['versions']['torch']}; milliseconds")
    for name in (size, work):
        table.add_column(name)
    for route in routes:
        table.add_column(route, justify="right", no_wrap=True)
    for cells in lines:
        table.add_row(*cells)
    return table


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a small layer, three turns")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch (default: 1)")
    parser.add_argument("--repeats", type=int, default=21, metavar="N", help="turns (default: 21)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the measurements as JSON")
    arguments = parser.parse_args()
    for name in ("threads", "repeats"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} {getattr(arguments, name)}; allowed is 1 or more")
    sizes, repeats = SIZES, arguments.repeats
    if arguments.quick:
        sizes, repeats = QUICK, 3
    rows = in_own_process(measured, sizes, repeats, threads=arguments.threads)
    about = machine()
    Console(width=160).print(show(rows, about))
    if arguments.out:
        content = {"machine": about, "threads": arguments.threads, "repeats": repeats, "rows": rows}
        write_json(arguments.out, content)


if __name__ == "__main__":
    main()
