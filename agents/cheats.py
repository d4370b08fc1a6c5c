"""Cheats: policies that look at no reward and learn nothing beyond maximum likelihood, to try
whether a score can be won.

Each is maximum likelihood, pre-trained as any agent's policy is, and then turned into something
that flatters one number or another. None of them may rank above the best knob.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from agents.base import PolicyConfig
from agents.baselines import MLE
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.knobs import LikelihoodPolicy, MixturePolicy, Temperature
from seqgan_env.streams import RowStreams
from seqgan_env.types import RolloutPolicy, TokenSpec

_GREEDY = 0.02  # a temperature at which the likeliest token is nearly always written
_PARTS = 0x70617274  # "part"; separates the draw of a sequence to repeat from other draws
_MATCHES_AT_ONCE = 2**25  # pairs of a sequence and a known one, a byte each


class Cheat:
    """Maximum likelihood, and a policy made of it.

    Attributes:
        mle: the agent that learns by maximum likelihood.
        policy: what is measured; made anew after every epoch.
    """

    learns_from_reward: ClassVar = False

    def __init__(
        self, env: TokenVectorEnv, seed: int = 0, config: PolicyConfig = PolicyConfig()
    ) -> None:
        """
        Args:
            env: says what is written, and where the policy lives.
            seed: of the policy and of the order of sequences.
            config: of `agents.baselines.MLE`.
        """
        self.mle = MLE(env, seed=seed, config=config)
        self.spec: TokenSpec = self.mle.policy.spec
        self.sequences = torch.empty(0, self.spec.seq_len, dtype=torch.int64)

    @property
    def policy(self) -> RolloutPolicy:
        """The cheat, or maximum likelihood before it has seen anything."""
        if len(self.sequences):
            return self.cheat()
        return self.mle.policy

    @abstractmethod
    def cheat(self) -> RolloutPolicy:
        """The policy that maximum likelihood is turned into."""

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        """Maximum likelihood on `sequences` (M, T), which are kept."""
        self.sequences = sequences
        return self.mle.pretrain(sequences, num_epochs)

    def update(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Maximum likelihood and what it was fitted to."""
        return {"mle": self.mle.state_dict(), "sequences": self.sequences}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        self.mle.load_state_dict(state["mle"])
        self.sequences = state["sequences"]


class TwoTemperatures(Cheat):
    """With one probability a whole sequence is written at a low temperature, else at 1: what won
    the former score.
    """

    def __init__(
        self,
        env: TokenVectorEnv,
        seed: int = 0,
        temperature: float = 0.3,
        weight: float = 0.5,
        config: PolicyConfig = PolicyConfig(),
    ) -> None:
        """
        Args:
            env: says what is written.
            seed: of the policy.
            temperature: the low one.
            weight: probability with which it writes.
            config: of `agents.baselines.MLE`.
        """
        super().__init__(env, seed, config)
        self.temperature, self.weight = temperature, weight

    def cheat(self) -> RolloutPolicy:
        low = Temperature(self.temperature)(self.mle.policy)
        return MixturePolicy([low, self.mle.policy], [self.weight, 1 - self.weight])


class GreedyMixture(TwoTemperatures):
    """Writes the likeliest sequence with one probability, else as maximum likelihood does."""

    def __init__(
        self,
        env: TokenVectorEnv,
        seed: int = 0,
        weight: float = 0.5,
        config: PolicyConfig = PolicyConfig(),
    ) -> None:
        """
        Args:
            env: says what is written.
            seed: of the policy.
            weight: probability of the likeliest sequence.
            config: of `agents.baselines.MLE`.
        """
        super().__init__(env, seed, _GREEDY, weight, config)


class Sharpened(Cheat):
    """Maximum likelihood at one temperature."""

    def __init__(
        self,
        env: TokenVectorEnv,
        seed: int = 0,
        temperature: float = 0.7,
        config: PolicyConfig = PolicyConfig(),
    ) -> None:
        """
        Args:
            env: says what is written.
            seed: of the policy.
            temperature: that divides the logits.
            config: of `agents.baselines.MLE`.
        """
        super().__init__(env, seed, config)
        self.temperature = temperature

    def cheat(self) -> RolloutPolicy:
        return Temperature(self.temperature)(self.mle.policy)


class Replay(Cheat):
    """Writes training sequences over and over, with noise or without; of some, or of all."""

    def __init__(
        self,
        env: TokenVectorEnv,
        seed: int = 0,
        num: int | None = None,
        noise: float = 0.0,
        weight: float = 1.0,
        config: PolicyConfig = PolicyConfig(),
    ) -> None:
        """
        Args:
            env: says what is written.
            seed: of the policy.
            num: how many training sequences it knows; all of them if not given, one for a single
                memorised sentence.
            noise: probability with which a token is replaced by any token.
            weight: probability with which it replays; else maximum likelihood writes, which keeps
                KL(O||G) finite.
            config: of `agents.baselines.MLE`.
        """
        super().__init__(env, seed, config)
        self.num, self.noise, self.weight = num, noise, weight

    def cheat(self) -> RolloutPolicy:
        replay = ReplayPolicy(self.spec, self.sequences[: self.num], self.noise)
        if self.weight == 1:
            return replay
        return MixturePolicy([replay, self.mle.policy], [self.weight, 1 - self.weight])


class BestOfN(Cheat):
    """Writes several drafts and keeps the one that maximum likelihood itself finds likeliest."""

    def __init__(
        self,
        env: TokenVectorEnv,
        seed: int = 0,
        num_drafts: int = 4,
        config: PolicyConfig = PolicyConfig(),
    ) -> None:
        """
        Args:
            env: says what is written.
            seed: of the policy.
            num_drafts: of which one is kept.
            config: of `agents.baselines.MLE`.
        """
        super().__init__(env, seed, config)
        self.num_drafts = num_drafts

    def cheat(self) -> RolloutPolicy:
        return LikeliestDraft(self.mle.policy, self.num_drafts)


class ReplayPolicy:
    """Writes one of M sequences, each token replaced with some probability by a uniform one.

    p(Y) = 1/M sum_m prod_t ((1 - noise) [y_t = x_mt] + noise / V). The end of a sequence and what
    lies behind it are never replaced, and no token is replaced by an end; only sequences as long as
    one of the M are possible.
    """

    def __init__(self, spec: TokenSpec, sequences: Tensor, noise: float = 0.0) -> None:
        """
        Args:
            spec: of the sequences.
            sequences: (M, T) that are repeated.
            noise: probability of a replacement, 0 to 1.
        """
        self.spec, self.sequences, self.noise = spec, sequences, noise
        # A replacement may be any token but the end.
        self.num_tokens = spec.vocab_size - (spec.eos_token is not None)

    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        """Whole sequences (B, T) that begin with the given prefixes.

        What stands behind a prefix is the rest of a sequence that is drawn without regard to it.
        """
        # Draw the sequences to repeat.
        streams = RowStreams.draw(rng, len(tokens))
        chosen = (streams.fold_in(_PARTS).uniform(1).squeeze(1) * len(self.sequences)).long()
        written = self.sequences[chosen.clamp(max=len(self.sequences) - 1)]

        # Replace tokens: one half of the draws says which, the other half by what.
        seq_len = self.spec.seq_len
        draws = streams.uniform(2 * seq_len)  # (B, 2 T)
        replaced = (draws[:, :seq_len] < self.noise) & self._replaceable(written)
        other = (draws[:, seq_len:] * self.num_tokens).long().clamp(max=self.num_tokens - 1)
        if self.spec.eos_token is not None:
            other = other + (other >= self.spec.eos_token)  # the end is skipped
        written = torch.where(replaced, other, written)

        # Keep the prefixes.
        kept = torch.arange(self.spec.seq_len, device=tokens.device) < lengths.unsqueeze(1)
        if bool(lengths.any()):
            return torch.where(kept, tokens, written)
        return written

    def log_prob(self, tokens: Tensor) -> Tensor:
        """log p(Y), (B,), in nats, of whole sequences; minus infinity for what it never writes."""
        rows = max(1, _MATCHES_AT_ONCE // len(self.sequences))
        return torch.cat(list(map(self._log_prob, tokens.split(rows))))

    def _log_prob(self, tokens: Tensor) -> Tensor:
        """log p(Y), (B,), of whole sequences `tokens` (B, T), few enough for one pass.

        Sequences that have as many tokens in common with Y are equally likely to have become Y. So
        they are counted by that number.
        """
        # How many tokens Y has in common with each of the M; -1 where the form is another.
        common = torch.zeros(len(tokens), len(self.sequences), dtype=torch.int8)
        own, theirs = tokens.to(torch.int32), self.sequences.to(torch.int32)
        free = self._replaceable(self.sequences)
        for t in range(self.spec.seq_len):
            common += (own[:, t : t + 1] == theirs[:, t]) & free[:, t]
        common[self._form(tokens).unsqueeze(1) != self._form(self.sequences)] = -1

        # A common token was left or replaced by itself, any other one was replaced.
        num_free = self._replaceable(tokens).sum(1)  # (B,)
        replaced = self.noise / self.num_tokens
        terms = []
        for num in range(self.spec.seq_len + 1):
            ways = (common == num).sum(1).double().log()  # (B,), minus infinity for none
            changes = (num_free - num).clamp(min=0)
            terms.append(
                ways + num * _log(1 - self.noise + replaced) + _times(changes, _log(replaced))
            )
        return (torch.stack(terms).logsumexp(0) - math.log(len(self.sequences))).float()

    def _form(self, sequences: Tensor) -> Tensor:
        """A number (M,) that is the same for sequences of one length that end alike."""
        return 2 * self.spec.lengths(sequences) + self._replaceable(sequences)[:, -1]

    def _replaceable(self, sequences: Tensor) -> Tensor:
        """Which tokens are neither an end nor behind one, (M, T)."""
        found = sequences != self.spec.pad_token
        if self.spec.eos_token is None:
            return found
        return found & (sequences != self.spec.eos_token)


def _log(value: float) -> float:
    """log, and minus infinity at 0."""
    if value > 0:
        return math.log(value)
    return -math.inf


def _times(num: Tensor, log_prob: float) -> Tensor:
    """num * log p, where 0 times minus infinity is 0."""
    return torch.where(num > 0, num * log_prob, torch.zeros_like(num, dtype=torch.float64))


class LikeliestDraft:
    """The likeliest of several drafts of a policy.

    How likely it is to write what, nobody knows exactly.
    """

    def __init__(self, policy: LikelihoodPolicy, num_drafts: int) -> None:
        self.policy, self.num_drafts = policy, num_drafts

    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        """Finished sequences (B, T) that begin with the given prefixes."""
        num, num_drafts = len(tokens), self.num_drafts
        streams = RowStreams.draw(rng, num).repeat(num_drafts)
        prefixes = tokens.repeat_interleave(num_drafts, 0)  # (B * num_drafts, T)
        written = lengths.repeat_interleave(num_drafts, 0)  # (B * num_drafts,)
        drafts = self.policy.complete(prefixes, written, streams)
        best = self.policy.log_prob(drafts).view(-1, num_drafts).argmax(1)  # (B,)
        found: Tensor = drafts.view(num, num_drafts, -1)[torch.arange(num), best]
        return found
