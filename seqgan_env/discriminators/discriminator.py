"""The CNN discriminator and its training (Yu et al. 2017, section 3.2; Zhang and LeCun 2015; Kim
2014).

D(Y) = sigmoid(w . highway(max over time of relu(convolutions of the embedded sequence))).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from seqgan_env import native
from seqgan_env.building import undisturbed
from seqgan_env.discriminators.dense_network import pass_highway
from seqgan_env.discriminators.graphed_descent import Descent, GraphedDescent, can_be_recorded
from seqgan_env.native import adam
from seqgan_env.native.fast_routes import Snapshot, has_hooks, is_as_made, keeps_methods
from seqgan_env.native.network import (
    Dropout,
    Network,
    half_head_logits,
    head_logits,
    network_logits,
    network_scores,
    train_step,
)
from seqgan_env.native.pooling import FilterBank, make_tables, pool_tables, weight_taps
from seqgan_env.rowwise import full_precision, in_whole_blocks, sigmoid
from seqgan_env.training.budget import Budget
from seqgan_env.types import TokenSpec

_TABLE_BYTES = 2**30  # lookup tables above this size are not built
_SEQUENCES_PER_CHUNK = 1024


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Size and training of the discriminator.

    Attributes:
        widths: filter widths; those longer than the sequence are left out.
        channels: number of filters of each width.
        embedding_dim: size of the token embedding.
        dropout: share of features dropped before the output layer, in training only.
        l2: weight of the L2 penalty on the output layer, half its squared norm.
        learning_rate: of Adam.
        batch_size: sequences per step, half of them real.
        bfloat16_highway: whether `score` multiplies the highway layer in bfloat16 where the
            processor does so natively. At the paper's sizes that is a third of its time, and moves
            a probability by less than 0.003; training is not touched.
    """

    widths: tuple[int, ...] = (1, 2, 3, 4)
    channels: tuple[int, ...] = (64, 64, 64, 64)
    embedding_dim: int = 32
    dropout: float = 0.1
    l2: float = 0.0
    learning_rate: float = 3e-3
    batch_size: int = 256
    bfloat16_highway: bool = False

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.channels) or not self.widths:
            raise ValueError(
                f"{len(self.widths)} filter widths and {len(self.channels)} channel counts; "
                "expected as many, and at least one"
            )
        if self.batch_size < 1:
            raise ValueError(
                f"the discriminator's batch_size is {self.batch_size}; allowed is 1 or more"
            )


PAPER_DISCRIMINATOR = DiscriminatorConfig(
    widths=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20),
    channels=(100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160),
    embedding_dim=64,
    dropout=0.25,
    l2=0.2,
    learning_rate=1e-4,
    batch_size=64,
    bfloat16_highway=True,
)


class Discriminator(nn.Module):
    """Tells real sequences from generated ones; `score` is the probability of being real, or its
    logit.
    """

    def __init__(
        self,
        spec: TokenSpec,
        config: DiscriminatorConfig = DiscriminatorConfig(),
        score_as: str = "probability",
    ) -> None:
        """Args:
        spec: of the sequences.
        config: size and regularisation.
        score_as: "probability" (the paper's) or "logit", what `score` returns.
        """
        super().__init__()
        self.spec, self.config, self.score_as = spec, config, score_as
        sizes = [
            (w, c) for w, c in zip(config.widths, config.channels, strict=True) if w <= spec.seq_len
        ]
        if not sizes:
            raise ValueError(
                f"every filter width {config.widths} is longer than the sequence ({spec.seq_len} "
                "tokens)"
            )
        num_features = sum(channels for _, channels in sizes)
        number, dim = torch.float32, config.embedding_dim
        self.embedding = nn.Embedding(
            spec.vocab_size + 1, dim, dtype=number
        )  # padding is a token like any other
        self.convolutions = nn.ModuleList(
            nn.Conv1d(dim, channels, width, dtype=number) for width, channels in sizes
        )
        self._bank = FilterBank(*(tuple(numbers) for numbers in zip(*sizes, strict=True)))
        self.highway = nn.Linear(num_features, 2 * num_features, dtype=number)  # transform and gate
        self.output = nn.Linear(num_features, 1, dtype=number)
        self._tables: list[Tensor] = []  # by torch, one for each filter
        self._table: Tensor | None = None  # by the compiled kernels, of all filters
        self._half_highway: tuple[Tensor, Tensor] | None = (
            None  # its weight and bias in bfloat16, made with the tables
        )
        self._tables_of = Snapshot()  # the parameters from which they were made
        self._built_for_kernels = False

    @classmethod
    @undisturbed()
    def initialised(
        cls,
        spec: TokenSpec,
        rng: torch.Generator,
        config: DiscriminatorConfig = DiscriminatorConfig(),
        score_as: str = "probability",
    ) -> Discriminator:
        """A discriminator whose parameters come from `rng`: truncated-normal weights, a gate that
        starts almost closed.
        """
        model = cls(spec, config, score_as)
        with torch.no_grad():
            for parameter in model.parameters():
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 0
                normal = torch.randn(parameter.shape, generator=rng, dtype=torch.float32)
                parameter.copy_(normal.clamp_(-2, 2) * (fan_in or torch.inf) ** -0.5)
            model.highway.bias[len(model.highway.bias) // 2 :] = -2.0
        return model

    @property
    def device(self) -> torch.device:
        return self.output.weight.device

    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        """Logits (B,) of sequences (B, T), with gradient.

        Features are dropped only if `dropout_rng` is given, in any mode.
        """
        dropout = self._draw_dropout(dropout_rng)
        network = self._network_for_kernels()
        if network is not None:
            return network_logits(self._bank, network, tokens, dropout)
        return self._forward_by_torch(tokens, dropout)

    def _forward_by_torch(self, tokens: Tensor, dropout: Dropout | None = None) -> Tensor:
        embedded = self.embedding(tokens).transpose(1, 2)  # (B, E, T)
        features = torch.cat(
            [F.relu(convolution(embedded).amax(2)) for convolution in self.convolutions], dim=1
        )
        return self._head(features, dropout)

    def _draw_dropout(self, rng: torch.Generator | None) -> Dropout | None:
        if rng is None or not self.config.dropout:
            return None
        keys = torch.randint(
            -(2**63), 2**63 - 1, (self._bank.num_features,), generator=rng, device=rng.device
        )
        return Dropout(keys.to(self.device), self.config.dropout)

    def _network(self) -> Network:
        output, (weights, biases) = self.output, self._weights()
        head = (self.highway.bias, output.weight, output.bias)
        return Network(
            self.highway.weight, self.embedding.weight, *head, tuple(weights), tuple(biases)
        )

    @torch.no_grad()
    @full_precision()
    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (B,) of sequences (B, T), without dropout and gradient.

        On a CPU a logit is a function of its sequence and the parameters alone, bit by bit: by
        which route it is computed is decided by the size of the tables, never by the batch or by
        what was scored before. If something of the forward pass is a user's own (a subclass, a
        hook, another layer), it is the one that scores.
        """
        route = self._scoring_route()
        return torch.cat([route(part) for part in tokens.split(_SEQUENCES_PER_CHUNK)])

    def score(self, tokens: Tensor) -> Tensor:
        """P(real) of sequences (B, T), or its logit: (B,)."""
        logits = self.logits(tokens)
        return logits if self.score_as == "logit" else sigmoid(logits)

    def _head(self, features: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Logits (B,) of features (B, F)."""
        features = pass_highway(self.highway(features), features)
        if dropout:
            features = features * dropout.scales(len(features))
        logits: Tensor = self.output(features)
        return logits.squeeze(1)

    # Who may stand in for the layers.

    def _has_plain_layers(self) -> bool:
        """Whether calling the layers computes what their classes say, with the filters that the
        fast routes know.
        """
        filters = self._filters()
        if (self._bank.widths, self._bank.channels) != (
            tuple(convolution.kernel_size[0] for convolution in filters),
            tuple(convolution.out_channels for convolution in filters),
        ):
            return False
        embedding = is_as_made(self.embedding, nn.Embedding, **_PLAIN_EMBEDDING)
        linear = all(
            is_as_made(layer, nn.Linear) and layer.bias is not None
            for layer in (self.highway, self.output)
        )
        convolutions = is_as_made(self.convolutions, nn.ModuleList)
        return (
            embedding
            and linear
            and convolutions
            and all(_is_plain_convolution(layer) for layer in filters)
        )

    def _is_plain(self) -> bool:
        """Whether calling this discriminator computes the network that its class describes."""
        own = keeps_methods(
            self, Discriminator, "forward", "_forward_by_torch", "_head", "_draw_dropout"
        )
        return own and not has_hooks(self) and self._has_plain_layers()

    def _network_for_kernels(self) -> Network | None:
        """The parameters, if the compiled kernels do with them what the layers would."""
        if not (keeps_methods(self, Discriminator, "_head") and self._has_plain_layers()):
            return None
        network = self._network()
        return network if _fits_kernels(network) else None

    def _scoring_route(self) -> Callable[[Tensor], Tensor]:
        """Logits (B,) of sequences (B, T)."""
        if not self._is_plain():
            return self
        network = self._network()
        for_kernels = _fits_kernels(network)
        if self._has_tables():
            self._refresh_tables(network, for_kernels)
            return (
                functools.partial(self._logits_by_kernels, network)
                if for_kernels
                else self._logits_by_torch
            )
        if for_kernels:
            return functools.partial(network_scores, self._bank, network)
        return functools.partial(in_whole_blocks, self._forward_by_torch)

    # A convolution over embedded tokens is a sum of one table row per tap: conv(Y)[t] = sum_k (E
    # W_k)[y_{t+k}]. The tables of a
    # fixed discriminator are built once; scoring then gathers and adds, which is several times
    # faster than convolving.

    def _has_tables(self) -> bool:
        size = sum(self._bank.row_sizes) * (self.spec.vocab_size + 1) * 4
        return self.device.type == "cpu" and size <= _TABLE_BYTES

    def _filters(self) -> list[nn.Conv1d]:
        return [module for module in self.convolutions if isinstance(module, nn.Conv1d)]

    def _weights(self) -> tuple[list[Tensor], list[Tensor]]:
        filters = self._filters()
        return [c.weight for c in filters], [c.bias for c in filters if c.bias is not None]

    def _has_half_highway(self) -> bool:
        return self.config.bfloat16_highway and _multiplies_bfloat16()

    def _refresh_tables(self, network: Network, for_kernels: bool) -> None:
        """Makes the tables those of the present parameters; those that are not asked about are read
        when they are used.
        """
        highway = [network.highway, network.highway_bias] if self._has_half_highway() else []
        tabulated = [network.embedding, *network.weights, *highway]
        if for_kernels == self._built_for_kernels and self._tables_of.matches(tabulated):
            return
        self._build_tables(for_kernels)
        self._tables_of.take(tabulated)
        self._built_for_kernels = for_kernels

    def _build_tables(self, for_kernels: bool) -> None:
        self._half_highway = None
        if self._has_half_highway():
            self._half_highway = (
                self.highway.weight.to(torch.bfloat16),
                self.highway.bias.to(torch.bfloat16),
            )
        if for_kernels:
            rows = weight_taps(self._bank, self._weights()[0])
            self._table = make_tables(self._bank, self.embedding.weight, rows, self._table)
            return
        self._tables = []
        for convolution in self._filters():
            taps = convolution.weight.permute(2, 1, 0)  # (width, E, C)
            self._tables.append(
                torch.matmul(self.embedding.weight, taps).flatten(0, 1).contiguous()
            )  # (width * (V + 1), C)

    def _logits_by_kernels(self, network: Network, tokens: Tensor) -> Tensor:
        if self._table is None:
            raise RuntimeError("no tables have been built for the kernels")
        features = pool_tables(
            self._bank, tokens, self._table, torch.cat(network.biases), len(network.embedding)
        )
        if self._half_highway is None:
            return head_logits(features, network)
        return half_head_logits(features, *self._half_highway, network.output, network.output_bias)

    def _logits_by_torch(self, tokens: Tensor) -> Tensor:
        return in_whole_blocks(self._head_of_tables, self._features_by_tables(tokens))

    def _head_of_tables(self, features: Tensor) -> Tensor:
        if self._half_highway is None:
            return self._head(features)
        z = F.linear(features.to(torch.bfloat16), *self._half_highway).to(features.dtype)
        logits: Tensor = self.output(pass_highway(z, features))
        return logits.squeeze(1)

    def _features_by_tables(self, tokens: Tensor) -> Tensor:
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) <= self.spec.vocab_size:
            raise IndexError(
                "a token is outside the vocabulary"
            )  # and would be read as another one, at another tap
        biases = self._weights()[1]
        features = []
        for width, table, bias in zip(self._bank.widths, self._tables, biases, strict=True):
            offsets = torch.arange(width, device=tokens.device) * (self.spec.vocab_size + 1)
            windows = tokens.unfold(1, width, 1) + offsets  # (B, T - width + 1, width)
            sums = F.embedding_bag(windows.flatten(0, 1), table, mode="sum")
            pooled = sums.view(*windows.shape[:2], -1).amax(1)  # max over time
            features.append(F.relu(pooled + bias))
        return torch.cat(features, dim=1)


_PLAIN_EMBEDDING: dict[str, object] = {
    "max_norm": None,
    "padding_idx": None,
    "scale_grad_by_freq": False,
    "sparse": False,
}
_PLAIN_CONVOLUTION: dict[str, object] = {
    "stride": (1,),
    "padding": (0,),
    "dilation": (1,),
    "groups": 1,
    "padding_mode": "zeros",
}


def _is_plain_convolution(layer: nn.Conv1d) -> bool:
    return is_as_made(layer, nn.Conv1d, **_PLAIN_CONVOLUTION) and layer.bias is not None


def _fits_kernels(network: Network) -> bool:
    """Whether the memory of the parameters is as the kernels read it."""
    return native.usable(*network.parameters) and all(
        parameter.is_contiguous() for parameter in network.parameters
    )


@functools.cache
def _multiplies_bfloat16() -> bool:
    """Whether this processor has bfloat16 products; elsewhere they are emulated, and slower than
    float32.
    """
    return bool(torch.cpu._is_avx512_bf16_supported())


@dataclass
class DiscriminatorTrainer:
    """Trains a discriminator on real and generated sequences with the logistic loss (eq. 5).

    Attributes:
        discriminator: trained in place.
        optimizer: Adam over its parameters.
        budget: counts the sequences trained on; a new one if not given.
        graphs: whether a GPU replays the step as a CUDA graph, where nothing of network and
            optimizer is a user's own.
    """

    discriminator: Discriminator
    budget: Budget = field(default_factory=Budget)
    optimizer: torch.optim.Adam = field(init=False)
    graphs: bool = True
    _graphed: GraphedDescent | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=self.discriminator.config.learning_rate, fused=True
        )

    @full_precision()
    def fit(
        self, real: Tensor, generated: Tensor, num_epochs: int, rng: torch.Generator
    ) -> dict[str, float]:
        """`num_epochs` passes over real (M, T) and generated (M', T) sequences, shuffled together.

        Returns:
            `loss`, the mean logistic loss of the last epoch without the penalty, in nats per
            sequence.
        """
        tokens = torch.cat([real, generated])
        labels = (torch.arange(len(tokens), device=tokens.device) < len(real)).to(
            self.discriminator.output.weight.dtype
        )
        loss = zero = torch.zeros((), dtype=torch.float64, device=tokens.device)
        step = functools.partial(
            self._step, self._network_for_kernels()
        )  # by kernels there are no hooks that could change it
        graphed = self._descent_by_graph()
        if graphed is not None:
            step = functools.partial(self._step_by_graph, graphed)
        for _ in range(num_epochs):
            order = torch.randperm(len(tokens), generator=rng, device=rng.device).to(tokens.device)
            batches = order.split(self.discriminator.config.batch_size)
            loss = sum(
                (step(tokens[rows], labels[rows], rng) * len(rows) for rows in batches), zero
            )
        self.budget.sequences_trained += num_epochs * len(tokens)
        return {"loss": float(loss) / len(tokens) if num_epochs else float("nan")}

    def _step(
        self, network: Network | None, tokens: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """One step; the mean loss of the batch before it, in nats, as a number that still lies on
        the device.
        """
        discriminator, l2 = self.discriminator, self.discriminator.config.l2
        if network is not None:
            dropout = discriminator._draw_dropout(rng)
            loss = train_step(
                discriminator._bank, network, self.optimizer, tokens, labels, dropout, l2
            )
        else:
            loss = self._step_by_torch(tokens, labels, rng)
        increment_version(
            list(discriminator.parameters())
        )  # for autograd's checks; neither route does it
        return loss.double()

    def _network_for_kernels(self) -> Network | None:
        """The parameters, if the kernels do with them what the network and the optimizer would; all
        of them are trained.
        """
        network = (
            self.discriminator._network_for_kernels() if self.discriminator._is_plain() else None
        )
        if network is None or len(network.parameters) != len(list(self.discriminator.parameters())):
            return None
        return None if adam.objection(self.optimizer, network.parameters) else network

    def _step_by_torch(self, tokens: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        output, l2 = self.discriminator.output, self.discriminator.config.l2
        loss = F.binary_cross_entropy_with_logits(self.discriminator(tokens, rng), labels)
        penalty = (
            0.5 * l2 * (output.weight.square().sum() + output.bias.square().sum()) if l2 else 0.0
        )
        self.optimizer.zero_grad(set_to_none=True)
        (loss + penalty).backward()
        self.optimizer.step()
        return loss.detach()

    def _descent_by_graph(self) -> GraphedDescent | None:
        """What replays the step on a GPU, anew if its recordings no longer hold; None where nothing
        can.
        """
        model = self.discriminator
        if not (self.graphs and model.device.type == "cuda" and model._is_plain()):
            return None
        network = model._network()
        if not can_be_recorded(network, self.optimizer):
            return None
        descent = Descent(model._bank, model.spec.seq_len, model.config.dropout, model.config.l2)
        if self._graphed is None or not self._graphed.still_holds(descent, network, self.optimizer):
            self._graphed = GraphedDescent(descent, network, self.optimizer)
        return self._graphed

    def _step_by_graph(
        self, graphed: GraphedDescent, tokens: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        loss = graphed(tokens, labels, self.discriminator._draw_dropout(rng))
        increment_version(list(self.discriminator.parameters()))
        return loss.double()


def discriminator_accuracy(
    discriminator: Discriminator, real: Tensor, generated: Tensor
) -> dict[str, float]:
    """Accuracies in 0..1 on `real` (M, T) and `generated` (M', T) sequences that it was never
    trained on, and their mean.
    """
    accuracy_real = float((discriminator.logits(real) > 0).float().mean())
    accuracy_generated = float((discriminator.logits(generated) <= 0).float().mean())
    return {
        "accuracy_real_heldout": accuracy_real,
        "accuracy_generated_heldout": accuracy_generated,
        "accuracy_heldout": (accuracy_real + accuracy_generated) / 2,
    }
