"""Causal language models of Hugging Face's `transformers` as policies.

The network is whatever `AutoModelForCausalLM` makes of a folder or of a configuration. Only its
layers below the head are called; the head becomes the `output` layer, which draws, likelihoods and
losses read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.types import HasVocabulary, Task, TokenSpec

# Where neither a model nor a configuration is given: about as many parameters as suit tiny tasks.
SMALL_GPT2: dict[str, Any] = {"model_type": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 64}

_MEAN = -1  # in place of a token's number in the model: the mean of all of its tokens
_TOLERANCE = 1e-3  # between two routes of the library to the same numbers
_LARGE_LOGIT = 50.0


class HuggingFaceModel(LanguageModel):
    """A causal model of `transformers`, of exactly the tokens of a task.

    Keys and values are carried from token to token. The network is always in evaluation mode: with
    dropout the policy that writes would not be the one that is measured.

    Attributes:
        network: the layers below the head.
        token_ids: the number in the model of each token of the task (V,), -1 for the mean of all;
            None for a new model, whose tokens are those of the task.
    """

    def __init__(
        self,
        spec: TokenSpec,
        model: str | None = None,
        config: str | Mapping[str, Any] | None = None,
        lora_rank: int = 0,
        lora_alpha: int | None = None,
        lora_targets: Sequence[str] | None = None,
        task: Task | None = None,
    ) -> None:
        """
        Args:
            spec: of its sequences.
            model: folder with a configuration and weights as safetensors, such as `save_pretrained`
                writes. Where it has a tokenizer and the task has words, every word must be a token
                of it, and the model keeps those alone; otherwise its tokens must be as many as the
                task's, and are taken for them in order.
            config: of a new model: a folder or file of a configuration, a type such as "llama", or
                a dict with `model_type`. Its vocabulary becomes that of the task. By default
                `SMALL_GPT2`.
            lora_rank: rank of low-rank adapters (Hu et al. 2022), which are then all that is
                trained; 0 trains the whole model.
            lora_alpha: scale of the adapters, which counts alpha / rank; twice the rank if not
                given.
            lora_targets: names of the layers that get adapters; those that `peft` knows for the
                type of model if not given.
            task: says the words behind the tokens.

        Raises:
            ValueError: the model cannot be loaded, made or carried by its output layer, its
                positions are fewer than T, or its tokens are not those of the task.
        """
        super().__init__(spec)
        if model is not None and config is not None:
            raise ValueError(f"model {model!r} and config {config!r} were both given; give one")
        if lora_rank < 0:
            raise ValueError(f"lora_rank is {lora_rank}; allowed is 0 or more")
        if model is None:
            loaded = _new(config or SMALL_GPT2, spec)
        else:
            loaded = _loaded(model)
        loaded.eval()
        _check(loaded, spec)
        self.token_ids = None if model is None else _token_ids(Path(model), loaded, spec, task)
        self.network = loaded.base_model
        self.output = _taken_over(loaded, self.token_ids, spec)
        if lora_rank:
            self._add_adapters(lora_rank, lora_alpha or 2 * lora_rank, lora_targets)

    def train(self, mode: bool = True) -> HuggingFaceModel:
        """Has no effect on the network, which has no training mode here."""
        super().train(mode)
        self.network.eval()
        return self

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """h_1..h_T' (B, T', H) for the inputs (B, T')."""
        hidden: Tensor = self.network(input_ids=inputs, use_cache=False).last_hidden_state
        return hidden

    def start(self, num_rows: int) -> Any:
        """No keys and values yet."""
        return _cache(self.network)

    def advance(self, state: Any, inputs: Tensor) -> tuple[Tensor, Any]:
        """Reads one more input (B,): h_t (B, H), and the keys and values up to here; `state` stays
        as it was.
        """
        cache = _branch(state)
        read = self.network(input_ids=inputs.unsqueeze(1), cache=cache, use_cache=True)
        return read.last_hidden_state[:, 0], cache

    def _add_adapters(self, rank: int, alpha: int, targets: Sequence[str] | None) -> None:
        """Freezes everything and gives layers of the network low-rank adapters, at first of no
        effect.
        """
        import peft

        # GPT-2's layers hold their weights transposed.
        transposed = any(isinstance(each, Conv1D) for each in self.network.modules())
        settings = peft.LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=None if targets is None else list(targets),
            fan_in_fan_out=transposed,
        )
        self.requires_grad_(False)
        try:
            peft.inject_adapter_in_model(settings, self.network)
        except ValueError as problem:
            raise ValueError(f"LoRA cannot be added: {problem}; say lora_targets") from problem


def _loaded(folder: str) -> Any:
    """The model in a folder; nothing is downloaded, and no pickle or code of the folder is run."""
    if not Path(folder).is_dir():
        raise ValueError(
            f"model {folder!r} is no folder; expected one with config.json and weights"
        )
    try:
        with _without_bars():
            return transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise ValueError(f"model {folder!r} cannot be loaded: {problem}") from problem


@contextmanager
def _without_bars() -> Iterator[None]:
    """The library draws no progress bars inside."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _new(config: str | Mapping[str, Any], spec: TokenSpec) -> Any:
    """A new model of a configuration, with the vocabulary of `spec`."""
    of_tokens = {
        "vocab_size": spec.vocab_size,
        "bos_token_id": spec.start_token,
        "eos_token_id": spec.eos_token,
        "pad_token_id": None,
    }
    try:
        if isinstance(config, str) and Path(config).exists():
            made = transformers.AutoConfig.from_pretrained(
                config, local_files_only=True, trust_remote_code=False, **of_tokens
            )
        else:
            if isinstance(config, str):
                config = {"model_type": config}
            wanted = dict(config)
            kind = wanted.pop("model_type")
            made = transformers.AutoConfig.for_model(kind, **wanted | of_tokens)
        return transformers.AutoModelForCausalLM.from_config(
            made, dtype=torch.float32, trust_remote_code=False
        )
    except KeyError as problem:
        raise ValueError(f"config {config!r} has no {problem}; a dict needs it") from problem
    except (OSError, ValueError, TypeError) as problem:
        raise ValueError(f"config {config!r} makes no causal model: {problem}") from problem


@torch.no_grad()
def _check(model: Any, spec: TokenSpec) -> None:
    """Raises a ValueError for a model that is too short, or whose logits are not its head on the
    last hidden state, token by token as at once.
    """
    name = type(model).__name__
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and positions < spec.seq_len:
        raise ValueError(
            f"{name} has {positions} positions; sequences here have up to {spec.seq_len} tokens"
        )
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise ValueError(f"{name} has a {type(head).__name__} as head; expected a torch.nn.Linear")
    tokens = torch.arange(min(4, spec.seq_len)).unsqueeze(0) % model.config.vocab_size
    hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    # What some models do to their logits, such as capping them, shows where these are large.
    large = copy.deepcopy(head)
    large.weight.mul_(_LARGE_LOGIT / head(hidden).abs().max())
    model.set_output_embeddings(large)
    logits = model(input_ids=tokens, use_cache=False).logits
    model.set_output_embeddings(head)
    if not torch.allclose(large(hidden), logits, atol=_TOLERANCE):
        raise ValueError(
            f"{name} does more to its logits than its head does; a policy's logits are its output "
            "layer on the last hidden state"
        )
    cache = _cache(model.base_model)
    for t, expected in enumerate(hidden[0]):
        read = model.base_model(input_ids=tokens[:, t : t + 1], cache=cache, use_cache=True)
        if not torch.allclose(read.last_hidden_state[0, 0], expected, atol=_TOLERANCE):
            raise ValueError(
                f"{name} encodes a prefix otherwise token by token than at once; expected an "
                "attention model that carries keys and values"
            )


def _token_ids(folder: Path, model: Any, spec: TokenSpec, task: object) -> Tensor:
    """The number in the model of every token of the task (V,)."""
    num_tokens = model.get_input_embeddings().num_embeddings
    if not isinstance(task, HasVocabulary) or not (folder / "tokenizer.json").is_file():
        if num_tokens == spec.vocab_size:
            return torch.arange(num_tokens)
        raise ValueError(
            f"model {str(folder)!r} has {num_tokens} tokens and the task {spec.vocab_size}; they "
            "must be as many, or the folder have a tokenizer.json whose tokens are the task's words"
        )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json")
    ).backend_tokenizer
    ids = [tokenizer.token_to_id(word) for word in task.vocabulary]
    ids[task.unknown_token] = _MEAN
    if spec.eos_token is not None:
        ids[spec.eos_token] = _first(model.config.eos_token_id, _MEAN)
    unknown = [word for word, token in zip(task.vocabulary, ids, strict=True) if token is None]
    if unknown:
        raise ValueError(
            f"{len(unknown)} words of the task, {unknown[0]!r} among them, are no tokens of model "
            f"{str(folder)!r}; give the task that folder as its tokenizer"
        )
    return torch.tensor(ids)


def _taken_over(model: Any, ids: Tensor | None, spec: TokenSpec) -> nn.Linear:
    """The output layer over the tokens of the task, with a bias; the embedding becomes one of them
    too, and stays tied to the output where it was and both are of the same rows.

    What the model reads first is its own start token, in the row of the end, which is never read.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head.weight is embedding.weight
    if ids is not None:
        read = ids.clone()
        if spec.eos_token is not None:
            read[spec.eos_token] = _first(model.config.bos_token_id, int(ids[spec.eos_token]))
        tied = tied and torch.equal(read, ids)
        head_weight = nn.Parameter(_rows(head.weight, ids))
        embedding.weight = head_weight if tied else nn.Parameter(_rows(embedding.weight, read))
        embedding.num_embeddings, embedding.padding_idx = spec.vocab_size, None
        head_bias = None if head.bias is None else nn.Parameter(_rows(head.bias, ids))
    else:
        head_weight, head_bias = head.weight, head.bias
    output = nn.Linear(head_weight.shape[1], spec.vocab_size, dtype=torch.float32)
    output.weight = head_weight
    zeros = torch.zeros(spec.vocab_size, dtype=torch.float32)
    # A model without a bias stays one.
    output.bias = nn.Parameter(zeros, requires_grad=False) if head_bias is None else head_bias
    return output


def _rows(values: Tensor, ids: Tensor) -> Tensor:
    """The rows `ids` (V,) of values (M, ...), (V, ...)."""
    values = values.detach()
    mean = values.mean(0)
    chosen = values[ids.clamp(min=0)]
    chosen[ids == _MEAN] = mean
    return chosen


def _first(ids: int | list[int] | None, otherwise: int) -> int:
    """The number of a special token; configurations may list several."""
    if ids is None:
        return otherwise
    if isinstance(ids, list):
        return ids[0]
    return ids


def _cache(network: Any) -> Any:
    """An empty cache of keys and values."""
    return transformers.DynamicCache(config=network.config)


def _branch(cache: Any) -> Any:
    """A cache of its own over the same keys and values; layers grow by new tensors, never in
    place.
    """
    other = copy.copy(cache)
    other.layers = [copy.copy(layer) for layer in cache.layers]
    return other
