"""Hidden states of prefixes: of a shuffled minibatch, with gradient, and of a batch that grows by
one token a step, without.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.generators.sampling import SoftmaxSampler
from seqgan_env.native.fast_routes import Snapshot


def encode_prefixes(model: LanguageModel, tokens: Tensor, lengths: Tensor) -> Tensor:
    """The hidden state (R, H) that predicts the next token of each prefix `tokens` (R, T),
    `lengths` (R,), with gradient.

    A row that is a prefix of another row is read off the encoding of that one: a minibatch of whole
    episodes costs one pass over the episodes. A finished prefix, of which nothing is predicted,
    gets the state before its last token.
    """
    longest, row_of = longest_prefixes(tokens.cpu().numpy(), model.spec.pad_token)
    position = lengths.clamp(max=model.spec.seq_len - 1)  # (R,)
    inputs = model.inputs(tokens[torch.from_numpy(longest).to(tokens.device)])  # (L, T)
    steps = int(position.max()) + 1  # nobody asks for a state behind these
    hidden = model.hidden_states(inputs[:, :steps])  # (L, steps, H)
    return hidden[torch.from_numpy(row_of).to(tokens.device), position]


def longest_prefixes(tokens: np.ndarray, pad_token: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows (L,) of prefixes (R, T) that suffice to encode all, and for each row (R,) which of
    these L it is a prefix of.

    In lexicographic order, and with a pad token above all others, a prefix stands directly behind a
    row that extends it.
    """
    # Bytes of big-endian numbers compare as the numbers do.
    big_endian = np.ascontiguousarray(tokens, dtype=">u4")
    order = big_endian.view(f"S{4 * tokens.shape[1]}").ravel().argsort(kind="stable")
    rows = tokens[order]
    # A row that nothing extends differs from the row before where it has a token itself.
    starts = np.ones(len(rows), dtype=bool)
    starts[1:] = ((rows[1:] != rows[:-1]) & (rows[1:] != pad_token)).any(1)
    row_of = np.empty(len(rows), dtype=np.int64)
    row_of[order] = starts.cumsum() - 1
    return order[starts], row_of


class PrefixReader:
    """Reads the prefixes of a running batch and draws their next tokens; an LSTM's state is carried
    from step to step.

    What is carried is never trusted: a row whose prefix is not the carried one plus a token is read
    anew, and everything is forgotten when what the weights hold has changed, which is asked once a
    step. Models that do not carry a state (others than the LSTM, or an LSTM with something of a
    user's own) encode their prefixes at every step.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        # A running total of rows longer than one input, for the accounts.
        self.num_rows_read_anew = 0
        self.forget()

    def forget(self) -> None:
        """Drops the carried state and what was prepared from the weights."""
        self._weights = Snapshot()
        self._samplers: dict[bool, SoftmaxSampler] = {}
        self._tokens: Tensor | None = None

    @torch.no_grad()
    def hidden(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The hidden states (B, H) that predict the next tokens of prefixes (B, T), (B,).

        Without gradient.
        """
        self._forget_if_changed()
        if not (isinstance(self.model, LSTMLanguageModel) and self.model.carries_state()):
            return encode_prefixes(self.model, tokens, lengths)
        # Begin to carry, or begin again where the batch has another size.
        if self._tokens is None or self._tokens.shape != tokens.shape:
            self._hidden, self._cell, self._gates = self.model.start(len(tokens))
            self._tokens = torch.full_like(tokens, -1)  # which no prefix continues
        self._repair(tokens, lengths)

        # Read the last token of each prefix, or the start token of an empty one.
        last = tokens.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        inputs = torch.where(lengths == 0, self.model.spec.start_token, last)
        hidden, (self._hidden, self._cell, _) = self.model.advance(
            (self._hidden, self._cell, self._gates), inputs
        )
        self._tokens = tokens.clone()  # the caller may go on writing in its own
        return hidden

    @torch.no_grad()
    def draw(self, hidden: Tensor, lengths: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Next tokens and their log-probabilities (B,) behind prefixes of `lengths` (B,), whose
        states are (B, H).

        `hidden` is what the call of `hidden` just before has returned, and `uniform` (B,) is all
        the randomness.
        """
        masked = lengths < self.model.spec.min_length
        tokens, log_probs = self._sampler(False).draw_with_log_probs(hidden, uniform)
        if bool(masked.any()):
            # Rows that may not end yet take their draw from tokens without the end.
            early_tokens, early_log_probs = self._sampler(True).draw_with_log_probs(hidden, uniform)
            tokens = torch.where(masked, early_tokens, tokens)
            log_probs = torch.where(masked, early_log_probs, log_probs)
        return tokens, log_probs

    def _repair(self, tokens: Tensor, lengths: Tensor) -> None:
        """Makes the carried state that of each prefix without its last token."""
        assert self._tokens is not None
        position = torch.arange(tokens.shape[1], device=tokens.device)
        before = tokens.masked_fill(
            position >= (lengths - 1).unsqueeze(1), self.model.spec.pad_token
        )
        continued = (before == self._tokens).all(1) & (lengths > 0)  # (B,)
        if bool(continued.all()):
            return
        # The others start from zero; those that are not empty are read from the beginning.
        self._hidden = torch.where(continued.unsqueeze(1), self._hidden, 0.0)
        self._cell = torch.where(continued.unsqueeze(1), self._cell, 0.0)
        rows = (~continued & (lengths > 0)).nonzero().squeeze(1)
        if len(rows):
            self._hidden[rows], self._cell[rows] = self._read(tokens[rows], lengths[rows])
            self.num_rows_read_anew += len(rows)

    def _read(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The LSTM's state (R, H), (R, H) before the last token of each prefix is read; `lengths`
        >= 1.
        """
        assert isinstance(self.model, LSTMLanguageModel)
        hidden, cell, _ = self.model.start(len(tokens))
        inputs = self.model.inputs(tokens)
        for t in range(int(lengths.max())):
            _, (new_hidden, new_cell, _) = self.model.advance(
                (hidden, cell, self._gates), inputs[:, t]
            )
            # A row that has been read keeps its state while longer ones go on.
            within = (t < lengths).unsqueeze(1)  # (R, 1)
            hidden = torch.where(within, new_hidden, hidden)
            cell = torch.where(within, new_cell, cell)
        return hidden, cell

    def _sampler(self, masked: bool) -> SoftmaxSampler:
        """The sampler of these weights, which never draws an end if it is `masked`."""
        if masked not in self._samplers:
            bias = self.model.output.bias.detach()
            if masked:
                bias = bias.clone()
                bias[self.model.spec.eos_token] = -torch.inf
            self._samplers[masked] = SoftmaxSampler(self.model.output.weight, bias)
        return self._samplers[masked]

    def _forget_if_changed(self) -> None:
        """Forgets everything where the weights are not those that it was made of."""
        weights = list(self.model.parameters())
        if not self._weights.matches(weights):
            self.forget()
            self._weights.take(weights)
