"""The built-in corpus: English sentences from the docstrings of the Python standard library on the user's own machine.

The files are parsed, never imported. What comes out depends on the Python version alone.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

MIN_WORDS, MAX_WORDS = 4, 40

_SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_pyrepl", "ensurepip"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_MARKUP = re.compile(r">>>|\.\. |::|[`*|_=<>@#$%\\/{}\[\]~^]|^\s*[-+*o] |^\s*\w+ ?: |  \S+ +- |--")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_SENTENCE = re.compile(r"[A-Z][a-z]*(?:[-'][a-z]+)*(?:[,;:]? [a-z]+(?:[-'][a-z]+)*|[,;:]? [A-Z][a-z]+)*\.")
_TOKEN = re.compile(r"[a-z]+(?:[-'][a-z]+)*|[.,;:]")


@functools.cache
def docstring_sentences() -> tuple[str, ...]:
    """Distinct sentences in lower case, tokens separated by spaces, in the order of the files that they stand in."""
    root = Path(sysconfig.get_path("stdlib"))
    return tuple(dict.fromkeys(s for path in _source_files(root) for text in _docstrings(path) for s in sentences_of(text)))


def _source_files(root: Path) -> list[Path]:
    files = [p.relative_to(root) for p in root.rglob("*.py")]
    kept = [p for p in files if not _SKIPPED_FOLDERS.intersection(p.parts)]
    return [root / p for p in sorted(kept, key=Path.as_posix)]


def _docstrings(path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    stack = [tree]
    while stack:
        node = stack.pop()
        doc = ast.get_docstring(node)
        if doc:
            yield doc
        stack.extend(c for c in reversed(node.body) if isinstance(c, _DOCUMENTED))


def sentences_of(docstring: str):
    for par in re.split(r"\n\s*\n", docstring):
        lines = par.splitlines()
        if _MARKUP.search(par):
            pass
        text = " ".join(par.split())
        for s in _SENTENCE_END.split(text):
            if _SENTENCE.fullmatch(s):
                toks = _TOKEN.findall(s.lower())
                if MIN_WORDS <= len(toks) <= MAX_WORDS:
                    yield " ".join(toks)
