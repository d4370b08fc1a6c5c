r"""Which classifier knows most about the distance of a policy from its data?

    python -m benchmarks.classifiers [--quick] [--seeds N] [--out FILE.json] [--page FILE.md]
    # fails if the page says something else than the numbers
    python -m benchmarks.classifiers --out benchmarks/results/classifiers.json \
        --page docs/discriminators.md --check

Every classifier learns real sequences of oracle-tiny against samples of the same policy, which is
maximum likelihood of these real sequences. Its best epoch is chosen on validation data. What it
has learned is then measured on held-out sequences of both sides, where the true logarithm of the
ratio of both densities is known: it is the best logit there is (Goodfellow et al. 2014, eq. 2).
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from agents.reinforce import ReinforceConfig
from benchmarks.leaderboard import update_section
from benchmarks.measuring import machine
from seqgan_env import (
    CNNDiscriminator,
    LanguageModel,
    RewardSettings,
    TokenSpec,
    TokenVectorEnv,
    build_rewards,
    pretrain_policy,
)
from seqgan_env.agents import Reinforce
from seqgan_env.discriminators.cnn import SMALL_CNN
from seqgan_env.discriminators.ratio import RatioDiscriminator
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.run_directory import read_json, write_json

BEGIN, END = "<!-- classifiers:begin -->", "<!-- classifiers:end -->"
BATCH = 256  # sequences of each side in a step
MOST_EPOCHS, PATIENCE = 40, 3  # epochs, and those without a better one
NUM_EPOCHS = 40  # of maximum likelihood
RATES = (1e-3, 3e-3)  # of Adam; the better one on validation data is kept
NUM_BINS = 10  # of the calibration error
TEMPERATURES = (0.8, 1.0, 1.25)  # of the negatives of one recipe

# Losses take the logits of real and of generated sequences.
Loss = Callable[[Tensor, Tensor], Tensor]


def logistic(real: Tensor, generated: Tensor) -> Tensor:
    """The cross-entropy (Goodfellow et al. 2014)."""
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def smoothed(real: Tensor, generated: Tensor) -> Tensor:
    """The cross-entropy, real sequences labelled 0.9 (Salimans et al. 2016)."""
    return 0.9 * F.softplus(-real).mean() + 0.1 * F.softplus(real).mean() + _of_generated(generated)


def hinge(real: Tensor, generated: Tensor) -> Tensor:
    """The margin loss (Lim and Ye 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + generated).mean()


def relativistic(real: Tensor, generated: Tensor) -> Tensor:
    """A real sequence should look more real than a generated one (Jolicoeur-Martineau 2018)."""
    num = min(len(real), len(generated))
    return F.softplus(generated[:num] - real[:num]).mean()


def kullback_leibler(real: Tensor, generated: Tensor) -> Tensor:
    """The variational bound of KL (Nowozin et al. 2016), whose best logit is the log ratio."""
    return -real.mean() + generated.clamp(max=15).exp().mean()


def _of_generated(logits: Tensor) -> Tensor:
    return F.softplus(logits).mean()


class Recurrent(nn.Module):
    """An LSTM; its mean and largest states decide."""

    def __init__(self, spec: TokenSpec, both_ways: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(spec.vocab_size + 1, 32)
        self.lstm = nn.LSTM(32, 64, batch_first=True, bidirectional=both_ways)
        self.output = nn.Linear(2 * 64 * (1 + both_ways), 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B,) of sequences (B, T)."""
        states, _ = self.lstm(self.embedding(tokens))  # (B, T, H)
        logits: Tensor = self.output(torch.cat([states.mean(1), states.amax(1)], dim=1))
        return logits.squeeze(1)


class Attending(nn.Module):
    """A transformer encoder of two layers; the mean over time decides."""

    def __init__(self, spec: TokenSpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(spec.vocab_size + 1, 64)
        self.position = nn.Parameter(0.1 * torch.randn(spec.seq_len, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.output = nn.Linear(64, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B,) of sequences (B, T)."""
        states = self.encoder(self.embedding(tokens) + self.position)  # (B, T, H)
        logits: Tensor = self.output(states.mean(1))
        return logits.squeeze(1)


class Convolutional(nn.Module):
    """The discriminator `small`, its features dropped at a rate of one's own."""

    def __init__(self, spec: TokenSpec, dropout: float = 0.1, spectral: bool = False) -> None:
        super().__init__()
        self.rng = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        config = replace(SMALL_CNN, dropout=dropout)
        self.model = CNNDiscriminator.initialised(spec, self.rng, config)
        if spectral:  # Miyato et al. 2018
            for layer in (*self.model.convolutions, self.model.highway, self.model.output):
                nn.utils.parametrizations.spectral_norm(layer)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B,) of sequences (B, T)."""
        dropout_rng = self.rng if self.training else None
        logits: Tensor = self.model(tokens, dropout_rng)
        return logits


@dataclass(frozen=True)
class Recipe:
    """A classifier and how it learns.

    Attributes:
        network: makes it.
        loss: what it minimises.
        weight_decay: of AdamW.
        num: as many networks, whose logits are averaged.
        stops: whether the best epoch is kept; otherwise it learns six epochs, as `seqgan train`
            begins.
        all_temperatures: whether its negatives are written at several temperatures.
    """

    network: Callable[[TokenSpec], nn.Module]
    loss: Loss = logistic
    weight_decay: float = 0.0
    num: int = 1
    stops: bool = True
    all_temperatures: bool = False


RATIO = "ratio: three language models less the policy"
RECIPES = {
    "CNN, six epochs (`small`)": Recipe(Convolutional, stops=False),
    "CNN": Recipe(Convolutional),
    "CNN, half of the features dropped": Recipe(lambda spec: Convolutional(spec, dropout=0.5)),
    "CNN, weight decay 0.3": Recipe(Convolutional, weight_decay=0.3),
    "CNN, labels smoothed": Recipe(Convolutional, smoothed),
    "CNN, spectral norm": Recipe(lambda spec: Convolutional(spec, spectral=True)),
    "CNN, negatives of three temperatures": Recipe(Convolutional, all_temperatures=True),
    "CNN, hinge loss": Recipe(Convolutional, hinge),
    "CNN, relativistic loss": Recipe(Convolutional, relativistic),
    "CNN, KL's variational loss": Recipe(Convolutional, kullback_leibler),
    "three CNNs": Recipe(Convolutional, num=3),
    "LSTM": Recipe(lambda spec: Recurrent(spec, both_ways=False)),
    "LSTM both ways": Recipe(lambda spec: Recurrent(spec, both_ways=True)),
    "three LSTMs both ways": Recipe(lambda spec: Recurrent(spec, both_ways=True), num=3),
    "transformer": Recipe(Attending),
    RATIO: Recipe(Convolutional),  # is made of language models instead
}


@dataclass(frozen=True)
class Sides:
    """Real and generated sequences of one part, (M, T) each."""

    real: Tensor
    generated: Tensor


@dataclass(frozen=True)
class Scene:
    """What all classifiers of a seed look at.

    Attributes:
        task: with the oracle.
        policy: that wrote the generated sequences.
        train, validation, held_out: sequences of both sides.
        rng: of the policy's further samples.
    """

    task: OracleTask
    policy: LanguageModel
    train: Sides
    validation: Sides
    held_out: Sides
    rng: torch.Generator

    def log_ratio(self, tokens: Tensor) -> Tensor:
        """The true log of data density over policy density, (B,)."""
        return self.task.oracle.log_prob(tokens) - self.policy.log_prob(tokens)


@dataclass(frozen=True)
class Sizes:
    """How large the work is.

    Attributes:
        num_real: real sequences to train on, by the name of the case.
        num_validated: sequences of each side by which epochs are chosen.
        num_judged: sequences of each side that are judged.
        most_epochs: of a classifier.
    """

    num_real: dict[str, int] = field(
        default_factory=lambda: {"1,000 sequences": 1_000, "10,000 sequences": 10_000}
    )
    num_validated: int = 2_000
    num_judged: int = 5_000
    most_epochs: int = MOST_EPOCHS


QUICK = Sizes({"200 sequences": 200}, num_validated=200, num_judged=500, most_epochs=2)


def likelihood_options(num_real: int) -> dict[str, Any]:
    """Of maximum likelihood, for the policy and for the models of the ratio."""
    return {
        "mle_learning_rate": 0.02,
        "mle_learning_rate_decay": 0.955,
        "mle_weight_decay": 0.3 if num_real < 5_000 else 0.1,
    }


def scene_of(num_real: int, sizes: Sizes, seed: int) -> Scene:
    """An oracle of its own, its data, and maximum likelihood of them with early stopping."""
    settings = OracleSettings(
        oracle_seed=seed,
        num_real=num_real,
        num_validation=sizes.num_validated,
        num_held_out=sizes.num_judged,
    )
    task, rng = OracleTask(settings), torch.Generator().manual_seed(seed)
    agent = Reinforce(
        TokenVectorEnv(1, build_rewards(task, RewardSettings(source="constant"))),
        seed=seed,
        config=ReinforceConfig(**likelihood_options(num_real)),
    )
    for _ in pretrain_policy(agent, task, NUM_EPOCHS, keep_best=True):
        pass  # the rows are for those who look on
    policy = agent.policy
    train, validation, held_out = (
        Sides(real, policy.sample(len(real), rng))
        for real in (task.real_sequences, task.validation, task.held_out)
    )
    return Scene(task, policy, train, validation, held_out, rng)


def logits_of(networks: Sequence[nn.Module], tokens: Tensor) -> Tensor:
    """The mean logits (B,) of networks."""
    with torch.no_grad():
        found = []
        for network in networks:
            network.eval()
            found.append(torch.cat([network(part) for part in tokens.split(1024)]))
        return torch.stack(found).mean(0)


def learned(scene: Scene, recipe: Recipe, most_epochs: int, seed: int) -> list[nn.Module]:
    """The networks of a recipe, each at the rate and epoch that were best on validation data."""
    networks = []
    for member in range(recipe.num):
        tried = []
        for rate in RATES:
            torch.manual_seed(1_000 * seed + member)
            tried.append(_trained(scene, recipe, rate, most_epochs))
        networks.append(min(tried, key=lambda pair: pair[0])[1])
    return networks


def _trained(
    scene: Scene, recipe: Recipe, rate: float, most_epochs: int
) -> tuple[float, nn.Module]:
    """A network, and its loss on validation data."""
    network = recipe.network(scene.task.spec)
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=recipe.weight_decay)
    real, generated = scene.train.real, scene.train.generated
    if recipe.all_temperatures:
        drawn = []
        for temperature in TEMPERATURES:
            turned = scene.policy.with_temperature(temperature)
            drawn.append(turned.sample(len(real) // len(TEMPERATURES), scene.rng))
        generated = torch.cat(drawn)
    best, best_epoch, kept = math.inf, 0, network.state_dict()
    last = most_epochs if recipe.stops else min(6, most_epochs)
    for epoch in range(last):
        network.train()
        orders = [torch.randperm(len(side)).split(BATCH) for side in (real, generated)]
        for of_real, of_generated in zip(*orders, strict=False):
            both = network(torch.cat([real[of_real], generated[of_generated]]))
            loss = recipe.loss(both[: len(of_real)], both[len(of_real) :])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        on_real = logits_of([network], scene.validation.real)
        found = float(recipe.loss(on_real, logits_of([network], scene.validation.generated)))
        if found < best or not recipe.stops:
            best, best_epoch, kept = found, epoch, copy.deepcopy(network.state_dict())
        elif epoch - best_epoch >= PATIENCE:
            break
    network.load_state_dict(kept)
    return best, network


def learned_ratio(scene: Scene, most_epochs: int, seed: int) -> nn.Module:
    """The ratio of three language models of the real sequences to the policy."""
    rng = torch.Generator().manual_seed(seed + 1)
    model = RatioDiscriminator(
        scene.task.spec,
        rng,
        num_models=3,
        mle_epochs=min(NUM_EPOCHS, most_epochs),
        **likelihood_options(len(scene.train.real)),
    )
    model.bind(scene.policy)
    model.pretrain(scene.train.real, scene.validation.real, rng)
    return model


def diagnosed(scene: Scene, logits: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """What a classifier knows of held-out sequences."""
    sides = (scene.held_out.real, scene.held_out.generated)
    real, generated = (logits(side).double().numpy() for side in sides)
    true_real, true_generated = (scene.log_ratio(side).double().numpy() for side in sides)
    slope, shift = calibration(*(logits(side) for side in vars(scene.validation).values()))
    cross_entropy = np.logaddexp(0, -(slope * real + shift)).mean() / 2
    cross_entropy += np.logaddexp(0, slope * generated + shift).mean() / 2
    best = np.logaddexp(0, -true_real).mean() / 2 + np.logaddexp(0, true_generated).mean() / 2
    return {
        "real_called_real": float((real > 0).mean()),
        "generated_called_generated": float((generated < 0).mean()),
        "accuracy": float((real > 0).mean() + (generated < 0).mean()) / 2,
        "bayes_accuracy": float((true_real > 0).mean() + (true_generated < 0).mean()) / 2,
        "js_found": float(1 - cross_entropy / math.log(2)),
        "js": float(1 - best / math.log(2)),
        "calibration_error": calibration_error(real, generated),
        "correlation_real": float(np.corrcoef(real, true_real)[0, 1]),
        "correlation_generated": float(np.corrcoef(generated, true_generated)[0, 1]),
    }


def calibration(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Slope and shift of the logits with the least cross-entropy: the losses differ in both."""
    values = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([values], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        slope, shift = values[0], values[1]
        found = logistic(slope * real.double() + shift, slope * generated.double() + shift)
        found.backward()
        return found

    optimizer.step(loss)
    slope, shift = values.detach().tolist()
    return slope, shift


def calibration_error(real: np.ndarray, generated: np.ndarray) -> float:
    """The expected calibration error of sigmoid(logit) (Guo et al. 2017), as many of both sides."""
    logits = np.concatenate([real, generated])
    is_real = np.repeat([1.0, 0.0], [len(real), len(generated)])
    said = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    bins = np.minimum((said * NUM_BINS).astype(int), NUM_BINS - 1)
    gap = np.bincount(bins, said - is_real, NUM_BINS)
    return float(np.abs(gap).sum() / len(said))


def run(sizes: Sizes, seeds: int, out: Path | None) -> list[dict[str, Any]]:
    """The diagnosis of every recipe, case and seed; those that `out` has are not repeated."""
    rows: list[dict[str, Any]] = []
    if out and out.exists():
        rows = read_json(out)["rows"]
    done = {(row["case"], row["seed"]) for row in rows}
    jobs = [(case, seed) for seed in range(seeds) for case in sizes.num_real]
    missing = [job for job in jobs if job not in done]
    for case, seed in track(missing, "classifying", console=Console(stderr=True)):
        scene = scene_of(sizes.num_real[case], sizes, seed)
        for name, recipe in RECIPES.items():
            if name == RATIO:
                networks: list[nn.Module] = [learned_ratio(scene, sizes.most_epochs, seed)]
            else:
                networks = learned(scene, recipe, sizes.most_epochs, seed)
            found = diagnosed(scene, partial(logits_of, networks))
            rows.append({"case": case, "seed": seed, "classifier": name} | found)
        if out:
            write_json(out, {"machine": machine(), "rows": rows})
    return rows


COLUMNS = {
    "real called real": "real_called_real",
    "generated called generated": "generated_called_generated",
    "accuracy": "accuracy",
    "calibration error": "calibration_error",
    "JS found, share of ln 2": "js_found",
    "correlation on real": "correlation_real",
    "on generated": "correlation_generated",
}


def show(rows: Sequence[dict[str, Any]], case: str) -> Table:
    """The table of a case: means over seeds."""
    table = Table(title=_title(rows, case))
    table.add_column("classifier")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for classifier in RECIPES:
        table.add_row(classifier, *_cells(rows, case, classifier))
    return table


def section(rows: Sequence[dict[str, Any]]) -> str:
    """The tables of all cases in Markdown."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        lines += [f"**{_title(rows, case)}**", ""]
        lines += [f"| classifier | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
        for classifier in RECIPES:
            lines.append(f"| {classifier} | {' | '.join(_cells(rows, case, classifier))} |")
        lines.append("")
    return "\n".join(lines)


def _title(rows: Sequence[dict[str, Any]], case: str) -> str:
    of_case = [row for row in rows if row["case"] == case]
    bayes = statistics.fmean(row["bayes_accuracy"] for row in of_case)
    js = statistics.fmean(row["js"] for row in of_case)
    num = len({row["seed"] for row in of_case})
    return (
        f"{case}, {num} oracles: Bayes' classifier is right in {bayes:.3f}, and JS is {js:.3f} "
        "of ln 2"
    )


def _cells(rows: Sequence[dict[str, Any]], case: str, classifier: str) -> list[str]:
    """Means over seeds, and half the range that they span."""
    own = [row for row in rows if (row["case"], row["classifier"]) == (case, classifier)]
    cells = []
    for name in COLUMNS.values():
        values = [row[name] for row in own]
        cells.append(f"{statistics.fmean(values):.3f} ± {(max(values) - min(values)) / 2:.3f}")
    return cells


def main() -> int:
    """Trains, prints a table for each number of real sequences, writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="as many oracles")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the numbers go")
    parser.add_argument("--page", type=Path, metavar="FILE", help="whose tables are made anew")
    parser.add_argument(
        "--check", action="store_true", help="train nothing, change nothing: is the page stale?"
    )
    chosen = parser.parse_args()
    if chosen.check:
        if not (chosen.out and chosen.page):
            parser.error("--check needs --out and --page")
        return _page(chosen.page, read_json(chosen.out)["rows"], check=True)
    torch.set_num_threads(1)
    sizes = QUICK if chosen.quick else Sizes()
    rows = run(sizes, chosen.seeds, chosen.out)
    console = Console(width=180)
    for case in sizes.num_real:
        console.print(show(rows, case))
    if chosen.page:
        return _page(chosen.page, rows, check=False)
    return 0


def _page(page: Path, rows: Sequence[dict[str, Any]], check: bool) -> int:
    """Puts the tables into a page; the exit status."""
    return update_section(page, section(rows), (BEGIN, END), check, "classifiers")


if __name__ == "__main__":
    sys.exit(main())
