"""The settings of the music task."""

from __future__ import annotations

from dataclasses import dataclass

from seqgan_env.tasks.options import Defaults, check_split_settings, option

SUFFIXES = (".mid", ".midi", ".kar")


@dataclass(frozen=True)
class MusicSettings:
    """A folder of MIDI files and how it becomes sequences. The settings and the files determine
    everything about the task.

    Attributes:
        corpus: path of a folder; its files *.mid, *.midi and *.kar are read, those in folders below
            it too. None is the built-in music of `seqgan_env.tasks.music.tunes`.
        max_length: T, the steps of a sequence.
        steps_per_beat: time steps in a beat, which is a quarter note; every time goes to the
            nearest step. The finer they are, the more of the tokens are holds, which any policy
            learns and any BLEU likes.
        transpose: whether every piece is moved into C major or A minor, from the key that its
            pitches suggest.
        split_seed: of the division into training, validation and held-out pieces.
        validation_share: share of the distinct melodies to select on.
        held_out_share: share of the distinct melodies to report on.
        num_eval: sequences drawn from a policy to evaluate it.
    """

    corpus: str | None = option(
        None, "folder of MIDI files (default: built-in tunes)", "FOLDER", path=True
    )
    max_length: int = option(32, "steps of a sequence", "STEPS")
    steps_per_beat: int = option(2, "time steps in a quarter note", "STEPS")
    transpose: bool = option(False, "move every piece into C major or A minor")
    split_seed: int = option(0, "of the division of the pieces into three parts", "N")
    validation_share: float = option(0.05, "of the distinct melodies, to select on", "SHARE")
    held_out_share: float = option(0.1, "of the distinct melodies, to report on", "SHARE")
    num_eval: int = option(2_000, "sequences drawn from a policy to evaluate it", "SEQUENCES")

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ValueError(f"max_length is {self.max_length}; allowed is 2 or more")
        if not 1 <= self.steps_per_beat <= 48:
            raise ValueError(f"steps_per_beat is {self.steps_per_beat}; allowed is 1..48")
        check_split_settings(self)


# Notes need a larger model than the oracle's tokens, and fewer, dearer rounds.
MUSIC = Defaults(
    MusicSettings(),
    {
        "tiny": {
            "batch_size": 64,
            "mle_epochs": 30,
            "rounds": 60,
            "num_negatives": 1_000,
            "agent_options": {
                "embedding_dim": 64,
                "hidden_dim": 128,
                "learning_rate": 1e-3,
                "mle_learning_rate": 4e-2,
                "mle_learning_rate_decay": 0.95,
                "mle_weight_decay": 0.1,
            },
        }
    },
)
