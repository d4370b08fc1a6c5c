"""The built-in music: tunes made by rule of scales, arpeggios and cadences, in all twelve major and
minor keys.

A tune has four phrases of eight beats: a scale, an arpeggio over two chords, another scale or
arpeggio, and a cadence.
"""

from __future__ import annotations

import functools
import itertools

from seqgan_env.tasks.music.midi import Note, Score

PIECES_PER_KEY = 40

_TICKS_PER_EIGHTH = 6
_REST = None

# Pairs of a degree of the scale (0 the tonic, 7 its octave), or a rest, and the eighths that it
# lasts; 16 of them a phrase.
_Phrase = tuple[tuple[int | None, int], ...]

_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_HARMONIC_MINOR = (0, 2, 3, 5, 7, 8, 11)
_CLIMB, _FALL = tuple(range(8)), tuple(range(7, -1, -1))


def _even(degrees: tuple[int, ...], eighths: int = 1) -> _Phrase:
    """Degrees that all last as long."""
    return tuple(zip(degrees, itertools.repeat(eighths)))


_SCALES: tuple[_Phrase, ...] = (
    _even(_CLIMB + _FALL),
    _even(_FALL + _CLIMB),
    (*_even((0, 2, 1, 3, 2, 4, 3, 5, 4, 6, 5)), (7, 3), (_REST, 2)),
    tuple(zip(_CLIMB, (3, 1) * 4, strict=True)),
    tuple(zip(_FALL, (3, 1) * 4, strict=True)),
    _even(_FALL, 2),
)

_FIGURES: tuple[_Phrase, ...] = (  # above the root of a chord, 8 eighths
    _even((0, 2, 4, 7, 4, 2, 0, 2)),
    _even((0, 4, 2, 4, 0, 4, 2, 4)),  # Alberti
    _even((7, 4, 2, 0), 2),
    ((0, 1), (2, 1), (4, 2), (7, 2), (_REST, 2)),
)
_CHORD_PAIRS = ((0, 3), (0, 4), (5, 3), (1, 4))

_CADENCES: tuple[_Phrase, ...] = (
    ((5, 2), (3, 2), (4, 2), (6, 2), (7, 6), (_REST, 2)),  # IV V I
    ((1, 2), (3, 2), (4, 2), (6, 2), (7, 8)),  # ii V I
    ((5, 4), (3, 4), (4, 2), (2, 2), (0, 4)),  # IV I, plagal
    ((4, 2), (3, 2), (2, 2), (1, 2), (0, 6), (_REST, 2)),  # V I, stepwise
    ((2, 3), (3, 1), (4, 2), (6, 2), (5, 8)),  # V vi, deceptive
)


@functools.cache
def built_in_scores() -> tuple[Score, ...]:
    """The tunes, always the same: `PIECES_PER_KEY` in each of 24 keys, no two of a key alike."""
    pairs = itertools.product(_FIGURES, _CHORD_PAIRS)
    arpeggios = tuple(itertools.starmap(_arpeggio, pairs))
    plans = list(itertools.product(_SCALES, arpeggios, _SCALES + arpeggios, _CADENCES))
    keys = itertools.product((_MAJOR, _HARMONIC_MINOR), range(55, 67))  # tonics from G3 to F#4
    # A prime that does not divide the number of plans comes to every one before any comes again.
    stride = 1019
    scores: list[Score] = []
    for scale, tonic in keys:
        for _ in range(PIECES_PER_KEY):
            plan = plans[len(scores) * stride % len(plans)]
            scores.append(_score(plan, scale, tonic))
    return tuple(scores)


def _arpeggio(figure: _Phrase, roots: tuple[int, int]) -> _Phrase:
    """A figure on one root and then on the other; rests stay rests."""
    phrase: list[tuple[int | None, int]] = []
    for root in roots:
        for degree, eighths in figure:
            if degree is not None:
                degree += root
            phrase.append((degree, eighths))
    return tuple(phrase)


def _score(phrases: tuple[_Phrase, ...], scale: tuple[int, ...], tonic: int) -> Score:
    """The notes of phrases, one behind the other, in a key.

    Args:
        phrases: of the tune.
        scale: semitones of the seven degrees above the tonic.
        tonic: MIDI pitch of degree 0.
    """
    notes, now = [], 0
    for degree, eighths in itertools.chain.from_iterable(phrases):
        end = now + eighths * _TICKS_PER_EIGHTH
        if degree is not None:
            octave, step = divmod(degree, 7)
            notes.append(Note(now, end, tonic + 12 * octave + scale[step]))
        now = end
    return Score(2 * _TICKS_PER_EIGHTH, tuple(notes))
