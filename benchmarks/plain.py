"""SeqGAN in plain torch, as a tutorial writes it: what the fast routes are measured against and
must agree with.

Nothing here calls the library's own sampling, losses or scoring; parameters come over by their
names.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgan_env import CNNDiscriminator, LSTMLanguageModel
from seqgan_env.discriminators.cnn import CNNConfig

Module = TypeVar("Module", bound=nn.Module)


class PlainPolicy(nn.Module):
    """The LSTM with softmax: `torch.multinomial` over all logits, and cross-entropy over all
    logits.
    """

    def __init__(self, vocab_size: int, seq_len: int, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.seq_len = seq_len
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.output = nn.Linear(hidden_dim, vocab_size)

    @classmethod
    def like(cls, policy: LSTMLanguageModel) -> PlainPolicy:
        """With the same parameters, copied."""
        spec, hidden_dim = policy.spec, policy.output.in_features
        return _filled(
            cls(spec.vocab_size, spec.seq_len, policy.embedding.embedding_dim, hidden_dim), policy
        )

    def logits(self, tokens: Tensor) -> Tensor:
        """Of every next token of sequences (B, T): (B, T, V). The start token is 0."""
        inputs = F.pad(tokens[:, :-1], (1, 0))
        logits: Tensor = self.output(self.lstm(self.embedding(inputs))[0])
        return logits

    def loss(self, tokens: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of the tokens (B, T), each weighted by `weights` (B, T); with action
        values REINFORCE's loss.
        """
        losses = F.cross_entropy(
            self.logits(tokens).flatten(0, 1), tokens.flatten(), reduction="none"
        )
        return losses.mean() if weights is None else (losses * weights.flatten()).mean()

    @torch.no_grad()
    def complete(self, prefixes: Tensor, rng: torch.Generator) -> Tensor:
        """Sequences (B, T) that begin with `prefixes` (B, t), token by token."""
        weights = [
            self.lstm.get_parameter(f"{kind}_l0")
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        hidden = cell = torch.zeros(len(prefixes), self.lstm.hidden_size, device=prefixes.device)
        inputs, tokens = prefixes.new_zeros(len(prefixes)), list(prefixes.unbind(1))
        for t in range(self.seq_len):
            hidden, cell = torch.lstm_cell(self.embedding(inputs), (hidden, cell), *weights)
            if t >= prefixes.shape[1]:
                tokens.append(
                    torch.multinomial(self.output(hidden).softmax(1), 1, generator=rng).squeeze(1)
                )
            inputs = tokens[t]
        return torch.stack(tokens, dim=1)

    def sample(self, num: int, rng: torch.Generator) -> Tensor:
        """`num` sequences (num, T)."""
        return self.complete(torch.zeros(num, 0, dtype=torch.int64, device=rng.device), rng)


class PlainDiscriminator(nn.Module):
    """The CNN by `conv1d`, in float32."""

    def __init__(self, vocab_size: int, seq_len: int, config: CNNConfig) -> None:
        super().__init__()
        self.config = config
        sizes = [
            (w, c) for w, c in zip(config.widths, config.channels, strict=True) if w <= seq_len
        ]
        num_features = sum(channels for _, channels in sizes)
        self.embedding = nn.Embedding(vocab_size + 1, config.embedding_dim)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding_dim, channels, width) for width, channels in sizes
        )
        self.highway = nn.Linear(num_features, 2 * num_features)
        self.output = nn.Linear(num_features, 1)

    @classmethod
    def like(cls, discriminator: CNNDiscriminator) -> PlainDiscriminator:
        """With the same parameters, copied."""
        spec = discriminator.spec
        return _filled(cls(spec.vocab_size, spec.seq_len, discriminator.config), discriminator)

    def forward(self, tokens: Tensor, dropout: bool = False) -> Tensor:
        """Logits (B,) of sequences (B, T)."""
        embedded = self.embedding(tokens).transpose(1, 2)
        features = torch.cat(
            [F.relu(convolution(embedded)).amax(2) for convolution in self.convolutions], dim=1
        )
        transform, gate = self.highway(features).chunk(2, dim=1)
        gate = torch.sigmoid(gate)
        features = gate * F.relu(transform) + (1 - gate) * features
        logits: Tensor = self.output(F.dropout(features, self.config.dropout, dropout)).squeeze(1)
        return logits

    @torch.no_grad()
    def score(self, tokens: Tensor) -> Tensor:
        """P(real) of sequences (B, T): (B,)."""
        return torch.cat([torch.sigmoid(self(rows)) for rows in tokens.split(1024)])

    def loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """The mean logistic loss of sequences (B, T), labels (B,), without the penalty."""
        return F.binary_cross_entropy_with_logits(self(tokens, dropout=True), labels)

    def penalty(self) -> Tensor:
        """L2 of the output layer."""
        return (
            0.5
            * self.config.l2
            * (self.output.weight.square().sum() + self.output.bias.square().sum())
        )


def action_values(
    policy: PlainPolicy,
    discriminator: PlainDiscriminator,
    tokens: Tensor,
    num_rollouts: int,
    rng: torch.Generator,
) -> Tensor:
    """Q of every token (B, T) of finished sequences (B, T): eq.

    4 of the paper, prefix after prefix.
    """
    values = []
    for length in range(1, tokens.shape[1]):
        completions = policy.complete(
            tokens[:, :length].repeat_interleave(num_rollouts, dim=0), rng
        )
        values.append(discriminator.score(completions).view(len(tokens), num_rollouts).mean(1))
    return torch.stack([*values, discriminator.score(tokens)], dim=1)


def fit_policy(
    policy: PlainPolicy, optimizer: torch.optim.Optimizer, tokens: Tensor, batch_size: int = 64
) -> float:
    """An epoch of maximum likelihood on sequences (M, T); the loss of its last step, in nats per
    token.
    """
    loss = torch.zeros(())
    for rows in tokens.split(batch_size):
        loss = policy.loss(rows)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 5.0)
        optimizer.step()
    return float(loss.detach())


def policy_gradient(
    policy: PlainPolicy,
    discriminator: PlainDiscriminator,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    num_rollouts: int,
    rng: torch.Generator,
) -> None:
    """A g-step: writes a batch, rolls it out and follows the policy gradient once."""
    tokens = policy.sample(batch_size, rng)
    loss = policy.loss(tokens, action_values(policy, discriminator, tokens, num_rollouts, rng))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def fit_discriminator(
    discriminator: PlainDiscriminator,
    optimizer: torch.optim.Optimizer,
    tokens: Tensor,
    labels: Tensor,
) -> float:
    """An epoch on sequences (M, T) with labels (M,) in this order; the logistic loss of its last
    step.
    """
    loss, size = torch.zeros(()), discriminator.config.batch_size
    for rows, truth in zip(tokens.split(size), labels.split(size), strict=True):
        loss = discriminator.loss(rows, truth)
        optimizer.zero_grad()
        (loss + discriminator.penalty()).backward()
        optimizer.step()
    return float(loss.detach())


def _filled(plain: Module, model: nn.Module) -> Module:
    plain.load_state_dict(model.state_dict())
    for name, parameter in model.named_parameters():
        plain.get_parameter(name).requires_grad_(parameter.requires_grad)
    return plain
