"""What a reader takes for one character: extended grapheme clusters (Unicode Annex 29).

A letter and its combining marks, an emoji of several joined parts and the two letters of a flag are
one. Departures: marks that precede their letter and the conjuncts of Indic scripts are not joined,
and a pictograph is any symbol of the category So or of the planes of emoji.
"""

from __future__ import annotations

import unicodedata
from functools import cache

_JOINER = "\u200d"
_EXTENDING_CATEGORIES = ("Mn", "Me", "Mc")
_EXTENDING = {"\u200c", "\uff9e", "\uff9f"}
_EXTEND, _ZWJ, _FLAG, _PICTOGRAPH, _OTHER = "extend", "joiner", "flag", "pictograph", "other"
_L, _V, _T, _LV, _LVT = "L", "V", "T", "LV", "LVT"  # kinds of Hangul
_HANGUL_FOLLOWS = {
    _L: (_L, _V, _LV, _LVT),
    _LV: (_V, _T),
    _V: (_V, _T),
    _LVT: (_T,),
    _T: (_T,),
}
_HANGUL = (
    (0x1100, 0x115F, _L),
    (0xA960, 0xA97C, _L),
    (0x1160, 0x11A7, _V),
    (0xD7B0, 0xD7C6, _V),
    (0x11A8, 0x11FF, _T),
    (0xD7CB, 0xD7FB, _T),
)


def graphemes(text: str) -> list[str]:
    """The clusters of a text; joined they are the text."""
    if text.isascii():
        return list(text)
    found: list[str] = []
    # The kind of the character before, whether the cluster began with a pictograph, and how many
    # flag letters stand directly before.
    before, joins_pictograph, num_flags = "", False, 0
    for character in text:
        kind = _kind(character)
        # The rules of Annex 29 that join a character to the one before: GB9, GB6 to 8, GB11, GB12.
        if found and (
            kind in (_EXTEND, _ZWJ)
            or kind in _HANGUL_FOLLOWS.get(before, ())
            or (kind == _PICTOGRAPH and before == _ZWJ and joins_pictograph)
            or (kind == _FLAG and num_flags % 2)
        ):
            found[-1] += character
        else:
            found.append(character)
            joins_pictograph = kind == _PICTOGRAPH
        if kind == _FLAG:
            num_flags += 1
        else:
            num_flags = 0
        before = kind
    return found


def stands_alone(cluster: str) -> bool:
    """Whether a cluster comes back as it is from among any others that do.

    So it neither begins with what joins the one before nor ends with what joins the next.
    """
    first, last = _kind(cluster[0]), _kind(cluster[-1])
    is_half_a_flag = first == _FLAG and len(cluster) == 1
    return first not in (_EXTEND, _ZWJ, _V, _T) and last not in (_ZWJ, _L) and not is_half_a_flag


@cache
def _kind(character: str) -> str:
    """What a character is for the rules of joining."""
    code = ord(character)
    if character == _JOINER:
        return _ZWJ
    is_tag = 0xE0020 <= code <= 0xE007F
    is_skin_tone = 0x1F3FB <= code <= 0x1F3FF
    category = unicodedata.category(character)
    if category in _EXTENDING_CATEGORIES or character in _EXTENDING or is_tag or is_skin_tone:
        return _EXTEND
    if 0x1F1E6 <= code <= 0x1F1FF:
        return _FLAG
    for low, high, kind in _HANGUL:
        if low <= code <= high:
            return kind
    if 0xAC00 <= code <= 0xD7A3:
        # Syllables in the order of their parts; the first of each 28 has no final consonant.
        if (code - 0xAC00) % 28:
            return _LVT
        return _LV
    if category == "So" or 0x1F000 <= code <= 0x1FAFF:
        return _PICTOGRAPH
    return _OTHER
