"""The shape of a sequence task, and the protocols through which the parts of the package meet.

Axes everywhere: B sequences in a batch, T `seq_len`, V `vocab_size`, N `num_rollouts`. Token arrays
are int64 and padded with `pad_token` = V behind the end of a sequence; a prefix is a token array
with `lengths` (B,), the number of tokens written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from seqgan_env.checks import MOST_SEQ_LEN, MOST_VOCAB_SIZE, check_range

if TYPE_CHECKING:  # the command line knows what it can do before torch is loaded
    import numpy as np
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class TokenSpec:
    """What a sequence is: its vocabulary, its longest length and how it may end.

    Examples:
        >>> import torch
        >>> spec = TokenSpec(vocab_size=5, seq_len=3, eos_token=0)
        >>> spec.pad_token
        5
        >>> spec.lengths(torch.tensor([[2, 0, 5], [1, 2, 3]]))  # the end token counts
        tensor([2, 3])

    Attributes:
        vocab_size: V, the number of tokens; actions are 0..V-1.
        seq_len: T, the number of tokens after which a sequence ends in any case.
        eos_token: the token that ends a sequence early, or None where every sequence has T tokens.
            It is part of the sequence and counts in its length.
        min_length: the number of tokens that must stand before `eos_token`; until then it is
            masked.
    """

    vocab_size: int
    seq_len: int
    eos_token: int | None = None
    min_length: int = 0

    def __post_init__(self) -> None:
        if self.vocab_size < 2:
            raise ValueError(
                f"vocab_size is {self.vocab_size}; a vocabulary needs at least 2 tokens"
            )
        if self.seq_len < 1:
            raise ValueError(f"seq_len is {self.seq_len}; a sequence needs at least 1 token")
        check_range("vocab_size", self.vocab_size, 2, MOST_VOCAB_SIZE)
        check_range("seq_len", self.seq_len, 1, MOST_SEQ_LEN)
        if self.eos_token is not None and not 0 <= self.eos_token < self.vocab_size:
            raise ValueError(
                f"eos_token is {self.eos_token}; the vocabulary is 0..{self.vocab_size - 1}"
            )
        if not 0 <= self.min_length < self.seq_len:
            raise ValueError(
                f"min_length is {self.min_length}; allowed is 0..{self.seq_len - 1} (seq_len - 1)"
            )
        if self.min_length and self.eos_token is None:
            raise ValueError(
                f"min_length is {self.min_length}, but without an eos_token every sequence has "
                "seq_len tokens"
            )

    @property
    def pad_token(self) -> int:
        """V: fills what is not written. Never an action."""
        return self.vocab_size

    @property
    def start_token(self) -> int:
        """What a language model reads before the first token: `eos_token`, never an input
        otherwise, or 0 (the paper's).
        """
        if self.eos_token is None:
            return 0
        return self.eos_token

    def lengths(self, tokens: Tensor) -> Tensor:
        """Number of tokens written (B,) in each row of `tokens` (B, T)."""
        return (tokens != self.pad_token).sum(1)

    def is_complete(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Whether each prefix (B,) is a finished sequence: T tokens, or the last one ends it."""
        full = lengths >= self.seq_len
        if self.eos_token is None:
            return full
        last = tokens.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        return full | ((lengths > 0) & (last == self.eos_token))

    def check_sequences(self, tokens: Tensor, name: str = "tokens") -> Tensor:
        """`tokens` as it is if it is a (B, T) integer array of finished sequences; a ValueError
        says what is wrong if not.
        """
        import torch  # not at the top: the shape of a task is known without it

        if tokens.ndim != 2 or tokens.shape[1] != self.seq_len:
            raise ValueError(
                f"{name} has shape {tuple(tokens.shape)}; expected (B, {self.seq_len})"
            )
        if tokens.is_floating_point() or tokens.dtype == torch.bool:
            raise ValueError(f"{name} has dtype {tokens.dtype}; expected integers")
        if len(tokens) == 0:
            return tokens
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high > self.pad_token:
            bad = high
            if low < 0:
                bad = low
            raise ValueError(
                f"{name} holds {bad}; allowed are 0..{self.vocab_size - 1}, and {self.pad_token} "
                "behind the end"
            )
        lengths = self.lengths(tokens)
        written = torch.arange(self.seq_len, device=tokens.device) < lengths.unsqueeze(1)
        if not bool(((tokens != self.pad_token) == written).all()):
            raise ValueError(f"{name} has padding ({self.pad_token}) before a written token")
        if not bool(self.is_complete(tokens, lengths).all()):
            row = int((~self.is_complete(tokens, lengths)).nonzero()[0])
            raise ValueError(
                f"{name}[{row}] has {int(lengths[row])} of {self.seq_len} tokens and no end; "
                "expected finished sequences"
            )
        if self.eos_token is not None and bool(((tokens == self.eos_token).sum(1) > 1).any()):
            raise ValueError(
                f"{name} has tokens behind the end of a sequence (eos_token {self.eos_token})"
            )
        return tokens


@dataclass(frozen=True)
class Estimate:
    """A value with a 95 % interval."""

    value: float
    low: float
    high: float


@runtime_checkable
class RolloutPolicy(Protocol):
    """Anything that can finish a sequence."""

    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        """Finished sequences (B, T) that begin with the given prefixes; `tokens` (B, T) itself is
        left as it is.

        Args:
            tokens: (B, T) int64, padded beyond `lengths`.
            lengths: (B,) int64 in 0..T, ragged; a finished prefix comes back unchanged.
            rng: the only source of randomness. `seqgan_env.streams.uniforms(rng, B, T)` draws from
                it so that a row does not depend on the rest of its batch; any other use of it as a
                `torch.Generator` is fine too.
        """
        ...


@runtime_checkable
class HasLogProb(Protocol):
    """Anything with likelihoods of finished sequences."""

    def log_prob(self, tokens: Tensor) -> Tensor:
        """log p(Y), (B,), in nats."""
        ...


@runtime_checkable
class HasTokenLogProbs(Protocol):
    """Anything whose likelihoods are products over tokens, one given those before it."""

    def token_log_probs(self, tokens: Tensor) -> Tensor:
        """log p(y_t | y_1..y_{t-1}) of prefixes (B, T), (B, T), in nats; 0 behind the end."""
        ...


def token_log_probs(policy: object, tokens: Tensor) -> Tensor:
    """log p(y_t | y_1..y_{t-1}) of prefixes (B, T) under a policy, (B, T), in nats.

    Raises:
        TypeError: the policy does not give them.
    """
    if not isinstance(policy, HasTokenLogProbs):
        raise TypeError(
            "reward form 'token' needs the likelihoods of single tokens; "
            f"{type(policy).__name__} has no token_log_probs(tokens)"
        )
    return policy.token_log_probs(tokens)


@runtime_checkable
class SequenceScorer(Protocol):
    """Anything that says how good a finished sequence is."""

    def score(self, tokens: Tensor) -> Tensor:
        """Scores (B,) of finished sequences (B, T)."""
        ...


@runtime_checkable
class AdditiveScorer(Protocol):
    """A scorer whose score is a sum over tokens, so that every token has a part of its own."""

    def score(self, tokens: Tensor) -> Tensor:
        """Scores (B,) of finished sequences (B, T)."""
        ...

    def token_scores(self, tokens: Tensor) -> Tensor:
        """The part of every token of prefixes (B, T), (B, T), 0 behind the end.

        A part depends on its token and on those before it alone. Of a finished sequence the parts
        sum to its score.

        Raises:
            ValueError: the score, as it is set up, is no sum over tokens.
        """
        ...


@runtime_checkable
class PrefixValue(Protocol):
    """The value of a prefix: the action value of its last token (Yu et al. 2017, eq. 4)."""

    def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        """Values (B,) of the prefixes `tokens` (B, T), `lengths` (B,)."""
        ...


@runtime_checkable
class ToldOfPolicy(Protocol):
    """A score source that looks at the policy that it pays."""

    def bind(self, policy: RolloutPolicy) -> None:
        """Told of the live policy, by handle, and again when another one takes its place."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """A score source whose scores depend on what it has scored before."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        ...


Numbers = TypeVar("Numbers", "np.ndarray", "Tensor")


class RewardFn(Protocol):
    """What steps pay, from the values of the prefixes before and behind them."""

    def __call__(self, before: Numbers, after: Numbers) -> Numbers:
        """Rewards, from as many values before and after; of arrays or of tensors."""
        ...


@runtime_checkable
class GeneratorAgent(Protocol):
    """A generator that learns: what Algorithm 1 trains.

    Made by `Class(env, seed=seed, **options)`; by `policy=` too where it is given the language
    model that it trains. Its class may say more about itself by the class attributes of
    `seqgan_env.plugins.AgentTraits`. `seqgan_env.testing.check_agent` verifies an implementation.
    """

    @property
    def policy(self) -> RolloutPolicy:
        """The live policy, rolled out by the environment and measured by the task."""
        ...

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        """Fits the policy to real `sequences` (M, T) for `num_epochs` more epochs."""
        ...

    def update(self) -> dict[str, float]:
        """One g-step on the environment that the agent was given."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """Something whose state can be saved, and loaded into a new one that was made in the same way.

    Then it goes on as if it had never stopped, bit by bit. A state is made of tensors, numbers,
    strings, None, and lists and dicts of these.
    """

    def state_dict(self) -> dict[str, Any]:
        """The state as it is now; what happens later does not change it."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Makes `state` the present state."""
        ...


@runtime_checkable
class Task(Protocol):
    """What is to be written, and how it is judged."""

    name: str
    spec: TokenSpec
    real_sequences: Tensor  # (M, T) to train on
    validation: Tensor  # (M', T) to select on (early stopping)
    held_out: Tensor  # (M'', T) to report on, never trained or selected on

    def draw_real(self, num: int, rng: torch.Generator) -> Tensor:
        """`num` real sequences (num, T) to train on."""
        ...

    def evaluate(self, policy: RolloutPolicy, rng: torch.Generator) -> Mapping[str, float]:
        """Metrics of a policy, named as in the documentation, without the prefix `task/`."""
        ...

    def decode(self, tokens: Tensor) -> str:
        """One sequence (T,) as a person reads it."""
        ...

    def to(self, device: str) -> Task:
        """Moves what is on a device, in place."""
        ...


@runtime_checkable
class Portable(Protocol):
    """A task that a run carries with it, so that its policy writes where the real data are gone."""

    def essentials(self) -> Mapping[str, Any]:
        """What the settings do not tell without the real data, such as a vocabulary, as values of
        JSON.
        """
        ...

    @classmethod
    def without_data(cls, settings: Any, name: str, essentials: Mapping[str, Any]) -> Any:
        """The task with its `name` and `spec`, `decode`, `to` and all else that asks for no real
        data.

        Args:
            settings: of the task.
            name: of the task.
            essentials: what an equal task gave, out of a file that anyone may have written.

        Raises:
            ValueError: they cannot be; says which, and what is expected.
        """
        ...


@runtime_checkable
class KeepsData(Protocol):
    """A task whose real data take long to read, and need not be read twice."""

    def keep_data(self, folder: Path) -> None:
        """Writes into the folder of a run what makes its next start faster, if anything does.

        Raises:
            ValueError: it cannot be written.
        """
        ...


class Judge(Protocol):
    """Says from samples alone how far a policy is from real data; `seqgan_env.metrics.referee` has
    one.
    """

    @property
    def num_samples(self) -> int:
        """How many sequences it needs."""
        ...

    def metrics(self, samples: Tensor) -> Mapping[str, float]:
        """`referee_js`, `referee_js_error` and `referee_js_validation` of sequences (num_samples,
        T).
        """
        ...

    def of_policy(self, policy: RolloutPolicy, rng: torch.Generator) -> Mapping[str, float]:
        """The same of fresh draws of a policy."""
        ...


@runtime_checkable
class HasReferee(Protocol):
    """A task with a referee."""

    @property
    def referee(self) -> Judge | None:
        """Made when it is first asked for; None where the task has too few real sequences."""
        ...


@runtime_checkable
class HasEstimates(Protocol):
    """A task that says how sure its metrics are."""

    def estimates(self, policy: RolloutPolicy, rng: torch.Generator) -> Mapping[str, Estimate]:
        """The metrics of `evaluate`, of the same draws, with 95 % intervals."""
        ...


@runtime_checkable
class MeasuresSamples(Protocol):
    """A task that can say something of sequences whose policy it does not know."""

    spec: TokenSpec
    held_out: Tensor  # (M'', T)

    def encode(self, text: str) -> Tensor:
        """A sequence (T,) from how `decode` writes it; a ValueError says what is wrong with the
        text.
        """
        ...

    def decode(self, tokens: Tensor) -> str:
        """One sequence (T,) as a person reads it."""
        ...

    def measure(self, samples: Tensor) -> Mapping[str, float]:
        """Metrics of finished sequences (B, T)."""
        ...


@runtime_checkable
class MeasuresReal(Protocol):
    """A task that measures real sequences as it measures those of a policy."""

    def measure_real(self) -> Mapping[str, float]:
        """The metrics of `evaluate` that need nothing but sequences, of as many real ones, or of
        all that there are; and how many of these were of each part, `num_validation` and
        `num_training`.

        They are none by which samples are judged: held-out sequences would be compared with
        themselves.
        """
        ...


@runtime_checkable
class HasVocabulary(Protocol):
    """A task whose tokens are words."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """V words."""
        ...

    @property
    def unknown_token(self) -> int:
        """The token that stands for all other words."""
        ...


@runtime_checkable
class HasWords(Protocol):
    """A task whose lines do not always tell which words they are made of, such as those of a
    tokenizer that joins them.
    """

    def words(self, tokens: Tensor) -> list[str]:
        """The words that a sequence (T,) writes, up to its end."""
        ...

    def encode_words(self, words: Sequence[str]) -> Tensor:
        """The sequence (T,) of words; a ValueError says what is wrong with them."""
        ...


@runtime_checkable
class WritesFiles(Protocol):
    """A task whose sequences are more than text."""

    def write_samples(self, samples: Tensor, folder: Path) -> None:
        """Sequences (B, T) as files in `folder`, which is made if need be."""
        ...


@runtime_checkable
class DrawsPictures(Protocol):
    """A task whose sequences a person would rather see than read."""

    def pictures(self, samples: Tensor) -> Mapping[str, bytes]:
        """Pictures of sequences (B, T), by the name of the file that each is to have."""
        ...

    def drawing(self, lines: Sequence[str]) -> str:
        """An SVG of sequences as `decode` writes them."""
        ...
