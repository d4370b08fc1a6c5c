"""Knobs: ways to turn a trained policy into another one without training and without a reward.

What a knob of maximum likelihood reaches, nobody needs adversarial training for. So the best knob
is the rival of every agent (Caccia et al. 2020, "Language GANs falling short", have the temperature
alone; a mixture of two temperatures does better, and beats any score that temperature alone
defines).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.generators.sampling import at_least_float32
from seqgan_env.rowwise import in_parts
from seqgan_env.streams import RowStreams, uniforms
from seqgan_env.types import HasLogProb, RolloutPolicy

_CHOICE = 0x6B6E6F62  # separates the draw of a mixture's part from the draws of its tokens
_DRAFT, _KEEP = 0x64726166, 0x6B656570  # separate the drafts of a row, and the draws that keep them
_NUM_PILOT = 2**14  # drafts by which a power is normalised
_CLIPPED = 0.01  # share of the drafts whose weight is clipped
_LOGITS_AT_ONCE = 2**20
_BELOW_ONE = 1 - 2**-23  # times a float32 it is a smaller float32


class LikelihoodPolicy(RolloutPolicy, HasLogProb, Protocol):
    """A policy that writes and knows exactly how likely it is to write what."""


@runtime_checkable
class HasTemperature(Protocol):
    """A policy whose sampling temperature can be changed."""

    def with_temperature(self, temperature: float) -> LikelihoodPolicy:
        """A copy whose logits are divided by `temperature`."""
        ...


@runtime_checkable
class Knob(Protocol):
    """A way to turn a policy into another one.

    Knobs are compared by value and can be keys of a dict.
    """

    @property
    def name(self) -> str:
        """The name of the knob, as it stands in tables."""
        ...

    def fits(self, policy: object) -> bool:
        """Whether the policy has what is turned."""
        ...

    def __call__(self, policy: RolloutPolicy) -> LikelihoodPolicy:
        """The turned policy; the given one stays as it is."""
        ...


@runtime_checkable
class MeasuresKnobs(Protocol):
    """A task that can say what the knobs of a policy reach."""

    def knobs_of(self, policy: RolloutPolicy, more: Sequence[Knob]) -> list[Knob]:
        """The knobs of this task that fit a policy, and all of `more`; `UNTURNED` is among them.

        Raises:
            ValueError: one of `more` does not fit.
        """
        ...

    def measure_knobs(
        self, policy: RolloutPolicy, knobs: Sequence[Knob], seed: int
    ) -> Iterator[dict[str, float]]:
        """The metrics of every knob, those of `evaluate` for this seed, beside the divergences by
        which the best is chosen.
        """
        ...

    def paired_error(self, policy: RolloutPolicy, other: RolloutPolicy, seed: int) -> float | None:
        """The standard error of the difference of two policies' ranking divergence; None where the
        task cannot tell.
        """
        ...


@dataclass(frozen=True)
class Temperature:
    """Divides the logits.

    Attributes:
        value: above 0; below 1 is sharper.
    """

    value: float

    @property
    def name(self) -> str:
        return f"T {self.value:g}"

    def fits(self, policy: object) -> bool:
        return isinstance(policy, HasTemperature)

    def __call__(self, policy: RolloutPolicy) -> LikelihoodPolicy:
        if not isinstance(policy, HasTemperature):
            raise ValueError(
                f"{self.name} was asked for; {type(policy).__name__} has no with_temperature"
            )
        return policy.with_temperature(self.value)


@dataclass(frozen=True)
class TopK:
    """Writes only the most likely tokens of every step (Fan et al. 2018).

    Alone it gives most real sequences no probability. In a `Mixture` with the whole policy it has a
    floor.

    Attributes:
        num: how many tokens are kept, 1 or more.
    """

    num: int

    @property
    def name(self) -> str:
        return f"top {self.num}"

    def fits(self, policy: object) -> bool:
        return isinstance(policy, LanguageModel)

    def __call__(self, policy: RolloutPolicy) -> LikelihoodPolicy:
        return TruncatedPolicy(_language_model(policy, self.name), self)

    def keep(self, logits: Tensor) -> Tensor:
        """Which tokens are kept, (..., V) of logits (..., V)."""
        num = min(self.num, logits.shape[-1])
        return logits >= _falling(logits)[..., num - 1 : num]


@dataclass(frozen=True)
class TopP:
    """Nucleus sampling: writes only the fewest tokens that hold a share of the probability
    (Holtzman et al. 2020).

    Attributes:
        share: of the probability, above 0 and below 1.
    """

    share: float

    @property
    def name(self) -> str:
        return f"nucleus {self.share:g}"

    def fits(self, policy: object) -> bool:
        return isinstance(policy, LanguageModel)

    def __call__(self, policy: RolloutPolicy) -> LikelihoodPolicy:
        return TruncatedPolicy(_language_model(policy, self.name), self)

    def keep(self, logits: Tensor) -> Tensor:
        """Which tokens are kept, (..., V) of logits (..., V)."""
        probs = logits.softmax(-1)
        falling = _falling(probs)
        before = falling.cumsum(-1) - falling
        num_kept = (before < self.share).sum(-1, keepdim=True)
        return probs >= falling.gather(-1, num_kept - 1)


@dataclass(frozen=True)
class Power:
    """Sharpens whole sequences: p(Y)^power / Z, up to a clip that keeps drawing from it cheap.

    A temperature sharpens every token by itself, and so prefers sequences that begin in narrow
    distributions; a power treats all sequences alike.

    Attributes:
        value: above 1.
    """

    value: float

    def __post_init__(self) -> None:
        if not self.value > 1:
            raise ValueError(f"power is {self.value}; allowed is any number above 1")

    @property
    def name(self) -> str:
        return f"power {self.value:g}"

    def fits(self, policy: object) -> bool:
        return isinstance(policy, LanguageModel)

    def __call__(self, policy: RolloutPolicy) -> LikelihoodPolicy:
        return PowerPolicy(_language_model(policy, self.name), self.value)


@dataclass(frozen=True)
class Mixture:
    """Writes every whole sequence by one of several knobs, drawn by weight.

    Attributes:
        parts: knobs, none of them a mixture, with their weights, which sum to 1.
    """

    parts: tuple[tuple[Knob, float], ...]

    def __post_init__(self) -> None:
        _, weights = self._apart()
        if min(weights, default=0.0) <= 0 or not math.isclose(sum(weights), 1.0):
            raise ValueError(
                f"the weights of a mixture are {weights}; allowed are numbers above 0 that sum to 1"
            )
        for knob, _ in self.parts:
            if isinstance(knob, Mixture):
                raise ValueError(
                    f"a mixture has the mixture {knob.name!r} as a part; give the parts of that one"
                )
            if isinstance(knob, Power):
                raise ValueError(
                    f"a mixture has {knob.name!r} as a part; how likely a power is to write a "
                    "prefix is not known, so that a mixture could not go on with one"
                )

    @property
    def name(self) -> str:
        return " + ".join(f"{knob.name} x {weight:g}" for knob, weight in self.parts)

    def fits(self, policy: object) -> bool:
        knobs, _ = self._apart()
        return all(knob.fits(policy) for knob in knobs)

    def __call__(self, policy: RolloutPolicy) -> LikelihoodPolicy:
        knobs, weights = self._apart()
        return MixturePolicy([knob(policy) for knob in knobs], weights)

    def _apart(self) -> tuple[list[Knob], list[float]]:
        """The knobs and their weights."""
        knobs, weights = [], []
        for knob, weight in self.parts:
            knobs.append(knob)
            weights.append(weight)
        return knobs, weights


def parts_of(knob: Knob) -> tuple[tuple[Knob, float], ...]:
    """The parts of a knob with their weights; of one that is no mixture, itself."""
    if isinstance(knob, Mixture):
        return knob.parts
    return ((knob, 1.0),)


class MixturePolicy:
    """p(Y) = sum_k w_k p_k(Y): one policy, drawn by weight, writes the whole sequence."""

    def __init__(self, policies: Sequence[LikelihoodPolicy], weights: Sequence[float]) -> None:
        """
        Args:
            policies: that write.
            weights: of each; they sum to 1.
        """
        self.policies, self.weights = list(policies), list(weights)

    @torch.no_grad()
    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        """Finished sequences (B, T); which policy goes on with a prefix follows how likely each is
        to have written it.
        """
        streams = RowStreams.draw(rng, len(tokens))
        # Bayes: how likely each policy is to be the one that has written the prefix.
        shares = self._log_shares(tokens, lengths).softmax(0).cumsum(0)  # (K, B)
        draws = streams.fold_in(_CHOICE).uniform(1).squeeze(1)
        chosen = (draws >= shares[:-1]).sum(0)  # (B,)
        # Each policy goes on with its own rows, by the streams of these rows.
        completed = tokens.clone()
        for k, policy in enumerate(self.policies):
            rows = (chosen == k).nonzero().squeeze(1)
            if len(rows):
                completed[rows] = policy.complete(tokens[rows], lengths[rows], streams.select(rows))
        return completed

    def log_prob(self, tokens: Tensor) -> Tensor:
        """log p(Y), (B,), in nats."""
        return self._log_joint(tokens).logsumexp(0)

    def _log_shares(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """log w_k p_k of the prefixes, (K, B); log w_k of the empty one, and of one that no policy
        can have written.
        """
        prior = (
            torch.tensor(self.weights, dtype=torch.float32, device=tokens.device)
            .log()
            .unsqueeze(1)
            .expand(-1, len(tokens))
        )
        if not bool(lengths.any()):
            return prior
        joint = self._log_joint(tokens)
        known = (lengths > 0) & torch.isfinite(joint).any(0)
        return torch.where(known, joint, prior)

    def _log_joint(self, tokens: Tensor) -> Tensor:
        """log w_k p_k of what is written of `tokens` (B, T), (K, B)."""
        parts = []
        for policy, weight in zip(self.policies, self.weights, strict=True):
            parts.append(policy.log_prob(tokens) + math.log(weight))
        return torch.stack(parts)


class PowerPolicy:
    """A language model sharpened by whole sequences, drawn from exactly by rejection.

    At temperature 1 / power the model writes by some q(Y), and w(Y) = p(Y)^power / q(Y) is the
    product over the steps of sum_v p(v | prefix)^power, which is below 1. A draft of q is kept with
    probability min(w, c) / c. So the policy is q(Y) min(w(Y), c) / Z, which is p(Y)^power but for
    the few sequences whose weight is above the clip c.
    """

    def __init__(self, model: LanguageModel, power: float) -> None:
        """
        Args:
            model: that is sharpened.
            power: above 1.
        """
        self.model, self.power = model, power
        self.drafts = model.with_temperature(1 / power)
        rng = torch.Generator(device=model.device).manual_seed(0)
        log_weights = self._log_weights(self.drafts.sample(_NUM_PILOT, rng)).double()
        self.log_clip = float(log_weights.quantile(1 - _CLIPPED))
        clipped = log_weights.clamp(max=self.log_clip)
        # Estimated. In the mean of both KL divergences its error cancels.
        self.log_normaliser = float(clipped.logsumexp(0)) - math.log(_NUM_PILOT)

    @torch.no_grad()
    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        """Finished sequences (B, T) that begin with `lengths` (B,) tokens of `tokens` (B, T)."""
        streams = RowStreams.draw(rng, len(tokens))
        # No continuation weighs more than its prefix, or than the clip.
        bound = torch.zeros(len(tokens), device=tokens.device)
        if bool(lengths.any()):
            bound = torch.where(lengths > 0, self._log_weights(tokens), bound)
        bound = bound.clamp(max=self.log_clip)
        completed = tokens.clone()
        open_rows = torch.arange(len(tokens), device=tokens.device)
        attempt = 0
        while len(open_rows):
            own = streams.select(open_rows).fold_in(attempt)
            drafts = self.drafts.complete(
                tokens[open_rows], lengths[open_rows], own.fold_in(_DRAFT)
            )
            log_weights = self._log_weights(drafts).clamp(max=self.log_clip)
            log_draws = own.fold_in(_KEEP).uniform(1).squeeze(1).log()
            refused = log_draws > log_weights - bound[open_rows]
            completed[open_rows[~refused]] = drafts[~refused]
            open_rows = open_rows[refused]
            attempt += 1
        return completed

    @torch.no_grad()
    def log_prob(self, tokens: Tensor) -> Tensor:
        """log p(Y), (B,), in nats, of whole sequences, up to the error of the normaliser."""
        at_drafts = self.drafts.log_prob(tokens)
        log_weights = self.power * self.model.log_prob(tokens) - at_drafts
        return at_drafts + log_weights.clamp(max=self.log_clip) - self.log_normaliser

    def _log_weights(self, tokens: Tensor) -> Tensor:
        """log w (B,) of sequences or prefixes (B, T)."""
        return self.power * self.model.log_prob(tokens) - self.drafts.log_prob(tokens)


class TruncatedPolicy:
    """A language model that writes only some tokens of every step, by their probabilities among
    each other.
    """

    def __init__(self, model: LanguageModel, knob: TopK | TopP) -> None:
        """
        Args:
            model: that is truncated.
            knob: says which tokens are kept.
        """
        self.model, self.knob = model, knob

    @torch.no_grad()
    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        """Finished sequences (B, T) that begin with `lengths` (B,) tokens of `tokens` (B, T)."""
        spec = self.model.spec
        tokens = tokens.clone()
        ended = spec.is_complete(tokens, lengths)
        draws = uniforms(rng, len(tokens), spec.seq_len)
        state = self.model.start(len(tokens))
        inputs = tokens.new_full((len(tokens),), spec.start_token)
        for t in range(spec.seq_len):
            hidden, state = self.model.advance(state, inputs)
            logits = self.model.output(hidden)
            if t < spec.min_length:
                logits[:, spec.eos_token] = -torch.inf
            cumulative = self._truncated(logits).exp().cumsum(1)
            total = cumulative[:, -1:]
            # A product may round up.
            threshold = torch.minimum(draws[:, t : t + 1] * total, total * _BELOW_ONE)
            drawn = (threshold >= cumulative).sum(1)
            tokens[:, t] = torch.where(~ended & (lengths <= t), drawn, tokens[:, t])
            inputs = tokens[:, t].clamp(max=spec.vocab_size - 1)
            if spec.eos_token is not None:
                ended |= tokens[:, t] == spec.eos_token
        return tokens

    @torch.no_grad()
    def log_prob(self, tokens: Tensor) -> Tensor:
        """log p(Y), (B,), in nats; minus infinity where a token was cut off."""
        spec = self.model.spec
        rows = max(1, _LOGITS_AT_ONCE // (spec.seq_len * spec.vocab_size))
        return in_parts(self._log_prob, tokens, rows)

    def _log_prob(self, tokens: Tensor) -> Tensor:
        written = tokens != self.model.spec.pad_token
        log_probs = self._truncated(self.model.logits(tokens))
        of_tokens = log_probs.gather(2, tokens.masked_fill(~written, 0).unsqueeze(2)).squeeze(2)
        return of_tokens.masked_fill(~written, 0.0).sum(1)

    def _truncated(self, logits: Tensor) -> Tensor:
        """log-probabilities (..., V) of the kept tokens among each other; minus infinity for the
        others.
        """
        logits = at_least_float32(logits)
        return logits.masked_fill(~self.knob.keep(logits), -torch.inf).log_softmax(-1)


def _falling(values: Tensor) -> Tensor:
    """`values` (..., V), largest first."""
    if values.device.type != "cpu":
        return values.sort(-1, descending=True).values
    # NumPy sorts short rows with vector instructions, about twenty times as fast as torch.
    return torch.from_numpy(np.sort(values.numpy(), axis=-1)).flip(-1)


def _language_model(policy: RolloutPolicy, knob: str) -> LanguageModel:
    """A copy of the policy, so that what is made of it stays as it is while the policy learns."""
    if not isinstance(policy, LanguageModel):
        raise ValueError(
            f"{knob} was asked for; {type(policy).__name__} is no LanguageModel, which has logits"
        )
    return policy.with_temperature(1.0)


UNTURNED = Temperature(1.0)

_TEMPERATURES = (1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.5, 0.3)
_LOW, _HIGH = (0.9, 0.8, 0.7, 0.5, 0.3), (1.0, 1.1)
_WEIGHTS = (0.1, 0.25, 0.5, 0.75, 0.9)
_TRUNCATIONS: tuple[Knob, ...] = (TopP(0.9), TopK(10))
_POWERS: tuple[Knob, ...] = tuple(map(Power, (1.1, 1.15, 1.2)))


def _mixtures(
    low: Sequence[Knob], high: Sequence[Knob], weights: Sequence[float]
) -> tuple[Knob, ...]:
    """Every mixture of one of `low` with one of `high`; the first has each of `weights`."""
    found = []
    for first, second, weight in itertools.product(low, high, weights):
        # Rounded, for 1 - 0.9 would stand in names as 0.09999999999999998.
        found.append(Mixture(((first, weight), (second, round(1 - weight, 9)))))
    return tuple(found)


def _temperatures(values: Sequence[float]) -> tuple[Knob, ...]:
    return tuple(map(Temperature, values))


# Where densities are known all of these are measured in one pass, since mixtures share the draws of
# their parts.
KNOBS: tuple[Knob, ...] = (
    *_temperatures(_TEMPERATURES),
    *_mixtures(_temperatures(_LOW), _temperatures(_HIGH), _WEIGHTS),
    *_TRUNCATIONS,
    *_mixtures(_TRUNCATIONS, [UNTURNED], (0.5, 0.9)),
    *_POWERS,
)

_LARGE = 1_000  # tokens, from which on some knobs take too long


def knobs_for(
    policy: object, vocab_size: int, knobs: Sequence[Knob], more: Sequence[Knob] = ()
) -> list[Knob]:
    """The knobs that fit a policy, and `more`, each once.

    With a large vocabulary only temperatures and their mixtures of `knobs`. There a truncation
    sorts too many tokens, and a power refuses most of its drafts: at V 5000 and T 20 that of 1.1
    keeps 14 % of them, that of 1.15 keeps 2 %. Those of `more` were asked for, whatever they take.

    Raises:
        ValueError: one of `more` does not fit.
    """
    found = []
    for knob in knobs:
        is_quick = all(isinstance(part, Temperature) for part, _ in parts_of(knob))
        if knob.fits(policy) and (is_quick or vocab_size <= _LARGE):
            found.append(knob)
    for knob in more:
        if not knob.fits(policy):
            raise ValueError(
                f"knob {knob.name!r} of more_knobs does not fit the policy, a "
                f"{type(policy).__name__}; name knobs that can turn it"
            )
        if knob not in found:
            found.append(knob)
    return found


# On real data every knob needs samples and classifiers of its own.
FEW_KNOBS: tuple[Knob, ...] = (
    *_temperatures((1.1, 1.0, 0.9, 0.8, 0.7)),
    *_mixtures(_temperatures((0.8, 0.5)), [UNTURNED], (0.5,)),
    TopP(0.95),
)
