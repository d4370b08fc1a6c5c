"""The paper's discriminator, a CNN (Yu et al. 2017, section 3.2; Zhang and LeCun 2015; Kim 2014).

D(Y) = sigmoid(w . highway(max over time of relu(convolutions of the embedded sequence))).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgan_env import native
from seqgan_env.building import undisturbed
from seqgan_env.checks import check_fields, check_least, check_share
from seqgan_env.discriminators.base import SEQUENCES_PER_CHUNK, Discriminator, FastSteps, Step
from seqgan_env.discriminators.dense_network import pass_highway
from seqgan_env.discriminators.graphed_descent import Descent, GraphedDescent, can_be_recorded
from seqgan_env.discriminators.tables import FilterTables
from seqgan_env.native import adam
from seqgan_env.native.fast_routes import has_hooks, is_as_made, keeps_methods
from seqgan_env.native.network import Dropout, Network, network_logits, network_scores, train_step
from seqgan_env.native.pooling import FilterBank
from seqgan_env.rowwise import full_precision, in_parts, in_whole_blocks
from seqgan_env.types import TokenSpec


@dataclass(frozen=True)
class CNNConfig:
    """Size and training of the CNN.

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
        check_fields(self)
        for name in ("widths", "channels"):  # files and flags have lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if any(count < 1 for count in getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is 1 or more for each")
        if len(self.widths) != len(self.channels) or not self.widths:
            raise ValueError(
                f"{len(self.widths)} filter widths and {len(self.channels)} channel counts; "
                "expected as many, and at least one"
            )
        if self.batch_size < 1:
            raise ValueError(
                f"the discriminator's batch_size is {self.batch_size}; allowed is 1 or more"
            )
        check_least(self, 1, "embedding_dim")
        check_least(self, 0, "learning_rate", "l2")
        check_share("dropout", self.dropout)


SMALL_CNN = CNNConfig()
PAPER_CNN = CNNConfig(
    widths=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20),
    channels=(100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160),
    embedding_dim=64,
    dropout=0.25,
    l2=0.2,
    learning_rate=1e-4,
    batch_size=64,
    bfloat16_highway=True,
)
"""Size and training of the CNN as published (Yu et al. 2017)."""


class CNNDiscriminator(Discriminator):
    """Convolutions of several widths over the embedded tokens, their maxima over time, a highway
    layer.

    Attributes:
        config: what it was made with.
        bank: widths and channels of the filters that it has.
    """

    def __init__(
        self, spec: TokenSpec, config: CNNConfig = SMALL_CNN, score_as: str = "probability"
    ) -> None:
        """
        Args:
            spec: of the sequences.
            config: size and regularisation.
            score_as: "probability" (the paper's) or "logit", what `score` returns.
        """
        super().__init__(spec, score_as)
        self.config = config
        self.batch_size, self.learning_rate = config.batch_size, config.learning_rate
        self.bank = _bank_of(config, spec.seq_len)
        num_features = self.bank.num_features
        number, dim = torch.float32, config.embedding_dim
        # Padding is a token like any other.
        self.embedding = nn.Embedding(spec.vocab_size + 1, dim, dtype=number)
        self.convolutions = nn.ModuleList()
        for width, channels in zip(self.bank.widths, self.bank.channels, strict=True):
            self.convolutions.append(nn.Conv1d(dim, channels, width, dtype=number))
        self.highway = nn.Linear(num_features, 2 * num_features, dtype=number)  # transform and gate
        self.output = nn.Linear(num_features, 1, dtype=number)
        self._tables = FilterTables(self.bank, config.bfloat16_highway)

    @classmethod
    @undisturbed()
    def initialised(
        cls,
        spec: TokenSpec,
        rng: torch.Generator,
        config: CNNConfig = SMALL_CNN,
        score_as: str = "probability",
    ) -> CNNDiscriminator:
        """A discriminator whose parameters come from `rng`: truncated-normal weights, a gate that
        starts almost closed.
        """
        model = cls(spec, config, score_as)
        with torch.no_grad():
            for parameter in model.parameters():
                # Biases have no inputs, and start at 0.
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 0
                normal = torch.randn(parameter.shape, generator=rng, dtype=torch.float32)
                parameter.copy_(normal.clamp_(-2, 2) * (fan_in or torch.inf) ** -0.5)
            # The second half is the gate's: sigmoid(-2) lets an eighth through.
            model.highway.bias[len(model.highway.bias) // 2 :] = -2.0
        return model

    @property
    def device(self) -> torch.device:
        return self.output.weight.device

    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        """Logits (B,) of sequences (B, T), with gradient.

        Features are dropped only if `dropout_rng` is given, in any mode.
        """
        dropout = self.draw_dropout(dropout_rng)
        network = self.network_for_kernels()
        if network is not None:
            return network_logits(self.bank, network, tokens, dropout)
        return self._forward_by_torch(tokens, dropout)

    def _forward_by_torch(self, tokens: Tensor, dropout: Dropout | None = None) -> Tensor:
        embedded = self.embedding(tokens).transpose(1, 2)  # (B, E, T)
        features = []
        for convolution in self.convolutions:
            most = convolution(embedded).amax(2)  # (B, C), over all places of the filter
            features.append(F.relu(most))
        return self._head(torch.cat(features, dim=1), dropout)

    def _head(self, features: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Logits (B,) of features (B, F)."""
        features = pass_highway(self.highway(features), features)  # (B, F)
        if dropout:
            features = features * dropout.scales(len(features))
        logits: Tensor = self.output(features)
        return logits.squeeze(1)

    def draw_dropout(self, rng: torch.Generator | None) -> Dropout | None:
        """What a step drops; None for nothing."""
        if rng is None or not self.config.dropout:
            return None
        keys = torch.randint(
            -(2**63), 2**63 - 1, (self.bank.num_features,), generator=rng, device=rng.device
        )
        return Dropout(keys.to(self.device), self.config.dropout)

    def penalty(self) -> Tensor | None:
        """Half the squared norm of the output layer, weighted with `l2`."""
        l2, output = self.config.l2, self.output
        if not l2:
            return None
        return 0.5 * l2 * (output.weight.square().sum() + output.bias.square().sum())

    def fast_steps(self) -> FastSteps:
        return CNNSteps(self)

    @torch.no_grad()
    @full_precision()
    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (B,) of sequences (B, T), without dropout and gradient.

        By which route they are computed is decided by the size of the tables, never by the batch or
        by what was scored before. If something of the forward pass is a user's own (a subclass, a
        hook, another layer), it is the one that scores.
        """
        if not self.is_plain():
            return super().logits(tokens)
        network = self.network()
        for_kernels = _fits_kernels(network)
        if self._has_tables():
            self._tables.refresh(network, for_kernels)
            route = functools.partial(self._tables.logits, network, for_kernels)
        elif for_kernels:
            route = functools.partial(network_scores, self.bank, network)
        else:
            route = functools.partial(in_whole_blocks, self._forward_by_torch)
        return in_parts(route, tokens, SEQUENCES_PER_CHUNK)

    # Who may stand in for the layers.

    def network(self) -> Network:
        """The parameters as the fast routes take them."""
        weights, biases = [], []
        for convolution in self._filters():
            weights.append(convolution.weight)
            if convolution.bias is not None:
                biases.append(convolution.bias)
        head = (self.highway.bias, self.output.weight, self.output.bias)
        embedding = self.embedding.weight
        return Network(self.highway.weight, embedding, *head, tuple(weights), tuple(biases))

    def is_plain(self) -> bool:
        """Whether calling this discriminator computes the network that its class describes."""
        own = keeps_methods(
            self, CNNDiscriminator, "forward", "_forward_by_torch", "_head", "draw_dropout"
        )
        return own and not has_hooks(self) and self._has_plain_layers()

    def network_for_kernels(self) -> Network | None:
        """The parameters, if the compiled kernels do with them what the layers would."""
        if not (keeps_methods(self, CNNDiscriminator, "_head") and self._has_plain_layers()):
            return None
        network = self.network()
        return network if _fits_kernels(network) else None

    def _has_plain_layers(self) -> bool:
        """Whether calling the layers computes what their classes say, with the filters that the
        fast routes know.
        """
        if not is_as_made(self.convolutions, nn.ModuleList):
            return False
        sizes = []
        for convolution in self._filters():
            if not _is_plain_convolution(convolution):
                return False
            sizes.append((convolution.kernel_size[0], convolution.out_channels))
        # A user may have put other convolutions in their place.
        if sizes != list(zip(self.bank.widths, self.bank.channels, strict=True)):
            return False
        if not is_as_made(self.embedding, nn.Embedding, **_PLAIN_EMBEDDING):
            return False
        for linear in (self.highway, self.output):
            if not is_as_made(linear, nn.Linear) or linear.bias is None:
                return False
        return True

    def _has_tables(self) -> bool:
        return self.device.type == "cpu" and self._tables.are_small_enough(self.spec.vocab_size + 1)

    def _filters(self) -> list[nn.Conv1d]:
        return [module for module in self.convolutions if isinstance(module, nn.Conv1d)]


def _bank_of(config: CNNConfig, seq_len: int) -> FilterBank:
    """The filters of a config that fit into sequences of `seq_len` tokens.

    Raises:
        ValueError: none does.
    """
    widths, channels = [], []
    for width, num in zip(config.widths, config.channels, strict=True):
        if width <= seq_len:
            widths.append(width)
            channels.append(num)
    if not widths:
        raise ValueError(
            f"every filter width {config.widths} is longer than the sequence ({seq_len} tokens)"
        )
    return FilterBank(tuple(widths), tuple(channels))


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


class CNNSteps:
    """Steps of a CNN's training by the compiled kernels, or replayed by a GPU as a CUDA graph.

    Attributes:
        model: whose steps they are.
        graphed: the last recording; None where nothing was recorded.
    """

    def __init__(self, model: CNNDiscriminator) -> None:
        self.model = model
        self.graphed: GraphedDescent | None = None

    def step_with(self, optimizer: torch.optim.Optimizer) -> Step | None:
        """The step, if nothing of network, penalty and optimizer is a user's own."""
        model = self.model
        if not (model.is_plain() and keeps_methods(model, CNNDiscriminator, "penalty")):
            return None
        if model.device.type == "cuda":
            graphed = self.descent_by_graph(optimizer)
            return None if graphed is None else functools.partial(self._step_by_graph, graphed)
        network = self.network_for_kernels(optimizer)
        if network is None or not isinstance(optimizer, torch.optim.Adam):
            return None
        return functools.partial(self._step_by_kernels, network, optimizer)

    def network_for_kernels(self, optimizer: torch.optim.Optimizer) -> Network | None:
        """The parameters, if the kernels do with them what the network and the optimizer would; all
        of them are trained.
        """
        network = self.model.network_for_kernels() if self.model.is_plain() else None
        if network is None or len(network.parameters) != len(list(self.model.parameters())):
            return None
        return None if adam.objection(optimizer, network.parameters) else network

    def descent_by_graph(self, optimizer: torch.optim.Optimizer) -> GraphedDescent | None:
        """What replays the step on a GPU, anew if its recordings no longer hold; None where nothing
        can.
        """
        model = self.model
        if model.device.type != "cuda" or not model.is_plain():
            return None
        network = model.network()
        if not (isinstance(optimizer, torch.optim.Adam) and can_be_recorded(network, optimizer)):
            return None
        descent = Descent(model.bank, model.spec.seq_len, model.config.dropout, model.config.l2)
        if self.graphed is None or not self.graphed.still_holds(descent, network, optimizer):
            self.graphed = GraphedDescent(descent, network, optimizer)
        return self.graphed

    def _step_by_kernels(
        self,
        network: Network,
        optimizer: torch.optim.Adam,
        tokens: Tensor,
        labels: Tensor,
        rng: torch.Generator,
    ) -> Tensor:
        dropout = self.model.draw_dropout(rng)
        l2 = self.model.config.l2
        return train_step(self.model.bank, network, optimizer, tokens, labels, dropout, l2)

    def _step_by_graph(
        self, graphed: GraphedDescent, tokens: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        return graphed(tokens, labels, self.model.draw_dropout(rng))


def small(spec: TokenSpec, rng: torch.Generator, config: CNNConfig = SMALL_CNN) -> CNNDiscriminator:
    """A CNN of 256 filters; its options are the fields of `config`."""
    return CNNDiscriminator.initialised(spec, rng, config)


def paper(spec: TokenSpec, rng: torch.Generator, config: CNNConfig = PAPER_CNN) -> CNNDiscriminator:
    """The CNN of the paper, of 1,720 filters; its options are the fields of `config`."""
    return CNNDiscriminator.initialised(spec, rng, config)
