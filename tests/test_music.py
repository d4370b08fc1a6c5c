"""The music task: what becomes of every file, what is measured of melodies, and what a bad folder
gets.
"""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import gymnasium as gym
import mido
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_env.cli.main import main
from seqgan_env.metrics.music import (
    MusicMetrics,
    interval_histograms,
    jensen_shannon,
    pitch_class_histograms,
    pitch_contours,
)
from seqgan_env.tasks import make_task
from seqgan_env.tasks.music.midi import write_melody
from seqgan_env.tasks.music.music_tokens import (
    HOLD,
    LOWEST_PITCH,
    REST,
    SILENCE,
    VOCAB_SIZE,
    is_onset,
    notes_of,
    sounding_pitches,
)
from seqgan_env.tasks.music.settings import MusicSettings
from seqgan_env.tasks.music.task import MusicTask, windows_of
from seqgan_env.tasks.music.tunes import PIECES_PER_KEY, built_in_scores
from seqgan_env.types import HasEstimates, Task, TokenSpec, WritesFiles

from .conftest import needs_data, random_model, rng

MELODIES = st.lists(
    st.integers(0, VOCAB_SIZE - 1) | st.sampled_from([HOLD, REST]), min_size=8, max_size=8
)
BATCHES = st.lists(MELODIES, min_size=1, max_size=6).map(np.array)
WALK = (0, 2, 4, 5, 7, 5, 4, 2, 7, 9, 11, 12)


def write_tune(path: Path, tonic: int, num_notes: int = 40) -> None:
    """Notes of one step of two to a beat, no two tonics alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = [(i, i + 1, tonic + WALK[(i * (1 + tonic % 5)) % len(WALK)]) for i in range(num_notes)]
    write_melody(path, notes, num_notes, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for tonic in range(48, 68):
        write_tune(tmp_path / "music" / f"{tonic}.mid", tonic)
    return tmp_path / "music"


def task_of(folder: Path, **changes: object) -> MusicTask:
    return MusicTask(MusicSettings(corpus=str(folder), max_length=16, num_eval=50, **changes))  # type: ignore[arg-type]


def parts(task: MusicTask) -> list[torch.Tensor]:
    return [task.real_sequences, task.validation, task.held_out]


# ---- the task ----


def test_it_is_a_task_of_melodies_of_one_length(folder: Path) -> None:
    task = task_of(folder)
    assert isinstance(task, Task)
    assert isinstance(task, HasEstimates)
    assert isinstance(task, WritesFiles)
    assert task.spec == TokenSpec(VOCAB_SIZE, 16)
    for part in parts(task):
        task.spec.check_sequences(part)
    assert (task.summary.pieces, task.summary.windows) == (20, 40)
    assert task.summary.parts == tuple(map(len, parts(task)))
    assert task.summary.steps - 16 * task.summary.windows == 20 * 8


def test_all_windows_of_a_piece_are_on_one_side_of_the_split(folder: Path) -> None:
    task = task_of(folder, validation_share=0.2, held_out_share=0.3)
    lowest = [
        {int(row[is_onset(row)].min()) for row in part.numpy()} for part in parts(task)
    ]  # the tonic of every window
    assert len(set.union(*lowest)) == sum(map(len, lowest)) == 20
    assert sorted(map(len, lowest)) == [4, 6, 10]


def test_the_same_melody_under_two_names_is_on_one_side(folder: Path) -> None:
    for path in list(folder.iterdir()):
        (folder / "copies").mkdir(exist_ok=True)
        (folder / "copies" / path.name).write_bytes(path.read_bytes())
    task = task_of(folder, held_out_share=0.4)
    rows = [{tuple(row) for row in part.tolist()} for part in parts(task)]
    assert task.summary.pieces == 40
    assert not rows[0] & rows[2]


def test_the_split_and_the_fingerprint_follow_the_music_and_the_settings(
    folder: Path, tmp_path: Path
) -> None:
    one = task_of(folder)
    folder.rename(tmp_path / "elsewhere")
    same = task_of(tmp_path / "elsewhere")
    assert same.fingerprint == one.fingerprint
    assert same.held_out.equal(one.held_out)
    write_tune(tmp_path / "elsewhere" / "new.mid", 70)
    assert task_of(tmp_path / "elsewhere").fingerprint != one.fingerprint
    assert task_of(tmp_path / "elsewhere", steps_per_beat=4).fingerprint != one.fingerprint


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, VOCAB_SIZE - 1) | st.sampled_from([HOLD, REST]), max_size=40))
def test_windows_sound_as_the_melody_did(melody: list[int]) -> None:
    tokens = np.array(melody, dtype=np.int64)
    windows = windows_of(tokens, 8)
    sounding = sounding_pitches(tokens)[: len(tokens) // 8 * 8].reshape(-1, 8)
    assert sounding_pitches(windows).tolist() == [
        row.tolist() for row in sounding if (row != SILENCE).any()
    ]
    assert (windows[:, 0] != HOLD).all()


def test_in_the_common_key_major_tunes_have_no_accidentals(folder: Path) -> None:
    def pitch_classes(task: MusicTask) -> set[int]:
        return set(
            np.flatnonzero(pitch_class_histograms(torch.cat(parts(task)).numpy()).sum(0)).tolist()
        )

    assert pitch_classes(task_of(folder)) == set(range(12))
    assert pitch_classes(task_of(folder, transpose=True)) == {0, 2, 4, 5, 7, 9, 11}


def test_text_and_tokens_say_the_same(folder: Path) -> None:
    task = task_of(folder)
    for row in task.held_out:
        assert task.encode(task.decode(row)).equal(row)
    assert task.decode(torch.tensor([39, HOLD, REST, *[task.spec.pad_token] * 13])) == "C4 - ."
    with pytest.raises(ValueError, match="has 2 words; a melody of this task has 16"):
        task.encode("C4 D4")


def test_the_built_in_music_is_made_of_different_tunes_in_all_keys() -> None:
    scores = built_in_scores()
    assert len(set(scores)) == len(scores) == 24 * PIECES_PER_KEY
    for first in range(0, len(scores), PIECES_PER_KEY):
        shifted = {
            tuple(n.pitch - score.notes[0].pitch for n in score.notes)
            for score in scores[first : first + PIECES_PER_KEY]
        }
        assert len(shifted) > PIECES_PER_KEY * 0.8
    beats = {max(note.end for note in score.notes) / score.ticks_per_beat for score in scores}
    assert beats <= {31.0, 32.0}


def test_the_registered_environment_writes_music() -> None:
    envs = gym.make_vec("SeqGAN/Music-v0", num_envs=3, source="constant", num_eval=2)
    envs.reset(seed=0)
    assert envs.unwrapped.spec is not None
    assert envs.unwrapped.spec.id == "SeqGAN/Music-v0"
    for _ in range(32):
        _, rewards, terminated, _, _ = envs.step(np.array([39, HOLD, REST]))
    assert terminated.all()
    assert rewards.shape == (3,)


# ---- metrics ----


@settings(max_examples=100, deadline=None)
@given(BATCHES)
def test_histograms_count_the_notes_one_by_one(tokens: np.ndarray) -> None:
    for row, classes, intervals in zip(
        tokens, pitch_class_histograms(tokens), interval_histograms(tokens), strict=True
    ):
        pitches = [pitch for _, _, pitch in notes_of(row)]
        assert dict(enumerate(classes.tolist())) == {
            c: sum(p % 12 == c for p in pitches) for c in range(12)
        }
        steps = Counter(b - a for a, b in itertools.pairwise(pitches))
        assert {i - 87: count for i, count in enumerate(intervals.tolist()) if count} == steps


@settings(max_examples=100, deadline=None)
@given(BATCHES)
def test_a_contour_holds_a_pitch_through_rests(tokens: np.ndarray) -> None:
    for row, contour in zip(tokens, pitch_contours(tokens), strict=True):
        pitches = [p for p in sounding_pitches(row).tolist() if p != SILENCE]
        now = pitches[0] if pitches else LOWEST_PITCH
        expected = []
        for pitch in sounding_pitches(row).tolist():
            now = now if pitch == SILENCE else pitch
            expected.append(now)
        assert contour.tolist() == expected


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=4, max_size=4),
    st.lists(st.integers(0, 9), min_size=4, max_size=4),
)
def test_the_divergence_is_jensen_and_shannons(counts: list[int], real: list[int]) -> None:
    found = float(jensen_shannon(np.array([counts]), np.array(real))[0])
    if sum(counts) == 0 or sum(real) == 0:
        assert found == 1
        return
    p, q = np.array(counts) / sum(counts), np.array(real) / sum(real)
    entropy = [
        -sum(x * math.log2(x) for x in distribution if x > 0)
        for distribution in ((p + q) / 2, p, q)
    ]
    assert found == pytest.approx(entropy[0] - (entropy[1] + entropy[2]) / 2, abs=1e-9)


def test_the_squared_error_is_that_to_the_nearest_held_out_melody(folder: Path) -> None:
    task = task_of(folder, held_out_share=0.3)
    samples = random_model(task.spec, scale=3.0).sample(20, rng())
    contours, real = (pitch_contours(tokens.numpy()) for tokens in (samples, task.held_out))
    expected = np.mean([min(((a - b) ** 2).mean() for b in real) for a in contours])
    assert task.measure(samples)["mse"] == pytest.approx(expected)
    assert task.measure(task.held_out)["mse"] == 0


def test_what_is_measured_of_held_out_melodies_is_no_difference(folder: Path) -> None:
    task = task_of(folder, held_out_share=0.3)
    metrics = task.measure(task.held_out)
    assert metrics["pitch_class_divergence"] == pytest.approx(0, abs=1e-12)
    assert metrics["interval_divergence"] == pytest.approx(0, abs=1e-12)
    silent = torch.full((4, 16), REST)
    assert task.measure(silent)["pitch_class_divergence"] == 1
    assert task.measure(silent)["mse"] > 100


def test_estimates_bracket_the_metrics(folder: Path) -> None:
    task = task_of(folder, held_out_share=0.3)
    policy = random_model(task.spec)
    metrics, estimates = task.evaluate(policy, rng(3)), task.estimates(policy, rng(3))
    assert set(metrics) == set(estimates)
    assert {"mse", "pitch_class_divergence", "interval_divergence", "bleu4", "nll_gen"} <= set(
        metrics
    )
    for name in ("mse", "pitch_class_divergence", "interval_divergence"):
        assert estimates[name].value == pytest.approx(metrics[name])
        assert estimates[name].low < metrics[name] < estimates[name].high


def test_the_interval_of_a_divergence_is_about_as_wide_as_its_spread_over_samples() -> None:
    model = random_model(TokenSpec(VOCAB_SIZE, 16))
    real = model.sample(400, rng(1))
    metrics = MusicMetrics(TokenSpec(VOCAB_SIZE, 16), real[:200], real[200:])
    estimate = metrics.estimates(model, 200, rng(2))["interval_divergence"]
    values = [
        metrics.of_samples(model.sample(200, rng(seed)))["interval_divergence"]
        for seed in range(10, 30)
    ]
    spread = 2 * 1.96 * np.std(values, ddof=1)
    assert 0.5 * spread < estimate.high - estimate.low < 2 * spread


# ---- files ----


def test_samples_become_files_that_hold_them_and_a_picture(folder: Path, tmp_path: Path) -> None:
    task = task_of(folder)
    samples = torch.cat([random_model(task.spec).sample(3, rng()), torch.full((1, 16), REST)])
    task.write_samples(samples, tmp_path / "new" / "samples")
    written = sorted(path.name for path in (tmp_path / "new" / "samples").iterdir())
    assert written == ["000.mid", "001.mid", "002.mid", "003.mid", "piano_roll.png"]
    for i, row in enumerate(samples):
        file = mido.MidiFile(tmp_path / "new" / "samples" / f"{i:03}.mid")
        assert file.length == pytest.approx(16 / 2 / 2)  # two steps a beat, two beats a second
        assert sum(m.type == "note_on" and m.velocity > 0 for m in file) == int(
            is_onset(row.numpy()).sum()
        )
    assert (tmp_path / "new" / "samples" / "piano_roll.png").read_bytes().startswith(b"\x89PNG")


def test_samples_that_cannot_be_written_are_a_clear_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="samples cannot be written to"):
        task_of(folder).write_samples(torch.full((1, 16), 40), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_on_music_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.mid").write_bytes(b"MThd")
    run, files = tmp_path / "run", tmp_path / "files"
    small = [
        "--batch-size",
        "8",
        "--rounds",
        "1",
        "--mle-epochs",
        "1",
        "--num-negatives",
        "20",
        "--d-pretrain-epochs",
        "1",
    ]
    small += [
        "--max-length",
        "16",
        "--no-knobs",
        "--set",
        "embedding_dim=8",
        "--set",
        "hidden_dim=8",
    ]
    assert (
        main(["train", "--task", "music", "--corpus", str(folder), "--out", str(run), *small]) == 0
    )
    shown = " ".join(capsys.readouterr().out.split())
    assert "broken.mid: damaged" in shown
    assert "mean squared error" in shown
    assert {"mse", "interval_divergence"} <= set(
        json.loads((run / "result.json").read_text())["agent"]
    )
    assert main(["sample", str(run), "--num", "2", "--out", str(files)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [len(line.split()) for line in lines] == [16, 16]
    assert len(list(files.iterdir())) == 3
    write_tune(folder / "one-more.mid", 70)
    assert main(["sample", str(run)]) == 0  # by the vocabulary that the run carries
    assert "has changed since it was trained" in capsys.readouterr().err


# ---- bad input ----


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_length": 1}, "max_length is 1; allowed is 2 or more"),
        ({"steps_per_beat": 0}, r"steps_per_beat is 0; allowed is 1\.\.48"),
        ({"held_out_share": 0.5}, "held_out_share is 0.5; allowed is above 0 and below 0.5"),
        ({"num_eval": 1}, "num_eval is 1; allowed is 2 or more"),
        ({"steps_per_beats": 2}, "steps_per_beats.*steps_per_beat"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task("music", **settings)


def test_a_folder_without_music_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("C4 D4")
    with pytest.raises(ValueError, match=r"has no file \*\.mid, \*\.midi or \*\.kar"):
        task_of(tmp_path)
    for path in (tmp_path / "missing", tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match="is no folder; give one with files"):
            task_of(path)


def test_damaged_and_empty_files_among_good_ones_are_skipped_named_and_counted(
    folder: Path,
) -> None:
    good = task_of(folder)
    (folder / "damaged.mid").write_bytes((folder / "50.mid").read_bytes()[:60])
    (folder / "text.MID").write_text("no music")
    mido.MidiFile(tracks=[mido.MidiTrack()]).save(folder / "silent.midi")
    write_melody(folder / "low.mid", [(0, 4, 3)], 4, 2)
    (folder / "readme.txt").write_text("not music, not counted")
    task = task_of(folder)
    assert task.summary.skipped == {
        "damaged.mid": "damaged",
        "text.MID": "not a MIDI file",
        "silent.midi": "no notes",
        "low.mid": "no notes on the 88 keys",
    }
    assert "skipped 4 files" in str(task.summary)
    assert all(name in str(task.summary) for name in task.summary.skipped)
    assert task.fingerprint == good.fingerprint


def test_a_folder_with_nothing_to_use_says_why_of_some(tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.mid").write_bytes(b"hello")
    with pytest.raises(
        ValueError,
        match=r"no music to use \(0.mid: not a MIDI file, .*4.mid: not a MIDI file, and 3 more\)$",
    ):
        task_of(tmp_path)


def test_music_too_short_or_too_little_says_what_would_help(tmp_path: Path) -> None:
    write_tune(tmp_path / "a.mid", 50, num_notes=10)
    with pytest.raises(
        ValueError, match="no melody fills 16 steps: lower max_length or raise steps_per_beat"
    ):
        task_of(tmp_path)
    write_tune(tmp_path / "b.mid", 51)
    with pytest.raises(ValueError, match="has 1 distinct melodies to use; 11 or more are needed"):
        task_of(tmp_path)


# ---- real music ----


def test_the_jigs_are_read_whole() -> None:
    task = MusicTask(MusicSettings(corpus=str(needs_data("music"))))
    assert (task.summary.pieces, task.summary.skipped, task.summary.too_short) == (340, {}, 0)
    assert task.summary.off_keys == 0
    assert task.summary.off_grid < 0.02 * task.summary.notes
    assert task.measure(task.real_sequences[:500])["interval_divergence"] < 0.05
