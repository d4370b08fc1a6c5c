"""The report: it says what the results say, whatever is missing, and the page works in a browser
without a network.
"""

import base64
import csv
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgan_env.bench import charts, report
from seqgan_env.bench.jobs import BEST_KNOB, REFERENCE
from seqgan_env.bench.leaderboard import Standings
from seqgan_env.bench.report import figures_of, write_report
from seqgan_env.bench.results import Result, path_of
from seqgan_env.bench.story import story
from seqgan_env.bench.tables import Column, all_tables, leaderboard
from seqgan_env.cli.main import main
from seqgan_env.types import Estimate

COMMAND = ["seqgan", "bench", "my suite.toml"]
ORIGIN = {"torch": "2.13.0", "machine": "x86_64", "commit": "abc1234"}
BUDGET = {
    "env_steps": 2560.0,
    "rollout_tokens": 100.0,
    "sequences_scored": 64.0,
    "sequences_trained": 1e6,
}
COSTS = {"wall_seconds": 12.0, "cpu_seconds": 11.0, "peak_bytes": 2.0**28}
NASTY = "</script><script>alert(1)</script> <b>|"


# KL(G‖O), KL(O‖G), and nll_gen of the knobs; T 0.9 is the best
KNOBS = {
    "T 1": (0.35, 0.30, 2.5),
    "T 0.9": (0.26, 0.32, 2.6),
    "T 0.5": (0.2, 1.1, 3.2),
    "T 0.5 x 0.5 + T 1 x 0.5": (0.3, 0.4, 2.8),
}


def oracle_metrics(knob: str, gain: float = 0.0) -> dict[str, float]:
    """What this knob has, nearer to the truth by some nats."""
    reverse, forward, nll_gen = KNOBS[knob]
    reverse, forward = reverse - gain, forward - gain
    divergences = {
        "kl_mean": (reverse + forward) / 2,
        "kl_reverse": reverse,
        "kl_forward": forward,
        "js": 0.1,
    }
    return divergences | {
        "nll_oracle": 2.7 + reverse,
        "nll_gen": nll_gen - gain,
        "effective_vocabulary": 40.0,
    }


def text_metrics(knob: str, gain: float = 0.0) -> dict[str, float]:
    reverse, forward, _ = KNOBS[knob]
    bleu = {"bleu4": 0.7 - reverse + gain, "self_bleu4": 0.8 - 0.5 * forward}
    return bleu | {
        "referee_js": (reverse + forward) / 2 - gain,
        "nll_gen": 4.0,
        "effective_vocabulary": 90.0,
    }


def knobs(task: str) -> dict[str, dict[str, float]]:
    """Of the reference, as its run measures them."""
    found = {}
    for name in KNOBS:
        metrics = METRICS[task](name)
        chosen = {
            f"select/{key}": value
            for key, value in metrics.items()
            if key.startswith("kl_") or key == "referee_js"
        }
        found[name] = (
            metrics | chosen | ({"temperature": float(name[2:])} if " x " not in name else {})
        )
    return found


def keyed(results: list[Result], settings: str = "") -> list[Result]:
    """The results with keys, as jobs with some settings have them."""
    found = []
    for result in results:
        key = f"{result.label} {result.task} {result.seed} {settings}".strip()
        found.append(replace(result, key=key))
    return found


BEST = "T 0.9"
METRICS = {"oracle": oracle_metrics, "text": text_metrics}


def runs(
    label: str, gain: float, task: str = "oracle", seeds: int = 3, **settings: Any
) -> list[Result]:
    """Results with everything in them."""
    rng = np.random.Generator(np.random.PCG64([len(label), seeds]))
    found = []
    for seed in range(seeds):
        is_reference = label == REFERENCE
        of_seed = gain + float(rng.normal(0, 0.01))
        curve = [
            {"round": i, "seconds": 5.0 + i + seed, "budget/env_steps": 640.0 * i}
            | {
                f"task/{name}": v
                for name, v in METRICS[task](BEST, of_seed * i / 4).items()
                if name != "referee_js"
            }
            | {
                "discriminator/accuracy_real_heldout": 0.6,
                "discriminator/accuracy_generated_heldout": 0.7 - 0.01 * i,
            }
            | ({"discriminator/log_ratio_correlation": 0.1 * i} if task == "oracle" else {})
            for i in range(5)
        ]
        found.append(
            Result(
                label,
                task,
                seed,
                METRICS[task]("T 1") if is_reference else METRICS[task](BEST, of_seed),
                key=f"{task}-{label.partition(' ')[0]}-{seed}",
                knobs=knobs(task) if is_reference else {},
                curve=[] if is_reference else curve,
                real={"effective_vocabulary": 40.0},
                budget=BUDGET,
                costs=COSTS,
                samples=[f"{label} {i} {NASTY}" for i in range(10)],
                settings={"source": "discriminator"} | settings,
                origin=ORIGIN,
            )
        )
    return found


def imported(label: str = "theirs", task: str = "oracle", **metrics: float) -> Result:
    """A result from elsewhere: metrics alone."""
    return Result(
        label, task, 7, {"nll_oracle": 2.9, "effective_vocabulary": 30.0} | metrics, key=label
    )


def everything() -> list[Result]:
    by_task = [
        [
            *runs(REFERENCE, 0.0, task),
            *runs("learner", 0.1, task),
            *runs("worse | one", -0.1, task),
            *runs("constant", -0.01, task, source="constant"),
            *runs("optimal", 0.2, task, source="optimal"),
        ]
        for task in METRICS
    ]
    lost = replace(infinite(runs("never", 0.1, seeds=1)[0]), key="never")
    return [*map(judged, by_task[0]), *by_task[1], imported(), *theirs(), lost]


def judged(result: Result) -> Result:
    """The reference with what the referee says of it; all others as they are."""
    if result.label != REFERENCE:
        return result
    rows = {
        name: row | {"referee_js": 0.2, "select/referee_js": 0.2}
        for name, row in result.knobs.items()
    }
    return replace(result, metrics=result.metrics | {"referee_js": 0.2}, knobs=rows)


def theirs() -> list[Result]:
    """Samples from elsewhere that the referee has judged."""
    return [
        replace(imported("judged", referee_js=0.3 + 0.01 * seed), seed=seed, key=f"judged-{seed}")
        for seed in range(3)
    ]


def infinite(result: Result) -> Result:
    return replace(
        result,
        metrics=result.metrics | {"kl_mean": math.inf, "kl_forward": math.inf, "nll_gen": math.inf},
    )


def benchmark(folder: Path, results: list[Result]) -> Path:
    (folder / "results").mkdir(parents=True)
    for result in results:
        result.write(path_of(folder, result.key))
    return folder


def write(tmp_path: Path, results: list[Result]) -> Path:
    write_report(
        [benchmark(tmp_path / "bench", results)], tmp_path / "out", "Title & <more>", COMMAND
    )
    return tmp_path / "out"


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    """Without them there is no page."""
    pytest.importorskip("jinja2", reason="needs the extra bench")
    pytest.importorskip("vl_convert", reason="needs the extra bench")
    report._page_libraries()


# ---- what is written ----


def test_the_report_is_a_page_and_the_same_tables_as_markdown_and_csv(tmp_path: Path) -> None:
    out = write(tmp_path, everything())
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    assert len(page) < 3_000_000
    boards, others = all_tables(Standings(everything()))
    for table in (*boards, *others):
        assert table.title in page
        assert f"## {table.title}" in text
        assert table.markdown().strip() in text
        with (out / "tables" / f"{table.name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row[table.columns[0].title] for row in rows] == [row[0] for row in table.rows]
    assert "seqgan bench 'my suite.toml'" in text
    assert "commit: abc1234" in text
    with (out / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len([row for row in rows if row["row"] != BEST_KNOB]) == len(everything())
    assert {
        row["score"] for row in rows if row["row"] == BEST_KNOB and row["task"] == "oracle"
    } == {"0.0"}


@pytest.mark.slow
def test_the_same_results_give_the_same_report(tmp_path: Path) -> None:
    first = write(tmp_path / "a", everything())
    second = write(tmp_path / "b", everything()[::-1])
    for name in ("report.html", "report.md", "runs.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_csv_holds_values_and_intervals_as_numbers() -> None:
    table = leaderboard(Standings(everything()), "oracle tasks")
    rows = {row["row"]: row for row in table.csv_rows()}
    entry = next(e for e in Standings(everything()).entries("oracle tasks") if e.label == "learner")
    assert entry.score is not None
    score = "score, nats per token"
    assert [rows["learner"][score + end] for end in ("", ", low", ", high")] == [
        entry.score.value,
        entry.score.low,
        entry.score.high,
    ]
    assert rows["theirs"][score] == ""
    assert rows["constant"]["mark"] == "control"
    assert rows["never"]["mark"] == "infinite"
    assert rows[BEST_KNOB][score] == 0


def test_cells_read_as_a_person_writes_them() -> None:
    column = Column("x", "+.2f")
    assert column.text(Estimate(0.123, -0.1, 0.2)) == "+0.12 (-0.10 to +0.20)"
    assert column.text(Estimate(0.123, math.nan, math.nan)) == "+0.12"
    assert Column("x", ".1f", interval=False).text(Estimate(0.1, 0, 1)) == "0.1"
    assert column.text(None) == column.text(math.nan) == "–"
    assert column.text("word") == "word"


# ---- the story ----


def test_the_story_says_who_wins_whether_controls_lose_and_what_it_does_not_say() -> None:
    oracle, referee, text, caution = story(Standings(everything()))
    wins = "learner is nearer to the truth than every knob of maximum likelihood; learner leads by"
    assert oracle.startswith(f"On oracle: {wins} +0.0")
    assert "optimal is better" in oracle
    assert (
        "The controls, whose reward says nothing (constant), are not better, as it should be."
        in oracle
    )
    assert "Infinitely far, since they never write some real sequences: never." in oracle
    assert referee.startswith(
        "On oracle, by the referee: nothing is shown to be nearer to the truth than turning a knob"
    )
    assert text.startswith("On text, by the referee: learner is nearer")
    assert "does not say" in caution
    assert "at most 3 seeds" in caution
    standings = Standings(everything())
    entries = [entry for kind in standings.kinds for entry in standings.entries(kind)]
    assert f"the {sum(entry.decision is not None for entry in entries)} verdicts" in caution


def test_the_story_warns_of_a_control_that_wins() -> None:
    found = story(Standings([*runs(REFERENCE, 0.0), *runs("constant", 0.3, source="constant")]))[0]
    assert "there is nothing that could win" in found
    assert "Beware: constant, whose reward says nothing, beats the best knob too." in found


def test_the_story_claims_no_win_where_nothing_is_shown() -> None:
    found = story(Standings([*runs(REFERENCE, 0.0), *runs("learner", 0.0)]))
    assert "nothing is shown to be nearer to the truth than turning a knob" in found[0]
    assert "There is no control" in found[0]
    assert (
        "from one run"
        in story(Standings([*runs(REFERENCE, 0.0, seeds=1), *runs("learner", 0.1, seeds=1)]))[0]
    )


# ---- whatever is missing ----


@pytest.mark.parametrize(
    "results",
    [
        runs(REFERENCE, 0.0),
        runs(REFERENCE, 0.0, seeds=1),
        [*runs(REFERENCE, 0.0), *runs("a", 0.1, seeds=1)],
        [*runs(REFERENCE, 0.0)[1:], *runs("a", 0.1)],
        [*runs(REFERENCE, 0.0), imported(), imported("with likelihood", nll_gen=2.6)],
        [
            *runs(REFERENCE, 0.0),
            *[replace(r, curve=r.curve[: 2 + r.seed]) for r in runs("stopped", 0.1)],
        ],
        [
            *runs(REFERENCE, 0.0),
            *runs("a", 0.1)[:2],
            replace(runs("a", 0.1)[2], curve=[], samples=[], costs={}, origin={}),
        ],
        [*runs(REFERENCE, 0.0), *map(infinite, runs("infinite", 0.1))],
        [*map(judged, runs(REFERENCE, 0.0)), *theirs()],
        [*runs(REFERENCE, 0.0), *theirs()],
        [*runs(REFERENCE, 0.0), *runs(REFERENCE, 0.0, "text"), *runs("a", 0.1, "text")],
        [replace(r, real={}) for r in runs(REFERENCE, 0.0, "text")],
    ],
    ids=[
        "reference",
        "one",
        "one against three",
        "missing",
        "imported",
        "short",
        "bare",
        "infinite",
        "judged",
        "unjudged",
        "half",
        "alone",
    ],
)
def test_the_page_is_whole_whatever_is_missing(tmp_path: Path, results: list[Result]) -> None:
    out = write(tmp_path, results)
    page = (out / "report.html").read_text()
    for label in {result.label for result in results}:
        assert label in page
    assert "nan" not in (out / "report.md").read_text()
    assert "NaN" not in page.partition('id="content">')[2].partition("</script>")[0]


def test_without_a_command_there_is_nothing_to_repeat(tmp_path: Path) -> None:
    write_report([benchmark(tmp_path / "bench", runs(REFERENCE, 0.0))], tmp_path, "Title", [])
    assert "To repeat it" not in (tmp_path / "report.html").read_text()
    assert "console" not in (tmp_path / "report.md").read_text()


def test_without_the_reference_there_is_no_report_and_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run of the row 'mle' with its knobs"):
        write(tmp_path, runs("a", 0.1))
    assert not (tmp_path / "out").exists()


def test_one_report_of_folders_that_share_the_reference(tmp_path: Path) -> None:
    mle, a, b = (keyed(runs(label, 0.0)) for label in (REFERENCE, "a", "b"))
    folders = [benchmark(tmp_path / "one", [*mle, *a]), benchmark(tmp_path / "two", [*mle, *b])]
    standings = write_report(folders, tmp_path / "out", "Title", [])
    counts = {entry.label: len(entry.all_runs) for entry in standings.entries("oracle tasks")}
    assert counts == dict.fromkeys((BEST_KNOB, REFERENCE, "a", "b"), 3)
    together = write_report(
        [benchmark(tmp_path / "all", [*mle, *a, *b])], tmp_path / "same", "Title", []
    )
    assert str(together.entries("oracle tasks")) == str(standings.entries("oracle tasks"))
    for changed, message in (
        (keyed(mle, "other settings"), "there twice, from other settings, data or code"),
        ([replace(mle[0], metrics=a[0].metrics | {"x": 1.0})], "there twice, with other numbers"),
    ):
        other = benchmark(tmp_path / message, changed)
        with pytest.raises(ValueError, match=message):
            write_report([*folders, other], tmp_path / "none", "Title", [])


def test_a_task_that_cannot_be_ranked_is_told_on_the_page_and_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [Result("a", "mine:Coins", 0, {"heads": 0.5}, "of coins")]
    folder = benchmark(tmp_path / "bench", [*runs(REFERENCE, 0.0), *runs("a", 0.1), *other])
    assert main(["report", str(folder)]) == 0
    told = "In no leaderboard: task 'mine:Coins' has neither nll_oracle nor bleu4 among its metrics"
    assert told in capsys.readouterr().out
    assert told in (folder / "report.md").read_text()
    assert told.replace("'", "&#39;") in (folder / "report.html").read_text()


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ValueError, match="the report cannot be written to"):
        write(tmp_path, runs(REFERENCE, 0.0))


def test_without_the_extra_the_tables_are_written_and_the_command_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report._page_libraries.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    with pytest.raises(
        ValueError, match=r"the page needs vl_convert \(pip install 'seqgan-env\[bench\]'\)"
    ):
        write(tmp_path, runs(REFERENCE, 0.0))
    assert (tmp_path / "out" / "report.md").exists()


def test_without_the_extra_the_leaderboard_is_printed_and_the_tables_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report._page_libraries.cache_clear()
    folder = benchmark(tmp_path / "bench", runs(REFERENCE, 0.0))
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    assert main(["report", str(folder)]) == 2
    said = capsys.readouterr()
    assert "Leaderboard, oracle tasks" in said.out
    assert "report.md" in said.out
    assert "the page needs vl_convert" in said.err


# ---- the pictures ----


@pytest.mark.slow
def test_every_picture_is_a_specification_with_titled_axes_and_units() -> None:
    import vl_convert

    headings = set()
    for _, figures in figures_of(Standings(everything())):
        for figure in figures:
            headings.add(figure.heading)
            compiled = vl_convert.vegalite_to_vega(figure.spec, vl_version="6.4")
            titles = {axis["title"] for axis in compiled["axes"] if axis.get("title")}
            assert len(titles) >= (1 if figure.heading == "Scores" else 2), figure.heading
            assert all(any(unit in title for unit in UNITS) for title in titles), titles
    wanted = (
        "Both divergences",
        "Both divergences, near the best knob",
        "Quality and diversity",
        "Scores",
        "Performance profile",
    )
    assert {*wanted, "Score by seconds", "BLEU-4 by environment steps"} <= headings
    assert "Correlation with the true log-ratio by environment steps" in headings


UNITS = ("nats per token", "environment steps", "seconds", "share", "BLEU-4", "-1 to 1", "0 to 1")


def test_the_plane_of_divergences_has_every_run_every_knob_and_the_line_of_equal_means() -> None:
    standings = Standings(everything())
    spec = charts.divergences(standings, "oracle")
    level, line, small, names, points = spec["layer"]
    ends = [(point["x"], point["y"]) for point in level["data"]["values"]]
    assert ends == [
        (0, pytest.approx(0.58)),
        (pytest.approx(0.58), 0),
    ]  # twice the best knob's mean
    assert [point["knob"] for point in small["data"]["values"]] == list(KNOBS)
    assert [point["temperature"] for point in line["data"]["values"]] == [1.0, 0.9, 0.5]
    assert names["encoding"]["text"] == {"field": "knob"}
    found = points["data"]["values"]
    assert (
        len(found) == 5 * 3 + 3
    )  # five rows and the best knob; who is infinite or has no likelihoods is not there
    best = next(point for point in found if point["row"] == BEST_KNOB)
    assert (best["x"], best["y"]) == (0.32, 0.26)


def test_near_the_best_knob_a_run_is_below_the_line_if_and_only_if_its_score_is_positive() -> None:
    standings = Standings(everything())
    spec = charts.divergences_near(standings, "oracle")
    level, _, small, _, points = spec["layer"]
    assert all(point["x"] + point["y"] == 0 for point in level["data"]["values"])
    runs_of_task = [
        run for (_, task), found in standings.runs.items() if task == "oracle" for run in found
    ]
    score = {(run.result.label, run.result.seed): run.metrics.get("score") for run in runs_of_task}
    for point in points["data"]["values"]:
        assert -(point["x"] + point["y"]) / 2 == pytest.approx(score[point["row"], point["seed"]])
    assert [point["knob"] for point in points["data"]["values"] if point["row"] == BEST_KNOB] == [
        BEST
    ] * 3
    knobs = {point["knob"]: (point["x"], point["y"]) for point in small["data"]["values"]}
    assert knobs[BEST] == (0, 0)
    assert knobs["T 1"] == pytest.approx((-0.02, 0.09))


def test_the_plane_of_what_is_usually_reported_is_said_to_be_no_rank() -> None:
    for task in METRICS:
        (found,) = [
            figure
            for figure in report._planes(Standings(everything()), task)
            if figure.heading == "Quality and diversity"
        ]
        assert "never as a rank" in found.caption
        assert len(found.spec["layer"][-1]["data"]["values"]) == 5 * 3 + 3
    assert "Both divergences" not in {
        figure.heading for figure in report._planes(Standings(everything()), "text")
    }


def test_a_curve_ends_at_the_value_of_the_table_and_has_the_best_knob_beside_it() -> None:
    standings = Standings(everything())
    spec = charts.curves(standings, "oracle", "score", "budget/env_steps")
    assert spec is not None
    last = {point["row"]: point for point in spec["data"]["values"] if point["x"] == 2560}
    assert last.keys() == {"learner", "worse | one", "constant", "optimal", "never"}
    for entry in standings.entries("oracle tasks"):
        if entry.label in last and entry.score is not None:
            assert last[entry.label]["y"] == pytest.approx(entry.score.value, abs=1e-5)
    levels = {point["row"]: point["y"] for point in spec["layer"][-1]["data"]["values"]}
    assert levels == {REFERENCE: pytest.approx(0.29 - 0.325), BEST_KNOB: 0}


def test_real_data_has_no_curve_of_a_referee_that_judges_at_the_end() -> None:
    assert charts.curves(Standings(everything()), "text", "referee_score", "seconds") is None


# ---- the tables ----


def test_the_summaries_say_from_which_divergence_a_score_comes() -> None:
    _, others = all_tables(Standings(everything()))
    by_name = {table.name: table for table in others}
    rows = {row["row"]: row for row in by_name["summaries-oracle-tasks"].csv_rows()}
    learner = rows["learner"]
    assert learner["score in KL(G‖O) alone"] == pytest.approx(
        0.1 - 0.06, abs=0.02
    )  # T 0.5 has 0.06 less than the best knob
    assert learner["score in KL(O‖G) alone"] == pytest.approx(0.1 - 0.02, abs=0.02)
    assert (
        rows["never"]["mean, plain 95 % interval"] == rows["never"]["score in KL(O‖G) alone"] == ""
    )
    assert rows["never"]["score in KL(G‖O) alone"] != ""
    assert "score in KL(G‖O) alone" not in by_name["summaries-tasks-with-real-data"].csv_rows()[0]


def test_the_referees_board_says_why_it_is_there() -> None:
    table = leaderboard(Standings(everything()), "oracle tasks, by the referee")
    assert [row[0] for row in table.rows] == [BEST_KNOB, REFERENCE, "judged"]
    assert "without likelihoods, which have no other score" in table.note


# ---- the page in a browser ----

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with the page of `everything` open and drawn."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver")
    from selenium.webdriver.support.ui import WebDriverWait

    folder = tmp_path_factory.mktemp("page")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get((write(folder, everything()) / "report.html").as_uri())
        WebDriverWait(driver, 60).until(
            lambda d: d.execute_script("return document.body.dataset.drawn")
        )
        yield driver
    finally:
        driver.quit()


def column(browser: Any, table: str, index: int) -> list[str]:
    script = (
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map((row) => "
        "row.cells[arguments[1]].dataset.value)"
    )
    found: list[str] = browser.execute_script(script, table, index)
    return found


@pytest.mark.slow
def test_the_page_loads_without_a_word_in_the_console_and_without_a_request(browser: Any) -> None:
    assert browser.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [
        message["params"] for message in sent if message["method"] == "Network.requestWillBeSent"
    ]
    urls = [
        request["request"]["url"]
        for request in requests
        if request["documentURL"].startswith("file:")
    ]
    assert urls
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert (
        browser.execute_script("return document.querySelectorAll('b').length") == 0
    )  # samples are text and no markup


@pytest.mark.slow
def test_a_click_on_a_head_sorts_the_table_and_another_one_turns_it_round(browser: Any) -> None:
    table = "leaderboard-oracle-tasks"
    head = browser.find_element(
        "css selector", f"#{table} thead th:nth-child(6) button"
    )  # kl_reverse
    before = [float(value) for value in column(browser, table, 5) if value]
    head.click()
    numbers = [float(value) for value in column(browser, table, 5) if value]
    assert numbers == sorted(before, reverse=True)
    head.click()
    assert [float(value) for value in column(browser, table, 5) if value] == sorted(numbers)
    browser.find_element("css selector", f"#{table} thead th:nth-child(2) button").click()
    assert column(browser, table, 1)[-1] == ""  # what has no score comes last
    name = browser.find_element("css selector", f"#{table} thead th:nth-child(1) button")
    name.click()
    name.click()
    assert column(browser, table, 0) == sorted(column(browser, table, 0), key=str.lower)


@pytest.mark.slow
def test_the_legend_switches_rows_off_and_on_in_all_pictures(browser: Any) -> None:
    count = (
        "return [...document.querySelectorAll('.plot')].map((plot) => "
        "[...plot.querySelectorAll('[aria-label]')].filter((mark) => mark.ariaLabel.includes('row: "
        "learner')).length)"
    )
    before = browser.execute_script(count)
    assert sum(number > 0 for number in before) > 10
    button = browser.find_element("css selector", '.legend [data-row="learner"]')
    for expected in ([0] * len(before), before):
        button.click()
        browser.execute_async_script("apply().then(arguments[0])")
        assert browser.execute_script(count) == expected


@pytest.mark.slow
def test_every_picture_is_drawn_with_axis_titles(browser: Any) -> None:
    script = (
        "return [...document.querySelectorAll('.plot')].map((plot) => "
        "[...plot.querySelectorAll('.role-axis-title text')].map((text) => text.textContent))"
    )
    titles = browser.execute_script(script)
    assert len(titles) == sum(len(figures) for _, figures in figures_of(Standings(everything())))
    for of_plot in titles:
        assert of_plot
        assert all(any(unit in title for unit in UNITS) for title in of_plot), of_plot


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_but_tables_is_wider_than_the_screen(browser: Any, width: int) -> None:
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.refresh()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
@pytest.mark.parametrize(("theme", "dark"), [("light", False), ("dark", True)])
def test_paper_and_ink_follow_the_theme(browser: Any, theme: str, dark: bool) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": theme}]},
    )
    paper, ink = (
        browser.execute_script("return getComputedStyle(document.body)[arguments[0]]", name)
        for name in ("backgroundColor", "color")
    )
    assert (_light(paper) < _light(ink)) is dark
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")


def _light(colour: str) -> int:
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
