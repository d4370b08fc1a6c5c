"""Nothing that a file names is run unless its reader trusts it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqgan_env.bench.jobs import read_suite
from seqgan_env.registry import find_in_working_folder
from seqgan_env.training.run_directory import CONFIG, write_json
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import load_run, read_config
from seqgan_env.trust import check_names, names_of_code

EVIL = "evil:Thing"  # a module that notes that it was run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that can be imported from, with a module that leaves a trace when it is run."""
    lines = ["from pathlib import Path", "Path(__file__).with_name('trace').touch()"]
    (tmp_path / "evil.py").write_text("\n".join([*lines, "class Thing:", "    pass"]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return tmp_path


def was_run(folder: Path) -> bool:
    return (folder / "trace").exists()


SETTINGS: list[dict[str, Any]] = [
    {"task": EVIL},
    {"agent": EVIL},
    {"source": f"discriminator + 0.5 * {EVIL}"},
    {"source": f"discriminator -{EVIL}"},
    {"discriminator": EVIL},
    {"policy": EVIL},
    {"more_knobs": EVIL},
    {"more_metrics": EVIL},
    {"task": "text", "task_options": {"tokenizer": EVIL}},
    {"policy": "sb3", "policy_options": {"features_extractor": EVIL}},
    {"agent_options": {"anything": [{"deep": EVIL}]}},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_run_that_names_code_is_refused_before_anything_is_run(
    settings: dict[str, Any], folder: Path
) -> None:
    write_json(folder / CONFIG, {"settings": settings})
    for load in (read_config, load_run):
        with pytest.raises(ValueError, match=r"config.json names code .*evil:Thing.*--trust"):
            load(folder)
    assert not was_run(folder)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_suite_that_names_code_is_refused_before_anything_is_run(
    settings: dict[str, Any], folder: Path
) -> None:
    values = "\n".join(f"{key} = {_toml(value)}" for key, value in settings.items())
    for table in ("tasks.a", "rows.a"):
        others = [f"[{other}]" for other in ("tasks.b", "rows.b")]
        text = "\n".join([*others, f"[{table}]", values])
        (folder / "suite.toml").write_text(text)
        with pytest.raises(ValueError, match=r"suite.toml names code .*evil:Thing"):
            read_suite(folder / "suite.toml")
    (folder / "suite.toml").write_text("\n".join([*others, "[settings]", values]))
    with pytest.raises(ValueError, match=r"suite.toml names code .*evil:Thing"):
        read_suite(folder / "suite.toml")
    assert not was_run(folder)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize("trust", [True, [EVIL], {"other:Thing", EVIL}])
def test_who_trusts_a_file_or_names_its_code_gets_it(trust: Any, folder: Path) -> None:
    write_json(folder / CONFIG, {"settings": {"agent": EVIL, "policy": "lstm"}})
    with pytest.raises(ValueError, match=r"evil:Thing lacks|'evil:Thing' lacks"):
        read_config(folder, trust)
    assert was_run(folder)


def test_another_name_or_a_part_of_it_is_not_enough(folder: Path) -> None:
    for trust in (["evil"], ["evil:Other"], [EVIL + "s"], []):
        with pytest.raises(ValueError, match="names code"):
            check_names({"agent": EVIL}, "file", trust)


def test_built_in_and_installed_names_need_no_trust(tmp_path: Path) -> None:
    settings = TrainSettings(
        task="text", task_options={"tokenizer": "english"}, source="discriminator + bleu"
    )
    write_json(tmp_path / CONFIG, {"settings": vars(settings)})
    assert read_config(tmp_path) == settings


def test_paths_with_a_colon_are_no_code() -> None:
    check_names({"task_options": {"corpus": "C:texts", "weights": "a:b"}}, "file")


def test_nesting_is_followed_to_any_depth() -> None:
    value: Any = EVIL
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="evil:Thing"):
        check_names(value, "file")


def test_names_on_a_command_line_are_found_in_flags_and_sums() -> None:
    assert names_of_code("--agent=my.agents:Mine") == ["my.agents:Mine"]
    assert names_of_code("discriminator + 0.5*mine:Source -mine:Other") == [
        "mine:Source",
        "mine:Other",
    ]
    assert names_of_code("--rounds") == []


def test_the_working_folder_is_searched_only_for_what_is_found_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    find_in_working_folder(["--agent", "json:Thing", "discriminator + os.path:join", "RUN"])
    assert sys.path == before
    find_in_working_folder(["--agent=nobody_has_this:Thing"])
    assert sys.path == [*before, str(tmp_path)]


# -- the command line, as someone stands in a folder that was sent to him


def seqgan(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; sys.path.pop(0); from seqgan_env.cli.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample", "evaluate", "show", "play"])
def test_standing_in_a_run_does_not_make_its_modules_code(command: str, folder: Path) -> None:
    write_json(folder / CONFIG, {"settings": {"agent": EVIL}})
    done = seqgan(folder, command, ".")
    assert done.returncode == 2
    assert "--trust" in done.stderr
    assert "Traceback" not in done.stderr
    assert not was_run(folder)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--trust"], ["--trust-name", EVIL], [f"--trust-name={EVIL}"]])
def test_a_flag_lets_a_run_have_its_plug_in(words: list[str], folder: Path) -> None:
    write_json(folder / CONFIG, {"settings": {"agent": EVIL}})
    done = seqgan(folder, "train", "--resume", ".", *words)
    assert done.returncode == 2
    assert "lacks pretrain" in done.stderr  # it was loaded, and is no agent
    assert was_run(folder)


@pytest.mark.slow
def test_metadata_in_a_run_declares_no_plug_ins(folder: Path) -> None:
    info = folder / "evil.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[seqgan_env.agents]\nsly = {EVIL}\n")
    write_json(folder / CONFIG, {"settings": {"agent": "sly"}})
    done = seqgan(folder, "sample", ".")
    assert done.returncode == 2
    assert "unknown agent 'sly'" in done.stderr
    assert not was_run(folder)
