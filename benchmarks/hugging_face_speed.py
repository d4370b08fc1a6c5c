r"""What a causal model of Hugging Face costs as a policy, and what its cache of keys and values
saves.

Sampling with the cache and without it (the prefix encoded anew for every token, as a language model
does that carries nothing) take turns; both write the same sequences. Beside them the likelihood of
what was written, and a step of maximum likelihood. Each model is measured in a process of its own,
so that its peak memory is its own.

    python -m benchmarks.hugging_face_speed [--quick] [--lora-rank 8] \
        [--repeats 5] [--threads N] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.measuring import in_own_process, machine, measure, measure_in_turns, peak_memory
from seqgan_env.generators.hugging_face import SMALL_GPT2, HuggingFaceModel
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.training.run_directory import write_json
from seqgan_env.types import TokenSpec

GPT2 = {"model_type": "gpt2"}  # 12 layers of 768, as first published, with weights at random


class WithoutCache(HuggingFaceModel):
    """Encodes the whole prefix for every token."""

    start = LanguageModel.start
    advance = LanguageModel.advance


def measured(config: dict[str, Any], lora_rank: int, num: int, repeats: int) -> dict[str, float]:
    """Seconds of each task for `num` sequences, and bytes at most."""
    spec = TokenSpec(vocab_size=5000, seq_len=20)
    policy = HuggingFaceModel(spec, config=config, lora_rank=lora_rank)
    plain = WithoutCache(spec, config=config, lora_rank=lora_rank)
    plain.load_state_dict(policy.state_dict())

    def sample(model: LanguageModel) -> Tensor:
        return model.sample(num, torch.Generator().manual_seed(0))

    tokens = sample(policy)
    same = float((tokens == sample(plain)).double().mean())
    cached, anew = measure_in_turns(lambda: sample(policy), lambda: sample(plain), repeats)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained)

    def step() -> None:
        loss = policy.weighted_nll(tokens, torch.ones(tokens.shape)) / tokens.numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return {
        "parameters": float(sum(p.numel() for p in policy.parameters())),
        "trained": float(sum(p.numel() for p in trained)),
        "sample": statistics.median(cached),
        "sample without cache": statistics.median(anew),
        "same tokens": same,
        "log_prob": measure(lambda: policy.log_prob(tokens), repeats)[0],
        "step": measure(step, repeats)[0],
        "peak bytes": float(peak_memory() or 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="time and memory of a causal model")
    parser.add_argument("--quick", action="store_true", help="the small model alone, 8 sequences")
    parser.add_argument("--lora-rank", type=int, default=8, help="of GPT-2's adapters")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    cases = {"small GPT-2": (SMALL_GPT2, 0, 256)}
    if arguments.quick:
        cases = {"small GPT-2": (SMALL_GPT2, 0, 8)}
    else:
        cases["GPT-2"] = (GPT2, 0, 16)
        cases[f"GPT-2, LoRA {arguments.lora_rank}"] = (GPT2, arguments.lora_rank, 16)
    found = {
        name: in_own_process(
            measured, config, rank, num, arguments.repeats, threads=arguments.threads
        )
        for name, (config, rank, num) in cases.items()
    }
    table = Table("", *cases, title="V 5000, T 20; seconds, median")
    table.add_row("sequences", *(str(num) for _, _, num in cases.values()))
    for key in next(iter(found.values())):
        table.add_row(key, *(f"{row[key]:,.3f}".rstrip("0").rstrip(".") for row in found.values()))
    Console().print(table)
    if arguments.out:
        write_json(arguments.out, {"measured": found, "machine": machine()})


if __name__ == "__main__":
    main()
