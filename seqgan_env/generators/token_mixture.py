"""Several language models as one: the mean of their next-token probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.rowwise import NUMBERS, full_precision
from seqgan_env.streams import uniforms


class TokenMixture:
    """p(y_t | y_1..y_{t-1}) = the mean over K models of theirs.

    The models are held by handle: what they learn, the mixture knows.

    Attributes:
        models: K of them, of one spec.
    """

    def __init__(self, models: Sequence[LanguageModel]) -> None:
        """
        Args:
            models: one or more.
        """
        self.models = list(models)
        self.spec = self.models[0].spec

    @property
    def device(self) -> torch.device:
        """Where the first model lives."""
        return self.models[0].device

    def sample(self, num: int, rng: torch.Generator) -> Tensor:
        """`num` sequences (num, T)."""
        empty = torch.full((num, self.spec.seq_len), self.spec.pad_token, device=self.device)
        return self.complete(empty, empty.new_zeros(num), rng)

    @torch.no_grad()
    @full_precision()
    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        """Finished sequences (B, T) that begin with the given prefixes; see `RolloutPolicy`.

        Every token is drawn from one of the models, each as likely to be asked.
        """
        if len(self.models) == 1:
            return self.models[0].complete(tokens, lengths, rng)
        spec, num = self.spec, len(tokens)
        uniform, choice = uniforms(rng, num, 2 * spec.seq_len).split(spec.seq_len, dim=1)
        asked = (choice * len(self.models)).long()  # (B, T)
        # Of every model: who draws a token, with the end free and masked, and what it has read.
        samplers, states = [], []
        for model in self.models:
            samplers.append((model.sampler(masked=False), model.sampler(masked=True)))
            states.append(model.start(num))
        tokens = tokens.clone()
        ended = spec.is_complete(tokens, lengths)
        inputs = tokens.new_full((num,), spec.start_token)
        for t in range(spec.seq_len):
            writes = ~ended & (lengths <= t)
            # Every model reads the token, whoever has drawn it.
            for index, model in enumerate(self.models):
                hidden, states[index] = model.advance(states[index], inputs)
                drawn = samplers[index][t < spec.min_length](hidden, uniform[:, t])
                tokens[:, t] = torch.where(writes & (asked[:, t] == index), drawn, tokens[:, t])
            inputs = tokens[:, t].clamp(max=spec.vocab_size - 1)
            if spec.eos_token is not None:
                ended |= tokens[:, t] == spec.eos_token
        return tokens

    @torch.no_grad()
    def token_log_probs(self, tokens: Tensor) -> Tensor:
        """log p(y_t | y_1..y_{t-1}), (B, T), in nats; 0 behind the end."""
        return log_mean_exp([model.token_log_probs(tokens) for model in self.models])

    def log_prob(self, tokens: Tensor) -> Tensor:
        """log p(Y), (B,), in nats."""
        return self.token_log_probs(tokens).sum(1)


def log_mean_exp(parts: Sequence[Tensor]) -> Tensor:
    """log of the mean of exp of parts (B, T) each, (B, T), of which no row depends on another."""
    if len(parts) == 1:
        return parts[0]
    stacked = torch.stack(list(parts))
    missing = -stacked.shape[1] % NUMBERS
    # Whole blocks of numbers: vector instructions round the rest of a block otherwise.
    padded = F.pad(stacked, (0, 0, 0, missing))
    return padded.logsumexp(0)[: stacked.shape[1]] - math.log(len(parts))
