"""Files that exhaust or mislead end in one line that names them; nothing grows over long use."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.fuzz_files import SPECIAL, TARGETS, fuzz, make_special
from benchmarks.soak import KINDS
from seqgan_env.bench.jobs import read_suite
from seqgan_env.bench.results import Result
from seqgan_env.bench.tables import plain_markdown
from seqgan_env.tasks import make_task
from seqgan_env.tasks.oracle.task import load_oracle_arrays
from seqgan_env.tasks.reading import read_lines
from seqgan_env.training.run_directory import CONFIG, read_json, read_weights, write_json
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import load_run

READERS: dict[str, Callable[[Path], object]] = {
    "json": read_json,
    "weights": read_weights,
    "pickle": load_oracle_arrays,
    "text": lambda path: read_lines(str(path)),
    "suite": read_suite,
}


@pytest.mark.parametrize("kind", [kind for kind in SPECIAL if kind != "empty"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_that_can_be_read_to_its_end_is_refused(
    reader: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    make_special(path, kind)
    with pytest.raises(ValueError, match=str(path)):
        READERS[reader](path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_deep_nesting_is_damage(text: str, tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"deep\.json is damaged"):
        read_json(path)


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"seed": 1.5}, "seed is 1.5; expected a whole number"),
    ({"rounds": "many"}, "rounds is 'many'; expected a whole number"),
    ({"knobs": 1}, "knobs is 1; expected true or false"),
    ({"sync_rate": float("nan")}, "sync_rate is nan; expected a finite number"),
    ({"agent_options": [1]}, r"agent_options is \[1\]; expected names with values"),
    (
        {"agent_options": {"embedding_dim": -1}},
        "agent reinforce: embedding_dim is -1; allowed is 1 or more",
    ),
    (
        {"agent_options": {"hidden_dim": 60_000}},
        "embedding_dim 32 and .* make .* parameters; allowed are",
    ),
    ({"task_options": {"vocab_size": 2**31}}, "vocab_size is 2147483648; allowed is up to"),
    ({"task_options": {"num_real": 10**12}}, "num_real is 1000000000000; allowed is up to"),
    ({"batch_size": 2**40}, "batch_size is 1099511627776; allowed is up to"),
]


@pytest.mark.parametrize(("settings", "message"), SETTINGS, ids=str)
def test_a_setting_that_cannot_be_is_named_with_its_file(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    text = json.dumps({"settings": settings})
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(ValueError, match=rf"config\.json: {message}"):
        load_run(tmp_path)


def test_a_setting_that_there_is_not_is_named_with_the_nearest(tmp_path: Path) -> None:
    write_json(tmp_path / CONFIG, {"settings": {"round": 3}})
    with pytest.raises(ValueError, match=r"config.json 'round'.*Did you mean 'rounds'"):
        load_run(tmp_path)


class _Huge:
    def __reduce__(self) -> Any:
        return bytearray, (2**40,)


class _HugeArray:
    def __reduce__(self) -> Any:
        shape: tuple[int, ...] = (2**40,)
        reconstruct = np.empty(0).__reduce__()[0]
        return reconstruct, (np.ndarray, shape, b"b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(_Huge()), "only NumPy arrays"),
        (pickle.dumps([_HugeArray()], protocol=3), "it asks for an array of shape"),
        (pickle.dumps({(): ()}), "holds EMPTY_DICT"),
        (b"\x80\x03]r\xff\xff\xff\x7f.", "stores object 2147483647"),
        (b"\x80\x05\x96\x00\x00\x00\x00\x00\x01\x00\x00.", "damaged"),
    ],
)
def test_a_pickle_that_asks_for_memory_or_time_is_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "oracle.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"oracle\.pkl .*{message}"):
        load_oracle_arrays(path)


def test_a_tokenizer_that_makes_much_of_little_is_refused(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    twice = tokenizers.normalizers.Replace("a", "aa")
    made.normalizer = tokenizers.normalizers.Sequence([twice] * 30)
    made.save(str(tmp_path / "bomb.json"))
    with pytest.raises(ValueError, match=r"bomb\.json .*characters of one"):
        make_task("text", tokenizer=str(tmp_path / "bomb.json"))


@pytest.mark.parametrize("seeds", ["0x7fffffffffffffff", "0", "true", "1e999"])
def test_a_suite_of_too_many_seeds_is_refused(seeds: str, tmp_path: Path) -> None:
    seeds = seeds.replace("1e999", "inf")
    (tmp_path / "s.toml").write_text(f"seeds = {seeds}\n[tasks.oracle-tiny]\n[rows.mine]\n")
    with pytest.raises(ValueError, match=r"s\.toml: seeds is"):
        read_suite(tmp_path / "s.toml")


@pytest.mark.parametrize("label", ["a\u2028b", "a\nb", "a\x00", "a\x1b[31m"])
def test_a_label_that_ends_lines_or_formulas_is_refused(label: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    Result(label, "oracle-tiny", 0, {}).write(path)
    with pytest.raises(ValueError, match=r"r\.json has a label that holds"):
        Result.read(path)


def test_half_a_character_in_a_result_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    Result("mine", "oracle-tiny", 0, {}, samples=["\ud83d"]).write(path)
    with pytest.raises(ValueError, match="half of a character"):
        Result.read(path)


def test_markdown_of_labels_is_no_html_no_link_and_one_line() -> None:
    assert plain_markdown("<img src=x>\n# a") == "&lt;img src=x&gt; # a"
    assert plain_markdown("![](http://x)") == "!\\[\\](http://x)"


def test_settings_of_the_kinds_that_are_meant_pass() -> None:
    TrainSettings(sync_rate=1, d_batch_size=None, task_options={"num_real": np.int64(10)})


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits of memory are those of POSIX")
def test_no_mutant_of_any_file_crashes_hangs_or_executes() -> None:
    counts = fuzz(20 * len(TARGETS), seed=1)
    assert all(count.keys() <= {"error", "valid"} for count in counts.values()), counts


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("kind", "num"), [("steps", 30_000), ("online updates", 500), ("make", 60)]
)
def test_nothing_grows(kind: str, num: int) -> None:
    soak, _ = KINDS[kind]
    found = soak(num)
    assert found["descriptors"] <= 0
    assert found["megabytes"] < 60  # pools of the allocator; the whole run tells more
