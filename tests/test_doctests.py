"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "seqgan_env").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed


def test_the_most_used_objects_have_examples() -> None:
    wanted = {
        "seqgan_env.envs.registration",
        "seqgan_env.envs.vector_env",
        "seqgan_env.registry",
        "seqgan_env.rewards.model",
        "seqgan_env.tasks",
        "seqgan_env.training.adversarial",
        "seqgan_env.training.trainer",
        "seqgan_env.types",
    }
    assert wanted <= set(MODULES)
    checkers = {path.stem for path in (ROOT / "seqgan_env" / "testing").glob("*.py")}
    checkers -= {"__init__", "autoreset", "completions", "shared"}
    assert {f"seqgan_env.testing.{name}" for name in checkers} <= set(MODULES)
