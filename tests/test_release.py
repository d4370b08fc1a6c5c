"""What a release says of itself agrees."""

from __future__ import annotations

import re
from pathlib import Path

import seqgan_env

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {seqgan_env.__version__}\n" in read("CITATION.cff")


def test_the_changelog_has_the_newest_changes_first() -> None:
    titles = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert titles[0] == "Unreleased"
    versions = [tuple(map(int, title.split("."))) for title in titles[1:]]
    assert versions == sorted(versions, reverse=True)


def test_what_is_tested_elsewhere_is_what_is_promised() -> None:
    pythons = re.findall(r'"(3\.\d+)"', read(".github/workflows/test.yml").split("kernels:")[0])
    wheels = re.search(r"CIBW_BUILD: (.+)", read(".github/workflows/wheels.yml"))
    assert wheels
    assert [f"cp{version.replace('.', '')}-*" for version in pythons] == wheels[1].split()
    assert f"python_requires = >={pythons[0]}" in read("setup.cfg")
