"""Completion and likelihoods by an LSTM language model, each as one kernel call for all rows and
positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgan_env import native
from seqgan_env.native.softmax import NativeSoftmax
from seqgan_env.types import TokenSpec


class NativeLSTM:
    """What the kernel needs of a model: its LSTM and its output layer, packed."""

    def __init__(
        self,
        spec: TokenSpec,
        gates: Tensor,
        recurrent: Tensor,
        free: NativeSoftmax,
        masked: NativeSoftmax,
    ) -> None:
        """
        Args:
            spec: of the sequences.
            gates: (V, 4H), what every input token contributes to the input, forget, cell and output
                gates.
            recurrent: (4H, H), what the state contributes.
            free: draws next tokens.
            masked: draws next tokens where the end may not stand.
        """
        self.spec, self.free, self.masked = spec, free, masked
        self.depth = recurrent.shape[1]
        self._lanes = native.sizes().lanes
        self.num_chunks = -(-self.depth // self._lanes)
        # (V, chunks, 4, lanes)
        self.gates = self._by_chunks(gates).transpose(1, 2).contiguous()
        # (chunks, H, 4, lanes)
        self.recurrent = self._by_chunks(recurrent.t()).permute(2, 0, 1, 3).contiguous()

    def _by_chunks(self, gates: Tensor) -> Tensor:
        """(R, 4H) as (R, 4, chunks, lanes), the last chunk filled up with zeros."""
        padded = F.pad(
            gates.reshape(len(gates), 4, self.depth),
            (0, self.num_chunks * self._lanes - self.depth),
        )
        return padded.view(len(gates), 4, self.num_chunks, self._lanes)

    def complete(self, tokens: Tensor, lengths: Tensor, uniform: Tensor) -> Tensor:
        """Finished sequences (B, T) that begin with `tokens` (B, T), `lengths` (B,); `uniform` (B,
        T) is all the randomness.
        """
        spec = self.spec
        if (
            tokens.shape != uniform.shape
            or tokens.shape[1] != spec.seq_len
            or lengths.shape != tokens.shape[:1]
        ):
            shapes = f"{tuple(tokens.shape)} and {tuple(lengths.shape)}"
            raise ValueError(
                f"tokens and lengths have shapes {shapes}; expected (B, {spec.seq_len}) and (B,)"
            )
        finished = spec.is_complete(tokens, lengths)
        tokens = tokens.to(torch.int64, copy=True, memory_format=torch.contiguous_format)
        last = -1  # no token ends a sequence
        if spec.eos_token is not None:
            last = spec.eos_token
        native.run(
            "lstm_complete",
            len(tokens),
            native.sizes().block,
            **self._model(last),
            tokens=tokens,
            lengths=lengths.to(torch.int64).contiguous(),
            finished=finished.contiguous(),
            uniform=uniform.to(torch.float32).contiguous(),
        )
        return tokens

    def token_log_probs(self, tokens: Tensor) -> Tensor:
        """log p(y_t | y_1..y_{t-1}), (B, T), of sequences (B, T); 0 behind the end."""
        if tokens.ndim != 2 or tokens.shape[1] != self.spec.seq_len:
            raise ValueError(
                f"tokens has shape {tuple(tokens.shape)}; expected (B, {self.spec.seq_len})"
            )
        log_probs = native.zeros(*tokens.shape)
        native.run(
            "lstm_log_probs",
            len(tokens),
            native.sizes().block,
            **self._model(self.spec.pad_token),
            tokens=tokens.to(torch.int64).contiguous(),
            log_probs=log_probs,
        )
        return log_probs

    def _model(self, last: int) -> dict[str, Tensor | float]:
        """The arguments that stand for the model in a kernel's call; nothing is read or written
        behind a token `last`.
        """
        return {
            "gates": self.gates,
            "recurrent": self.recurrent,
            "vocab": self.spec.vocab_size,
            "depth": self.depth,
            "chunks": self.num_chunks,
            "steps": self.spec.seq_len,
            "start": self.spec.start_token,
            "last": last,
            "min_length": self.spec.min_length,
            **self.free.layer("open_"),
            **self.masked.layer("masked_"),
        }
