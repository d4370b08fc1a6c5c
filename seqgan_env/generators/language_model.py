"""Autoregressive language models over token sequences: what generators and oracles have in common,
and the paper's LSTM.

p(Y) = prod_t softmax(W h_t + b)[y_t], where h_t encodes y_1..y_{t-1} (Yu et al. 2017, eqs. 9 and
10).
"""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_env import native
from seqgan_env.building import undisturbed
from seqgan_env.checks import check_layers
from seqgan_env.generators.sampling import SoftmaxSampler, linear_log_probs, linear_weighted_nll
from seqgan_env.native.fast_routes import has_own_hooks, is_as_made, keeps_methods
from seqgan_env.native.lstm import NativeLSTM
from seqgan_env.native.recurrence import lstm_states
from seqgan_env.native.softmax import NativeSoftmax
from seqgan_env.rowwise import full_precision, in_parts, in_whole_blocks
from seqgan_env.streams import uniforms
from seqgan_env.types import TokenSpec


class LanguageModel(nn.Module, ABC):
    """A policy that writes tokens from left to right.

    A subclass gives `hidden_states`, the encoding of every prefix, and an `output` layer; sampling,
    completion, likelihoods and the losses follow from these. `start` and `advance` may be
    overridden where a state can be carried from token to token; as they stand, they encode the
    prefix anew for every token.
    """

    output: nn.Linear  # (H,) -> (V,), with a bias; it is read, not called

    def __init__(self, spec: TokenSpec) -> None:
        super().__init__()
        self.spec = spec

    @abstractmethod
    def hidden_states(self, inputs: Tensor) -> Tensor:
        """h_1..h_T' (B, T', H) for the inputs x_1..x_T' (B, T') with x_1 = `start_token` and x_t =
        y_{t-1}.
        """

    def start(self, num_rows: int) -> Any:
        """The state before the first input is read."""
        return torch.empty(num_rows, 0, dtype=torch.int64, device=self.device)

    def advance(self, state: Any, inputs: Tensor) -> tuple[Tensor, Any]:
        """Reads one more input x_t (B,): h_t (B, H) and the next state."""
        state = torch.cat([state, inputs.unsqueeze(1)], dim=1)
        return self.hidden_states(state)[:, -1], state

    @property
    def device(self) -> torch.device:
        return self.output.weight.device

    def inputs(self, tokens: Tensor) -> Tensor:
        """What the model reads (B, T) in order to predict `tokens` (B, T): these moved right by
        one, behind the start token.
        """
        start = tokens.new_full((len(tokens), 1), self.spec.start_token)
        shifted = torch.cat([start, tokens[:, :-1]], dim=1)
        # Padding is read, but nothing predicted from it counts.
        return shifted.clamp(max=self.spec.vocab_size - 1)

    @torch.no_grad()
    def sample(self, num: int, rng: torch.Generator, temperature: float = 1.0) -> Tensor:
        """`num` sequences (num, T) from the model; `temperature` divides the logits."""
        empty = torch.full((num, self.spec.seq_len), self.spec.pad_token, device=self.device)
        return self.complete(empty, empty.new_zeros(num), rng, temperature)

    @torch.no_grad()
    @full_precision()
    def complete(
        self, tokens: Tensor, lengths: Tensor, rng: torch.Generator, temperature: float = 1.0
    ) -> Tensor:
        """Finished sequences (B, T) that begin with the prefixes `tokens` (B, T), `lengths` (B,);
        see `RolloutPolicy`.
        """
        tokens = tokens.clone()
        ended = self.spec.is_complete(tokens, lengths)
        draws = uniforms(rng, len(tokens), self.spec.seq_len)

        # One sampler for positions where a sequence may end, one for those where it may not.
        free = self.sampler(temperature, masked=False)
        masked = free
        if self.spec.min_length:
            masked = self.sampler(temperature, masked=True)

        state = self.start(len(tokens))
        inputs = tokens.new_full((len(tokens),), self.spec.start_token)
        for t in range(self.spec.seq_len):
            # Read the token before.
            hidden, state = self.advance(state, inputs)

            # Write the next one, where the prefix is over and the sequence is not.
            sampler = free
            if t < self.spec.min_length:
                sampler = masked
            active = ~ended & (lengths <= t)
            tokens[:, t] = _draw_where(active, sampler, hidden, draws[:, t], tokens[:, t])

            # Padding is read, too, but nothing that follows from it is written.
            inputs = tokens[:, t].clamp(max=self.spec.vocab_size - 1)
            if self.spec.eos_token is not None:
                ended |= tokens[:, t] == self.spec.eos_token
        return tokens

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) of every next token, with gradient; minus infinity where the end is
        masked.
        """
        logits: Tensor = self.output(self.hidden_states(self.inputs(tokens)))
        if self.spec.min_length:
            logits = logits.clone()
            logits[:, : self.spec.min_length, self.spec.eos_token] = -torch.inf
        return logits

    @torch.no_grad()
    @full_precision()
    def token_log_probs(self, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        """log p(y_t | y_1..y_{t-1}), (B, T), in nats; 0 behind the end. Without gradient."""

        def of_part(part: Tensor) -> Tensor:
            return self._token_log_probs(part, temperature)

        return in_parts(functools.partial(in_whole_blocks, of_part), tokens, 4096)

    def _token_log_probs(self, tokens: Tensor, temperature: float) -> Tensor:
        """`token_log_probs` of few enough sequences to be taken at once."""
        log_probs = torch.zeros(tokens.shape, device=self.device, dtype=self.output.weight.dtype)
        for positions, written, hidden, bias in self._predictions(tokens):
            part = linear_log_probs(
                hidden / temperature,
                self.output.weight,
                bias / temperature,
                tokens[:, positions][written],
            )
            found = part.new_zeros(written.shape).masked_scatter_(written, part)
            log_probs[:, positions] = found
        return log_probs

    def log_prob(self, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        """log p(Y), (B,), in nats, the sum over the sequence. Without gradient."""
        return self.token_log_probs(tokens, temperature).sum(1)

    def weighted_nll(self, tokens: Tensor, weights: Tensor, inputs: Tensor | None = None) -> Tensor:
        """sum over the written tokens of -weights * log p(y_t | ...), a scalar with gradient;
        `weights` (B, T) is a constant.

        `inputs` (B, T) is what the model reads in place of `inputs(tokens)`.
        """
        parts = []
        for positions, written, hidden, bias in self._predictions(tokens, inputs):
            targets = _at(written, tokens[:, positions])
            of_targets = _at(written, weights[:, positions])
            weight = self.output.weight
            parts.append(linear_weighted_nll(hidden, weight, bias, targets, of_targets))
        return torch.stack(parts).sum()

    def with_temperature(self, temperature: float) -> LanguageModel:
        """A copy whose logits are divided by `temperature`."""
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; allowed is any number above 0")
        model = copy.deepcopy(self)
        # New parameters, for an embedding that shares the weight must stay as it is.
        for name in ("weight", "bias"):
            given = getattr(model.output, name)
            turned = nn.Parameter(given.detach() / temperature, requires_grad=given.requires_grad)
            setattr(model.output, name, turned)
        return model

    def _predictions(
        self, tokens: Tensor, inputs: Tensor | None = None
    ) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Parts of the sequence that share an output bias: positions, which of them are written (B,
        P), their hidden states (R, H) and the bias (V,)."""
        self._check_output()
        if inputs is None:
            inputs = self.inputs(tokens)
        hidden = self.hidden_states(inputs)
        cut = self.spec.min_length
        for positions, masked in ((slice(0, cut), True), (slice(cut, self.spec.seq_len), False)):
            if positions.stop > positions.start:
                written = tokens[:, positions] != self.spec.pad_token
                yield positions, written, _at(written, hidden[:, positions]), self._bias(masked)

    def _bias(self, masked: bool) -> Tensor:
        if not masked:
            return self.output.bias
        words = torch.arange(self.spec.vocab_size, device=self.device)
        is_eos = torch.zeros_like(words, dtype=torch.bool)
        if self.spec.eos_token is not None:
            is_eos = words == self.spec.eos_token
        return self.output.bias.masked_fill(is_eos, -torch.inf)

    def sampler(self, temperature: float = 1.0, masked: bool = False) -> SoftmaxSampler:
        """Draws next tokens from hidden states; never the end if `masked`."""
        self._check_output()
        return SoftmaxSampler(self.output.weight / temperature, self._bias(masked) / temperature)

    def _check_output(self) -> None:
        """Raises a TypeError if `output` does more than multiply with its weight and add its bias,
        for no route would do it.
        """
        plain = isinstance(self.output, nn.Linear) and keeps_methods(
            self.output, nn.Linear, "forward"
        )
        if not plain or self.output.bias is None or has_own_hooks(self.output):
            raise TypeError(
                f"the output layer of {type(self).__name__} is a {type(self.output).__name__} with "
                "a forward of its own, hooks, or no bias; allowed is a torch.nn.Linear with a "
                "bias, which is read and not called"
            )


def _at(written: Tensor, values: Tensor) -> Tensor:
    """Those of values (B, P, ...) where `written` (B, P): (R, ...).

    A view where all are, whose gradient costs nothing.
    """
    if bool(written.all()):
        return values.flatten(0, 1)
    return values[written]


def _draw_where(
    active: Tensor, sampler: SoftmaxSampler, hidden: Tensor, uniform: Tensor, tokens: Tensor
) -> Tensor:
    """`tokens` (B,) with new ones in the rows that are `active` (B,)."""
    if active.device.type == "cpu":
        rows = active.nonzero().squeeze(1)
        return tokens.index_copy(0, rows, sampler(hidden[rows], uniform[rows]))
    # Which rows are active is never asked of the device.
    return torch.where(active, sampler(hidden, uniform), tokens)


_ONE_LAYER: dict[str, object] = {
    "num_layers": 1,
    "bidirectional": False,
    "proj_size": 0,
    "bias": True,
    "batch_first": True,
}


class LSTMLanguageModel(LanguageModel):
    """The paper's generator, and its oracle: embedding, one LSTM layer, softmax; zero initial
    state, start token 0.
    """

    def __init__(self, spec: TokenSpec, embedding_dim: int = 32, hidden_dim: int = 32) -> None:
        super().__init__(spec)
        check_layers(spec.vocab_size, embedding_dim, hidden_dim)
        self.embedding = nn.Embedding(spec.vocab_size, embedding_dim, dtype=torch.float32)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True, dtype=torch.float32)
        self.output = nn.Linear(hidden_dim, spec.vocab_size, dtype=torch.float32)
        # PyTorch has two LSTM biases where the paper has one.
        self._parameter("bias_hh_l0").requires_grad_(False).zero_()

    @classmethod
    @undisturbed()
    def initialised(
        cls, spec: TokenSpec, rng: torch.Generator, embedding_dim: int = 32, hidden_dim: int = 32
    ) -> LSTMLanguageModel:
        """A generator with every parameter ~ N(0, 0.1^2), as the authors' code draws them."""
        model = cls(spec, embedding_dim, hidden_dim)
        with torch.no_grad():
            for parameter in filter(lambda p: p.requires_grad, model.parameters()):
                parameter.copy_(
                    torch.randn(parameter.shape, generator=rng, dtype=torch.float32) * 0.1
                )
        return model

    @torch.no_grad()
    @full_precision()
    def complete(
        self, tokens: Tensor, lengths: Tensor, rng: torch.Generator, temperature: float = 1.0
    ) -> Tensor:
        if not (
            self.carries_state()
            and keeps_methods(self, LSTMLanguageModel, "sampler", "_bias")
            and self._has_kernels()
        ):
            return super().complete(tokens, lengths, rng, temperature)
        return self._kernels(temperature).complete(
            tokens, lengths, uniforms(rng, len(tokens), self.spec.seq_len)
        )

    @torch.no_grad()
    @full_precision()
    def token_log_probs(self, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        own = keeps_methods(
            self, LSTMLanguageModel, "hidden_states", "inputs", "_predictions", "_bias"
        )
        if not (own and self._has_kernels()):
            return super().token_log_probs(tokens, temperature)
        return self._kernels(temperature).token_log_probs(tokens)

    def carries_state(self) -> bool:
        """Whether `advance` does step by step what `hidden_states` does at once: no method and no
        layer is a user's own.

        If not, `start` and `advance` encode the prefix anew for every token, as those of any
        language model.
        """
        own = keeps_methods(self, LSTMLanguageModel, "start", "advance", "hidden_states", "inputs")
        return own and self._has_plain_layers()

    def _has_plain_layers(self) -> bool:
        """Whether calling the layers computes what their classes say: one LSTM layer over an
        embedding, and an affine output.
        """
        embedding = is_as_made(self.embedding, nn.Embedding, max_norm=None)
        output = is_as_made(self.output, nn.Linear) and self.output.bias is not None
        return embedding and output and is_as_made(self.lstm, nn.LSTM, **_ONE_LAYER)

    def _has_kernels(self) -> bool:
        """Whether the compiled kernels do what the layers would."""
        layers = (self.embedding, self.lstm, self.output)
        return self._has_plain_layers() and native.usable(
            *(p for layer in layers for p in layer.parameters())
        )

    def _kernels(self, temperature: float) -> NativeLSTM:
        free = NativeSoftmax(self.output.weight / temperature, self.output.bias / temperature)
        masked = free
        if self.spec.min_length:
            masked = free.with_bias(self._bias(masked=True) / temperature)
        return NativeLSTM(
            self.spec, self._input_gates(), self._parameter("weight_hh_l0"), free, masked
        )

    def hidden_states(self, inputs: Tensor) -> Tensor:
        embedded = self.embedding(inputs)
        if self._has_kernels():
            bias = self._parameter("bias_ih_l0") + self._parameter("bias_hh_l0")
            return lstm_states(
                embedded, self._parameter("weight_ih_l0"), self._parameter("weight_hh_l0"), bias
            )
        hidden: Tensor = self.lstm(embedded)[0]
        return hidden

    def start(self, num_rows: int) -> Any:
        """The state (h, c), each (B, H), and the gates that every input token contributes (V, 4H),
        if it `carries_state`.
        """
        if not self.carries_state():
            return super().start(num_rows)
        gates = self._input_gates()
        zero = gates.new_zeros(num_rows, self.lstm.hidden_size)
        return zero, zero, gates

    def advance(self, state: Any, inputs: Tensor) -> tuple[Tensor, Any]:
        if isinstance(state, Tensor):  # the prefix
            return super().advance(state, inputs)
        hidden, cell, input_gates = state
        gates = torch.addmm(input_gates[inputs], hidden, self._parameter("weight_hh_l0").t())
        i, f, g, o = gates.chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        return hidden, (hidden, cell, input_gates)

    def _input_gates(self) -> Tensor:
        """What every token contributes to the gates as an input, (V, 4H)."""
        bias = self._parameter("bias_ih_l0") + self._parameter("bias_hh_l0")
        return torch.addmm(bias, self.embedding.weight, self._parameter("weight_ih_l0").t())

    def _parameter(self, name: str) -> Tensor:
        return self.lstm.get_parameter(name)
