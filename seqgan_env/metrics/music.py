"""Metrics of melodies besides those of all real data: nearness in pitch, and how pitches and
intervals are distributed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from seqgan_env.metrics.bootstrap import DeleteOne, Mean, Statistic
from seqgan_env.metrics.real_data import RealDataMetrics
from seqgan_env.tasks.music.music_tokens import (
    LOWEST_PITCH,
    NUM_KEYS,
    SILENCE,
    is_onset,
    sounding_pitches,
)

_NO_INTERVAL = NUM_KEYS  # out of -87..87


class MusicMetrics(RealDataMetrics):
    """Measures melodies against the real ones of a task: all of `RealDataMetrics`, and

    - `mse`: the mean squared error in pitch, in semitones squared, of a sample to the held-out
      melody nearest to it: the mean over steps, where a rest counts as the pitch before it, and one
      before all notes as the first of them. Yu et al. (2017) report a mean squared error "for
      continuous pitch data patterns" and do not say to which melody; the mean over all of them
      would be least for one long note in the middle of the keyboard. A sample without a note counts
      as the lowest key.
    - `pitch_class_divergence`: the Jensen-Shannon divergence, in bits (0..1), of the pitch classes
      of the notes struck in the samples and in the held-out melodies.
    - `interval_divergence`: the same of the intervals from one note struck in a melody to the next,
      in semitones up or down.

    A low `mse` with a high `copied_share` is memory, not music.
    """

    def _sample_statistics(self, samples: np.ndarray) -> dict[str, Statistic]:
        found = super()._sample_statistics(samples)
        distances, _ = self._nearest.query(pitch_contours(samples))  # (B,), square roots of sums
        found["mse"] = Mean(distances**2 / samples.shape[1])
        for name, histograms in _HISTOGRAMS.items():
            found[f"{name}_divergence"] = _divergence(
                histograms(samples), histograms(self._held_out).sum(0)
            )
        return found

    @cached_property
    def _nearest(self) -> Any:
        from scipy.spatial import KDTree

        return KDTree(pitch_contours(self._held_out))


def pitch_contours(tokens: np.ndarray) -> np.ndarray:
    """The MIDI pitch (B, T) at every step of melodies (B, T).

    At a rest it is that of the note before it, and before the first note that of the first.
    """
    pitches = sounding_pitches(tokens)
    # Carry the last pitch into the rests behind it; what comes before all notes stays silent.
    steps = np.where(pitches == SILENCE, 0, np.arange(tokens.shape[1]))
    carried = np.take_along_axis(pitches, np.maximum.accumulate(steps, axis=1), axis=1)
    first = np.take_along_axis(pitches, (pitches != SILENCE).argmax(1)[:, None], axis=1)
    first = np.where(first == SILENCE, LOWEST_PITCH, first)
    contours: np.ndarray = np.where(carried == SILENCE, first, carried)
    return contours


def pitch_class_histograms(tokens: np.ndarray) -> np.ndarray:
    """Notes struck by pitch class, C first, (B, 12) of melodies (B, T)."""
    return _histograms(np.where(is_onset(tokens), (tokens + LOWEST_PITCH) % 12, 12), 12)


def interval_histograms(tokens: np.ndarray) -> np.ndarray:
    """How often a note follows another by -87..87 semitones, (B, 175) of melodies (B, T)."""
    struck = is_onset(tokens)
    steps = np.where(struck, np.arange(tokens.shape[1]), -1)
    latest = np.maximum.accumulate(steps, axis=1)
    # The note struck before each step.
    before = np.concatenate([np.full((len(tokens), 1), -1), latest[:, :-1]], axis=1)
    intervals = tokens - np.take_along_axis(tokens, before.clip(min=0), axis=1)
    return _histograms(
        np.where(struck & (before >= 0), intervals, _NO_INTERVAL) + NUM_KEYS - 1, 2 * NUM_KEYS - 1
    )


def _histograms(bins: np.ndarray, num_bins: int) -> np.ndarray:
    """How often each of `num_bins` bins stands in each row; the bin `num_bins` does not count."""
    # Bins of every row of its own, numbered on, so that one count serves all rows.
    flat = bins + np.arange(len(bins))[:, None] * (num_bins + 1)
    counts = np.bincount(flat.ravel(), minlength=len(bins) * (num_bins + 1))
    return counts.reshape(len(bins), -1)[:, :num_bins]


_HISTOGRAMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pitch_class": pitch_class_histograms,
    "interval": interval_histograms,
}


def _divergence(histograms: np.ndarray, real: np.ndarray) -> DeleteOne:
    """The divergence of all samples, with histograms (B, K), from real counts (K,)."""
    total = histograms.sum(0)
    return DeleteOne(
        float(jensen_shannon(total[None], real)[0]),
        lambda: jensen_shannon(total - histograms, real),
        most=1,
    )


def jensen_shannon(counts: np.ndarray, real: np.ndarray) -> np.ndarray:
    """The Jensen-Shannon divergences (R,), in bits, of R distributions from a real one.

    Args:
        counts: (R, K) of the distributions; a divergence is 1 where there are none.
        real: (K,) counts of the real one.
    """
    from scipy.spatial.distance import jensenshannon  # the square root of it

    empty = (counts.sum(1) == 0) | (real.sum() == 0)
    distances = jensenshannon(
        np.where(empty[:, None], 1, counts),
        np.where(real.sum() == 0, 1, real)[None],
        base=2,
        axis=1,
    )
    divergences: np.ndarray = np.where(empty, 1.0, distances**2)
    return divergences
