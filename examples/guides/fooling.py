"""How to win a published metric without learning anything, and which number notices.

The policy is maximum likelihood. With probability 0.9 it writes a whole sequence at temperature
0.3, else at 1. It has seen no reward.
"""

import argparse

from seqgan_env import RewardSettings, TokenVectorEnv, build_rewards, make_task, pretrain_policy
from seqgan_env.agents import MLE
from seqgan_env.generators.knobs import Mixture, Temperature
from seqgan_env.training.adversarial import evaluate_task

WANTED = {
    "nll_oracle": "what the truth thinks of the samples: low is good, says the literature",
    "nll_gen": "what the policy thinks of true samples: low is good",
    "kl_mean": "the mean of both divergences from the truth: low is good, and cannot be gamed",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a weaker policy, fewer samples")
    quick = parser.parse_args().quick

    task = make_task("oracle-tiny", **({"num_eval": 2_000} if quick else {}))
    rewards = build_rewards(task, RewardSettings(source="constant"))
    agent = MLE(TokenVectorEnv(64, rewards))
    pretrain_policy(agent, task, num_epochs=4 if quick else 40, keep_best=True)

    cheat = Mixture(((Temperature(0.3), 0.9), (Temperature(1.0), 0.1)))(agent.policy)
    honest_numbers = evaluate_task(agent.policy, task, seed=0, device="cpu")
    cheat_numbers = evaluate_task(cheat, task, seed=0, device="cpu")
    for name, meaning in WANTED.items():
        before, after = honest_numbers[name], cheat_numbers[name]
        print(f"{name:11} {before:.3f} -> {after:.3f}   {meaning}")


if __name__ == "__main__":
    main()
