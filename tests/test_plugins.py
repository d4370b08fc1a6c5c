"""A package from outside the tree adds one of each kind by one file each, and nothing is edited."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqgan_env import registry
from seqgan_env.bench import fingerprints
from seqgan_env.bench.jobs import Job, packages_of
from seqgan_env.cli.main import main
from seqgan_env.metrics.catalogue import load_metrics
from seqgan_env.plugins import load_agent_class, load_knobs
from seqgan_env.tasks import load_task, make_task
from seqgan_env.testing import (
    check_agent,
    check_discriminator,
    check_knob,
    check_metric,
    check_policy,
    check_scorer,
    check_task,
)
from seqgan_env.training.settings import TrainSettings, settings_from

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
    "discriminator.py": """
import torch
from torch import nn

from seqgan_env import Discriminator


class MeanEmbedding(Discriminator):
    def __init__(self, spec, rng, width=8):
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.vocab_size + 1, width)
        self.output = nn.Linear(width, 1)

    def forward(self, tokens, dropout_rng=None):
        return self.output(self.embedding(tokens).mean(1)).squeeze(1)
""",
    "task.py": """
from dataclasses import dataclass

import torch

from seqgan_env.tasks.options import option
from seqgan_env.tasks.real_data import RealDataTask
from seqgan_env.types import TokenSpec


@dataclass(frozen=True)
class DiceSettings:
    seq_len: int = option(5, "throws in a row", "THROWS")
    num_eval: int = option(100, "sequences drawn from a policy to evaluate it", "SEQUENCES")


class Dice(RealDataTask):
    defaults = DiceSettings()

    def __init__(self, settings=DiceSettings(), name="dice"):
        self.settings = settings
        rng = torch.Generator().manual_seed(0)
        throws = torch.randint(6, (300, settings.seq_len), generator=rng)
        parts = throws.split([200, 50, 50])
        super().__init__(name, TokenSpec(6, settings.seq_len), parts, settings.num_eval)

    def decode(self, tokens):
        return " ".join(str(token + 1) for token in tokens.tolist())
""",
    "metric.py": """
class Sixes:
    name, label, good = "sixes", "share of sixes", 0

    def __call__(self, samples, task):
        return (samples == 5).double().mean()
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

[seqgan_env.discriminators]
mean_embedding = {PACKAGE}.discriminator:MeanEmbedding

[seqgan_env.tasks]
dice = {PACKAGE}.task:Dice

[seqgan_env.metrics]
sixes = {PACKAGE}.metric:Sixes
"""
KINDS = {
    "agents": "cautious",
    "sources": "ones",
    "policies": "bag",
    "knobs": "louder",
    "discriminators": "mean_embedding",
    "tasks": "dice",
    "metrics": "sixes",
}
SMALL = [
    *("--rounds", "1", "--mle-epochs", "1", "--num-negatives", "50", "--batch-size", "8"),
    *("--num-rollouts", "1", "--seq-len", "4", "--num-eval", "60"),
]
SOURCE = "discriminator + 0.5 * ones"
CHOSEN = [
    *("--policy", "bag", "--set-policy", "width=4"),
    *("--discriminator", "mean_embedding", "--set-discriminator", "width=4"),
    *("--more-knobs", "louder", "--more-metrics", "sixes"),
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
    for knob in load_knobs("louder"):
        check_knob(knob)
    check_discriminator(registry.DISCRIMINATORS.load("mean_embedding"))
    check_task(load_task("dice"))
    for metric in load_metrics("sixes"):
        check_metric(metric, make_task("dice"))


def test_a_typo_is_told_the_plug_ins_name(site: Path) -> None:
    for changes, name in (
        ({"agent": "cautios"}, "cautious"),
        ({"source": "bleu + one"}, "ones"),
        ({"policy": "bagg"}, "bag"),
        ({"more_knobs": "loud"}, "louder"),
        ({"discriminator": "mean_embeding"}, "mean_embedding"),
        ({"task": "dise"}, "dice"),
        ({"more_metrics": "sixs"}, "sixes"),
    ):
        with pytest.raises(ValueError, match=f"Did you mean '{name}'") as problem:
            settings_from("tiny", changes)
        assert "package.module:Name" in str(problem.value)


def test_a_job_is_another_one_when_the_code_of_any_of_its_plug_ins_changes(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_from("tiny", {"source": "bleu + ones"})
    assert packages_of(settings) == ["agents", PACKAGE]
    before = Job("row", "oracle-tiny", settings).key
    (site / PACKAGE / "source.py").write_text(FILES["source.py"].replace("== 1", "== 2"))
    fingerprints.code_of_module.cache_clear()
    assert Job("row", "oracle-tiny", settings).key != before
    for changes in (
        {"policy": "bag"},
        {"more_knobs": "louder"},
        {"agent": "cautious"},
        {"discriminator": "mean_embedding"},
        {"task": "dice"},
        {"more_metrics": "sixes"},
    ):
        assert PACKAGE in packages_of(settings_from("tiny", changes))
    assert packages_of(settings_from("tiny", {})) == ["agents"]


PARTS = {
    "mytok.py": "def split(line):\n    return line.split()\n",
    "myext.py": "class Ext:\n    pass\n",
    "elsewhere.py": """
class Measure:
    name, label, good = "m", "m", 1

    def __call__(self, samples, task):
        return 1.0
""",
    "named.py": """
from elsewhere import Measure

ONE, SEVERAL = Measure(), (Measure(),)
""",
    "base.py": """
from agents.reinforce import Reinforce


class Base(Reinforce):
    pass
""",
    "loose.py": """
from base import Base


class Agent(Base):
    def __init__(self, env, policy=None, seed=0, parts=None):
        super().__init__(env, policy=policy, seed=seed)
""",
}
USES: list[tuple[str, dict[str, Any]]] = [
    ("mytok", {"task": "text", "task_options": {"tokenizer": "mytok:split"}}),
    ("myext", {"policy": "sb3", "policy_options": {"features_extractor_class": "myext:Ext"}}),
    ("myext", {"agent": "loose:Agent", "agent_options": {"parts": {"of": ["myext:Ext"]}}}),
    (PACKAGE, {"discriminator": "ratio", "discriminator_options": {"q": "bag"}}),
    ("base", {"agent": "loose:Agent"}),  # which inherits from it
    ("elsewhere", {"more_metrics": "named:ONE"}),
    ("elsewhere", {"more_metrics": "named:SEVERAL"}),
]


@pytest.fixture
def parts(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The site with modules that options name."""
    for name, text in PARTS.items():
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
        (site / name).write_text(text)
    importlib.invalidate_caches()
    fingerprints.code_of_module.cache_clear()
    return site


@pytest.mark.parametrize(("package", "changes"), USES)
def test_all_code_that_a_job_imports_belongs_to_it_however_it_is_named(
    parts: Path, package: str, changes: dict[str, Any]
) -> None:
    job = Job("row", "task", TrainSettings(**changes))
    assert package in packages_of(job.settings)
    before = job.key
    file = parts / f"{package}.py"
    if not file.exists():
        file = parts / package / "policy.py"
    file.write_text(file.read_text() + "\nCHANGED = True\n")
    fingerprints.code_of_module.cache_clear()
    assert Job(job.label, job.task, job.settings).key != before


@pytest.mark.usefixtures("parts")
def test_a_text_that_names_no_code_is_only_a_text() -> None:
    for text in ("no_such_package:Name", "see: below", "json:no_such_name", ":", "http://a:b"):
        settings = TrainSettings(agent="loose:Agent", agent_options={"parts": [text]})
        assert packages_of(settings) == ["agents", "base", "loose"]


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
    words = ["train", "--task", "dice", "--agent", "cautious", "--source", SOURCE, "--no-control"]
    seqgan(site, *words, *SMALL, *CHOSEN, "--out", str(run), cwd=tmp_path)
    assert "louder" in (run / "knobs.csv").read_text()
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert settings["agent_options"]["baseline"] == "none"
    assert "discriminator/loss" in (run / "metrics.csv").read_text()
    assert 0 <= json.loads((run / "result.json").read_text())["agent"]["more/sixes"] <= 1
    assert len(seqgan(site, "sample", str(run), "--num", "3", cwd=tmp_path).splitlines()) == 3


@pytest.mark.slow
def test_it_is_benchmarked(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    words = ["bench", "--tasks", "dice", "--agents", "cautious", "random", "--seeds", "1"]
    words += ["--sources", SOURCE, *SMALL, *CHOSEN, "--out", str(out)]
    seqgan(site, *words, cwd=tmp_path)
    results = [json.loads(path.read_text()) for path in (out / "results").glob("*.json")]
    assert {result["label"] for result in results} == {"mle", "cautious", "random"}
    assert not [result for result in results if result.get("error")]
    assert all("more/sixes" in json.dumps(result) for result in results)
    assert " sixes " in (out / "report.md").read_text()
