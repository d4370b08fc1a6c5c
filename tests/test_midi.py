"""From MIDI files to melodies and back: nothing is lost that can be kept, and what is left out is
counted.
"""

from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgan_env.tasks.music.melody import estimate_key, finer_grid, melody_of, to_common_key
from seqgan_env.tasks.music.midi import Note, Score, UnusableMidiError, read_score, write_melody
from seqgan_env.tasks.music.music_tokens import (
    HOLD,
    LOWEST_PITCH,
    NUM_KEYS,
    REST,
    SILENCE,
    VOCAB_SIZE,
    from_notes,
    highest_notes,
    is_onset,
    notes_of,
    sounding_pitches,
    token_of,
    word_of,
)
from seqgan_env.tasks.music.piano_roll import shown_range

C_MAJOR = (0, 2, 4, 5, 7, 9, 11, 12)
MELODIES = st.lists(
    st.integers(0, VOCAB_SIZE - 1) | st.just(HOLD) | st.just(REST), min_size=1, max_size=24
).map(np.array)
ON_THE_KEYS = st.integers(LOWEST_PITCH, LOWEST_PITCH + NUM_KEYS - 1)
NOTES = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 6), ON_THE_KEYS), min_size=1, max_size=8
)


def message(
    kind: str, note: int, time: int = 0, channel: int = 0, velocity: int = 64
) -> mido.Message:
    return mido.Message(kind, note=note, time=time, channel=channel, velocity=velocity)


def save(path: Path, *tracks: list[mido.Message], kind: int = 1, ticks: int = 480) -> Path:
    mido.MidiFile(
        type=kind, ticks_per_beat=ticks, tracks=[mido.MidiTrack(track) for track in tracks]
    ).save(path)
    return path


# ---- tokens ----


def test_every_token_has_a_word_of_its_own_and_every_word_its_token() -> None:
    words = [word_of(token) for token in range(VOCAB_SIZE)]
    assert len(set(words)) == VOCAB_SIZE
    assert [token_of(word) for word in words] == list(range(VOCAB_SIZE))
    assert (words[0], words[39], words[87], words[REST], words[HOLD]) == (
        "A0",
        "C4",
        "C8",
        ".",
        "-",
    )
    assert token_of("Bb3") == token_of("A#3")


@pytest.mark.parametrize("word", ["", "H4", "C", "C9", "G#0", "c4", "--", "C4 "])
def test_a_word_of_no_token_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"is no word of a melody; allowed are A0\.\.C8"):
        token_of(word)


@settings(max_examples=100, deadline=None)
@given(MELODIES)
def test_what_sounds_is_what_a_reader_from_left_to_right_hears(tokens: np.ndarray) -> None:
    heard, now = [], SILENCE
    for token in tokens.tolist():
        now = now if token == HOLD else SILENCE if token == REST else token + LOWEST_PITCH
        heard.append(now)
    assert sounding_pitches(tokens).tolist() == heard
    notes = notes_of(tokens)
    assert [(start, pitch) for start, _, pitch in notes] == [
        (t, heard[t]) for t in np.flatnonzero(is_onset(tokens)).tolist()
    ]
    assert sum(end - start for start, end, _ in notes) == sum(pitch != SILENCE for pitch in heard)


@settings(max_examples=100, deadline=None)
@given(MELODIES)
def test_notes_and_tokens_say_the_same(tokens: np.ndarray) -> None:
    again = from_notes(notes_of(tokens), len(tokens))
    assert notes_of(again) == notes_of(tokens)
    assert sounding_pitches(again).tolist() == sounding_pitches(tokens).tolist()


@settings(max_examples=100, deadline=None)
@given(NOTES)
def test_the_melody_is_what_sounds_highest_at_each_step(spans: list[tuple[int, int, int]]) -> None:
    notes = [(start, start + length, pitch) for start, length, pitch in spans]
    num_steps = max(end for _, end, _ in notes)
    expected = [
        max([p for s, e, p in notes if s <= t < e], default=SILENCE) for t in range(num_steps)
    ]
    assert sounding_pitches(from_notes(notes, num_steps)).tolist() == expected
    highest = highest_notes(notes, num_steps)
    struck = [
        t for t in range(num_steps) if highest[t] >= 0 and (t == 0 or highest[t] != highest[t - 1])
    ]
    assert np.flatnonzero(is_onset(from_notes(notes, num_steps))).tolist() == struck


# ---- files ----


@settings(max_examples=50, deadline=None)
@given(MELODIES.filter(lambda tokens: bool(is_onset(tokens).any())), st.integers(1, 48))
def test_a_melody_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, tokens: np.ndarray, steps_per_beat: int
) -> None:
    path = tmp_path_factory.mktemp("midi") / "melody.mid"
    notes = notes_of(tokens)
    write_melody(path, notes, len(tokens), steps_per_beat)
    melody = melody_of(read_score(path), steps_per_beat)
    assert notes_of(melody.tokens) == notes
    assert (melody.num_notes, melody.num_lower, melody.num_off_grid, melody.num_off_keys) == (
        len(notes),
        0,
        0,
        0,
    )
    seconds = len(tokens) / steps_per_beat * 60 / 120
    assert mido.MidiFile(path).length == pytest.approx(seconds)


def test_a_note_ends_at_its_end_at_a_silent_strike_at_the_next_strike_or_with_the_track(
    tmp_path: Path,
) -> None:
    path = save(
        tmp_path / "a.mid",
        [
            message("note_on", 60),
            message("note_off", 60, 100),
            message("note_on", 62),
            message("note_on", 62, 100, velocity=0),
            message("note_on", 64),
            message("note_on", 64, 100),
            message("note_on", 65, 50),
            message("note_off", 64, 50),
            mido.MetaMessage("end_of_track", time=30),
        ],
    )
    score = read_score(path)
    expected = {
        Note(0, 100, 60),
        Note(100, 200, 62),
        Note(200, 300, 64),
        Note(300, 400, 64),
        Note(350, 430, 65),
    }
    assert set(score.notes) == expected
    assert score.ticks_per_beat == 480


def test_all_tracks_count_but_the_drums(tmp_path: Path) -> None:
    def notes(pitch: int, channel: int) -> list[mido.Message]:
        return [
            message("note_on", pitch, channel=channel),
            message("note_off", pitch, 480, channel=channel),
        ]

    score = read_score(save(tmp_path / "a.mid", notes(60, 0), notes(64, 3), notes(36, 9)))
    assert set(score.notes) == {Note(0, 480, 60), Note(0, 480, 64)}
    assert score.num_drums == 1
    with pytest.raises(UnusableMidiError, match="drums only"):
        read_score(save(tmp_path / "b.mid", notes(36, 9)))


def test_a_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    one = [message("note_on", 60), message("note_off", 60, 480)]
    long = [message("note_on", 60), message("note_off", 60, 2**27)]
    whole = save(tmp_path / "whole.mid", one).read_bytes()
    frames = (
        whole[:12] + bytes([0xE7, 40]) + whole[14:]
    )  # time in frames: the high bit of the division
    for name, content in {
        "text": b"hello",
        "empty": b"",
        "cut": whole[:-3],
        "header": whole[:9],
        "frames": frames,
    }.items():
        (tmp_path / f"{name}.mid").write_bytes(content)
    reasons = {
        "text": "not a MIDI file",
        "empty": "not a MIDI file",
        "cut": "damaged",
        "header": "damaged",
        "frames": "time in frames, not in beats",
        "missing": "cannot be read",
    }
    for name, reason in reasons.items():
        with pytest.raises(UnusableMidiError, match=reason):
            read_score(tmp_path / f"{name}.mid")
    for path, reason in (
        (
            save(tmp_path / "silent.mid", [mido.MetaMessage("track_name", name="nothing")]),
            "no notes",
        ),
        (save(tmp_path / "two.mid", one, one, kind=2), "tracks without a common time"),
        (save(tmp_path / "long.mid", long), "over 10000 beats"),
    ):
        with pytest.raises(UnusableMidiError, match=reason):
            read_score(path)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 10_000))
def test_damage_never_gives_anything_but_notes_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, length: int
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    write_melody(folder / "a.mid", [(i, i + 1, 60 + i) for i in range(12)], 12, 4)
    data = bytearray((folder / "a.mid").read_bytes())
    data[at % len(data)] = byte
    (folder / "a.mid").write_bytes(data[: 1 + length % len(data)] if length % 2 else data)
    try:
        melody = melody_of(read_score(folder / "a.mid"), 4)
    except UnusableMidiError:
        return
    assert len(melody.tokens) <= 4 * 10_000
    assert melody.num_notes + melody.num_off_keys > 0


# ---- melodies ----


def test_times_go_to_the_nearest_step_and_every_note_sounds() -> None:
    score = Score(100, (Note(0, 1, 60), Note(149, 260, 62), Note(351, 352, 64)))
    melody = melody_of(score, 1)  # a step is 100 ticks; halves go up
    assert notes_of(melody.tokens) == [(0, 1, 60), (1, 3, 62), (4, 5, 64)]
    assert melody.num_off_grid == 2
    assert melody.moved_beats == pytest.approx((49 + 49) / 100)


def test_notes_beside_the_keyboard_and_hidden_ones_are_counted() -> None:
    score = Score(1, (Note(0, 2, 60), Note(0, 2, 72), Note(1, 2, 20), Note(2, 3, 109)))
    melody = melody_of(score, 1)
    assert notes_of(melody.tokens) == [(0, 2, 72)]
    assert (melody.num_notes, melody.num_off_keys, melody.num_lower) == (2, 2, 1)


def test_a_piece_without_notes_on_the_keys_is_an_empty_melody() -> None:
    melody = melody_of(Score(1, (Note(0, 2, 5),)), 4)
    assert (len(melody.tokens), melody.num_notes, melody.num_off_keys) == (0, 0, 1)


@pytest.mark.parametrize("tonic", range(12))
def test_the_key_of_a_scale_is_found_wherever_it_begins(tonic: int) -> None:
    major = np.array([48 + tonic + degree - LOWEST_PITCH for degree in (*C_MAJOR, 7, 4, 0)])
    assert estimate_key(major) == (tonic, False)
    minor = np.array(
        [48 + tonic + degree - LOWEST_PITCH for degree in (0, 2, 3, 5, 7, 8, 11, 12, 7, 3, 0)]
    )
    assert estimate_key(minor) == (tonic, True)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([*range(30, 60), HOLD, REST]), min_size=3, max_size=20),
    st.integers(-11, 11),
)
@example([30, 37, 39, 56, 56], 0)  # two minor keys fit alike
def test_the_common_key_keeps_the_melody_and_forgets_where_it_was(
    tokens: list[int], shift: int
) -> None:
    melody = np.array([40, *tokens])
    struck = is_onset(melody)
    moved = to_common_key(melody)
    elsewhere = to_common_key(np.where(struck, melody + shift, melody))
    assert moved is not None
    assert elsewhere is not None
    assert np.array_equal(is_onset(moved), struck)
    assert np.array_equal(moved[~struck], melody[~struck])
    assert len(set((moved - melody)[struck].tolist())) == 1
    assert abs((moved - melody)[struck]).max() <= 6
    assert estimate_key(moved) in ((0, False), (9, True))
    assert set(((moved - elsewhere)[struck] % 12).tolist()) == {0}


def test_a_melody_as_wide_as_the_keyboard_stays_only_in_the_common_key() -> None:
    wide = np.array([0, 87, 40, 42, 44, 45, 47, 49, 51, 52])  # from A0 to C8
    in_a_minor = np.array(
        [0, 87, *(np.array([57, 59, 60, 62, 64, 65, 67, 69, 64, 60, 57]) - LOWEST_PITCH)]
    )
    assert to_common_key(wide) is None
    moved = to_common_key(in_a_minor)
    assert moved is not None
    assert moved.tolist() == in_a_minor.tolist()


def test_a_wrong_key_signature_or_velocity_is_repaired_and_told(tmp_path: Path) -> None:
    tune = [
        mido.MetaMessage("key_signature", key="D"),
        message("note_on", 60, velocity=99),
        message("note_off", 60, 480),
    ]
    whole = save(tmp_path / "whole.mid", tune)
    assert not read_score(whole).repaired
    content = whole.read_bytes()
    for old, new in ((b"\x59\x02\x02\x00", b"\x59\x02\x09\x05"), (b"\x3c\x63", b"\x3c\xc8")):
        assert content.count(old) == 1
        path = tmp_path / "wrong.mid"
        path.write_bytes(content.replace(old, new))
        score = read_score(path)
        assert score.repaired
        assert score.notes == read_score(whole).notes
    path.write_bytes(content[:-3])
    with pytest.raises(UnusableMidiError, match="damaged"):
        read_score(path)


def test_notes_between_steps_are_told_apart_from_lower_voices() -> None:
    beat = 480
    chord = [Note(0, beat, 60), Note(0, beat, 64)]  # one of them below for as long as it lasts
    fast = [Note(beat + i * 120, beat + (i + 1) * 120, 70 + i) for i in range(4)]  # sixteenths
    score = Score(beat, (*chord, *fast))
    coarse, fine = melody_of(score, 1), melody_of(score, 4)
    assert (coarse.num_lower, fine.num_lower, fine.num_between) == (1, 1, 0)
    assert coarse.num_between == coarse.num_notes - 1 - len(notes_of(coarse.tokens)) > 0
    assert finer_grid([score], 1, coarse.num_between) == 4
    assert finer_grid([score], 48, 3) is None


@settings(max_examples=50, deadline=None)
@given(NOTES, st.integers(1, 8))
def test_every_note_is_written_or_counted_as_lower_or_between(
    spans: list[tuple[int, int, int]], steps_per_beat: int
) -> None:
    notes = tuple(Note(10 * start, 10 * (start + long), pitch) for start, long, pitch in spans)
    melody = melody_of(Score(30, notes), steps_per_beat)
    heard = highest_notes(
        [
            (
                (2 * n.start * steps_per_beat + 30) // 60,
                max(
                    (2 * n.end * steps_per_beat + 30) // 60,
                    (2 * n.start * steps_per_beat + 30) // 60 + 1,
                ),
                n.pitch,
            )
            for n in notes
        ],
        10_000,
    )
    num_heard = len(set(heard.tolist()) - {-1})
    assert melody.num_lower + melody.num_between == len(notes) - num_heard


def test_one_far_note_does_not_set_the_axis_of_a_piano_roll() -> None:
    tune = [60, 62, 64, 65, 67] * 10
    assert shown_range(tune) == (59, 68)
    assert shown_range([*tune, 108, 21]) == (59, 68)
    assert shown_range([40, 60, 80]) == (39, 81)
    low, high = shown_range(list(range(21, 109)))
    assert high - low <= 50
