"""The task's verdict on a policy of any library, for us to see: no client trains on it.

The policy is a function from observations to logits. It writes in an environment of its own, whose
rewards say nothing and which learns nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

import seqgan_env  # noqa: F401  registers the ids

Logits = Callable[[Any], Tensor]  # observations of B envs to (B, V)


@torch.no_grad()
def verdict(
    logits: Logits,
    wrap: Callable[[VectorEnv], VectorEnv] = lambda env: env,
    num: int = 4_000,
    seed: int = 0,
    **settings: Any,
) -> dict[str, float]:
    """How far a policy is from the oracle, in nats per token.

    Args:
        logits: of the policy.
        wrap: puts around the environment what the policy sees it through.
        num: sequences to draw, and held-out ones to read.
        seed: of the draws.
        settings: of the environment that the policy was trained in.

    Returns:
        `kl_reverse`, KL(policy || oracle), `kl_forward`, KL(oracle || policy), and `divergence`,
        their mean, which neither a collapsed nor a uniform policy makes small.
    """
    mute = settings | {"source": "constant", "reward": "terminal", "online": False}
    env = wrap(gym.make_vec("SeqGAN/Oracle-v0", num_envs=num, **mute))
    unwrapped: Any = env.unwrapped
    task, rng = unwrapped.task, torch.Generator().manual_seed(seed)
    held_out = task.held_out[:num]
    drawn, of_drawn = _write(env, logits, None, rng)
    _, of_held_out = _write(env, logits, held_out, rng)
    reverse = float((of_drawn - task.oracle.log_prob(drawn)).mean()) / task.spec.seq_len
    forward = float((task.oracle.log_prob(held_out) - of_held_out).mean()) / task.spec.seq_len
    return {"kl_reverse": reverse, "kl_forward": forward, "divergence": (reverse + forward) / 2}


def _write(
    env: VectorEnv, logits: Logits, given: Tensor | None, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sequences (B, T), drawn or `given`, and their log-probabilities (B,)."""
    unwrapped: Any = env.unwrapped
    spec = unwrapped.task.spec
    obs, _ = env.reset(seed=0)
    tokens = torch.empty(env.num_envs, spec.seq_len, dtype=torch.int64)
    total = torch.zeros(env.num_envs, dtype=torch.float64)
    for t in range(spec.seq_len):
        log_probs = logits(obs).double().log_softmax(1)
        if given is None:
            tokens[:, t] = torch.multinomial(log_probs.exp(), 1, generator=rng).squeeze(1)
        else:
            tokens[:, t] = given[:, t]
        total += log_probs.gather(1, tokens[:, t : t + 1]).squeeze(1)
        obs, *_ = env.step(tokens[:, t].numpy())
    return tokens, total


def report(name: str, before: dict[str, float], after: dict[str, float]) -> None:
    """Prints what training has changed."""
    numbers = ", ".join(f"{key} {before[key]:.3f} -> {after[key]:.3f}" for key in before)
    print(f"{name}: {numbers}")


def as_tensor(obs: np.ndarray) -> Tensor:
    """Observations as a float tensor."""
    return torch.as_tensor(obs, dtype=torch.float32)
