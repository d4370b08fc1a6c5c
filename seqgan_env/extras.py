"""Libraries that only some users need, and the extra of this package that installs each."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

EXTRAS = {
    "accelerate": "transformers",
    "jinja2": "bench",
    "matplotlib": "plots",
    "mido": "midi",
    "mlflow": "mlflow",
    "optuna": "sweep",
    "peft": "transformers",
    "ray": "ray",
    "rdkit": "molecules",
    "sb3_contrib": "sb3",
    "selfies": "molecules",
    "stable_baselines3": "sb3",
    "tensorboard": "tensorboard",
    "tokenizers": "tokenizers",
    "transformers": "transformers",
    "vl_convert": "bench",
    "wandb": "wandb",
    "yaml": "sb3",
    "zstandard": "zstd",
}


def remedy(module: str | None) -> str:
    """The command that installs a missing library, in brackets; "" where no extra does.

    Args:
        module: that could not be imported, the library itself or a part of it.
    """
    extra = EXTRAS.get((module or "").partition(".")[0])
    return f"(pip install 'seqgan-env[{extra}]')" if extra else ""


def is_installed(library: str) -> bool:
    """Whether a library can be imported; it is not imported for the answer."""
    return importlib.util.find_spec(library) is not None


def load(module: str, purpose: str) -> Any:
    """A module of a library that an extra installs.

    Args:
        module: such as "matplotlib.figure".
        purpose: what needs it, as a message begins: "the piano roll".

    Raises:
        ValueError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        library = module.partition(".")[0]
        raise ValueError(f"{purpose} needs {library} {remedy(library)}: {problem}") from problem
