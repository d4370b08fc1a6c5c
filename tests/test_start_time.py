"""The command line speaks before torch is loaded: what it imports decides how soon."""

from __future__ import annotations

import subprocess
import sys

import pytest

from seqgan_env import registry
from seqgan_env.tasks import default_settings, load_task, presets_of

HEAVY = ("torch", "scipy", "matplotlib", "pandas", "safetensors", "stable_baselines3", "optuna")
PROGRAM = f"""
import sys
from seqgan_env.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("loaded:", *[name for name in {HEAVY} if name in sys.modules])
sys.exit(code)
"""
SAYS_AT_ONCE = {
    "--help": 0,
    "train --help": 0,
    "bench --help": 0,
    "sweep --help": 0,
    "evaluate --help": 0,
    "show --help": 0,
    "list tasks": 0,
    "list agents": 0,
    "list rewards": 0,
    "list sources": 0,
    "list metrics": 0,
    "list policies": 0,
    "list discriminators": 0,
    "list thing": 2,
    "trian": 2,
    "train --round 3": 2,
    "train --task txet": 2,
    "train --preset huge": 2,
    "train --task music --level char": 2,
    "train --corpus missing.txt": 2,
    "sample missing": 2,
    "evaluate missing": 2,
    "show missing": 2,
    "play missing": 2,
    "explain missing": 2,
}


@pytest.mark.parametrize("words", SAYS_AT_ONCE)
def test_help_errors_and_lists_load_nothing_heavy(words: str) -> None:
    command = [sys.executable, "-c", PROGRAM, *words.split()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == SAYS_AT_ONCE[words], ended.stderr
    assert ended.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("task", registry.TASKS.builtin)
def test_what_is_known_of_a_task_beforehand_is_what_its_class_says(task: str) -> None:
    assert task in registry.TASK_DEFAULTS.builtin
    cls = load_task(task)
    assert default_settings(task) is cls.defaults
    assert presets_of(task) == getattr(cls, "presets", {})


def test_every_name_of_the_package_is_found() -> None:
    import seqgan_env

    assert set(seqgan_env.__all__) <= set(dir(seqgan_env))
    for name in seqgan_env.__all__:
        assert getattr(seqgan_env, name).__module__.startswith("seqgan_env.") or name.isupper()
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = seqgan_env.Nothing
