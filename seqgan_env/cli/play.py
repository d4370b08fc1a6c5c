"""`seqgan play`: who writes a sequence in the terminal sees what the parts of a run think of it."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from seqgan_env.cli.arguments import trust_of
from seqgan_env.cli.output import tell_of_no_data
from seqgan_env.cli.show import visible
from seqgan_env.envs.env import TokenEnv
from seqgan_env.names import choose, nearest
from seqgan_env.rewards.model import RewardModel
from seqgan_env.screen import plain_console
from seqgan_env.streams import RowStreams, streams_from_keys
from seqgan_env.training.opinions import Candidate, Judges, token_name
from seqgan_env.training.trainer import load_run_with_rewards
from seqgan_env.types import Task

COMMANDS = {
    "/undo": "take back the last token",
    "/policy": "let the policy write the rest",
    "/new": "begin another sequence",
    "/help": "what can be typed",
    "/quit": "end",
}
# What the sum of the rewards is, by the discount of their form.
_SUM = {
    0.0: "each reward is the value of its token, so their sum is not the objective",
    1.0: "the sum of the rewards is the score",
}
Read = Callable[[], str | None]  # a line without its end; None where there are no more


def play(arguments: argparse.Namespace) -> int:
    """`seqgan play`."""
    path: Path = arguments.run_path
    settings, task, agent, rewards = load_run_with_rewards(
        path, arguments.num_rollouts, trust_of(arguments)
    )
    if rewards is None:
        raise ValueError(
            f"run {path} has nothing that pays: agent {settings.agent} trained no discriminator; "
            "play a run of an agent that learns from a reward"
        )
    tell_of_no_data(task, "played without them")
    console = plain_console(highlight=False)
    judges = Judges(task, agent.policy, rewards)
    read = _reader(console)
    Game(judges, rewards, console, read, arguments.seed, arguments.num_suggestions).run()
    return 0


def _reader(console: Console) -> Read:
    """Lines of standard input; what does not come from a terminal is shown as if it were typed."""

    def read() -> str | None:
        if sys.stdin.isatty():
            try:
                return console.input()
            except EOFError:
                return None
        line = sys.stdin.readline()
        console.print(line.rstrip("\n"), markup=False)
        if not line:  # the end of the input; an empty line still has its "\n"
            return None
        return line.rstrip("\n")

    return read


class Vocabulary:
    """The tokens of a task as they are typed."""

    def __init__(self, task: Task) -> None:
        """
        Args:
            task: whose tokens they are.
        """
        self.names = [token_name(task, token) for token in range(task.spec.vocab_size)]
        self._tokens: dict[str, list[int]] = {}
        for token, name in enumerate(self.names):
            self._tokens.setdefault(name, []).append(token)
        self._by_letters = " " in self._tokens  # a space is a token and separates none

    def read(self, line: str) -> list[int]:
        """The tokens that a line names: each by its name, or by `#` and its number.

        Where a space is a token, every letter of the line is one.

        Raises:
            ValueError: a word is no token, or names several; says what is allowed.
        """
        words: str | list[str] = line.split()
        if self._by_letters and not re.fullmatch(r"#\d+|<.+>", line):
            words = line
        return list(map(self._token, words))

    def _token(self, word: str) -> int:
        found = self._tokens.get(word, [])
        if len(found) > 1:
            numbers = " or ".join(f"#{token}" for token in found)
            raise ValueError(f"{word!r} is the name of several tokens; say {numbers}")
        if found:
            return found[0]
        number = re.fullmatch(r"#(\d+)", word)
        if number is None:
            raise ValueError(
                f"{word!r} is no token; type the name of one, or # and its number, "
                f"#0..#{len(self.names) - 1}.{nearest(self.names, word)}"
            )
        if int(number[1]) >= len(self.names):
            raise ValueError(f"{word} is no token; the last one is #{len(self.names) - 1}")
        return int(number[1])


class Game:
    """The environment of a run, played in a terminal.

    Attributes:
        task: what is written.
        judges: who is asked about every token.
        num_suggestions: of the policy, before every token.
    """

    def __init__(
        self,
        judges: Judges,
        rewards: RewardModel,
        console: Console,
        read: Read,
        seed: int = 0,
        num_suggestions: int = 8,
    ) -> None:
        """
        Args:
            judges: who is asked about every token.
            rewards: what the environment pays.
            console: where everything is shown.
            read: gives the lines that are typed.
            seed: of the first episode; the next ones count on from there.
            num_suggestions: of the policy, before every token.
        """
        self.task, self.judges, self.num_suggestions = judges.task, judges, num_suggestions
        self.env = TokenEnv(rewards, online=False)
        self.vocabulary = Vocabulary(self.task)
        self._console, self._read, self._seed = console, read, seed
        self._written: list[int] = []
        self._rows: list[tuple[Candidate, float]] = []

    def run(self) -> None:
        """Plays until there are no more lines, or /quit."""
        self._say_hello()
        self._begin()
        while True:
            if self._is_over:
                self._conclude()
                self._seed += 1
                self._begin()
            self._suggest()
            self._console.print(f"token {len(self._written) + 1}> ", end="")
            line = self._read()
            if line is None or line.strip() == "/quit":
                return
            try:
                self._obey(line)
            except ValueError as problem:
                self._console.print(str(problem), markup=False)

    def _obey(self, line: str) -> None:
        """Does what a line says.

        Raises:
            ValueError: it is no command and no token that may stand here.
        """
        if line.startswith("/"):
            do = {
                "/undo": self._undo,
                "/policy": self._finish,
                "/new": self._begin,
                "/help": self._help,
            }
            do[choose(COMMANDS, line.strip(), "command")]()
            return
        for token in self.vocabulary.read(line) or self._first_suggestion():
            if self._is_over:
                raise ValueError("the sequence has ended; what stood behind its end is left out")
            self._write(token)

    def _begin(self) -> None:
        """An empty sequence, in the episode of the present seed."""
        self._written, self._rows, self._is_over = [], [], False
        self.env.reset(seed=self._seed)

    def _write(self, token: int) -> None:
        """One step of the environment, and a line about it.

        Raises:
            ValueError: the token may not stand here.
        """
        self._check_allowed(token)
        tokens, length, stream = self._state()
        candidate = self.judges.candidate(tokens, length, token, stream)
        _, reward, self._is_over, _, _ = self.env.step(np.int64(token))
        self._written.append(token)
        self._rows.append((candidate, reward))
        told = f"  {len(self._written):3} {self._name(token):12}"
        for name, number in self._numbers(candidate).items():
            told += f" {name} {number} "
        self._console.print(f"{told} reward {reward:.3f}", markup=False, soft_wrap=True)

    def _check_allowed(self, token: int) -> None:
        mask = self.env.core.action_mask()
        if mask is not None and not mask[0, token]:
            raise ValueError(
                f"{self._name(token)} may not stand before {self.task.spec.min_length} tokens"
            )

    def _undo(self) -> None:
        """Takes the last token back: the episode is played again up to there."""
        if not self._written:
            raise ValueError("nothing is written yet")
        written, rows = self._written[:-1], self._rows[:-1]
        self._begin()
        for token in written:
            self.env.step(np.int64(token))
        self._written, self._rows = written, rows

    def _finish(self) -> None:
        """Lets the policy write the rest."""
        tokens, length, stream = self._state()
        lengths = torch.tensor([length], device=tokens.device)
        done = self.judges.policy.complete(tokens.unsqueeze(0), lengths, stream)[0]  # (T,)
        end = int((done != self.task.spec.pad_token).sum())
        for token in done[length:end].tolist():
            self._write(token)

    def _first_suggestion(self) -> list[int]:
        """What an empty line means: the token that the policy is likeliest to write."""
        tokens, length, stream = self._state()
        return [self.judges.suggestions(tokens, length, 1, stream)[0].token]

    def _state(self) -> tuple[Tensor, int, RowStreams]:
        """The prefix (T,), its length, and the stream of the episode, on the policy's device."""
        core, device = self.env.core, self.env.rewards.device
        tokens = torch.from_numpy(core.tokens[0]).to(device, torch.int64)
        return tokens, len(self._written), streams_from_keys(core.episode_keys(), device)

    def _say_hello(self) -> None:
        spec, settings = self.task.spec, self.env.rewards.settings
        most = "" if spec.eos_token is None else "up to "
        self._console.print(
            f"Task {self.task.name}: write {most}{spec.seq_len} tokens of {spec.vocab_size}. The "
            f"environment pays the form {settings.reward!r} of {settings.source}. Type a token or "
            "several, an empty line for the policy's first suggestion, or /help.",
            markup=False,
        )

    def _help(self) -> None:
        for command, meaning in COMMANDS.items():
            self._console.print(f"{command:9} {meaning}", markup=False)
        some = ", ".join(map(visible, self.vocabulary.names[:12]))
        self._console.print(f"tokens: {some}, ...; #N is the token of number N", markup=False)

    def _suggest(self) -> None:
        """A table of what the policy would write."""
        tokens, length, stream = self._state()
        suggestions = self.judges.suggestions(tokens, length, self.num_suggestions, stream)
        table = Table(title="the policy would write", title_justify="left")
        table.add_column("token")
        for name in self._numbers(suggestions[0]):
            table.add_column(name, justify="right")
        for candidate in suggestions:
            numbers = self._numbers(candidate).values()
            table.add_row(escape(self._name(candidate.token)), *numbers)
        self._console.print(table)

    def _conclude(self) -> None:
        """What the finished sequence is worth."""
        form = self.env.rewards.form
        total = sum(reward for _, reward in self._rows)
        last = self._rows[-1][0].opinions
        self._console.print(f"\n{self.task.decode(self._state()[0])}", markup=False, soft_wrap=True)
        told = [f"score {last['value']:.3f}", f"sum of the rewards {total:.3f}"]
        if "discriminator" in last:
            told.append(f"D(Y) {last['discriminator']:.3f}")
        if "truth_ratio" in last:  # the task knows the true density, of every token then
            ratio = sum(each.opinions["truth_ratio"] for each, _ in self._rows)
            told.append(f"true log-ratio {ratio:.3f}")
        self._console.print(f"{', '.join(told)}; {_SUM[form.discount]}\n", markup=False)

    def _numbers(self, candidate: Candidate) -> dict[str, str]:
        """What is told of a token, as far as it is known."""
        opinions = candidate.opinions
        found = {"policy": f"{candidate.probability:.1%}", "value": f"{opinions['value']:.3f}"}
        if "discriminator" in opinions:
            found["D"] = f"{opinions['discriminator']:.3f}"
        if "truth" in opinions:
            found["truth"] = f"{math.exp(opinions['truth']):.1%}"
        return found

    def _name(self, token: int) -> str:
        return visible(self.vocabulary.names[token])
