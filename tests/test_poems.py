"""The corpus of quatrains has every poem of four times five characters once, and nothing else."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from benchmarks import poems

MOON = ["床前看月光，疑是地上霜。", "舉頭望山月，低頭思故鄉。"]
SPRING = ["春眠不覺曉，處處聞啼鳥。", "夜來風雨聲，花落知多少？"]
LONG_LINES = ["雲想衣裳花想容，春風拂檻露華濃。", "若非羣玉山頭見，會向瑤臺月下逢。"]
TWO_LINES = ["床前看月光，疑是地上霜。"]
LOST_CHARACTER = ["床前看月光，疑是地上□。", "舉頭望山月，低頭思故鄉。"]


def _package(folder: Path, files: dict[str, list[list[str]]]) -> Path:
    path = folder / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, texts in files.items():
            content = json.dumps([{"paragraphs": text} for text in texts]).encode()
            member = tarfile.TarInfo(f"package/dist/quantangshi/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_every_quatrain_is_written_once_in_the_order_of_the_files(tmp_path: Path) -> None:
    package = _package(
        tmp_path,
        {
            "poet.tang.0.json": [LONG_LINES, SPRING, LOST_CHARACTER],
            "poet.song.0.json": [TWO_LINES, MOON, SPRING],
            "authors.tang.json": [MOON],
        },
    )
    out = tmp_path / "poems.txt"

    poems.main([str(package), str(out)])

    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines == [
        "床 前 看 月 光 疑 是 地 上 霜 舉 頭 望 山 月 低 頭 思 故 鄉",
        "春 眠 不 覺 曉 處 處 聞 啼 鳥 夜 來 風 雨 聲 花 落 知 多 少",
    ]


@pytest.mark.parametrize("fault", ["missing", "no archive", "other", "damaged"])
def test_what_is_no_such_package_is_refused_by_name(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "package.tgz"
    if fault == "no archive":
        path.write_text("poems")
    elif fault == "other":
        _package(tmp_path, {"authors.tang.json": [MOON]})
    elif fault == "damaged":
        _package(tmp_path, {"poet.tang.0.json": [MOON]})
        path.write_bytes(path.read_bytes()[:-30])
    out = tmp_path / "poems.txt"

    with pytest.raises(SystemExit):
        poems.main([str(path), str(out)])

    assert "package.tgz" in capsys.readouterr().err
    assert not out.exists()
