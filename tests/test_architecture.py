"""The arrows between the parts, held by reading the imports, and what the package asks of its
users.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "seqgan_env").rglob("*.py"))
DOOR = ROOT / "seqgan_env" / "agents.py"  # imports them when it is asked for one, and not before


def imported(path: Path) -> set[str]:
    """Every module a file imports, at its top or inside."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_imports_neither_agents_nor_stable_baselines(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    if path == DOOR:
        roots -= {"agents"}
    assert not roots & {"agents", "stable_baselines3", "sb3_contrib", "tests", "benchmarks"}


def test_the_core_knows_no_torch_model() -> None:
    names = imported(ROOT / "seqgan_env" / "envs" / "core.py")
    assert not any(
        name.startswith("torch") or "language_model" in name or "discriminator" in name
        for name in names
    )


def test_imports_within_the_library_have_no_cycle() -> None:
    modules = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
        for p in LIBRARY
    }
    arrows = {
        name: {m for m in imported(path) if m in modules and m != name}
        for name, path in modules.items()
    }
    arrows["seqgan_env"] = set()  # the package's own page gathers everything
    reached: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name not in reached:
            for target in sorted(arrows[name] - {"seqgan_env"}):
                visit(target, (*above, name))
            reached.add(name)

    for name in modules:
        visit(name, ())


def test_the_library_and_its_environments_work_without_stable_baselines3() -> None:
    program = (
        "import sys; sys.modules['stable_baselines3'] = sys.modules['sb3_contrib'] = None\n"
        "import gymnasium as gym, seqgan_env, seqgan_env.cli.main, agents.reinforce\n"
        "envs = gym.make_vec('SeqGAN/Oracle-v0', num_envs=2, num_real=20, num_held_out=20, "
        "num_rollouts=1)\n"
        "envs.reset(seed=0); envs.step(envs.action_space.sample())"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
