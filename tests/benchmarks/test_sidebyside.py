"""The harness with tiny workers: turns one at a time, failures that stay in their row, medians and ratios."""

import json
import os
import re
import signal
import time

import pytest
from sidebyside.fit_turns import Clock, TokenCount, training_flops
from sidebyside.rounds import BENCHMARKS, Child, ChildFailed, Contender, Outcome, run_rounds
from sidebyside.table import Column, add_ratios, figure, markdown, plot_bars, summarize, write_tables
from sidebyside.texts import SIZE, fixed_length, real, vocabulary

from tftransformer.errors import TransformerError

WORKER = """
import os, sys, time
from sidebyside.worker import seconds_since_start, serve

def prepare(settings):
    print("a library talks")
    os.system("echo and its children too")
    {prepare}
    return settings, {{"seconds_to_first_step": seconds_since_start()}}

def turn(settings, number):
    def note(what):
        with open(settings["diary"], "a") as diary:
            diary.write(what)
    note(settings["name"] + str(number) + "(")
    {turn}
    note(") ")
    return {{"rate": settings["rate"] * (number + 1)}}

serve(prepare, turn)
"""


@pytest.fixture
def make(tmp_path):
    def contender(name, prepare="pass", turn="pass", rate=1.0, text=None, **options):
        script = tmp_path / f"{name}.py"
        script.write_text(text or WORKER.format(prepare=prepare, turn=turn))
        settings = {"name": name, "rate": rate, "diary": str(tmp_path / "diary")}
        return Contender(name, str(script), settings, **options)

    return contender


def quiet(_):
    pass


def test_one_works_at_a_time_and_all_take_turns(make, tmp_path):
    lines = []
    outcomes = run_rounds([make("a"), make("b", rate=2.0, rounds=1)], 2, say=lines.append, logs=tmp_path / "logs")
    assert (tmp_path / "diary").read_text() == "a0() b0() a1() "
    assert outcomes["a"].turns == [{"rate": 1.0}, {"rate": 2.0}] and outcomes["b"].turns == [{"rate": 2.0}]
    for outcome in outcomes.values():
        assert outcome.failure is None and outcome.peak_bytes > 1e6
        assert outcome.ready["seconds_to_first_step"] > 0
    assert lines[:3] == ["preparing a", "preparing b", "round 1 of 2: a"]
    log = (tmp_path / "logs" / "a.log").read_text()
    assert "a library talks" in log and "and its children too" in log


def test_large_models_take_all_turns_one_after_another(make, tmp_path):
    run_rounds([make("a"), make("b")], 2, say=quiet, together=False)
    assert (tmp_path / "diary").read_text() == "a0() a1() b0() b1() "


def test_failures_stay_in_their_rows(make, tmp_path):
    dying = "sys.stderr.write('out of luck\\n'); sys.stderr.flush(); number and os._exit(3)"
    outcomes = run_rounds(
        [
            make("dies", turn=dying),
            make("killed", prepare=f"os.kill(os.getpid(), {int(signal.SIGKILL)})"),
            make("absent", prepare="import no_such_package.part"),
            make("raises", turn="raise ValueError('two\\n  lines')"),
            make("babbles", text="print('hello', flush=True)\nimport time; time.sleep(60)"),
            make("works"),
        ],
        2,
        say=quiet,
    )
    failures = {name: outcome.failure for name, outcome in outcomes.items()}
    assert failures == {
        "dies": "ended with status 3: out of luck",
        "killed": "ended by signal 9: and its children too",
        "absent": "no_such_package is not installed",
        "raises": "ValueError: two lines",
        "babbles": "answered with something else than JSON: 'hello'",
        "works": None,
    }
    assert len(outcomes["dies"].turns) == 1 and len(outcomes["works"].turns) == 2
    assert (tmp_path / "diary").read_text().endswith("works1() ")


@pytest.mark.slow  # by the clock
def test_no_wait_is_without_end(make, tmp_path):
    child = Child(make("sleeps", turn="time.sleep(60)"), tmp_path / "log")
    child.prepare(60)
    start = time.monotonic()
    with pytest.raises(ChildFailed, match="no answer within 0.2 s"):
        child.turn(0, 0.2)
    child.end()
    assert time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):
        os.kill(child._process.pid, 0)


def test_arguments(make):
    with pytest.raises(TransformerError, match="different names; got 'a' twice"):
        run_rounds([make("a"), make("a")], 1)
    with pytest.raises(TransformerError, match="rounds must be at least 1; got 0"):
        run_rounds([make("a")], 0)


def outcome(name, *rates, failure=None, **settings):
    turns = [{"rate": rate, "note": "text", "flag": True} for rate in rates]
    return Outcome(Contender(name, "x.py", settings), {"start": 2.0}, turns, 3_000_000_000, failure)


def test_ratios_are_taken_within_rounds():
    # The second round was a slow minute for both.
    outcomes = {
        "ours": outcome("ours", 10.0, 2.0, 10.0),
        "theirs": outcome("theirs", 5.0, 1.0, 4.0),
        "gone": outcome("gone", failure="no | luck"),
    }
    rows = summarize(outcomes)
    add_ratios(rows, "rate", "ours")
    assert [figure(row, "rate_ratio") for row in rows] == [1.0, 2.0, None]
    add_ratios(rows, "rate", "theirs", lower_is_better=True)
    assert figure(rows[0], "rate_ratio") == 2.0
    assert rows[1]["figures"]["rate"]["low"] == 1.0 and set(rows[0]["figures"]) == {"rate", "rate_ratio"}
    add_ratios(rows, "rate", "nobody")
    text = markdown(rows, [Column("rate", "rate"), Column("GB", "peak_bytes", ".0f", 1e-9), Column("none", "none")])
    assert text.splitlines() == [
        "|                   | rate |  GB |",
        "| ----------------- | ---: | --: |",
        "| ours              | 10.0 |   3 |",
        "| theirs            |  4.0 |   3 |",
        "| gone (no \\| luck) |      |   3 |",
    ]


def test_tables_and_pictures_are_written(tmp_path):
    rows = summarize({"ours": outcome("ours", 1.0, 3.0), "gone": outcome("gone", failure="no luck")})
    write_tables(tmp_path / "out", "table", "text\n", {"rows": rows, "bad": float("nan")})
    written = json.loads((tmp_path / "out" / "table.json").read_text())
    assert written["bad"] is None and written["rows"][0]["figures"]["rate"]["values"] == [1.0, 3.0]
    assert figure(written["rows"][0], "rate", "mean") == 2.0 and figure(written["rows"][0], "start") == 2.0
    plot_bars(tmp_path / "bars.png", {"full": (rows, "rate", "a second"), "empty": (rows, "none", "")})
    assert (tmp_path / "bars.png").read_bytes()[:4] == b"\x89PNG"
    plot_bars(tmp_path / "none.png", {"empty": (rows, "none", "")})
    assert not (tmp_path / "none.png").exists()


def test_the_clock_leaves_evaluations_out():
    scores = iter([0.5, 0.9])

    def evaluate():
        time.sleep(0.2)
        return next(scores)

    clock = Clock(2, evaluate, 0.8)
    assert [clock.step() for _ in range(4)] == [False, False, False, True]
    clock.epoch()
    assert clock.seconds < 0.2 and clock.reached < 0.2 and clock.epochs[0] < 0.2
    assert [(step, score) for step, _, score in clock.curve] == [(2, 0.5), (4, 0.9)]
    assert Clock().reached is None


def test_tokens_and_operations_are_counted():
    count = TokenCount.of([([3, 5], 5), ([2], 2)])
    assert (count.rows, count.real, count.computed) == (3, 10, 12)
    assert (count.real_squares, count.computed_squares) == (38, 54)
    # A step of BERT-base on 8 x 128 tokens: 6 operations for each of 85 M parameters and token, and attention.
    flops = training_flops(1024, 8 * 128**2, 12, 768, 3072)
    assert flops == pytest.approx(6 * 84_934_656 * 1024 + 12 * 12 * 768 * 8 * 128**2)
    assert training_flops(1024, 8 * 128**2, 12, 768, 3072, frozen=12) == pytest.approx(flops / 3)


def test_made_up_texts_have_the_length_they_say():
    tokens = vocabulary()
    assert len(tokens) == len(set(tokens)) == SIZE
    made = fixed_length(3, 16)
    assert {len(text.split()) for text in made.texts} == {14}
    assert made == fixed_length(3, 16) != fixed_length(3, 16, seed=1)
    assert set(" ".join(made.texts).split()) <= set(tokens[5:])


def test_real_texts_are_drawn_by_seed(tmp_path):
    (tmp_path / "ag_news").mkdir()
    lines = "".join(f'"{i % 4 + 1}","title {i}","text {i}"\n' for i in range(20))
    (tmp_path / "ag_news" / "train.csv").write_text(lines)
    drawn = real(str(tmp_path), "ag_news", 6)
    assert len(set(drawn.texts)) == 6 and drawn == real(str(tmp_path), "ag_news", 6)
    number = int(drawn.texts[0].split()[-1])
    assert drawn.texts[0] == f"title {number} text {number}" and drawn.names[drawn.labels[0]] == str(number % 4 + 1)
    assert len(real(str(tmp_path), "ag_news").texts) == 20
    with pytest.raises(TransformerError, match="data must be a folder with sst2/train.tsv"):
        real(str(tmp_path), "sst2")


def test_every_job_that_a_benchmark_names_is_its_workers():
    sources = "".join(path.read_text("utf-8") for path in BENCHMARKS.glob("*.py"))
    named = set(re.findall(r'"(\w+\.py):(\w+)"', sources))
    assert len(named) > 10
    for file, job in named:
        assert f'            "{job}": ' in (BENCHMARKS / "workers" / file).read_text("utf-8"), (file, job)
