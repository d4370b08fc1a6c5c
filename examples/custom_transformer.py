"""A small causal transformer in place of the LSTM, trained by our REINFORCE and Algorithm 1.

A `LanguageModel` needs `hidden_states` and an `output` layer; sampling, rollouts, likelihoods and
losses follow from these. Run `python examples/custom_transformer.py [--quick]`, or `seqgan train
--agent examples.custom_transformer:TransformerAgent`.
"""

import argparse

import torch
from torch import Tensor, nn

from seqgan_env import (
    LanguageModel,
    RewardSettings,
    Schedule,
    TokenVectorEnv,
    build_rewards,
    make_task,
    train_adversarial,
)
from seqgan_env.agents import Reinforce, ReinforceConfig
from seqgan_env.training.adversarial import pretrain_policy
from seqgan_env.types import TokenSpec


class CausalTransformer(LanguageModel):
    """Embeddings of token and position, two layers of self-attention in which a position sees
    itself and those before it.
    """

    def __init__(
        self, spec: TokenSpec, dim: int = 32, num_heads: int = 4, num_layers: int = 2
    ) -> None:
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.vocab_size, dim)
        self.position = nn.Parameter(torch.zeros(spec.seq_len, dim))
        layer = nn.TransformerEncoderLayer(
            dim, num_heads, 4 * dim, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, num_layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False
        )
        self.output = nn.Linear(dim, spec.vocab_size)

    def hidden_states(self, inputs: Tensor) -> Tensor:
        num_positions = inputs.shape[1]
        unseen = torch.ones(
            num_positions, num_positions, dtype=torch.bool, device=inputs.device
        ).triu(1)
        hidden: Tensor = self.layers(
            self.embedding(inputs) + self.position[:num_positions], mask=unseen, is_causal=True
        )
        return hidden


class TransformerAgent(Reinforce):
    """REINFORCE on a new transformer.

    `seqgan train` makes it as `TransformerAgent(env, seed=seed, config=config)`; `--set
    learning_rate=3e-4` and the like change one field of the config.
    """

    def __init__(
        self,
        env: TokenVectorEnv,
        seed: int = 0,
        config: ReinforceConfig = ReinforceConfig(learning_rate=1e-3, mle_learning_rate=3e-3),
    ) -> None:
        env = env.unwrapped
        with torch.random.fork_rng():  # PyTorch draws initial weights from its global generator
            torch.manual_seed(seed)
            policy = CausalTransformer(env.task.spec).to(env.rewards.device)
        super().__init__(env, policy, seed, config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sequences, epochs and rounds")
    quick = parser.parse_args().quick
    task = make_task("oracle-tiny", num_real=2_000 if quick else 10_000)
    rewards = build_rewards(task, RewardSettings(score_as="logit", num_rollouts=4))
    agent = TransformerAgent(TokenVectorEnv(64 if quick else 256, rewards))
    for row in pretrain_policy(agent, task, num_epochs=3 if quick else 20, keep_best=True):
        print(
            f"MLE epoch {row['epoch']:.0f}: {row['nll_validation']:.3f} nats per token on "
            "validation data"
        )
    schedule = Schedule(rounds=5, d_pretrain_epochs=2, num_negatives=500) if quick else Schedule()
    for row in train_adversarial(agent, rewards, schedule):
        if "task/nll_oracle" in row:
            print(
                f"round {row['round']:.0f}: nll_oracle {row['task/nll_oracle']:.3f}, nll_gen "
                f"{row['task/nll_gen']:.3f}"
            )


if __name__ == "__main__":
    main()
