"""A package from outside the tree adds one of each kind by one file each, and nothing is edited."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqgan_env import registry
from seqgan_env.bench.jobs import Job, packages_of
from seqgan_env.cli.main import main
from seqgan_env.plugins import load_agent_class, load_knobs
from seqgan_env.testing import check_agent, check_knob, check_policy, check_scorer
from seqgan_env.training.settings import settings_from

PACKAGE = "outside_seqgan"
FILES = {
    "__init__.py": "",
    "agent.py": """
from agents.reinforce import Reinforce


class Cautious(Reinforce):
    training_settings = {"agent_options": {"baseline": "none"}}
""",
    "source.py": """
class Ones:
    def __init__(self, task):
        self.pad_token = task.spec.pad_token

    def score(self, tokens):
        return ((tokens == 1) & (tokens != self.pad_token)).float().mean(1)
""",
    "policy.py": """
import torch
from torch import nn

from seqgan_env import LanguageModel


class Bag(LanguageModel):
    def __init__(self, spec, width=8):
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.vocab_size, width)
        self.output = nn.Linear(width, spec.vocab_size)

    def hidden_states(self, inputs):
        count = torch.arange(1, inputs.shape[1] + 1, device=inputs.device).unsqueeze(1)
        return self.embedding(inputs).cumsum(1) / count
""",
    "knob.py": """
from dataclasses import dataclass

from seqgan_env import LanguageModel


@dataclass(frozen=True)
class Louder:
    value: float = 0.93
    name: str = "louder"

    def fits(self, policy):
        return isinstance(policy, LanguageModel)

    def __call__(self, policy):
        return policy.with_temperature(self.value)
""",
}
ENTRY_POINTS = f"""
[seqgan_env.agents]
cautious = {PACKAGE}.agent:Cautious

[seqgan_env.sources]
ones = {PACKAGE}.source:Ones

[seqgan_env.policies]
bag = {PACKAGE}.policy:Bag

[seqgan_env.knobs]
louder = {PACKAGE}.knob:Louder
"""
KINDS = {"agents": "cautious", "sources": "ones", "policies": "bag", "knobs": "louder"}
SMALL = (
    "--rounds 1 --mle-epochs 1 --num-negatives 50 --batch-size 8 --num-rollouts 1 --vocab-size 20 "
    "--seq-len 5"
)
CHOSEN = [
    *("--source", "discriminator + 0.5 * ones"),
    *("--policy", "bag", "--set-policy", "width=4", "--more-knobs", "louder"),
]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages with one that `pip install` would have left there."""
    folder = tmp_path / "site"
    package, info = folder / PACKAGE, folder / f"{PACKAGE}-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    for name, text in FILES.items():
        (package / name).write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_what_a_package_declares_is_found_listed_and_keeps_its_contract(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for what, name in KINDS.items():
        assert main(["list", what]) == 0
        listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        assert listed[name].startswith(f"{PACKAGE}.")
    check_agent(load_agent_class("cautious"))
    check_scorer("ones")
    check_policy(registry.POLICIES.load("bag"))
    check_knob(*load_knobs("louder"))


def test_a_typo_is_told_the_plug_ins_name(site: Path) -> None:
    for changes, name in (
        ({"agent": "cautios"}, "cautious"),
        ({"source": "bleu + one"}, "ones"),
        ({"policy": "bagg"}, "bag"),
        ({"more_knobs": "loud"}, "louder"),
    ):
        with pytest.raises(ValueError, match=f"Did you mean '{name}'"):
            settings_from("tiny", changes)


def test_a_job_is_another_one_when_the_code_of_any_of_its_plug_ins_changes(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqgan_env.bench import fingerprints

    settings = settings_from("tiny", {"source": "bleu + ones"})
    assert packages_of(settings) == ["agents", PACKAGE]
    before = Job("row", "oracle-tiny", settings).key
    (site / PACKAGE / "source.py").write_text(FILES["source.py"].replace("== 1", "== 2"))
    fingerprints.code_of_module.cache_clear()
    assert Job("row", "oracle-tiny", settings).key != before
    for changes in ({"policy": "bag"}, {"more_knobs": "louder"}, {"agent": "cautious"}):
        assert PACKAGE in packages_of(settings_from("tiny", changes))
    assert packages_of(settings_from("tiny", {})) == ["agents"]


def seqgan(site: Path, *arguments: str, cwd: Path) -> str:
    """The command line in a process of its own, which has this package installed."""
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "seqgan_env.cli", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_trains_and_its_run_can_be_sampled(site: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", "--agent", "cautious", *SMALL.split(), *CHOSEN, "--no-control"]
    seqgan(site, *words, "--out", str(run), cwd=tmp_path)
    assert "louder" in (run / "knobs.csv").read_text()
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert settings["agent_options"]["baseline"] == "none"
    assert "discriminator/loss" in (run / "metrics.csv").read_text()
    assert len(seqgan(site, "sample", str(run), "--num", "3", cwd=tmp_path).splitlines()) == 3


@pytest.mark.slow
def test_it_is_benchmarked(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    words = ["bench", "--agents", "cautious", "random", "--seeds", "1", *SMALL.split()]
    seqgan(site, *words, *CHOSEN[2:], "--sources", CHOSEN[1], "--out", str(out), cwd=tmp_path)
    results = [json.loads(path.read_text()) for path in (out / "results").glob("*.json")]
    assert {result["label"] for result in results} == {"mle", "cautious", "random"}
    assert not [result for result in results if result.get("error")]
