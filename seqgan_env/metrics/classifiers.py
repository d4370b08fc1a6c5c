"""Classifiers of real against generated sequences, of several families, for the referee.

Every family is trained on real and generated sequences and gives a logit to any sequence, high
where it looks real. None of them is the convolutional network that is the agents' discriminator:
what fools that one should not fool its judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from scipy import optimize, sparse
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from seqgan_env.best_weights import BestWeights
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.metrics.kneser_ney import KneserNey
from seqgan_env.types import TokenSpec


class Classifier(Protocol):
    """Says of sequences how real they look."""

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """Logits (B,) of sequences (B, T)."""
        ...


def cross_entropy(real: np.ndarray, generated: np.ndarray) -> float:
    """The mean cross-entropy, in nats, of logits of real (M,) and of generated sequences (B,).

    Both sides weigh the same.
    """
    return float(np.logaddexp(0, -real).mean() + np.logaddexp(0, generated).mean()) / 2


# ---- logistic regression ----


def logistic_regression(
    features: np.ndarray | sparse.csr_matrix, is_real: np.ndarray, penalty: float
) -> np.ndarray:
    """Weights (D + 1,) of features (B, D), the last one the intercept. Both classes weigh the same.

    Args:
        features: of every sequence.
        is_real: (B,) 1 for real, 0 for generated.
        penalty: of half the sum of squared weights, the intercept left out.
    """
    sign = np.where(is_real > 0, -1.0, 1.0)
    share = np.where(is_real > 0, 0.5 / is_real.sum(), 0.5 / (1 - is_real).sum())

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean cross-entropy with the penalty, and its gradient (D + 1,)."""
        logits = features @ weights[:-1] + weights[-1]
        errors = share * sign / (1 + np.exp(-np.clip(sign * logits, -500, 500)))
        gradient = np.append(features.T @ errors + penalty * weights[:-1], errors.sum())
        value = share @ np.logaddexp(0, sign * logits) + penalty / 2 * weights[:-1] @ weights[:-1]
        return float(value), gradient

    start = np.zeros(features.shape[1] + 1)
    # Threads of BLAS gain nothing on these vectors. Beside other work they wait for one another,
    # ten times as long as the work takes, and the last bits would depend on their number.
    with threadpool_limits(1, "blas"):
        found: np.ndarray = optimize.minimize(
            loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}
        ).x
    return found


class NGramRegression:
    """Logistic regression on which 1-, 2- and 3-grams a sequence holds, hashed; of fixed length
    also on what stands where.
    """

    _ORDERS = (1, 2, 3)
    _BUCKETS = 2**17
    _PENALTIES = (3e-3, 1e-3, 3e-4)

    def __init__(
        self,
        spec: TokenSpec,
        real: np.ndarray,
        generated: np.ndarray,
        check_real: np.ndarray,
        check_generated: np.ndarray,
    ) -> None:
        """
        Args:
            spec: of the sequences.
            real: (M, T) to fit.
            generated: (B, T) to fit.
            check_real: (M', T) that choose the penalty.
            check_generated: (B', T) likewise.
        """
        self.spec = spec
        features = sparse.vstack([self._features(real), self._features(generated)], format="csr")
        is_real = np.repeat([1.0, 0.0], [len(real), len(generated)])
        # A bucket in which nothing falls keeps its weight of 0, and is left out while fitting.
        used = np.flatnonzero(features.getnnz(axis=0))
        features = features[:, used]
        best = np.inf
        for penalty in self._PENALTIES:
            of_used = logistic_regression(features, is_real, penalty)
            weights = np.zeros(self._BUCKETS + 1)
            weights[used], weights[-1] = of_used[:-1], of_used[-1]
            on_real = self._logits(check_real, weights)
            on_generated = self._logits(check_generated, weights)
            found = cross_entropy(on_real, on_generated)
            if found < best:
                best, self._weights = found, weights

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """Logits (B,) of sequences (B, T)."""
        return self._logits(tokens, self._weights)

    def _logits(self, tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        logits: np.ndarray = self._features(tokens) @ weights[:-1] + weights[-1]
        return logits

    def _features(self, tokens: np.ndarray) -> sparse.csr_matrix:
        """(B, buckets), 1 where a sequence has an n-gram of the bucket."""
        rows, buckets = [], []  # of every n-gram
        for order in self._ORDERS:
            for row, keys in ngrams(tokens, self.spec, order):
                rows.append(row)
                buckets.append(_mix(keys + np.uint64(order)) % self._BUCKETS)
        if self.spec.eos_token is None:
            # Tokens with their places, away from the keys of n-grams.
            where = np.arange(tokens.shape[1], dtype=np.uint64) * np.uint64(self.spec.vocab_size)
            rows.append(np.repeat(np.arange(len(tokens)), tokens.shape[1]))
            buckets.append(
                (_mix(tokens.astype(np.uint64) + where + np.uint64(2**40)) % self._BUCKETS).ravel()
            )
        row, bucket = np.concatenate(rows), np.concatenate(buckets).astype(np.int64)
        found = sparse.csr_matrix((np.ones(len(row)), (row, bucket)), (len(tokens), self._BUCKETS))
        found.data[:] = 1.0  # twice the same n-gram counts once
        return found


# ---- two language models ----


class KneserNeyRatio:
    """log p_real(Y) - log p_generated(Y) under two Kneser-Ney models, each counted from its own
    side.
    """

    def __init__(self, spec: TokenSpec, of_real: KneserNey, generated: np.ndarray) -> None:
        self._of_real, self._of_generated = of_real, KneserNey(generated, spec)

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """Logits (B,) of sequences (B, T)."""
        found: np.ndarray = self._of_real.log_prob(tokens) - self._of_generated.log_prob(tokens)
        return found


class LSTMRatio:
    """log p_real(Y) - log p_generated(Y) under two LSTM language models, each fitted to its own
    side.
    """

    def __init__(self, of_real: LSTMLanguageModel, of_generated: LSTMLanguageModel) -> None:
        self._of_real, self._of_generated = of_real, of_generated

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """Logits (B,) of sequences (B, T)."""
        batch = torch.from_numpy(tokens)
        found: np.ndarray = (
            (self._of_real.log_prob(batch) - self._of_generated.log_prob(batch)).double().numpy()
        )
        return found


def fitted_language_model(
    spec: TokenSpec, sequences: np.ndarray, check: np.ndarray, seed: int
) -> LSTMLanguageModel:
    """An LSTM language model of sequences (M, T), of the epoch in which others (M', T) are
    likeliest.
    """
    rng = torch.Generator().manual_seed(seed)
    model = LSTMLanguageModel.initialised(spec, rng, _MODEL_DIM, _MODEL_DIM)
    likelihood = MaximumLikelihood(
        model, rng, _MODEL_RATE, learning_rate_decay=_MODEL_DECAY, weight_decay=_MODEL_WEIGHT_DECAY
    )
    best = BestWeights()
    for _ in range(_MODEL_EPOCHS):
        likelihood.fit(torch.from_numpy(sequences), 1)
        nll = -float(model.log_prob(torch.from_numpy(check)).double().mean())
        if not best.see(nll, model):  # it has begun to learn by heart
            break
    best.restore(model)
    return model


_MODEL_DIM, _MODEL_EPOCHS, _MODEL_RATE, _MODEL_DECAY, _MODEL_WEIGHT_DECAY = 64, 6, 1e-2, 0.6, 0.1


# ---- recurrent ----


class BidirectionalLSTM(nn.Module):
    """A bidirectional LSTM whose states are pooled by mean and by maximum; keeps the epoch that is
    best on other sequences.
    """

    _DIM, _BATCH, _EPOCHS, _RATE = 48, 128, 8, 3e-3
    _PATIENCE = 2  # epochs without a better one

    def __init__(
        self,
        spec: TokenSpec,
        real: np.ndarray,
        generated: np.ndarray,
        check_real: np.ndarray,
        check_generated: np.ndarray,
        seed: int,
    ) -> None:
        """
        Args:
            spec: of the sequences.
            real: (M, T) to fit.
            generated: (B, T) to fit.
            check_real: (M', T) that choose the epoch.
            check_generated: (B', T) likewise.
            seed: of the parameters and the order.
        """
        super().__init__()
        self.pad = spec.pad_token
        with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(spec.vocab_size + 1, self._DIM)
            self.lstm = nn.LSTM(self._DIM, self._DIM, batch_first=True, bidirectional=True)
            self.output = nn.Linear(4 * self._DIM, 1)
        self._fit(real, generated, check_real, check_generated, torch.Generator().manual_seed(seed))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B,) of sequences (B, T)."""
        states, _ = self.lstm(self.embedding(tokens))  # (B, T, 2 H)
        padded = (tokens == self.pad).unsqueeze(2)  # (B, T, 1)
        mean = states.masked_fill(padded, 0.0).sum(1) / (~padded).sum(1)  # (B, 2 H)
        most = states.masked_fill(padded, -torch.inf).amax(1)  # (B, 2 H)
        logits: Tensor = self.output(torch.cat([mean, most], dim=1)).squeeze(1)
        return logits

    @torch.no_grad()
    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """Logits (B,) of sequences (B, T)."""
        parts = torch.from_numpy(tokens).split(1024)  # whose states fit into memory
        found: np.ndarray = torch.cat(list(map(self, parts))).double().numpy()
        return found

    def _fit(
        self,
        real: np.ndarray,
        generated: np.ndarray,
        check_real: np.ndarray,
        check_generated: np.ndarray,
        rng: torch.Generator,
    ) -> None:
        """Trains by AdamW, and goes back to the epoch that was best on the other sequences."""
        tokens = torch.from_numpy(np.concatenate([real, generated]))
        is_real = torch.cat([torch.ones(len(real)), torch.zeros(len(generated))])
        optimizer = torch.optim.AdamW(self.parameters(), lr=self._RATE, weight_decay=1e-2)
        best, best_epoch = BestWeights(), 0
        for epoch in range(self._EPOCHS):
            for rows in torch.randperm(len(tokens), generator=rng).split(self._BATCH):
                loss = F.binary_cross_entropy_with_logits(self(tokens[rows]), is_real[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            found = cross_entropy(self.logits(check_real), self.logits(check_generated))
            if best.see(found, self):
                best_epoch = epoch
            elif epoch - best_epoch >= self._PATIENCE:
                break
        best.restore(self)


# ---- memory ----


class Memory:
    """How much of a sequence stands in a bank: the share of its n-grams of several orders, and the
    whole.
    """

    _ORDERS = (2, 3, 4, 5, 6, 8)

    def __init__(self, spec: TokenSpec, bank: np.ndarray) -> None:
        """
        Args:
            spec: of the sequences.
            bank: (M, T) sequences that are looked up.
        """
        self.spec = spec
        self._orders = [order for order in self._ORDERS if order < spec.seq_len]
        self._known = []
        for order in self._orders:
            at_positions = []
            for _, keys in ngrams(bank, spec, order):
                at_positions.append(keys)
            self._known.append(np.unique(np.concatenate(at_positions)))
        self._whole, self._counts = np.unique(_row_keys(bank), return_counts=True)

    def features(self, tokens: np.ndarray) -> np.ndarray:
        """Features (B, K) of sequences (B, T).

        They are the shares of known n-grams by order, and log(1 + how often the whole sequence
        stands in the bank).
        """
        shares = []
        for order, known in zip(self._orders, self._known, strict=True):
            shares.append(self._share(tokens, order, known))
        keys = _row_keys(tokens)
        place = np.searchsorted(self._whole, keys).clip(max=len(self._whole) - 1)
        count = np.where(self._whole[place] == keys, self._counts[place], 0)
        return np.stack([*shares, np.log1p(count)], axis=1)

    def _share(self, tokens: np.ndarray, order: int, known: np.ndarray) -> np.ndarray:
        """The share (B,) of the n-grams of one order whose keys are known; 0 where there is none.

        Args:
            tokens: (B, T).
            order: of the n-grams.
            known: (G,) sorted keys.
        """
        hits, total = np.zeros(len(tokens)), np.zeros(len(tokens))
        for rows, keys in ngrams(tokens, self.spec, order):
            if len(known):
                place = np.searchsorted(known, keys).clip(max=len(known) - 1)
                hits += np.bincount(rows, known[place] == keys, len(tokens))
            total += np.bincount(rows, minlength=len(tokens))
        share: np.ndarray = hits / np.maximum(total, 1)
        return share


def ngrams(
    tokens: np.ndarray, spec: TokenSpec, order: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For every position the rows (R,) with an n-gram there, and its key (R,), a 64-bit hash."""
    written = tokens != spec.pad_token
    # The key at a position is a hash of the `order` tokens that end there, the first one first.
    keys = np.zeros(tokens.shape, dtype=np.uint64)
    for back in range(order):
        keys[:, order - 1 :] = _mix(
            keys[:, order - 1 :]
            + tokens[:, back : tokens.shape[1] - order + 1 + back].astype(np.uint64)
        )
    for position in range(order - 1, tokens.shape[1]):
        rows = written[:, position].nonzero()[0]
        yield rows, keys[rows, position]


def _row_keys(tokens: np.ndarray) -> np.ndarray:
    """A 64-bit hash (B,) of each whole row (B, T)."""
    keys = np.zeros(len(tokens), dtype=np.uint64)
    for column in tokens.T:
        keys = _mix(keys + column.astype(np.uint64))
    return keys


def _mix(keys: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = keys ^ (keys >> np.uint64(31))
    return mixed
