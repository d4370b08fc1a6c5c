"""The settings of the text task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seqgan_env.names import choose
from seqgan_env.tasks.options import Defaults, check_split_settings, option
from seqgan_env.tasks.text.tokenizers import LEVELS

LONG_LINES = ("drop", "cut")
UNICODE_FORMS = ("NFC", "NFKC", "none")

DEFAULT_LENGTH = 20


@dataclass(frozen=True)
class CorpusSettings:
    """A text and how it becomes sequences. The settings and the text determine everything about the
    task.

    Attributes:
        corpus: path of a UTF-8 text, a sentence a line; None is the built-in English of
            `seqgan_env.tasks.text.docstrings`.
        column: of a table (.csv, .tsv) or key of JSON lines (.jsonl) that has the texts.
        validation_corpus: path of a text to select on, in place of a share of the corpus.
        held_out_corpus: path of a text to report on, in place of a share of the corpus. What stands
            in one of these is left out of what is trained on.
        max_train_lines: at most so many lines to train on, drawn by `split_seed`.
        level: "word" splits a line at white space, whatever its script; "char" takes every
            character as a word, with its combining marks. None is "char" for molecules (.smi) and
            FASTA, else "word".
        unicode_form: "NFC" or "NFKC" writes what looks the same the same way (Unicode Annex 15);
            "none" leaves it as it is.
        vocab_size: at most so many tokens, <eos>, <unk> and the most frequent words; None takes all
            words of the training part.
        max_length: T, the most tokens of a sequence, its end counted: a line of up to T - 1 words
            fits. None chooses it from the lines: 20 where 90 % of them fit or all are to have one
            length, else what 95 % of them need, up to 128.
        min_length: words that must stand before the end; shorter lines are dropped.
        long_lines: "drop" leaves out lines of T words and more; "cut" keeps their first T words,
            which then have no end.
        lowercase: whether upper case becomes lower case.
        split_seed: of the division into training, validation and held-out lines.
        validation_share: share of the distinct lines to select on.
        held_out_share: share of the distinct lines to report on.
        num_eval: sequences drawn from a policy to evaluate it.
        tokenizer: in place of `level`: "english", the path of a JSON file of the library
            `tokenizers` or of a model's folder with one, "package.module:name", or a function from
            a line to its words, with a method `join` if words are not to be joined by spaces
            (`seqgan_env.tasks.text.tokenizers.Tokenizer`). Only strings can be repeated from a
            run's settings.
        fixed_length: every sequence has exactly T = `max_length` words and no end; shorter lines
            are dropped, and longer ones, or what "cut" leaves over of them.
    """

    corpus: str | None = option(
        None, "UTF-8 text, a sentence a line (default: built-in English)", "FILE", path=True
    )
    column: str | None = option(
        None, "column of .csv or .tsv, or key of .jsonl, that has the texts", "NAME", path=False
    )
    validation_corpus: str | None = option(
        None, "text to select on, in place of a share of the corpus", "FILE", path=True
    )
    held_out_corpus: str | None = option(
        None, "text to report on, in place of a share of the corpus", "FILE", path=True
    )
    max_train_lines: int | None = option(None, "most lines to train on (default: all)", "LINES")
    level: str | None = option(
        None,
        "tokens: word (split at white space) or char (default: char for .smi and FASTA, else word)",
        "LEVEL",
        path=False,
    )
    unicode_form: str = option(
        "NFC", "how Unicode is made uniform: NFC, NFKC or none", "FORM", path=False
    )
    vocab_size: int | None = option(5000, "most tokens, the rarer words are <unk>", "TOKENS")
    max_length: int | None = option(
        None,
        "longest sequence, end token included (default: 20 where nine lines of ten fit, else what "
        "95 % of them need, up to 128)",
        "TOKENS",
    )
    min_length: int = option(0, "words before the end; shorter lines are dropped", "WORDS")
    long_lines: str = option(
        "drop", "lines that do not fit: drop, or cut (then without an end)", "HOW", path=False
    )
    lowercase: bool = option(False, "make upper case lower case")
    split_seed: int = option(0, "of the division of the lines into three parts", "N")
    validation_share: float = option(0.05, "of the distinct lines, to select on", "SHARE")
    held_out_share: float = option(0.1, "of the distinct lines, to report on", "SHARE")
    num_eval: int = option(2_000, "sequences drawn from a policy to evaluate it", "SEQUENCES")
    tokenizer: str | Callable[[str], Sequence[str]] | None = option(  # noqa: RUF009
        None,
        "in place of level: english, a JSON file of the library tokenizers, the folder of a model, "
        "or package.module:name",
        "NAME",
    )
    fixed_length: bool = option(False, "only sequences of exactly max_length words, without an end")

    def __post_init__(self) -> None:
        if self.level is not None:
            choose(LEVELS, self.level, "level")
        choose(LONG_LINES, self.long_lines, "long_lines")
        choose(UNICODE_FORMS, self.unicode_form, "unicode_form")
        if self.max_train_lines is not None and self.max_train_lines < 1:
            raise ValueError(f"max_train_lines is {self.max_train_lines}; allowed is 1 or more")
        if self.corpus is None:
            self._check_no_files()
        if self.tokenizer is not None and self.level not in (None, "word"):
            raise ValueError(
                f"level is {self.level!r} and tokenizer {self.tokenizer!r}; give one of them"
            )
        if self.vocab_size is not None and self.vocab_size < 3:
            raise ValueError(
                f"vocab_size is {self.vocab_size}; allowed is 3 or more (<eos>, <unk> and a word), "
                "or None"
            )
        if self.max_length is not None and self.max_length < 2:
            raise ValueError(
                f"max_length is {self.max_length}; allowed is 2 or more (a word and the end)"
            )
        if self.min_length < 0:
            raise ValueError(f"min_length is {self.min_length}; allowed is 0 or more")
        if self.max_length is not None and self.min_length >= self.max_length:
            raise ValueError(
                f"min_length is {self.min_length}; allowed is 0..{self.max_length - 1} (max_length "
                "- 1)"
            )
        if self.fixed_length and self.min_length:
            raise ValueError(
                f"min_length is {self.min_length}, but with fixed_length all sequences have "
                f"{self.max_length or DEFAULT_LENGTH} words"
            )
        check_split_settings(self)

    def _check_no_files(self) -> None:
        """The built-in corpus is split, and has no columns."""
        for name in ("column", "validation_corpus", "held_out_corpus"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but there is no corpus; give one"
                )


# Words need a larger model than the oracle's tokens, and fewer, dearer rounds.
TEXT = Defaults(
    CorpusSettings(),
    {
        "tiny": {
            "batch_size": 64,
            "mle_epochs": 8,
            "rounds": 60,
            "agent_options": {
                "embedding_dim": 64,
                "hidden_dim": 128,
                "learning_rate": 1e-3,
                "mle_learning_rate": 2e-2,
                "mle_learning_rate_decay": 0.8,
                "mle_weight_decay": 0.1,
            },
        }
    },
)
