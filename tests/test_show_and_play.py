"""What is thought of every token, on the page of `seqgan show` and in the game of `seqgan play`."""

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from seqgan_env.cli.main import main
from seqgan_env.cli.play import Game, Vocabulary
from seqgan_env.cli.show import Scale, Section, page
from seqgan_env.discriminators.loading import make_discriminator
from seqgan_env.envs.env import TokenEnv
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.streams import RowStreams
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.opinions import QUANTITIES, Judges, next_log_probs, token_name
from seqgan_env.training.settings import TrainSettings
from seqgan_env.types import RolloutPolicy, TokenSpec
from tests.conftest import EOS, FIXED, SpecTask, Successor, all_sequences, random_model, rng


def judges(spec: TokenSpec, policy: RolloutPolicy | None = None, **settings: Any) -> Judges:
    """A random policy, paid by an untrained discriminator."""
    task, policy = SpecTask(spec), policy or random_model(spec, seed=5)
    chosen: dict[str, Any] = {
        "source": "discriminator",
        "score_as": "probability",
        "num_rollouts": 3,
    } | settings
    discriminator = make_discriminator("lstm", spec, rng(2), {})
    discriminator.score_as = chosen["score_as"]
    return Judges(task, policy, RewardModel(task, RewardSettings(**chosen), policy, discriminator))


# ---- what is thought ----


def test_a_prefix_is_thought_of_as_the_same_prefix_within_its_sequence(spec: TokenSpec) -> None:
    asked, tokens = judges(spec), random_model(spec).sample(6, rng())
    whole = asked.of_sequences(tokens, RowStreams(torch.arange(6)))
    for length in range(1, spec.seq_len + 1):
        rows = (spec.lengths(tokens) >= length).nonzero().squeeze(1)
        prefixes = tokens[rows].clone()
        prefixes[:, length:] = spec.pad_token
        lengths = torch.full((len(rows),), length)
        found = asked.of_prefixes(prefixes, lengths, RowStreams(rows))
        assert found.keys() == whole.keys() - {"reward"}
        for name, values in found.items():
            assert torch.allclose(values, whole[name][rows, length - 1], atol=1e-6), name


def test_the_value_under_a_probability_is_the_opinion_of_the_discriminator() -> None:
    tokens = random_model(EOS).sample(6, rng())
    found = judges(EOS).of_sequences(tokens, rng(1))
    assert torch.equal(found["value"], found["discriminator"])
    logit = judges(EOS, score_as="logit").of_sequences(tokens, rng(1))
    assert torch.equal(logit["discriminator"], found["discriminator"])
    assert not torch.allclose(logit["value"], found["value"])


def test_the_rewards_of_the_form_difference_sum_to_the_score() -> None:
    tokens = random_model(EOS).sample(6, rng())
    found = judges(EOS, reward="difference").of_sequences(tokens, rng(1))
    last = EOS.lengths(tokens).unsqueeze(1) - 1
    scores = found["value"].gather(1, last).squeeze(1)
    assert torch.allclose(found["reward"].sum(1), scores, atol=1e-6)


def test_what_a_perfect_discriminator_would_say_of_tokens_sums_to_the_log_ratio(
    spec: TokenSpec,
) -> None:
    asked, tokens = judges(spec), random_model(spec).sample(6, rng())
    found = asked.of_sequences(tokens, rng(1))["truth_ratio"].sum(1)
    task, policy = asked.task, asked.policy
    assert isinstance(task, OracleTask)
    assert isinstance(policy, LanguageModel)
    expected = task.oracle.log_prob(tokens) - policy.log_prob(tokens)
    assert torch.allclose(found, expected, atol=1e-5)


def test_without_rewards_there_are_likelihoods_alone() -> None:
    asked = Judges(SpecTask(FIXED), random_model(FIXED), None)
    found = asked.of_sequences(random_model(FIXED).sample(3, rng()), rng(1))
    assert found.keys() == {"policy", "truth", "truth_ratio"}
    names = {quantity.name for quantity in QUANTITIES}
    assert found.keys() < names
    assert names == judges(FIXED).of_sequences(all_sequences(FIXED), rng()).keys()


def test_next_tokens_have_probabilities_that_sum_to_one_and_none_where_masked() -> None:
    empty = torch.full((EOS.seq_len,), EOS.pad_token)
    found = next_log_probs(random_model(EOS), EOS, empty, 0, RowStreams(torch.tensor([1])))
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert found[EOS.eos_token] == -torch.inf  # masked before min_length


def test_a_policy_without_probabilities_is_asked_by_draws() -> None:
    class Silent:
        """Completes, and tells nothing."""

        def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
            return Successor(FIXED).complete(tokens, lengths, rng)

    prefix, stream = (
        torch.tensor([1, FIXED.pad_token, FIXED.pad_token]),
        RowStreams(torch.ones(1).long()),
    )
    asked = judges(FIXED, Silent())
    suggested = asked.suggestions(prefix, 1, 5, stream)
    assert [(each.token, each.probability) for each in suggested] == [(2, 1.0)]
    assert suggested[0].opinions.keys() == {"value", "discriminator", "truth"}


def test_suggestions_are_the_likeliest_tokens_in_order() -> None:
    prefix, stream = torch.tensor([1, 3, 3]), RowStreams(torch.tensor([1]))
    asked = judges(FIXED)
    found = asked.suggestions(prefix, 1, 2, stream)
    rows = torch.tensor([[1, token, 3] for token in range(3)])
    exact = dict(enumerate(random_model(FIXED, 5).token_log_probs(rows)[:, 1].exp().tolist()))
    likeliest = sorted(exact, key=exact.__getitem__, reverse=True)[:2]
    assert [each.token for each in found] == likeliest
    assert [each.probability for each in found] == pytest.approx([exact[t] for t in likeliest])
    assert asked.candidate(prefix, 1, likeliest[1], stream) == found[1]


# ---- the page ----

NASTY = '</span><script>alert("1")</script>&'


class NastyTask(SpecTask):
    """Every token is written in a way that would break a page."""

    def decode(self, tokens: Tensor) -> str:
        written = [token for token in tokens.tolist() if token != self.spec.pad_token]
        return "".join(f"{NASTY}{token}" for token in written)


def nasty_page() -> str:
    asked = judges(EOS)
    asked.task = NastyTask(EOS)
    tokens = random_model(EOS).sample(5, rng())
    found = asked.of_sequences(tokens, rng(1))
    section = Section("The <agent>", tokens, found)
    return page("A <b>run</b>", TrainSettings(), asked.task, [section])


def test_nothing_that_a_policy_writes_is_read_as_html() -> None:
    html = nasty_page()
    assert "<script" not in html
    assert "&lt;/span&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;" in html
    assert "A &lt;b&gt;run&lt;/b&gt;" in html
    assert "The &lt;agent&gt;" in html


def test_the_page_loads_nothing_from_elsewhere() -> None:
    html = nasty_page()
    assert not re.search(r"https?://|src=|@import|url\(", html)


def test_every_written_token_is_there_once_with_its_place_on_every_scale() -> None:
    tokens = random_model(EOS).sample(5, rng())
    spans = re.findall(r'<span class="t" style="(.*?)"', nasty_page())
    assert len(spans) == int(EOS.lengths(tokens).sum())
    for style in spans:
        places = dict(part.split(":") for part in style.split(";"))
        assert places.keys() == {f"--{quantity.name}" for quantity in QUANTITIES}
        assert all(-1 <= float(place) <= 1 for place in places.values())


def test_a_scale_has_its_middle_where_the_quantity_says_and_bears_the_infinite() -> None:
    opinion = next(each for each in QUANTITIES if each.name == "discriminator")
    scale = Scale.of(opinion, np.array([0.4, 0.9, np.inf, -np.inf]))
    assert scale.place(0.5) == 0
    assert scale.place(np.inf) == 1
    assert scale.place(-np.inf) == -1
    assert scale.place(0.4) == pytest.approx(-0.1 / scale.below)
    assert scale.below == scale.above
    assert Scale.of(opinion, np.array([np.inf])).place(np.inf) == 1


@pytest.mark.parametrize("values", [[-9.0, -3.0, -2.0, -0.1, 0.0], [0.0, 0.0, -4.0], [-1.0]])
def test_no_scale_of_a_likelihood_goes_beyond_its_values(values: list[float]) -> None:
    policy = next(each for each in QUANTITIES if each.name == "policy")
    scale = Scale.of(policy, np.array(values))
    assert min(values) <= scale.middle - scale.below <= scale.middle
    assert scale.middle <= scale.middle + scale.above <= max(values)
    places = [scale.place(value) for value in sorted(values)]
    assert places == sorted(places)


# ---- a run ----


SMALL = [
    *("--vocab-size", "8", "--seq-len", "4", "--num-real", "200", "--num-validation", "100"),
    *("--num-held-out", "200", "--num-eval", "200", "--batch-size", "16", "--rounds", "1"),
    *("--mle-epochs", "1", "--num-negatives", "64", "--no-knobs", "--no-control"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "small"
    assert main(["train", *SMALL, "--out", str(path)]) == 0
    return path


def test_a_run_is_shown_beside_maximum_likelihood_and_real_data(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(run), "--num", "3", "--num-rollouts", "2"]) == 0
    assert capsys.readouterr().out == f"page: {run / 'samples.html'}\n"
    html = (run / "samples.html").read_text(encoding="utf-8")
    assert re.findall("<h2>(.*?)</h2>", html) == [
        "The agent",
        "Maximum likelihood",
        "Real data, held out",
    ]
    assert html.count("<li>") == 9


def test_what_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("show", "play"):
        assert main([command, str(tmp_path)]) == 2
        assert "config.json" in capsys.readouterr().err


def test_a_discriminator_that_does_not_fit_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.copy(run / "policy.safetensors", tmp_path / "run" / "discriminator.safetensors")
    assert main(["show", str(tmp_path / "run")]) == 2
    assert "discriminator.safetensors does not fit" in capsys.readouterr().err


def test_a_run_without_a_discriminator_is_shown_and_cannot_be_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mle"
    assert main(["train", "--agent", "mle", *SMALL, "--out", str(path)]) == 0
    assert main(["show", str(path), "--num", "2"]) == 0
    html = (path / "samples.html").read_text(encoding="utf-8")
    assert 'id="by-policy" checked' in html
    assert "by-value" not in html
    assert main(["play", str(path)]) == 2
    assert "nothing that pays" in capsys.readouterr().err


def test_a_run_is_played_through_a_pipe(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("1 2\n\n#7\n"))
    assert main(["play", str(run), "--num-rollouts", "2"]) == 0
    assert "score" in capsys.readouterr().out


# ---- the game ----


def play(game_of: Judges, *lines: str, seed: int = 0) -> str:
    """What a game shows to who types these lines."""
    screen = io.StringIO()
    console, typed = Console(file=screen, width=200), iter(lines)

    def read() -> str | None:
        console.print()
        return next(typed, None)

    assert game_of.rewards is not None
    Game(game_of, game_of.rewards, console, read, seed).run()
    return screen.getvalue()


def written(shown: str) -> list[tuple[str, ...]]:
    """Position, token, value and reward of every token that was written."""
    row = r"^ +(\d+) (\S+) +policy \S+  value (\S+) .*?reward (\S+)$"
    return re.findall(row, shown, re.MULTILINE)


def test_the_game_pays_what_the_environment_pays() -> None:
    asked = judges(FIXED)
    rows = written(play(asked, "2", "0 1"))
    assert [row[:2] for row in rows] == [("1", "2"), ("2", "0"), ("3", "1")]
    assert asked.rewards is not None
    env = TokenEnv(asked.rewards)
    env.reset(seed=0)
    paid = [f"{env.step(token)[1]:.3f}" for token in np.array([2, 0, 1])]
    assert [row[3] for row in rows] == paid
    assert [row[2] for row in rows] == paid  # the form `rollout` pays the value


def test_a_suggestion_has_the_numbers_that_it_has_once_it_is_written() -> None:
    shown = play(judges(FIXED), "")
    first = re.search(r"│ (\d) +│ +(\S+) │ +(\S+) │", shown)
    assert first is not None
    row = re.search(r"^ +1 (\S+) +policy (\S+)  value (\S+) ", shown, re.MULTILINE)
    assert row is not None
    assert row.groups() == first.groups()


def test_what_is_taken_back_and_written_again_is_paid_the_same() -> None:
    rows = written(play(judges(FIXED), "2 0", "/undo", "0", "1"))
    assert rows[1] == rows[2]
    assert rows[3][0] == "3"


def test_a_sequence_that_has_ended_is_concluded_and_another_begins() -> None:
    shown = play(judges(EOS), "1 2 <end>", "3")
    assert re.search(
        r"^1 2 0\nscore \S+, sum of the rewards \S+, D\(Y\) \S+, true log", shown, re.M
    )
    assert [row[:2] for row in written(shown)][-1] == ("1", "3")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("17", "'17' is no token"),
        ("#9", "#9 is no token; the last one is #4"),
        ("<end>", "<end> may not stand before 2 tokens"),
        ("/undo", "nothing is written yet"),
        ("/ndo", "unknown command '/ndo'.*Did you mean '/undo'?"),
    ],
)
def test_what_cannot_be_written_is_told_and_the_game_goes_on(line: str, told: str) -> None:
    shown = play(judges(EOS), line, "1")
    assert re.search(told, shown)
    assert [row[:2] for row in written(shown)] == [("1", "1")]


def test_the_policy_writes_the_rest() -> None:
    rows = written(play(judges(EOS, Successor(EOS)), "1", "/policy", "/quit", "1"))
    assert [row[1] for row in rows] == ["1", "2", "3", "4", "<end>"]


def test_tokens_are_named_as_the_task_writes_them() -> None:
    class Letters(SpecTask):
        def decode(self, tokens: Tensor) -> str:
            return "".join(" aab"[t] for t in tokens.tolist() if t < 4)

    task = Letters(TokenSpec(4, 3))
    assert [token_name(task, token) for token in range(4)] == [" ", "a", "a", "b"]
    vocabulary = Vocabulary(task)
    assert vocabulary.read("b b") == [3, 0, 3]
    assert vocabulary.read("#2") == [2]
    with pytest.raises(ValueError, match="'a' is the name of several tokens; say #1 or #2"):
        vocabulary.read("a")


# ---- in a browser ----

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(params=["light", "dark"])
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium with the page open, in one of the two themes."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    for flag in (*flags, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    theme = [{"name": "prefers-color-scheme", "value": request.param}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
    (tmp_path / "page.html").write_text(nasty_page(), encoding="utf-8")
    try:
        driver.get((tmp_path / "page.html").as_uri())
        yield driver
    finally:
        driver.quit()


_CONTRASTS = """
const channels = color => {
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(c => {
    c /= 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
};
const luminance = color => {
  const [r, g, b] = channels(color);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
return [...document.querySelectorAll(".t")].map(token => {
  const style = getComputedStyle(token);
  const both = [luminance(style.color), luminance(style.backgroundColor)];
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
});
"""
_COLOURS = """
return [...document.querySelectorAll(".t")].map(t => getComputedStyle(t).backgroundColor);
"""


@pytest.mark.slow
def test_the_page_works_in_a_browser_in_both_themes(browser: Any) -> None:
    seen = {}
    for quantity in QUANTITIES:
        browser.find_element("css selector", f'label[for="by-{quantity.name}"]').click()
        legends = browser.find_elements("css selector", ".legend")
        assert [each.is_displayed() for each in legends].count(True) == 1
        assert min(browser.execute_script(_CONTRASTS)) > 4.5  # what WCAG asks of text
        seen[quantity.name] = browser.execute_script(_COLOURS)
        assert len(set(seen[quantity.name])) > 3
    assert seen["value"] != seen["truth"]
    assert browser.get_log("browser") == []
