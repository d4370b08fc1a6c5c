"""The registry: what is named is found, and what cannot be says why."""

import re
import sys
from pathlib import Path

import pytest

from seqgan_env.registry import AGENTS, Registry

GROUP = "seqgan_env_tests.things"
BUILTIN = {"small": "seqgan_env.types:TokenSpec", "dotted": "seqgan_env.types:TokenSpec.lengths"}


class Thing:
    """It has what a thing needs."""

    def act(self) -> None:
        """Nothing."""


@pytest.fixture
def things() -> Registry:
    return Registry("thing", GROUP, BUILTIN, needs=("act",), hint="act()")


def declare(folder: Path, package: str, **points: str) -> None:
    """An installed package that declares these entry points, as pip leaves it."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_thing_is_found_by_entry_point_by_module_and_as_itself(
    things: Registry, site: Path
) -> None:
    (site / "things_of_mine.py").write_text("class Mine:\n    def act(self): ...\n")
    declare(site, "things-of-mine", mine="things_of_mine:Mine")
    mine = things.load("mine")
    assert mine.__name__ == "Mine"
    assert things.load("things_of_mine:Mine") is mine
    assert things.load(mine) is mine
    assert things.names() == BUILTIN | {"mine": "things_of_mine:Mine"}
    assert things.module("mine") == things.module("things_of_mine:Mine") == "things_of_mine"


def test_what_is_built_in_needs_no_installation() -> None:
    builtin = Registry("thing", GROUP, BUILTIN)
    assert builtin.load("small").__name__ == "TokenSpec"
    assert builtin.load("dotted").__name__ == "lengths"


def test_the_same_entry_point_twice_is_one_and_different_ones_clash(
    things: Registry, site: Path
) -> None:
    declare(site, "one", mine="a:B")
    declare(site, "one-again", mine="a:B")
    assert things.names()["mine"] == "a:B"
    declare(site, "other", mine="c:D")
    with pytest.raises(ValueError, match="two packages declare the thing 'mine': a:B and c:D"):
        things.names()


def test_no_package_takes_the_name_of_what_is_built_in(site: Path) -> None:
    builtin = Registry("thing", GROUP, BUILTIN)
    declare(site, "thief", small="a:B")
    assert builtin.load("small").__name__ == "TokenSpec"
    with pytest.raises(ValueError, match="'small', which is built in"):
        builtin.names()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "smal",
            "unknown thing 'smal'; allowed are small, dotted, package.module:Name. "
            "Did you mean 'small'?",
        ),
        ("no.such:Thing", "thing 'no.such:Thing' cannot be imported: No module named 'no'"),
        (":Thing", "thing ':Thing' cannot be imported: ValueError: Empty module name"),
        ("seqgan_env.types:TokenSpek", "has no 'TokenSpek'. Did you mean 'TokenSpec'?"),
        ("seqgan_env.types:", "module seqgan_env.types has no ''"),
        ("seqgan_env.types:TokenSpec", "lacks act; a thing needs act()"),
        ("broken_thing:Thing", "cannot be imported: NameError: name 'nowhere' is not defined"),
        ("needy_thing:Thing", "No module named 'sb3_contrib' (pip install 'seqgan-env[sb3]')"),
    ],
)
def test_what_cannot_be_loaded_says_why(
    things: Registry, site: Path, name: str, message: str
) -> None:
    (site / "broken_thing.py").write_text("nowhere\n")
    (site / "needy_thing.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'sb3_contrib'\", name='sb3_contrib')\n"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        things.load(name)
    assert "broken_thing" not in sys.modules


def test_an_object_that_lacks_a_method_is_named_by_its_class(things: Registry) -> None:
    assert isinstance(things.load(Thing()), Thing)
    with pytest.raises(ValueError, match=r"thing int lacks act; a thing needs act\(\)"):
        things.load(3)


def test_every_agent_of_this_project_can_be_loaded() -> None:
    pytest.importorskip("sb3_contrib")
    for name, origin in AGENTS.names().items():
        assert AGENTS.load(name) is AGENTS.load(origin)


def test_a_package_that_is_installed_while_python_runs_is_found(
    things: Registry, site: Path
) -> None:
    with pytest.raises(ValueError, match="unknown thing 'late'"):
        things.origin("late")
    declare(site, "late", late="late.mine:Thing")
    assert things.origin("late") == "late.mine:Thing"
