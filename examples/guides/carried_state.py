"""A recurrent policy of your own that carries its state from token to token.

`hidden_states` alone would do. `start` and `advance` spare it reading the prefix again for every
token that is written; this script says how much time that saves.
"""

import argparse
import time

import torch
from torch import Tensor, nn

from seqgan_env import LanguageModel, TokenSpec
from seqgan_env.testing import check_policy


class Recurrent(LanguageModel):
    """Gated recurrent units; the state is theirs."""

    def __init__(self, spec: TokenSpec, width: int = 64) -> None:
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.vocab_size, width)
        self.layer = nn.GRU(width, width, batch_first=True)
        self.output = nn.Linear(width, spec.vocab_size)

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """(B, T') tokens to (B, T', H): for training and likelihoods, all positions at once."""
        states: Tensor = self.layer(self.embedding(inputs))[0]
        return states

    def start(self, num_rows: int) -> Tensor:
        """The state of so many rows before the first token is read: any object, here (1, B, H)."""
        return torch.zeros(1, num_rows, self.layer.hidden_size, device=self.device)

    def advance(self, state: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Reads one token (B,) of every row: h_t (B, H) and the next state."""
        hidden, state = self.layer(self.embedding(inputs).unsqueeze(1), state)
        return hidden.squeeze(1), state


class Forgetful(Recurrent):
    """The same, but it reads the whole prefix for every token, as a `LanguageModel` does."""

    start = LanguageModel.start
    advance = LanguageModel.advance


def seconds(policy: LanguageModel, num: int) -> float:
    """How long it takes to write so many sequences: the best of five tries."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        policy.sample(num, torch.Generator().manual_seed(0))
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sequences")
    num = 16 if parser.parse_args().quick else 1_024

    check_policy(Recurrent)  # also that `advance` gives the same as `hidden_states`
    torch.set_num_threads(1)
    for length in (10, 20, 50):
        spec = TokenSpec(vocab_size=500, seq_len=length)
        carried = seconds(Recurrent(spec), num)
        anew = seconds(Forgetful(spec), num)
        print(f"{num} sequences of {length} tokens: {carried:.2f} s; without a state {anew:.2f} s")


if __name__ == "__main__":
    main()
