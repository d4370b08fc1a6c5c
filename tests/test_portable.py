"""A run carries what its policy needs to write, wherever its data have gone."""

import itertools
import json
import pickle
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgan_env.cli.main import main
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.tasks import check_settings, make_task
from seqgan_env.tasks.carried import NoDataError
from seqgan_env.tasks.music.midi import write_melody
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.testing import check_task
from seqgan_env.training import run_directory
from seqgan_env.training.portable import TASK
from seqgan_env.training.run_directory import CONFIG
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import Trainer, load_run, load_run_with_rewards, write_config
from seqgan_env.types import Portable

from .conftest import random_model

LINES = [
    f"The {noun} {verb} {what}." for noun, verb, what in itertools.product(
        ("cat", "dog", "cow", "fox"), ("sees", "eats", "wants"), ("hay", "grass", "café", "milk")
    )
]  # fmt: skip


def write_corpus(folder: Path) -> None:
    (folder / "corpus.txt").write_text("\n".join(LINES), encoding="utf-8")


def write_tokenizer(folder: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    write_corpus(folder)
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(LINES, vocab_size=300, show_progress=False)
    (folder / "model").mkdir()
    trained.save(str(folder / "model" / "tokenizer.json"))


def write_music(folder: Path) -> None:
    pytest.importorskip("mido")
    (folder / "music").mkdir()
    for i in range(12):
        notes = [(2 * step, 2 * step + 2, 60 + (i + 3 * step) % 12) for step in range(16)]
        write_melody(folder / "music" / f"{i}.mid", notes, 32, 2)


def write_molecules(folder: Path) -> None:
    pytest.importorskip("rdkit")
    smiles = [f"{'C' * n}{end}" for n in range(1, 20) for end in ("O", "N", "Br", "[nH]", "C(=O)O")]
    (folder / "some.smi").write_text("\n".join(smiles))


def write_peptides(folder: Path) -> None:
    records = [f">{i}\n{'ACDEFGHIKL'[i % 10] * 3}{'LMW'[i % 3]}{'KR' * (i % 5)}" for i in range(30)]
    (folder / "some.fasta").write_text("\n".join(records))


def write_oracle(folder: Path) -> None:
    oracle: Any = make_task("oracle-tiny", num_real=8, num_validation=8, num_held_out=8)
    state = {k: v for k, v in oracle.oracle.state_dict().items() if "bias_hh" not in k}
    run_directory.write_weights(folder / "oracle.safetensors", state)


Kind = tuple[str, Callable[[Path], None], dict[str, Any]]
TEXT = {"corpus": "corpus.txt", "max_length": 12}
KINDS: dict[str, Kind] = {
    "words": ("text", write_corpus, {"corpus": "corpus.txt"}),
    "letters": ("text", write_corpus, {"corpus": "corpus.txt", "level": "char"}),
    "one length": ("text", write_corpus, TEXT | {"max_length": 4, "fixed_length": True}),
    "english": ("text", write_corpus, TEXT | {"tokenizer": "english", "min_length": 2}),
    "tokenizer": ("text", write_tokenizer, TEXT | {"tokenizer": "model", "max_length": 24}),
    "music": ("music", write_music, {"corpus": "music"}),
    "smiles": ("molecule", write_molecules, {"corpus": "some.smi"}),
    "peptides": ("peptide", write_peptides, {"corpus": "some.fasta"}),
    "oracle": ("oracle-tiny", write_oracle, {"weights": "oracle.safetensors"}),
}
SIZES = {"oracle-tiny": {"num_real": 32, "num_validation": 8, "num_held_out": 8}}


@pytest.fixture(params=KINDS)
def begun(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Trainer]:
    """A run of a task whose files have relative paths, and its trainer."""
    return begin(request.param, tmp_path, monkeypatch)


def begin(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> tuple[Path, Trainer]:
    task, write, options = KINDS[kind]
    home, run = tmp_path / "home", tmp_path / "run"
    for folder in (home, run, tmp_path / "elsewhere"):
        folder.mkdir()
    write(home)
    monkeypatch.chdir(home)
    options = SIZES.get(task, {}) | {"num_eval": 8} | options
    settings = TrainSettings(task=task, task_options=options, batch_size=4, **changes)
    trainer = Trainer(settings)
    write_config(settings, run, trainer.task)
    policy: Any = trainer.agent.policy
    run_directory.write_weights(run / "policy.safetensors", policy.state_dict())
    if trainer.rewards.discriminator is not None:
        weights = trainer.rewards.discriminator.state_dict()
        run_directory.write_weights(run / "discriminator.safetensors", weights)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return run, trainer


def lose(run: Path) -> None:
    """Everything that the run was made of is gone."""
    shutil.rmtree(run.with_name("home"))


def sampled(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["sample", str(run), "--num", "5"]) == 0
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_writes_the_same_from_another_folder_and_without_its_data(
    begun: tuple[Path, Trainer], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = begun
    monkeypatch.chdir(run.with_name("home"))
    expected = sampled(run, capsys)
    monkeypatch.chdir(run.with_name("elsewhere"))
    assert sampled(run, capsys) == expected
    lose(run)
    assert main(["sample", str(run), "--num", "5"]) == 0
    out, err = capsys.readouterr()
    assert out == expected
    assert "is gone; looked for" in err or "tokenizer" in err


def test_a_task_of_its_essentials_is_the_same_but_for_the_data(
    begun: tuple[Path, Trainer],
) -> None:
    run, trainer = begun
    task: Any = trainer.task
    lose(run)
    again: Any
    settings, again, _ = load_run(run, needs_data=False)
    assert again.spec == task.spec
    assert again.name == task.name
    for tokens in task.real_sequences[:50]:
        assert again.decode(tokens) == task.decode(tokens)
        assert torch.equal(again.encode(again.decode(tokens)), task.encode(task.decode(tokens)))
    for copied in (again, deepcopy(again), pickle.loads(pickle.dumps(again))):
        assert not hasattr(copied, "held_out")
        with pytest.raises(NoDataError, match="needs its real data: "):
            copied.draw_real(3, torch.Generator())
    assert settings.task == task.name


def test_every_task_of_this_package_passes_the_checker(begun: tuple[Path, Trainer]) -> None:
    run, trainer = begun
    if "tokenizer" not in trainer.settings.task_options or trainer.task.name != "text":
        check_task(trainer.task)
    assert isinstance(trainer.task, Portable)
    assert (run / TASK).exists()


@pytest.mark.parametrize("kind", ["words", "peptides"])
def test_what_needs_the_data_says_where_they_were_looked_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = begin(kind, tmp_path, monkeypatch)
    lose(run)
    name = KINDS[kind][2]["corpus"]
    places = f"{tmp_path / 'home' / name} and {tmp_path / 'elsewhere' / name}"
    for command in (["evaluate", str(run)], ["train", "--resume", str(run)]):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"corpus {name} is gone; looked for {places}" in line
    assert main(["show", str(run), "--num-rollouts", "1", "--num", "2"]) == 0
    assert f"looked for {places}; the page shows none" in capsys.readouterr().err
    page = (run / "samples.html").read_text(encoding="utf-8")
    assert "The agent" in page
    assert "Real data" not in page


def test_a_source_that_asks_for_the_data_says_that_they_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = begin("words", tmp_path, monkeypatch, source="bleu")
    lose(run)
    with pytest.raises(ValueError, match=r"needs its real data: .*corpus corpus.txt is gone"):
        load_run_with_rewards(run, 1)


def test_sources_that_need_no_data_pay_the_same_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trainer = begin("peptides", tmp_path, monkeypatch, source="stability")
    lose(run)
    _, task, _, rewards = load_run_with_rewards(run, 1)
    assert rewards is not None
    tokens = trainer.task.held_out
    full = RewardModel(trainer.task, RewardSettings(source="stability"), random_model(task.spec))
    expected = full.rewards(tokens, torch.Generator().manual_seed(0))
    bare = RewardModel(task, RewardSettings(source="stability"), random_model(task.spec))
    assert torch.equal(bare.rewards(tokens, torch.Generator().manual_seed(0)), expected)


def test_a_corpus_that_has_changed_is_refused_but_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = begin("words", tmp_path, monkeypatch)
    expected = sampled(run, capsys)
    changed = [line.replace("cat", "owl") for line in LINES]
    (tmp_path / "home" / "corpus.txt").write_text("\n".join(changed))
    assert sampled(run, capsys) == expected
    for command in (["evaluate", str(run)], ["train", "--resume", str(run)]):
        assert main(command) == 2
        assert "has changed since it was trained" in capsys.readouterr().err


def test_a_run_without_the_file_reads_its_data_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = begin("words", tmp_path, monkeypatch)
    expected = sampled(run, capsys)
    (run / TASK).unlink()
    config = run_directory.read_json(run / CONFIG)
    del config["folder"]
    run_directory.write_json(run / CONFIG, config)
    monkeypatch.chdir(tmp_path / "home")
    assert sampled(run, capsys) == expected
    lose(run)
    monkeypatch.chdir(tmp_path)
    assert main(["sample", str(run)]) == 2
    assert "corpus corpus.txt is gone" in capsys.readouterr().err


VOCABULARY = ["<eos>", "<unk>", "a"]
BAD: list[tuple[Any, str]] = [
    ({}, "level is missing"),
    ({"vocabulary": "abc"}, "vocabulary is 'abc'; allowed is a list"),
    ({"vocabulary": ["<eos>", "<unk>", 3]}, "a word of vocabulary is 3"),
    ({"vocabulary": [*VOCABULARY, "a"]}, "twice"),
    ({"vocabulary": [*VOCABULARY, "\ud83d"]}, "half a character"),
    ({"vocabulary": ["a", "b"]}, "expected \\['<eos>', '<unk>'\\]"),
    ({"max_length": -3}, "max_length is -3"),
    ({"max_length": True}, "max_length is True"),
    ({"level": "os:system"}, "level"),
    ({"words": 3}, "words"),
    ({"tokenizer": 3}, "tokenizer is 3"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=str)
def test_what_no_task_can_be_made_of_is_named_with_its_file(
    change: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = begin("words", tmp_path, monkeypatch)
    lose(run)
    whole = run_directory.read_json(run / TASK)
    essentials = whole["essentials"] | {"vocabulary": VOCABULARY} | change if change else {}
    (run / TASK).write_text(json.dumps(whole | {"essentials": essentials}))
    with pytest.raises(ValueError, match=rf"task.json: .*{message}"):
        load_run(run, needs_data=False)


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": 2}', '{"schema": 1, "essentials": 3}'])
def test_a_file_that_is_none_of_a_task_is_named(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = begin("words", tmp_path, monkeypatch)
    lose(run)
    (run / TASK).write_text(content)
    with pytest.raises(ValueError, match=r"task\.json"):
        load_run(run, needs_data=False)


def test_a_tokenizer_that_is_carried_has_no_need_of_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trainer = begin("tokenizer", tmp_path, monkeypatch)
    task: Any = trainer.task
    lose(run)
    again: Any = load_run(run, needs_data=False)[1]
    for line in LINES:
        assert torch.equal(again.encode(line), task.encode(line))
        assert again.decode(again.encode(line)) == line


def forgetful(task: OracleTask, tokens: Tensor) -> str:
    """Decodes otherwise where the data are gone."""
    if task.no_data is not None:
        return "gone"
    return OracleTask.decode(task, tokens)


@pytest.mark.parametrize(
    ("method", "answer", "message"),
    [
        ("essentials", lambda self: {"a": {1, 2}}, "no JSON"),
        ("essentials", lambda self: [1], "expected a dict"),
        ("decode", forgetful, "decodes .* as 'gone'"),
    ],
)
def test_the_checker_says_what_a_task_does_wrong(
    method: str, answer: Callable[..., Any], message: str
) -> None:
    wrong = type("Wrong", (OracleTask,), {method: answer})
    settings = check_settings("oracle-tiny", SIZES["oracle-tiny"] | {"num_eval": 8})
    with pytest.raises(AssertionError, match=message):
        check_task(wrong(settings, "wrong"))
