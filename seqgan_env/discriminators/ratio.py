"""A discriminator that knows the policy's density and learns only that of the data.

The best possible discriminator is D(Y) = q(Y) / (q(Y) + p(Y)), with q the density of the data and p
that of the policy (Goodfellow et al. 2014, eq. 2): its logit is log q(Y) - log p(Y). Here p is the
live policy itself, and q a language model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seqgan_env.best_weights import BestWeights
from seqgan_env.building import undisturbed
from seqgan_env.discriminators.base import (
    SEQUENCES_PER_CHUNK,
    Discriminator,
    Tell,
    in_mode,
    silent,
)
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import (
    EPOCH_TOKENS,
    MaximumLikelihood,
    sequences_of_epoch,
)
from seqgan_env.generators.policies import make_policy
from seqgan_env.generators.token_mixture import TokenMixture, log_mean_exp
from seqgan_env.names import choose
from seqgan_env.rowwise import full_precision, in_parts
from seqgan_env.types import HasLogProb, RolloutPolicy, TokenSpec, token_log_probs

LEARNS_BY = ("likelihood", "gan", "both")
LSTM = "lstm"  # the name of what q is unless something else is asked for
_SIZES = {"embedding_dim": 64, "hidden_dim": 64}


class RatioDiscriminator(Discriminator):
    """logit(Y) = a log q(Y) - log p(Y): p moves with the policy at no cost, q is all that learns.

    With a = 1 it is the optimal logit, were q the data. Maximum likelihood spreads q beyond the
    data, which a power a above 1 takes back: the policy that the logit teaches is q(Y)^a / Z.
    From q^a / Z itself one draws only by rejection. A policy gradient on the logit teaches a policy
    that comes near it and is written token by token.

    q is one language model, or the mixture of several, token by token. It learns by maximum
    likelihood of the real sequences, before the first d-step, and then stays as it is; by the
    logistic loss against what the policy writes, in the d-steps; or by both in turn.

    Attributes:
        models: of q.
        learns_by: "likelihood", "gan" or "both".
        power: a, of q.
        mle_options: of `MaximumLikelihood`.
        mle_epochs: of maximum likelihood, of which the one with the best validation likelihood is
            kept.
        mle_epoch_tokens: most tokens of such an epoch, padding counted; a larger corpus takes
            several epochs to pass through; 0 takes all.
    """

    needs_policy = True

    def __init__(
        self,
        spec: TokenSpec,
        rng: torch.Generator,
        learns_by: str = "likelihood",
        num_models: int = 1,
        power: float = 1.0,
        q: str = LSTM,
        q_options: Mapping[str, Any] | None = None,
        embedding_dim: int = _SIZES["embedding_dim"],
        hidden_dim: int = _SIZES["hidden_dim"],
        mle_epochs: int = 40,
        mle_epoch_tokens: int = EPOCH_TOKENS,
        mle_learning_rate: float = 8e-2,
        mle_learning_rate_decay: float = 0.95,
        mle_weight_decay: float = 0.1,
        mle_batch_size: int = 64,
        learning_rate: float = 1e-3,
        batch_size: int = 512,
    ) -> None:
        """
        Args:
            spec: of the sequences.
            rng: of the first parameters.
            learns_by: "likelihood", "gan" or "both".
            num_models: models in the mixture that is q.
            power: a, of q.
            q: what each of them is: "lstm", or another policy of `seqgan list policies`, such as
                "gru" or "huggingface", a causal transformer.
            q_options: of each of them, where it is no "lstm".
            embedding_dim: of an "lstm".
            hidden_dim: of an "lstm".
            mle_epochs: see above.
            mle_epoch_tokens: see above.
            mle_learning_rate: of the first epoch of maximum likelihood, by AdamW.
            mle_learning_rate_decay: what that rate is multiplied by after every epoch.
            mle_weight_decay: of AdamW.
            mle_batch_size: sequences in a step of maximum likelihood.
            learning_rate: of Adam, in the d-steps.
            batch_size: sequences in a step of them, half of them real.
        """
        super().__init__(spec)
        for name, value, least in (
            ("num_models", num_models, 1),
            ("mle_epochs", mle_epochs, 1),
            ("mle_epoch_tokens", mle_epoch_tokens, 0),
            ("batch_size", batch_size, 1),
        ):
            if value < least:
                raise ValueError(
                    f"the discriminator's {name} is {value}; allowed is {least} or more"
                )
        if not 0 < power < math.inf:
            raise ValueError(f"the discriminator's power is {power}; allowed is any above 0")
        self.power = power
        self.learns_by = choose(LEARNS_BY, learns_by, "learns_by of discriminator ratio")
        self.learns_from_negatives = learns_by != "likelihood"
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.mle_epochs, self.mle_epoch_tokens = mle_epochs, mle_epoch_tokens
        self.mle_options: dict[str, Any] = {
            "learning_rate": mle_learning_rate,
            "learning_rate_decay": mle_learning_rate_decay,
            "weight_decay": mle_weight_decay,
            "batch_size": mle_batch_size,
        }
        if ":" in q:
            raise ValueError(
                f"the discriminator's q is {q!r}; allowed are the names of `seqgan list policies`, "
                "for a name of a module would be code that nobody was asked to trust"
            )
        sizes = {"embedding_dim": embedding_dim, "hidden_dim": hidden_dim}
        if q == LSTM and q_options:
            raise ValueError(
                f"the discriminator's q_options are {dict(q_options)} and its q is {q!r}; the "
                "sizes of that one are embedding_dim and hidden_dim of the discriminator"
            )
        if q != LSTM and sizes != _SIZES:
            raise ValueError(
                f"the discriminator's sizes are {sizes} and its q is {q!r}; sizes of another model "
                "than 'lstm' are q_options"
            )
        with undisturbed():
            self.models = nn.ModuleList()
            for _ in range(num_models):
                self.models.append(_new_model(spec, rng, q, sizes, q_options))
        self._live = _Handle()

    @property
    def mixture(self) -> TokenMixture:
        """q as a policy, by handle."""
        return TokenMixture(self._models())

    def bind(self, policy: RolloutPolicy) -> None:
        """Makes `policy` the p of the ratio, by handle.

        Raises:
            TypeError: it has no likelihoods.
        """
        if not isinstance(policy, HasLogProb):
            raise TypeError(
                f"a ratio discriminator needs the policy's likelihoods; {type(policy).__name__} "
                "has no log_prob(tokens)"
            )
        self._live.policy = policy

    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        """Logits (B,) of sequences (B, T), with gradient for q alone."""
        # The policy learns by its agent, so that its likelihood is a constant here.
        return self.power * self.log_density(tokens) - self._policy().log_prob(tokens).detach()

    @torch.no_grad()
    @full_precision()
    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (B,) of sequences (B, T), without gradient.

        Likelihoods see to whole blocks of rows themselves.
        """
        return in_parts(self, tokens, SEQUENCES_PER_CHUNK)

    @torch.no_grad()
    @full_precision()
    def token_scores(self, tokens: Tensor) -> Tensor:
        """The part of every token of prefixes (B, T) in the logit, (B, T), 0 behind the end.

        Raises:
            ValueError: it scores as a probability, which is no sum over tokens.
            TypeError: the policy has no likelihoods of tokens.
        """
        if self.score_as != "logit":
            raise ValueError("a probability is no sum over tokens; set score_as to 'logit'")
        of_policy = token_log_probs(self._policy(), tokens)
        return self.power * self.token_log_densities(tokens) - of_policy

    def log_density(self, tokens: Tensor) -> Tensor:
        """log q(Y), (B,), in nats, with gradient."""
        return self.token_log_densities(tokens).sum(1)

    def token_log_densities(self, tokens: Tensor) -> Tensor:
        """log q(y_t | y_1..y_{t-1}), (B, T), in nats, with gradient; 0 behind the end."""
        of_models = []
        for model in self._models():
            # Trainable parameters are arguments, so that autograd knows what the gradient is for.
            of_models.append(_TokenLogProbs.apply(model, tokens, *_trained(model)))
        return log_mean_exp(of_models)

    def pretrain(
        self, real: Tensor, validation: Tensor, rng: torch.Generator, tell: Tell = silent
    ) -> dict[str, float]:
        """Maximum likelihood of the real sequences, unless q learns by the GAN's loss alone.

        Returns:
            `nll_validation` of q, in nats per token.
        """
        if self.learns_by == "gan":
            return {}
        models = self._models()
        num_epochs = len(models) * self.mle_epochs
        tell(0, num_epochs, {})
        for number, model in enumerate(models):
            # A stream of its own for each, so that one more model changes none of the others.
            seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
            epochs = self._fit(model, real, validation, torch.Generator().manual_seed(seed))
            for epoch, reached in enumerate(epochs, start=1):
                tell(number * self.mle_epochs + epoch, num_epochs, {"nll_validation": reached})
        with torch.no_grad():
            # Summed in double: a float of many sequences loses the digits that differ.
            nll = -self.log_density(validation).double().sum() / self.spec.lengths(validation).sum()
        return {"nll_validation": float(nll)}

    def _fit(
        self, model: LanguageModel, real: Tensor, validation: Tensor, rng: torch.Generator
    ) -> Iterator[float]:
        """The validation NLL per token of every epoch; leaves `model` as the best one made it."""
        likelihood = MaximumLikelihood(model, rng, **self.mle_options)
        num_tokens = int(self.spec.lengths(validation).sum())
        best = BestWeights()
        for epoch in range(self.mle_epochs):
            sequences = sequences_of_epoch(real, self.mle_epoch_tokens, epoch)
            with in_mode(model, training=True):
                likelihood.fit(sequences, 1)
            # Early stopping looks at validation data alone; held-out data are for the report.
            nll = -float(model.log_prob(validation).double().sum()) / num_tokens
            best.see(nll, model)
            yield nll
        best.restore(model)

    def _policy(self) -> HasLogProb:
        """The live policy.

        Raises:
            RuntimeError: it was not told yet.
        """
        if self._live.policy is None:
            raise RuntimeError("a ratio discriminator scores once it is told the policy: bind it")
        return self._live.policy

    def _models(self) -> list[LanguageModel]:
        return [model for model in self.models if isinstance(model, LanguageModel)]


class _Handle:
    """Holds a policy that is no part of the discriminator: not among its parameters, not in its
    state, and not copied with it.
    """

    def __init__(self) -> None:
        self.policy: HasLogProb | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> _Handle:
        other = _Handle()
        other.policy = self.policy
        return other


def _new_model(
    spec: TokenSpec,
    rng: torch.Generator,
    name: str,
    sizes: Mapping[str, int],
    options: Mapping[str, Any] | None,
) -> LanguageModel:
    """A model of q with first parameters from `rng`."""
    if name == LSTM:
        return LSTMLanguageModel.initialised(spec, rng, **sizes)
    seed = int(torch.randint(2**31, (), generator=rng, device=rng.device))
    return make_policy(name, spec, seed, options)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


class _TokenLogProbs(torch.autograd.Function):
    """`LanguageModel.token_log_probs` with a gradient, which comes from `weighted_nll`: logits
    (B, T, V) are never stored.
    """

    @staticmethod
    def forward(
        ctx: Any, model: LanguageModel, tokens: Tensor, *parameters: nn.Parameter
    ) -> Tensor:
        ctx.model, ctx.tokens = model, tokens
        ctx.save_for_backward(*parameters)
        return model.token_log_probs(tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            loss = ctx.model.weighted_nll(ctx.tokens, -grad)
            gradients = torch.autograd.grad(loss, ctx.saved_tensors)
        return None, None, *gradients
