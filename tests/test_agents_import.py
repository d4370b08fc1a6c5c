"""`seqgan_env.agents`: the same classes as in `agents`, loaded when they are asked for, and one
clear message where another module `agents` stands in the way.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import seqgan_env.agents

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", seqgan_env.agents.__all__)
def test_every_name_is_what_the_package_agents_has(name: str) -> None:
    found = getattr(seqgan_env.agents, name)
    assert found.__module__.split(".")[0] == "agents"
    assert found is getattr(importlib.import_module(found.__module__), name)


def test_every_agent_that_is_declared_has_a_name_here() -> None:
    for point in entry_points(group="seqgan_env.agents"):
        if point.module.split(".")[0] == "agents" and "cheats" not in point.module:
            assert getattr(seqgan_env.agents, point.attr) is point.load()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Reinforced'"):
        _ = seqgan_env.agents.Reinforced


# As after an installation that copies files. One that points to a checkout finds parts of a package
# even where another package of its name comes first.
NO_CHECKOUT = f"""
import sys
sys.meta_path[:] = [each for each in sys.meta_path if "editable" not in str(each).lower()]
sys.path.append({str(ROOT)!r})
"""


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program whose working folder comes before everything that is installed."""
    command = [sys.executable, "-c", NO_CHECKOUT + program]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=120, check=False
    )


def test_nothing_of_agents_is_imported_before_a_name_is_asked_for() -> None:
    program = "import sys, seqgan_env, seqgan_env.agents; print('agents' in sys.modules)"
    assert run(program, ROOT).stdout.strip() == "False"


@pytest.fixture
def other_agents(tmp_path: Path) -> Path:
    """A folder with another package `agents`, as openai-agents has one."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("class Agent: ...\n")
    return tmp_path


@pytest.mark.parametrize("first", ["", "import agents; "])
def test_another_package_of_the_name_is_told_with_its_place(other_agents: Path, first: str) -> None:
    ended = run(f"{first}from seqgan_env.agents import Reinforce", other_agents)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("ImportError: seqgan_env.agents.Reinforce: the module 'agents'")
    assert str(other_agents) in last
    assert "openai-agents" in last


def test_an_agent_by_name_is_told_the_same(other_agents: Path) -> None:
    program = "from seqgan_env.plugins import load_agent_class; load_agent_class('reinforce')"
    ended = run(program, other_agents)
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(
        "ValueError: agent 'reinforce' cannot be imported: the module 'agents' that"
    )


def test_a_library_that_is_missing_is_told_with_its_extra() -> None:
    program = (
        "import sys; sys.modules['stable_baselines3'] = sys.modules['sb3_contrib'] = None\n"
        "from seqgan_env.agents import Reinforce, PPO"
    )
    last = run(program, ROOT).stderr.splitlines()[-1]
    assert last.startswith("ImportError: seqgan_env.agents.PPO: ")
    assert last.endswith("(pip install 'seqgan-env[sb3]')")
