"""The settings of the oracle tasks."""

from __future__ import annotations

from dataclasses import dataclass

from seqgan_env.tasks.options import Defaults, option


@dataclass(frozen=True)
class OracleSettings:
    """An oracle and its data.

    Attributes:
        vocab_size: V, tokens.
        seq_len: T, tokens.
        embedding_dim: of the oracle LSTM.
        hidden_dim: of the oracle LSTM.
        oracle_seed: of the oracle's parameters and of all data.
        weights: file of the oracle's parameters (the authors' released pickle, or safetensors) in
            place of random ones.
        num_real: sequences to train on.
        num_validation: sequences to select on.
        num_held_out: sequences to report on. The error of a divergence falls with the square root
            of their number.
        fresh: every draw of real data is new, an endless supply; pre-training still uses `num_real`
            fixed ones.
        num_eval: sequences drawn from a policy to evaluate it.
    """

    vocab_size: int = option(50, "V, tokens", "TOKENS")
    seq_len: int = option(10, "T, tokens", "TOKENS")
    embedding_dim: int = option(32, "of the oracle LSTM", "DIM", flag=False)
    hidden_dim: int = option(32, "of the oracle LSTM", "DIM", flag=False)
    oracle_seed: int = option(0, "of an oracle's parameters and data", "N")
    weights: str | None = option(
        None, "oracle weights: the authors' released pickle, or safetensors", "FILE", path=True
    )
    num_real: int = option(10_000, "sequences to train on", "SEQUENCES")
    num_validation: int = option(5_000, "sequences to select on", "SEQUENCES")
    num_held_out: int = option(20_000, "sequences to report on", "SEQUENCES")
    fresh: bool = option(False, "every d-step sees new real data")
    num_eval: int = option(20_000, "sequences drawn from a policy to evaluate it", "SEQUENCES")


TINY = Defaults(OracleSettings())
SMALL = Defaults(OracleSettings(vocab_size=500, seq_len=20))
PAPER = Defaults(OracleSettings(vocab_size=5000, seq_len=20, num_held_out=5_000, num_eval=5_000))
