"""Files of hyperparameters: what they mean, that nothing in them is executed, and that nothing is
ignored in silence.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from seqgan_env.bench.jobs import Suite, read_suite
from seqgan_env.cli.main import main
from seqgan_env.training.hyperparameters import read_section, settings_with_file
from seqgan_env.training.settings import TrainSettings, settings_from
from seqgan_env.training.trainer import build_agent, build_task
from tests.test_bench import ROOT

pytest.importorskip("yaml")

SHIPPED = ROOT / "benchmarks" / "hyperparameters"


def written(path: Path, section: str, name: str = "default") -> Path:
    file = path / "file.yml"
    lines = "".join(f"  {line}\n" for line in section.splitlines())
    file.write_text(f"{name}:\n{lines}", encoding="utf-8")
    return file


def settings_of(file: Path, **given: Any) -> Any:
    pytest.importorskip("stable_baselines3")
    return settings_with_file("tiny", {"agent": "ppo"} | given, file)


def test_a_section_in_the_words_of_rl_zoo3_is_the_same_run_in_ours(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "n_envs: 64\nn_timesteps: !!float 1e5\npolicy: 'MlpPolicy'\n"
        "policy_kwargs: {net_arch: [32, 32]}\nn_steps: 20\nbatch_size: 256\n"
        "learning_rate: 1e-3\nclip_range: 0.1\nnormalize: false\n",
    )
    expected = settings_from(
        "tiny",
        {
            "agent": "ppo",
            "batch_size": 64,
            "rounds": 79,  # 100,000 steps are 78.1 times 64 x 20
            "policy": "sb3",
            "policy_options": {"net_arch": [32, 32]},
            "agent_options": {
                "n_steps": 20,
                "batch_size": 256,
                "learning_rate": 1e-3,
                "clip_range": 0.1,
            },
        },
    )
    assert settings_of(file) == expected


def test_what_is_given_goes_over_the_file_option_by_option(tmp_path: Path) -> None:
    file = written(tmp_path, "n_envs: 64\nn_timesteps: 64000\nn_epochs: 2\nclip_range: 0.1")
    found = settings_of(file, batch_size=32, agent_options={"clip_range": 0.3})
    assert found.batch_size == 32
    assert found.agent_options == {"n_epochs": 2, "clip_range": 0.3}
    assert found.rounds == 200  # 64,000 steps, ten tokens each of 32 envs
    assert settings_of(file, rounds=3).rounds == 3
    policy = written(tmp_path, "policy: MlpPolicy\npolicy_kwargs: {net_arch: [8]}")
    other = settings_of(policy, policy="gru")
    assert (other.policy, other.policy_options) == ("gru", {})
    same = settings_of(policy, policy_options={"observation_window": 2})
    assert same.policy_options == {"net_arch": [8], "observation_window": 2}


def test_options_of_a_file_stand_with_what_they_are_about(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "discriminator: lstm\ndiscriminator_options: {hidden_dim: 9}\n"
        "hidden_dim: 8\nbaseline: none",
    )

    def found(**given: Any) -> TrainSettings:
        return settings_with_file("tiny", {"agent": "reinforce"} | given, file)

    assert found().discriminator_options == {"hidden_dim": 9}
    assert found(discriminator="lstm").discriminator_options == {"hidden_dim": 9}
    assert found(discriminator="ratio").discriminator_options == {}
    assert found().agent_options["hidden_dim"] == 8
    gru = found(policy="gru")
    assert "hidden_dim" not in gru.agent_options
    assert gru.agent_options["baseline"] == "none"


def test_settings_of_the_run_may_stand_beside_and_agents_of_this_package_have_files_too(
    tmp_path: Path,
) -> None:
    file = written(tmp_path, "rounds: 7\nnum_rollouts: 2\nsource: noise\nbaseline: none")
    found = settings_with_file("tiny", {}, file)
    assert (found.agent, found.rounds, found.num_rollouts) == ("reinforce", 7, 2)
    assert found.agent_options == {"baseline": "none"}


def test_a_section_is_found_by_id_then_by_name_then_by_default(tmp_path: Path) -> None:
    file = tmp_path / "file.yml"
    file.write_text(
        "SeqGAN/Oracle-v0: {rounds: 1}\noracle-small: {rounds: 2}\ndefault: {rounds: 3}\n"
    )
    rounds = {task: read_section(file, task)["rounds"] for task in ("oracle-tiny", "oracle-small")}
    assert rounds == {"oracle-tiny": 1, "oracle-small": 2}
    assert read_section(file, "text") == {"rounds": 3}
    file.write_text("SeqGAN/Oracle-v0: {rounds: 1}\noracle-tiny: {rounds: 2}\n")
    with pytest.raises(ValueError, match="which are one task"):
        read_section(file, "oracle-tiny")
    with pytest.raises(ValueError, match="no section for task text; it would be called SeqGAN/Te"):
        read_section(file, "text")


REFUSED = {
    "learning_rate: lin_3e-4": "a schedule; .* Give a number, like 3e-4",
    "clip_range: lin_0.2": "clip_range is 'lin_0.2', a schedule",
    'policy_kwargs: "dict(net_arch=[64, 64])"': "Write a mapping: policy_kwargs: {net_arch",
    'language_model_kwargs: "{}"': "nothing in a file is executed",
    "normalize: true": "normalize cannot be honoured",
    "normalize: \"{'norm_obs': False}\"": "normalize cannot be honoured",
    "frame_stack: 4": "frame_stack cannot be honoured",
    "env_wrapper: [gymnasium.wrappers.FlattenObservation]": "env_wrapper cannot be honoured",
    "callback: [stable_baselines3.common.callbacks.EvalCallback]": "callback cannot be honoured",
    "use_sde: True": "use_sde cannot be honoured",
    "policy: CnnPolicy": "there are MlpPolicy and the names",
    "policy: 3": "policy is 3",
    "policy: MlpPolicy\npolicy_kwargs: {net_arhc: [8]}": "Did you mean 'net_arch'",
    "clip_rage: 0.1": "unknown hyperparameter of agent ppo 'clip_rage'; .*mean 'clip_range'",
    "clip_range: wide": "clip_range",
    "n_steps: 7": "allowed are multiples of seq_len",
    "n_envs: 0": "n_envs is 0",
    "n_timesteps: many": "n_timesteps is 'many'",
    "n_timesteps: 100\nrounds: 3": "both given",
    "seed: 3": "for the command line .--seed.",
    "task: text": "for the command line",
    "clip_range: 0.1\nclip_range: 0.2": "'clip_range' stands twice",
    "learning_rate: !!python/object/apply:os.system ['true']": "no plain YAML",
    "learning_rate: !!python/name:os.system": "no plain YAML",
    "learning_rate: 2001-01-01": "is a date",
    "1: 2": "the name 1",
    "policy: mine:Policy": "names code that is neither built in nor installed: mine:Policy",
}


@pytest.mark.parametrize("section", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(section: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=REFUSED[section]):
        settings_of(written(tmp_path, section))


def test_files_that_are_none_are_one_line(tmp_path: Path) -> None:
    bomb = "a: &a [1]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
        for old, new in zip("abcdefghi", "bcdefghij", strict=True)
    )
    texts = {
        "": "hold a NoneType",
        "- 1": "hold a list",
        "default: 3": "section default .* is 3",
        "{": "no plain YAML",
        "[" * 5_000: "no plain YAML",
        bomb + "default: {x: *j}": "more than 10,000 values",
        "default: &x {y: *x}": "more than 50 deep",
    }
    file = tmp_path / "file.yml"
    for text, message in texts.items():
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_section(file, "text")
    with pytest.raises(ValueError, match=r"missing\.yml"):
        read_section(tmp_path / "missing.yml", "text")


def test_a_merged_section_has_what_it_says_over_what_it_takes(tmp_path: Path) -> None:
    file = tmp_path / "file.yml"
    file.write_text(
        "a: {b: &x {<<: &y {k: 1, n: 1}, k: 2}}\ntext: {<<: *x, m: 3}\nmusic: {<<: *y}\n"
    )
    assert read_section(file, "text") == {"k": 2, "n": 1, "m": 3}
    assert read_section(file, "music") == {"k": 1, "n": 1}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["oracle-tiny", "oracle-small", "text"])
def test_the_shipped_file_is_the_default(task: str) -> None:
    pytest.importorskip("stable_baselines3")
    given: dict[str, Any] = {"agent": "ppo", "task": task}
    if task != "text":
        given |= {"task_options": {"num_real": 50, "num_held_out": 50, "num_validation": 50}}
    plain = settings_from("tiny", given)
    written_out = settings_with_file("tiny", given, SHIPPED / "ppo.yml")
    assert written_out.rounds == plain.rounds
    assert written_out.batch_size == plain.batch_size
    task_made = build_task(plain)
    agents: list[Any] = []
    for settings in (plain, written_out):
        agent: Any = build_agent(settings, task_made, "noise")[0]
        agents.append(agent)
    default, same = (agent.model for agent in agents)
    names = ("n_steps", "batch_size", "n_epochs", "learning_rate", "gamma", "gae_lambda")
    for name in (*names, "ent_coef", "vf_coef", "max_grad_norm", "normalize_advantage"):
        assert getattr(default, name) == getattr(same, name), name
    assert default.clip_range(1.0) == same.clip_range(1.0)
    rates = [
        [group["lr"] for group in each.policy.optimizer.param_groups] for each in (default, same)
    ]
    assert rates[0] == rates[1]
    with torch.no_grad():
        for one, other in zip(default.policy.parameters(), same.policy.parameters(), strict=True):
            assert torch.equal(one, other)


def test_every_shipped_file_has_sections_that_its_agent_takes() -> None:
    pytest.importorskip("stable_baselines3")
    files = sorted(SHIPPED.glob("*.yml"))
    assert files
    for file in files:
        settings_with_file("tiny", {"agent": file.stem}, file)


def test_without_pyyaml_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    file = written(tmp_path, "rounds: 1")
    assert main(["train", "--hyperparameters", str(file), "--out", str(tmp_path / "run")]) == 2
    assert "needs yaml (pip install 'seqgan-env[sb3]')" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_without_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "missing", "--hyperparameters", "file.yml"]) == 2
    assert "hyperparameters cannot be given with --resume" in capsys.readouterr().err


def suite_of(row: dict[str, Any], **shared: Any) -> Suite:
    pytest.importorskip("stable_baselines3")
    return Suite(
        "files",
        seeds=1,
        tasks={"oracle-tiny": {"task": "oracle-tiny"}, "oracle-small": {"task": "oracle-small"}},
        rows={"ppo": {"agent": "ppo"} | row},
        settings=shared,
    )


def of_ppo(suite: Suite) -> dict[str, TrainSettings]:
    """The settings of the row by task."""
    found = {}
    for job in suite.jobs():
        if job.label == "ppo":
            found[job.task] = job.settings
    return found


def test_a_row_of_a_suite_reads_the_section_of_every_task() -> None:
    file = str(SHIPPED / "ppo.yml")
    found = of_ppo(suite_of({"hyperparameters": file, "agent_options": {"clip_range": 0.1}}))
    for task, settings in found.items():
        alone = settings_with_file("tiny", {"agent": "ppo", "task": task}, Path(file))
        assert settings.rounds == alone.rounds
        assert settings.batch_size == alone.batch_size
        assert settings.agent_options == alone.agent_options | {"clip_range": 0.1}
    sizes = [settings.agent_options["batch_size"] for settings in found.values()]
    assert sizes == [640, 1280]


def test_a_file_goes_over_what_is_shared_and_under_the_row(tmp_path: Path) -> None:
    file = str(written(tmp_path, "n_envs: 64\nlearning_rate: 1e-3\nn_timesteps: 12800"))
    shared = {"batch_size": 32, "rounds": 5}
    (settings, *_) = of_ppo(suite_of({"hyperparameters": file}, **shared)).values()
    assert (settings.batch_size, settings.rounds) == (64, 20)  # 64 sequences of 10 tokens a round
    row = {"hyperparameters": file, "rounds": 7, "batch_size": 16}
    (settings, *_) = of_ppo(suite_of(row, **shared)).values()
    assert (settings.batch_size, settings.rounds) == (16, 7)
    assert settings.agent_options["learning_rate"] == 1e-3


def test_a_job_is_known_by_what_its_file_says_and_not_by_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "learning_rate: 1e-3")
    by_file = suite_of({"hyperparameters": str(file)})
    written_out = suite_of({"agent_options": {"learning_rate": 1e-3}})
    assert [job.key for job in by_file.jobs()] == [job.key for job in written_out.jobs()]


def test_only_a_row_has_a_file_and_a_suite_that_is_not_trusted_names_no_code(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match="hyperparameters"):
        suite_of({}, hyperparameters="file.yml")
    with pytest.raises(ValueError, match=r"hyperparameters in rows.ppo is 3"):
        suite_of({"hyperparameters": 3})
    with pytest.raises(ValueError, match=r"missing.yml"):
        suite_of({"hyperparameters": "missing.yml"}).jobs()
    written(tmp_path, "policy: evil_module:Policy")
    suite = tmp_path / "suite.toml"
    suite.write_text(
        "seeds = 1\n[tasks.oracle-tiny]\n[rows.ppo]\nagent = 'ppo'\n"
        f"hyperparameters = '{(tmp_path / 'file.yml').as_posix()}'\n",
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match=r"evil_module:Policy.*--trust"):
        read_suite(suite).jobs()
