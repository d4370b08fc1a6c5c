"""The tokens of a molecule's text."""

from __future__ import annotations

import re

from seqgan_env.extras import load

# What the literature splits SMILES by (Schwaller et al. 2018): atoms in brackets are whole.
_SMILES = re.compile(
    r"\[[^\[\]]+\]|Br|Cl|%\d\d|[BCNOSPFIbcnops]|[0-9]|\(|\)|\.|=|#|-|\+|\\|/|:|~|@|\?|>|\*|\$"
)
_SELFIES = re.compile(r"\[[^\[\]]+\]|\.")


def tokens_of(text: str, notation: str) -> tuple[str, ...]:
    """The tokens of a text in SMILES or SELFIES.

    Raises:
        ValueError: a part of it is no token; says which.
    """
    pattern = _SELFIES
    if notation == "smiles":
        pattern = _SMILES
    found = tuple(pattern.findall(text))
    if "".join(found) != text:
        at = _first_unread(text, pattern)
        raise ValueError(f"{text[:60]!r} is no {notation.upper()} from {text[at : at + 10]!r} on")
    return found


def _first_unread(text: str, pattern: re.Pattern[str]) -> int:
    position = 0
    while found := pattern.match(text, position):
        position = found.end()
    return position


def to_selfies(smiles: str) -> str | None:
    """A molecule as SELFIES; None where it has none."""
    selfies = load("selfies", "notation 'selfies'")
    try:
        text: str = selfies.encoder(smiles)
    except selfies.EncoderError:
        return None
    return text


def from_selfies(text: str) -> str:
    """The SMILES that SELFIES stand for; "" for what no molecule is made of."""
    selfies = load("selfies", "notation 'selfies'")
    try:
        smiles: str = selfies.decoder(text)
    except selfies.DecoderError:
        return ""
    return smiles
