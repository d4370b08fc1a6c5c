r"""The corpus of Chinese quatrains: every Tang and Song quatrain of four times five characters.

It is made from the npm package chinese-poetry 2.0.1 (MIT licence), which is fetched once by hand:

    curl -LO https://registry.npmjs.org/chinese-poetry/-/chinese-poetry-2.0.1.tgz
    python -m benchmarks.poems chinese-poetry-2.0.1.tgz poems.txt

A line of poems.txt is a poem: 20 characters with a space between each two, without punctuation.
The characters are of the Unicode blocks of CJK unified ideographs and their extension A. A poem
that stands twice in the collection is written once.
"""

import argparse
import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

from seqgan_env.training.run_directory import write_text

COLLECTION = re.compile(r"package/dist/quantangshi/poet\.(tang|song)\.\d+\.json")
PUNCTUATION = re.compile("[，。？！；：、]")
FIVE_CHARACTERS = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]{5}")


def quatrain(paragraphs: list[str]) -> str | None:
    """The 20 characters of a poem if it is four times five of them, else None."""
    verses = [verse for verse in PUNCTUATION.split("".join(paragraphs)) if verse]
    if len(verses) == 4 and all(FIVE_CHARACTERS.fullmatch(verse) for verse in verses):
        return "".join(verses)
    return None


def quatrains(package: Path) -> list[str]:
    """The quatrains of the package, by the names of its files and their order within, each once.

    Raises:
        OSError: the package cannot be read.
        tarfile.TarError: it is no tar archive.
        EOFError: it ends before its end.
        ValueError: it has no files of poems, or one of them is damaged.
    """
    found: dict[str, None] = {}
    with tarfile.open(package) as archive:
        names = sorted(name for name in archive.getnames() if COLLECTION.fullmatch(name))
        if not names:
            raise ValueError("no package/dist/quantangshi/poet.tang.*.json or poet.song.*.json")
        for name in names:
            poems = archive.extractfile(name)
            if poems is None:
                raise ValueError(f"{name} is not a file")
            for poem in json.load(poems):
                text = quatrain(poem["paragraphs"])
                if text is not None:
                    found.setdefault(text)
    return list(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the package and writes the corpus, or says why it cannot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package", type=Path, help="chinese-poetry-2.0.1.tgz")
    parser.add_argument("out", type=Path, help="the corpus to write, such as poems.txt")
    chosen = parser.parse_args(arguments)
    try:
        poems = quatrains(chosen.package)
        write_text(chosen.out, "".join(" ".join(poem) + "\n" for poem in poems))
    except (OSError, EOFError, tarfile.TarError, ValueError) as problem:
        parser.error(f"{chosen.package}: {problem}")
    print(f"{len(poems)} quatrains written to {chosen.out}")


if __name__ == "__main__":
    main()
