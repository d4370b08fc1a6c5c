"""What a large text was read into, kept beside a run, so that its next start need not read it anew.

`corpus.npy` has the sequences of the three parts one behind the other, `corpus.json` everything
else. They are used for the very text and settings of which they were made, and for no other.
"""

from __future__ import annotations

import functools
import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgan_env.checks import check_type
from seqgan_env.files import MIB, check_regular
from seqgan_env.tasks import real_data
from seqgan_env.tasks.text.formats import format_of
from seqgan_env.tasks.text.settings import CorpusSettings
from seqgan_env.tasks.text.tokenizers import English, HuggingFace, Tokenizer
from seqgan_env.training import run_directory
from seqgan_env.types import TokenSpec

NUMBERS, ABOUT = "corpus.npy", "corpus.json"
LARGE = 5_000_000  # bytes; less is read within a second

_SCHEMA = 1
_MOST_BYTES = 256 * MIB  # a vocabulary, and perhaps the file of a tokenizer
_ROWS_AT_ONCE = 2**16
# Settings that are told otherwise, by content, or that change no sequence.
_NOT_IN_KEY = ("corpus", "validation_corpus", "held_out_corpus", "tokenizer", "num_eval")
_FOLDER: ContextVar[Path | None] = ContextVar("folder of what was read", default=None)


@dataclass(frozen=True)
class Kept:
    """What was found beside a run.

    Attributes:
        file: that tells it, for messages.
        about: what the task wrote of itself.
        numbers: (M, T) sequences of all parts; read where they are used.
    """

    file: Path
    about: Mapping[str, Any]
    numbers: np.ndarray


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Within this context a large text is not read where `folder` has what it was read into."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def key_of(
    settings: CorpusSettings, files: Sequence[str | None], tokenizer: Tokenizer
) -> str | None:
    """A hash of all that the sequences of a text depend on: its bytes, the settings, and the code
    that reads it.

    Returns:
        None for a small or built-in text, and where a tokenizer of the user's own splits it.
    """
    paths = [Path(file) for file in files if file is not None]
    if len(paths) < len(files) or not all(path.is_file() for path in paths):
        return None
    if sum(path.stat().st_size for path in paths) < LARGE:
        return None
    if settings.tokenizer is not None and not isinstance(tokenizer, (English, HuggingFace)):
        return None
    chosen = asdict(settings)
    for name in _NOT_IN_KEY:
        del chosen[name]
    chosen["tokenizer"] = type(tokenizer).__name__
    chosen["files"] = [[format_of(str(path)), _digest(path)] for path in paths]
    chosen["code"] = [_SCHEMA, _code(), unicodedata.unidata_version]
    if isinstance(tokenizer, HuggingFace):
        chosen["tokenizer"] = [tokenizer.text, version("tokenizers")]
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def read_kept(key: str | None) -> Kept | None:
    """What the folder of `kept_in` has under this key; None where it has nothing.

    Raises:
        ValueError: it is damaged.
    """
    folder = _FOLDER.get()
    if folder is None or key is None or not is_kept(folder, key):
        return None
    about_file, numbers_file = folder / ABOUT, folder / NUMBERS
    about = run_directory.read_json(about_file, _MOST_BYTES)
    try:
        check_regular(numbers_file, str(numbers_file))
        if _digest(numbers_file) != about.get("digest"):
            raise ValueError("it is not what was written")
        numbers = np.load(numbers_file, mmap_mode="c", allow_pickle=False)
    except (ValueError, OSError, EOFError) as problem:
        raise ValueError(
            f"{numbers_file} is damaged: {problem}; remove it, and the corpus is read anew"
        ) from problem
    return Kept(about_file, about, numbers)


def is_kept(folder: Path, key: str) -> bool:
    """Whether a folder has what a text was read into, and not another text.

    Raises:
        ValueError: the file that tells it is damaged.
    """
    if not (folder / ABOUT).exists() or not (folder / NUMBERS).exists():
        return False
    return run_directory.read_json(folder / ABOUT, _MOST_BYTES).get("key") == key


def write_kept(
    folder: Path, key: str, about: Mapping[str, Any], parts: Sequence[Tensor], spec: TokenSpec
) -> None:
    """Writes what a text was read into.

    Args:
        folder: of the run.
        key: of the text.
        about: what the task tells of itself.
        parts: (M, T) sequences of each part.
        spec: of the sequences.

    Raises:
        ValueError: it cannot be written.
    """
    (folder / ABOUT).unlink(missing_ok=True)  # there is never one beside the numbers of another
    kind: type[np.integer[Any]] = np.int32
    if spec.pad_token <= np.iinfo(np.int16).max:
        kind = np.int16
    shape = (sum(map(len, parts)), spec.seq_len)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            header = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                for block in part.split(_ROWS_AT_ONCE):
                    file.write(block.cpu().numpy().astype(kind).tobytes())

    run_directory.write_atomically(folder / NUMBERS, write)
    told = {"schema": _SCHEMA, "key": key, "digest": _digest(folder / NUMBERS)}
    run_directory.write_json(folder / ABOUT, told | dict(about))


def parts_of(kept: Kept, sizes: Sequence[int], spec: TokenSpec) -> list[Tensor]:
    """The sequences (M, T) of each part, as reading the text makes them.

    int64; very many stay in the file (`seqgan_env.tasks.real_data.allocated`).

    Raises:
        ValueError: they are no sequences of the task.
    """
    numbers = kept.numbers
    if numbers.shape != (sum(sizes), spec.seq_len) or numbers.dtype not in (np.int16, np.int32):
        raise ValueError(f"the sequences are {numbers.dtype} of shape {numbers.shape}")
    found, first = [], 0
    for size in sizes:
        check_type("the size of a part", size, int)
        part = torch.from_numpy(numbers[first : first + size])
        if part.numel() <= real_data.MOST_IN_MEMORY:
            part = part.long()
        for block in part.split(_ROWS_AT_ONCE):
            spec.check_sequences(block, "the sequences")
        found.append(part)
        first += size
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _code() -> str:
    """A hash of the code that reads texts."""
    here = Path(__file__).parent
    hashed = hashlib.sha256()
    files = sorted(here.glob("*.py"))
    files += [here.parent / "reading.py", here.parent / "real_data.py"]
    for file in files:
        hashed.update(file.read_bytes())
    return hashed.hexdigest()
