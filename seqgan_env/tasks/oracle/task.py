"""The synthetic benchmark: an LSTM with random parameters is the true distribution (Yu et al. 2017,
section 4).
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from seqgan_env.building import undisturbed
from seqgan_env.checks import MOST_TOKENS, check_range
from seqgan_env.files import MIB, read_bytes
from seqgan_env.generators.knobs import KNOBS, Knob, knobs_for
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.metrics.oracle import Metrics, OracleMetrics
from seqgan_env.streams import RowStreams, seed_key
from seqgan_env.tasks.carried import MayLackData, check_parts
from seqgan_env.tasks.oracle.settings import PAPER, SMALL, TINY, OracleSettings
from seqgan_env.tasks.real_data import draw_without_repeats, unseen_first
from seqgan_env.training.run_directory import read_weights
from seqgan_env.types import Judge, RolloutPolicy, TokenSpec

# Streams of an oracle's seed. Each set of data has its own, so that changing one size changes no
# other set.
_REAL, _VALIDATION, _HELD_OUT = 1, 2, 3
_MOST_BYTES = 256 * MIB  # of a pickle of weights; the authors' has 3.2 million
# What protocols 0 to 5 write a list of arrays with.
_OPCODES = frozenset(
    {
        *("PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
        *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    }
)
_SELECTION = 1_000_003  # added to a seed: draws that choose a knob and measure nothing


class OracleTask(MayLackData):
    """Writing like an oracle, a random LSTM, whose probabilities are known.

    Attributes:
        defaults: settings where none is given.
    """

    defaults: ClassVar[OracleSettings] = TINY.settings

    @undisturbed()
    def __init__(self, settings: OracleSettings = OracleSettings(), name: str = "oracle") -> None:
        # Checked before anything is drawn: too large a set fills the memory.
        for field in ("num_real", "num_validation", "num_held_out", "num_eval"):
            most = MOST_TOKENS // max(1, settings.seq_len)
            check_range(field, getattr(settings, field), 1, most)
        check_range("oracle_seed", settings.oracle_seed, 0, 2**63 - 1)
        self.name, self.settings = name, settings
        self.spec = TokenSpec(settings.vocab_size, settings.seq_len)
        self.oracle = build_oracle(settings, self.spec)
        self.real_sequences = self._draw(settings.num_real, _REAL)
        self.validation = self._draw(settings.num_validation, _VALIDATION)
        self.held_out = self._draw(settings.num_held_out, _HELD_OUT)

    def draw_real(self, num: int, rng: torch.Generator) -> Tensor:
        """`num` real sequences (num, T): new ones if `fresh`, else from the fixed ones, without
        repeats while they last.
        """
        if self.settings.fresh:
            return self.oracle.sample(num, rng)
        return draw_without_repeats(self.real_sequences, num, rng)

    def evaluate(self, policy: RolloutPolicy, rng: torch.Generator) -> dict[str, float]:
        """The metrics of `seqgan_env.metrics.oracle`: likelihoods, divergences with their errors,
        the unigram.
        """
        return self._metrics.of_policy(policy, self.settings.num_eval, rng)

    def knobs_of(self, policy: RolloutPolicy, more: Sequence[Knob] = ()) -> list[Knob]:
        """The knobs of `seqgan_env.generators.knobs` that fit a policy, and `more`.

        Raises:
            ValueError: one of `more` does not fit.
        """
        return knobs_for(policy, self.spec.vocab_size, KNOBS, more)

    def measure_knobs(
        self, policy: RolloutPolicy, knobs: Sequence[Knob], seed: int
    ) -> Iterator[Metrics]:
        """The metrics of every knob; those that choose come from validation data and other draws of
        the policy.
        """
        yield from self._metrics.of_knobs(
            policy,
            knobs,
            self.settings.num_eval,
            seed,
            select_on=self.validation,
            select_num=max(1, self.settings.num_eval // 2),
            select_seed=seed + _SELECTION,
        )

    def paired_error(self, policy: RolloutPolicy, other: RolloutPolicy, seed: int) -> float | None:
        """The standard error of the difference of two policies' `kl_mean`; None where one has no
        likelihoods.
        """
        return self._metrics.paired_error(policy, other, self.settings.num_eval, seed)

    @cached_property
    def referee(self) -> Judge | None:
        """Judges policies by samples alone, as on real data; for those without likelihoods there is
        nothing else.
        """
        from seqgan_env.metrics.referee import Referee  # loads scipy: where it is used

        return Referee.of(self.spec, self.real_sequences, self.validation, self.held_out)

    @cached_property
    def _metrics(self) -> OracleMetrics:
        return OracleMetrics(self.oracle, self.spec, self.held_out)

    def measure(self, samples: Tensor) -> dict[str, float]:
        """What can be said of sequences (B, T) from anywhere: `nll_oracle`, in nats per token, and
        the metrics of the unigram.

        Raises:
            ValueError: they are no finished sequences of this task, or none.
        """
        if not len(samples):
            raise ValueError("samples are empty; one sequence or more is needed")
        self.spec.check_sequences(samples, "samples")
        return self._metrics.of_samples(samples)

    def measure_real(self) -> dict[str, float]:
        """`measure` of the oracle's own sequences: those of validation, then of training, up to as
        many as `evaluate` draws. See `MeasuresReal`.
        """
        chosen, counts = unseen_first(self.validation, self.real_sequences, self.settings.num_eval)
        return self.measure(chosen) | counts

    def encode(self, text: str) -> Tensor:
        """Tokens written as numbers ("3 14 15") as a sequence (T,).

        Raises:
            ValueError: these are not T numbers of tokens.
        """
        words = text.split()
        for word in words:
            is_number = word.isascii() and word.isdecimal()  # int() would take "-0" and "1_0" too
            if not is_number or int(word) >= self.spec.vocab_size:
                raise ValueError(
                    f"text {text[:40]!r} holds {word!r}; allowed are tokens "
                    f"0..{self.spec.vocab_size - 1}"
                )
        if len(words) != self.spec.seq_len:
            raise ValueError(
                f"text {text[:40]!r} has {len(words)} tokens; a sequence of this task has "
                f"{self.spec.seq_len}"
            )
        return torch.tensor(list(map(int, words)))

    def decode(self, tokens: Tensor) -> str:
        """The numbers of the tokens of a sequence (T,), without padding."""
        written = tokens[tokens != self.spec.pad_token]
        return " ".join(map(str, written.tolist()))

    def to(self, device: str) -> OracleTask:
        """Moves the oracle and all data to `device`, in place."""
        if self.no_data is not None:
            return self
        self.oracle.to(device)
        for name in ("real_sequences", "validation", "held_out"):
            setattr(self, name, getattr(self, name).to(device))
        self.__dict__.pop("_metrics", None)  # made anew from what was moved
        return self

    def essentials(self) -> dict[str, Any]:
        """Nothing: the settings tell what a sequence is."""
        return {}

    @classmethod
    def without_data(
        cls, settings: OracleSettings, name: str, essentials: Mapping[str, Any]
    ) -> Self:
        """The task without its oracle and its data."""
        check_parts(essentials, {})
        task = cls.bare(name, TokenSpec(settings.vocab_size, settings.seq_len))
        task.settings = settings
        return task

    def _draw(self, num: int, which: int) -> Tensor:
        """Sequences (num, T) of the oracle, from stream `which` of its seed."""
        key = torch.tensor([seed_key(self.settings.oracle_seed) - 2**63])  # in the range of int64
        return self.oracle.sample(num, RowStreams(key).fold_in(which).repeat(num))


class SmallOracleTask(OracleTask):
    """An oracle of 500 tokens."""

    defaults = SMALL.settings


class PaperOracleTask(OracleTask):
    """An oracle of the paper's sizes."""

    defaults = PAPER.settings


@undisturbed()
def build_oracle(settings: OracleSettings, spec: TokenSpec) -> LSTMLanguageModel:
    """The oracle: parameters from `settings.weights`, or ~ N(0, 1) from NumPy's PCG64, the same on
    every machine.
    """
    oracle = LSTMLanguageModel(spec, settings.embedding_dim, settings.hidden_dim)
    if settings.weights is None:
        arrays = _random_arrays(oracle, settings.oracle_seed)
    else:
        arrays = load_oracle_arrays(Path(settings.weights))
    _fill(oracle, arrays, settings.weights or "random parameters")
    return oracle.requires_grad_(False).eval()


def load_oracle_arrays(path: Path) -> dict[str, np.ndarray]:
    """An oracle's parameters by name from a `.safetensors` file, or from the authors' pickle of 15
    arrays.

    Raises:
        ValueError: the file is missing, damaged, or holds anything but arrays of numbers.
    """
    if path.suffix == ".safetensors":
        arrays = {}
        for name, tensor in read_weights(path).items():
            arrays[name] = tensor.to(torch.float32).numpy()  # NumPy knows no bfloat16
        return arrays
    content = read_bytes(path, f"weights file {path}", _MOST_BYTES)
    try:
        _check_opcodes(content)
        return _from_released(_ArrayUnpickler(io.BytesIO(content)).load(), path)
    except Exception as problem:  # damage makes pickle and NumPy raise almost anything
        raise ValueError(
            f"weights file {path} is damaged or not an oracle's weights: "
            f"{problem or type(problem).__name__}"
        ) from problem


def _check_opcodes(content: bytes) -> None:
    """Raises a ValueError for what a pickle of arrays has not: memory that the file does not fill,
    and dictionaries, whose keys may take for ever to hash.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name not in _OPCODES:
            raise ValueError(f"it holds {opcode.name}, which no list of arrays has")
        if "PUT" in opcode.name and isinstance(argument, int) and argument > len(content):
            raise ValueError(f"it stores object {argument}, more than it has")


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and refuses everything else before anything of it is run."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in (
            "numpy.core.multiarray",  # as NumPy 1 writes it
            "numpy._core.multiarray",
        ):
            return _empty_array
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}; only NumPy arrays are allowed")


def _empty_array(cls: object, shape: object, kind: object) -> np.ndarray:
    """What a pickle makes an array of before it fills it: of no size, whatever it asks for."""
    if cls is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError(f"it asks for an array of shape {shape!r:.40}; expected (0,)")
    return np.empty(0, np.int8)


def _from_released(arrays: object, path: Path) -> dict[str, np.ndarray]:
    """The parameters by PyTorch's names from the authors' list of arrays.

    Theirs are in the order: embedding, then W, U and b of the input, the forget and the output gate
    and the candidate, then the output layer.

    Raises:
        ValueError: it is no list of 15 arrays.
    """
    if not isinstance(arrays, list) or len(arrays) != 15 or not _are_arrays(arrays):
        raise ValueError(
            f"weights file {path} holds {type(arrays).__name__}; expected the released list of 15 "
            "arrays"
        )
    embedding, *gates, weight, bias = arrays
    order = (0, 1, 3, 2)  # theirs is i, f, o, g; PyTorch's i, f, g, o

    def stacked(part: int) -> np.ndarray:
        """One part of all gates as PyTorch has it: rows of outputs, gate below gate."""
        return np.concatenate([gates[3 * gate + part].T for gate in order])

    return {
        "embedding.weight": embedding,
        "lstm.weight_ih_l0": stacked(0),
        "lstm.weight_hh_l0": stacked(1),
        "lstm.bias_ih_l0": stacked(2),
        "output.weight": weight.T,
        "output.bias": bias,
    }


def _are_arrays(items: list[object]) -> bool:
    return all(isinstance(item, np.ndarray) for item in items)


def _random_arrays(oracle: LSTMLanguageModel, seed: int) -> dict[str, np.ndarray]:
    """Parameters ~ N(0, 1) by name, drawn in the order of the module's."""
    rng = np.random.Generator(np.random.PCG64(seed))
    arrays = {}
    for name, parameter in _parameters(oracle).items():
        arrays[name] = rng.standard_normal(tuple(parameter.shape))
    return arrays


def _parameters(oracle: LSTMLanguageModel) -> dict[str, torch.nn.Parameter]:
    """The parameters that an oracle has, by name.

    PyTorch's LSTM adds a bias to a bias; the second is frozen at 0, and no parameter of ours.
    """
    found = {}
    for name, parameter in oracle.named_parameters():
        if parameter.requires_grad:
            found[name] = parameter
    return found


def _fill(oracle: LSTMLanguageModel, arrays: dict[str, np.ndarray], source: str) -> None:
    """Copies arrays by name into an oracle's parameters.

    Raises:
        ValueError: names, shapes or numbers are not what the oracle has room for.
    """
    parameters = _parameters(oracle)
    if set(arrays) != set(parameters):
        raise ValueError(f"{source} holds {sorted(arrays)}; expected {sorted(parameters)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            try:
                array = np.asarray(arrays[name], dtype=np.float32)
            except (TypeError, ValueError) as problem:
                raise ValueError(f"{source}: {name} holds no numbers: {problem}") from problem
            if array.shape != tuple(parameter.shape):
                raise ValueError(
                    f"{source}: {name} has shape {array.shape}; this task needs "
                    f"{tuple(parameter.shape)}"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"{source}: {name} holds numbers that are not finite")
            parameter.copy_(torch.from_numpy(array))
