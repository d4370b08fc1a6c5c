"""Whether the fast routes say what plain torch says: draws by chi-squared, likelihoods, scores,
values, gradients and training.

    python -m benchmarks.exactness

Every check has a fixed seed and goes through public functions only; the same checks run with the
native code switched off.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from rich.table import Table
from scipy.special import chdtrc
from torch import Tensor

from benchmarks import plain
from benchmarks.measuring import in_own_process
from seqgan_env import (
    CNNDiscriminator,
    DiscriminatorTrainer,
    LSTMLanguageModel,
    RewardSettings,
    TokenSpec,
    native,
)
from seqgan_env.discriminators.cnn import PAPER_CNN, CNNConfig
from seqgan_env.envs.registration import build_rewards
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask

SPEC = TokenSpec(5000, 20)
NUM = 256
NUM_BINS = 50
ROUTES = (*native.variants_here(), "torch")  # values of SEQGAN_ENV_NATIVE


@dataclass(frozen=True)
class Check:
    """A distance from plain torch and what is allowed; of a chi-squared test the p-value and the
    smallest allowed.
    """

    name: str
    found: float
    allowed: float
    is_p_value: bool = False

    @property
    def passed(self) -> bool:
        if not math.isfinite(self.found):
            return False
        return self.found >= self.allowed if self.is_p_value else self.found <= self.allowed


def check_all() -> list[Check]:
    """Every check, in this process."""
    return [
        *draws(),
        likelihoods(),
        *scores(),
        values(),
        policy_gradients(),
        discriminator_gradients(),
        likelihood_training(),
        discriminator_training(),
    ]


def routes(advance: Callable[[], object] = lambda: None) -> dict[str, list[Check]]:
    """The checks by route, each route in a process of its own; `advance` is called after each."""
    checks = {}
    for route in ROUTES:
        checks[route] = in_own_process(check_all, environment={"SEQGAN_ENV_NATIVE": route})
        advance()
    return checks


def draws() -> list[Check]:
    """Of a policy as even as it starts, and of one as sharp as an oracle; of that one also the
    first tokens by themselves.
    """
    sharp = build_policy(scale=1.0)
    first = sharp.sample(10 * NUM, _rng(15))[:, 0]
    with torch.no_grad():
        share = (
            plain.PlainPolicy.like(sharp).double().logits(first.new_zeros(1, 1)).softmax(2)[0, 0]
        )
    p_value = _chi_squared(torch.bincount(first, minlength=len(share)), share)
    return [
        Check("first tokens, chi-squared p", p_value, 1e-4, True),
        Check(
            "all tokens, even policy, chi-squared p",
            _all_tokens(build_policy(scale=0.1)),
            1e-4,
            True,
        ),
        Check("all tokens, sharp policy, chi-squared p", _all_tokens(sharp), 1e-4, True),
    ]


def _all_tokens(policy: LSTMLanguageModel) -> float:
    """The p-value of all tokens, each put through its own conditional distribution, which makes
    them uniform.

    With S the mass of the tokens that are more probable than y_t given what stands before it, S + u
    p(y_t), u uniform, is uniform and independent from token to token if and only if the sequences
    are drawn exactly (Rosenblatt 1952). Ordered by probability, and not by number, as that shows a
    wrong temperature.
    """
    reference, rng = plain.PlainPolicy.like(policy).double(), _rng(1)
    tokens = policy.sample(NUM, rng)
    with torch.no_grad():
        ranks = torch.cat([_ranks(reference.logits(rows), rows, rng) for rows in tokens.split(64)])
    observed = torch.bincount(
        (ranks.flatten() * NUM_BINS).long().clamp(0, NUM_BINS - 1), minlength=NUM_BINS
    )
    return _chi_squared(observed, torch.full((NUM_BINS,), 1 / NUM_BINS, dtype=torch.float64))


def _ranks(logits: Tensor, tokens: Tensor, rng: torch.Generator) -> Tensor:
    """Where tokens (B, T) lie in their distributions (B, T, V), ties spread evenly over their mass:
    (B, T) in [0, 1).
    """
    probs = logits.softmax(2)
    chosen = probs.gather(2, tokens.unsqueeze(2))
    above, same = ((probs * which).sum(2) for which in (probs > chosen, probs == chosen))
    return above + same * torch.rand(tokens.shape, generator=rng, dtype=torch.float64)


def _chi_squared(observed: Tensor, share: Tensor) -> float:
    """The p-value of counts (K,) under probabilities (K,); the rarest are one cell that expects at
    least five. 0 if what has no probability was drawn."""
    if bool(observed[share == 0].any()):
        return 0.0
    expected, order = (share * observed.sum()).sort()
    joined = (expected < 5) | (expected.cumsum(0) - expected < 5)
    cells = [
        torch.cat([x[joined].sum().view(1), x[~joined]])
        for x in (observed[order].double(), expected)
    ]
    statistic = ((cells[0] - cells[1]) ** 2 / cells[1]).sum()
    return float(chdtrc(len(cells[0]) - 1, float(statistic)))


def likelihoods() -> Check:
    """log p(Y), as a share of itself."""
    policy = build_policy(scale=0.4)
    tokens = policy.sample(NUM, _rng(2))
    with torch.no_grad():
        logits = plain.PlainPolicy.like(policy).double().logits(tokens)
    expected = logits.log_softmax(2).gather(2, tokens.unsqueeze(2)).sum((1, 2))
    return Check(
        "log-likelihoods, relative",
        float((policy.log_prob(tokens) / expected - 1).abs().max()),
        1e-5,
    )


def scores() -> list[Check]:
    """P(real) of the small discriminator in float32, and of the paper's with its highway layer in
    bfloat16.
    """
    sizes = {
        "scores, small D": (CNNConfig(), 1e-5),
        "scores, paper's D in bfloat16": (PAPER_CNN, 3e-3),
    }
    return [
        Check(name, _score_distance(config), allowed) for name, (config, allowed) in sizes.items()
    ]


def _score_distance(config: CNNConfig) -> float:
    discriminator = CNNDiscriminator.initialised(SPEC, _rng(3), config)
    tokens = _random_tokens(4 * NUM, 4)
    return float(
        (discriminator.score(tokens) - plain.PlainDiscriminator.like(discriminator).score(tokens))
        .abs()
        .max()
    )


def values() -> Check:
    """Action values, which are random: the mean difference of a batch in its standard errors, 16
    rollouts each.
    """
    task = OracleTask(OracleSettings(500, SPEC.seq_len, num_real=24, num_held_out=1, num_eval=1))
    discriminator = CNNDiscriminator.initialised(task.spec, _rng(5))
    rewards = build_rewards(task, RewardSettings(num_rollouts=16), task.oracle, discriminator)
    ours = rewards.action_values(task.real_sequences, _rng(6))
    policy, judge = (
        plain.PlainPolicy.like(task.oracle),
        plain.PlainDiscriminator.like(discriminator),
    )
    apart = (ours - plain.action_values(policy, judge, task.real_sequences, 16, _rng(7)))[
        :, :-1
    ].mean(1)  # (B,)
    return Check(
        "rollout values, standard errors",
        float(apart.mean().abs() / apart.std() * len(apart) ** 0.5),
        4.0,
    )


def policy_gradients() -> Check:
    """Of the weighted likelihood that both maximum likelihood and REINFORCE follow, as a share of
    the largest entry.
    """
    policy = build_policy(scale=0.1)
    reference = plain.PlainPolicy.like(policy)
    tokens, weights = _random_tokens(64, 8), torch.randn(64, SPEC.seq_len, generator=_rng(9))
    (policy.weighted_nll(tokens, weights) / tokens.numel()).backward()
    reference.loss(tokens, weights).backward()
    return Check("policy gradients, relative", _gradient_distance(policy, reference), 1e-4)


def discriminator_gradients() -> Check:
    """Of the logistic loss without dropout, as a share of the largest entry."""
    discriminator, reference, tokens, labels = _discriminators()
    torch.nn.functional.binary_cross_entropy_with_logits(discriminator(tokens), labels).backward()
    reference.loss(tokens, labels).backward()
    return Check(
        "discriminator gradients, relative", _gradient_distance(discriminator, reference), 1e-4
    )


def likelihood_training(num_steps: int = 4) -> Check:
    """Losses of steps on one batch, by `MaximumLikelihood` and by autograd over all logits with
    plain Adam.
    """
    policy = build_policy(scale=0.1)
    reference, tokens = plain.PlainPolicy.like(policy), _random_tokens(64, 10)
    trainer = MaximumLikelihood(policy, _rng(11), batch_size=len(tokens))
    optimizer = torch.optim.Adam([p for p in reference.parameters() if p.requires_grad], lr=1e-2)
    ours = [trainer.fit(tokens, 1)["mle_loss"] for _ in range(num_steps)]
    theirs = [plain.fit_policy(reference, optimizer, tokens) for _ in range(num_steps)]
    return Check(f"losses of {num_steps} likelihood steps", _furthest(ours, theirs), 1e-4)


def discriminator_training(num_steps: int = 4) -> Check:
    """Losses of steps on one batch without dropout, by `DiscriminatorTrainer` and by autograd with
    plain Adam.
    """
    discriminator, reference, tokens, labels = _discriminators()
    trainer, (real, generated) = DiscriminatorTrainer(discriminator), tokens.chunk(2)
    optimizer = torch.optim.Adam(reference.parameters(), lr=discriminator.config.learning_rate)
    ours = [trainer.fit(real, generated, 1, _rng(12))["loss"] for _ in range(num_steps)]
    theirs = [
        plain.fit_discriminator(reference, optimizer, tokens, labels) for _ in range(num_steps)
    ]
    return Check(f"losses of {num_steps} discriminator steps", _furthest(ours, theirs), 1e-4)


def build_policy(scale: float) -> LSTMLanguageModel:
    """A policy with parameters ~ N(0, scale^2): at 0.1 as it starts, at 0.4 sharp enough that
    tokens differ in probability.
    """
    policy = LSTMLanguageModel.initialised(SPEC, _rng(0))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(10 * scale)
    return policy


def _discriminators() -> tuple[CNNDiscriminator, plain.PlainDiscriminator, Tensor, Tensor]:
    """The paper's twice, with a batch of as many real as generated sequences and their labels."""
    config = replace(PAPER_CNN, dropout=0.0, batch_size=64, learning_rate=1e-3)
    discriminator = CNNDiscriminator.initialised(SPEC, _rng(13), config)
    tokens = _random_tokens(config.batch_size, 14)
    labels = torch.ones(config.batch_size)
    labels[config.batch_size // 2 :] = 0
    return discriminator, plain.PlainDiscriminator.like(discriminator), tokens, labels


def _gradient_distance(ours: torch.nn.Module, theirs: torch.nn.Module) -> float:
    """The largest difference of any parameter's gradient, as a share of that gradient's largest
    entry.
    """
    distances = []
    for name, parameter in ours.named_parameters():
        expected = theirs.get_parameter(name).grad
        if expected is not None:
            assert parameter.grad is not None, f"{name} has no gradient"
            distances.append(
                float(
                    (parameter.grad - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
                )
            )
    return max(distances)


def _furthest(ours: list[float], theirs: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def _random_tokens(num: int, seed: int) -> Tensor:
    return torch.randint(SPEC.vocab_size, (num, SPEC.seq_len), generator=_rng(seed))


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(checks: dict[str, list[Check]]) -> Table:
    """One row a check, one column a route."""
    shown = Table(title="distance from plain torch")
    for name in ("what", "allowed", *checks):
        shown.add_column(name, justify="left" if name == "what" else "right")
    for row in zip(*checks.values(), strict=True):
        bound = f"{'at least' if row[0].is_p_value else 'at most'} {row[0].allowed:g}"
        shown.add_row(
            row[0].name,
            bound,
            *(f"{check.found:.2g}{'' if check.passed else ' FAILED'}" for check in row),
        )
    return shown


def failures(checks: dict[str, list[Check]]) -> list[str]:
    """The names of what failed, with its route."""
    return [
        f"{check.name} ({route})"
        for route, row in checks.items()
        for check in row
        if not check.passed
    ]


def main() -> None:
    """Checks, prints and fails if one does."""
    console = Console(width=120)
    with console.status("comparing with plain torch"):
        checks = routes()
    console.print(table(checks))
    if failures(checks):
        sys.exit(f"not exact: {', '.join(failures(checks))}")


if __name__ == "__main__":
    main()
