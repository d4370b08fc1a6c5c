"""Causal models of `transformers` as policies: new ones, those of a folder, and LoRA."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.grpo import GRPO
from agents.reinforce import Reinforce, ReinforceConfig
from agents.sequence_ppo import SequencePPO
from seqgan_env import registry
from seqgan_env.bench.jobs import Job
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.policies import make_policy
from seqgan_env.names import arguments_of
from seqgan_env.streams import uniforms
from seqgan_env.tasks import make_task
from seqgan_env.testing import check_policy
from seqgan_env.training.settings import TrainSettings
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, all_sequences, reward_model, rng

transformers = pytest.importorskip(
    "transformers", reason="needs pip install 'seqgan-env[transformers]'"
)

TINY_GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 16}
TINY_LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
CAPTIONS = [
    f"the {a} {b}s on the {c}"
    for a in ("cat", "dog", "cow", "owl")
    for b in ("sit", "stand", "walk")
    for c in ("grass", "roof", "road", "hill")
]


def made(spec: TokenSpec = EOS, seed: int = 0, **options: Any) -> Any:
    return make_policy("huggingface", spec, seed, {"config": TINY_GPT2} | options)


def of_folder(folder: Path, task: Any) -> Any:
    """The model of a folder, of the words of a task."""
    return make_policy("huggingface", task.spec, 0, {"model": str(folder)}, task)


def plainly_written(policy: Any, num: int, seed: int) -> Tensor:
    """`complete` as one would write it without a cache: the whole prefix for every token."""
    spec = policy.spec
    tokens = torch.full((num, spec.seq_len), spec.pad_token)
    draws = uniforms(rng(seed), num, spec.seq_len)
    for row in range(num):
        for t in range(spec.seq_len):
            inputs = torch.tensor([[spec.start_token, *tokens[row, :t].tolist()]])
            logits = policy.output(policy.network(input_ids=inputs).last_hidden_state)[0, -1]
            if t < spec.min_length:
                logits[spec.eos_token] = -torch.inf
            cumulative = logits.softmax(0).cumsum(0)
            tokens[row, t] = int((draws[row, t] >= cumulative).sum())
            if tokens[row, t] == spec.eos_token:
                break
    return tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 with a byte-level tokenizer of 300 tokens, as `save_pretrained` leaves it."""
    tokenizers = pytest.importorskip("tokenizers")
    path = tmp_path_factory.mktemp("models") / "gpt2"
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(
        CAPTIONS, vocab_size=300, show_progress=False, special_tokens=["<|endoftext|>"]
    )
    config = transformers.AutoConfig.for_model(
        **TINY_GPT2, vocab_size=300, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(path)
    transformers.PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def captions(folder: Path) -> Any:
    corpus = folder.parent / "captions.txt"
    corpus.write_text("\n".join(CAPTIONS), encoding="utf-8")
    return make_task("text", corpus=str(corpus), tokenizer=str(folder), max_length=16)


@pytest.mark.parametrize("config", [TINY_GPT2, TINY_LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("lora_rank", [0, 2])
def test_any_causal_model_is_a_policy(
    spec: TokenSpec, config: dict[str, Any], lora_rank: int
) -> None:
    if lora_rank:
        pytest.importorskip("peft", reason="needs pip install 'seqgan-env[transformers]'")
    check_policy(made(spec, config=config, lora_rank=lora_rank))


@pytest.mark.parametrize("config", [TINY_GPT2, TINY_LLAMA], ids=["gpt2", "llama"])
def test_what_is_written_with_a_cache_is_what_is_written_without(
    spec: TokenSpec, config: dict[str, Any]
) -> None:
    policy = made(spec, config=config)
    with torch.no_grad():
        policy.output.weight.mul_(20)  # so that the prefix matters
        assert torch.equal(policy.sample(32, rng(3)), plainly_written(policy, 32, 3))


def test_probabilities_of_all_sequences_sum_to_one(spec: TokenSpec) -> None:
    everything = all_sequences(spec)
    probs = made(spec).log_prob(everything).double().exp()
    assert float(probs.sum()) == pytest.approx(1, abs=1e-5)


def test_likelihoods_are_those_of_the_model_in_the_folder(folder: Path, captions: Any) -> None:
    policy = of_folder(folder, captions)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    allowed = policy.token_ids
    row = captions.encode(CAPTIONS[0])
    words = tokenizer(CAPTIONS[0]).input_ids
    read = torch.tensor([[0, *words]])
    logits = model(input_ids=read).logits[0].detach()
    chosen = logits[:, allowed[allowed >= 0]]  # among the words of the task, but for <unk>
    own = policy.logits(row.unsqueeze(0))[0, : len(words) + 1].detach()
    torch.testing.assert_close(own[:, allowed >= 0], chosen, atol=1e-4, rtol=1e-4)


def test_a_state_is_left_as_it_was_when_it_is_read_on_from() -> None:
    policy = made()
    first, second = torch.tensor([1, 2]), torch.tensor([3, 4])
    with torch.no_grad():
        _, state = policy.advance(policy.start(2), first)
        once, _ = policy.advance(state, second)
        policy.advance(state, first)
        again, _ = policy.advance(state, second)
    assert torch.equal(once, again)


def test_a_turned_copy_has_the_embedding_that_it_had() -> None:
    policy = made()
    assert policy.output.weight is policy.network.get_input_embeddings().weight
    turned = policy.with_temperature(2.0)
    tokens = all_sequences(EOS)[::100]
    torch.testing.assert_close(turned.logits(tokens), policy.logits(tokens) / 2)
    turned.load_state_dict(policy.state_dict())
    torch.testing.assert_close(turned.log_prob(tokens), policy.log_prob(tokens))


def test_nothing_is_dropped_out_in_training() -> None:
    policy = made(config=TINY_GPT2 | {"resid_pdrop": 0.5, "embd_pdrop": 0.5})
    tokens = all_sequences(EOS)[::100]
    assert torch.equal(policy.train().log_prob(tokens), policy.eval().log_prob(tokens))


@pytest.mark.parametrize("agent", [Reinforce, GRPO, SequencePPO])
@pytest.mark.parametrize("lora_rank", [0, 2])
def test_agents_train_it(agent: Any, lora_rank: int) -> None:
    if lora_rank:
        pytest.importorskip("peft")
    policy = made(lora_rank=lora_rank)
    trained = {name for name, value in policy.named_parameters() if value.requires_grad}
    rewards = reward_model(EOS)
    options = arguments_of(agent, {"learning_rate": 1e-2})
    learner = agent(TokenVectorEnv(8, rewards), policy, **options)
    rewards.bind(policy)
    before = copy.deepcopy(policy.state_dict())
    learner.pretrain(rewards.task.real_sequences, 1)
    learner.update()
    moved = {name for name, value in policy.named_parameters() if not value.equal(before[name])}
    assert moved <= trained
    assert moved
    assert all(("lora" in name) == bool(lora_rank) for name in moved)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_an_agent_goes_on_from_its_state_bit_by_bit(lora_rank: int) -> None:
    if lora_rank:
        pytest.importorskip("peft")

    def learner() -> Reinforce:
        rewards = reward_model(EOS)
        policy = made(lora_rank=lora_rank)
        rewards.bind(policy)
        config = ReinforceConfig(learning_rate=1e-2, kl_weight=0.1)
        return Reinforce(TokenVectorEnv(8, rewards), policy, config=config)

    first, second = learner(), learner()
    first.update()
    first.update()
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        assert first.update() == second.update()


def test_the_words_of_a_task_find_their_rows_in_the_model(folder: Path, captions: Any) -> None:
    policy = of_folder(folder, captions)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(CAPTIONS[5]).input_ids
    tokens = captions.encode(CAPTIONS[5])
    assert policy.token_ids[tokens[: len(ids)]].tolist() == ids
    assert captions.decode(tokens) == CAPTIONS[5]
    assert policy.token_ids[captions.spec.eos_token] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "no/such/folder"}, "is no folder"),
        ({"model": "x", "config": TINY_GPT2}, "were both given; give one"),
        ({"config": "gtp2"}, "makes no causal model"),
        ({"config": {"n_layer": 2}}, "has no 'model_type'"),
        ({"config": TINY_GPT2 | {"n_positions": 3}}, "has 3 positions; sequences here have up to"),
        ({"config": TINY_GPT2, "lora_rank": -1}, "lora_rank is -1; allowed is 0 or more"),
    ],
)
def test_what_cannot_be_made_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_policy("huggingface", EOS, 0, options)


def test_a_model_that_caps_its_logits_is_refused() -> None:
    capped = {
        "model_type": "gemma2",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    with pytest.raises(ValueError, match="does more to its logits than its head does"):
        made(config=capped)


def test_tokens_of_another_number_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="has 300 tokens and the task 3"):
        make_policy("huggingface", FIXED, 0, {"model": str(folder)})


def test_words_that_are_no_tokens_of_the_model_are_named(folder: Path) -> None:
    words = make_task("text", corpus=str(folder.parent / "captions.txt"), max_length=16)
    with pytest.raises(ValueError, match="words of the task, 'on' among them, are no tokens"):
        make_policy("huggingface", words.spec, 0, {"model": str(folder)}, words)


def test_a_pickle_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    transformers.AutoConfig.from_pretrained(folder).save_pretrained(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be loaded"):
        make_policy("huggingface", TokenSpec(300, 5), 0, {"model": str(tmp_path)})


def test_a_job_depends_on_the_files_of_the_model_and_not_on_where_they_lie(
    folder: Path, tmp_path: Path
) -> None:
    def job(model: Path) -> Job:
        settings = TrainSettings(policy="huggingface", policy_options={"model": str(model)})
        return Job("row", "oracle-tiny", settings)

    copied = tmp_path / "copy"
    copied.mkdir()
    for file in folder.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    assert job(folder).key == job(copied).key
    (copied / "config.json").write_text("{}")
    assert job(folder).key != job(copied).key


def test_the_extra_is_named_where_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "seqgan_env.generators.hugging_face", raising=False)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'seqgan-env\[transformers\]'"):
        registry.POLICIES.load("huggingface")
