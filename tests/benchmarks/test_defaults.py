"""The comparison of defaults: its sets, its cells, its tables, what it refuses, and a tiny run of the whole."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import defaults_sets
import pytest
from defaults import figures_of, line_of, make_cells
from defaults_cells import (
    GRID_UPDATES,
    WORKERS,
    Cell,
    add_cell,
    all_cells,
    check_folders,
    check_same,
    choose_contenders,
    choose_encoders,
    choose_sets,
    choose_sizes,
    grid_epochs,
    read_cells,
    without,
)
from defaults_sets import HALVES, SETS, Rows, draw_rows, read_set
from defaults_table import Results, curves, paired_difference, plot_cells, summary, tables
from sidebyside.rounds import Contender

from tftransformer.data.split import Split
from tftransformer.errors import TransformerError

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("dull awful slow".split(), "fine great bright".split(), "blue odd round".split(), "deep tall wide".split())


def write_rows(path, rows, header=None):
    lines = ["\t".join(row) for row in ([header] if header else []) + rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def text(number, label):
    return f"{WORDS[label][number % 3]} text number {number}"


@pytest.fixture
def data(tmp_path):
    """Every set in its own form, with few rows."""
    folder = tmp_path / "data"
    pairs = [[str(i), f"{text(i, 0)}", f"{text(i, i % 2)} too", ("no", "yes")[i % 2]] for i in range(30)]
    for file in ("train.tsv", "stanford_sentences_test.tsv"):
        write_rows(folder / "sst2" / file, [[text(i, i % 2), str(i % 2)] for i in range(40)], ["sentence", "label"])
    for file in ("train.tsv", "dev.tsv"):
        write_rows(folder / "rte" / file, pairs, ["index", "sentence1", "sentence2", "label"])
    for file in ("train", "test"):
        rows = [[str(i % 2), "1", "2", *pair[1:3]] for i, pair in enumerate(pairs)]
        head = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
        write_rows(folder / "mrpc" / f"msr_paraphrase_{file}.txt", rows, head)
        rows = [[str(i % 2), text(i, i % 2)] for i in range(30)]
        write_rows(folder / "chnsenticorp" / f"{file}.tsv", rows, ["label", "text_a"])
        for language in defaults_sets.LANGUAGES:
            rows = [[str(i % 3), f"{language} {text(i, i % 3)}"] for i in range(12)]
            write_rows(folder / "multilingual_sentiment" / f"{language}_{file}.tsv", rows, ["label", "text"])
    for place, files, rows in (
        ("medical_abstracts", ("train_ohsumed.csv", "medical_tc_test.csv"), [("condition_label", "medical_abstract")]),
        ("ag_news", ("train.csv", "test.csv"), []),
    ):
        (folder / place).mkdir()
        for file in files:
            made = [(i % 4 + 1, *(("",) if place == "ag_news" else ()), text(i, i % 4)) for i in range(40)]
            with open(folder / place / file, "w", newline="") as lines:
                csv.writer(lines, quoting=csv.QUOTE_ALL).writerows([*rows, *made])
    intents = [[text(i, i % 4), f"intent {i % 4}"] for i in range(40)]
    (folder / "clinc150").mkdir()
    parts = {"oos_train": [["what", "oos"]], "train": intents, "val": intents, "test": intents}
    (folder / "clinc150" / "data_full.json").write_text(json.dumps(parts))
    return str(folder)


def test_the_halves_are_disjoint_and_complete():
    rules, judged = map(set, HALVES.values())
    assert not rules & judged and rules | judged == set(SETS) and len(rules) == len(judged) == 4
    assert choose_sets("both", None) == [*HALVES["rules"], *HALVES["judged"]]


@pytest.mark.parametrize("name", SETS)
def test_each_set_is_read_and_its_rows_depend_on_size_and_seed_alone(data, name):
    rows = draw_rows(data, name, 8, 0)
    counts = Counter(rows.train.targets)
    assert set(counts.values()) == {8} and len(counts) == len(read_set(data, name).train.labels)
    assert rows.train.is_pair == rows.test.is_pair == SETS[name].pairs
    read_set.cache_clear()
    assert draw_rows(data, name, 8, 0) == rows and draw_rows(data, name, 8, 1).train != rows.train
    assert len(draw_rows(data, name, 10, 0).train) == 10
    assert draw_rows(data, name, 10, 1).test == rows.test
    assert "oos" not in rows.train.labels


def test_the_parts_of_a_set_are_put_together(data):
    assert draw_rows(data, "ag_news", 1000, 0).train.texts[1] == "great text number 1"
    found = read_set(data, "multilingual_sentiment")
    assert len(found.train) == len(found.test) == 72
    assert {row.split()[0] for row in found.test.texts} == set(defaults_sets.LANGUAGES)


def test_a_class_with_fewer_rows_gives_all_it_has():
    split = Split([f"text {i}" for i in range(14)], ["a"] * 11 + ["b"] * 3)
    assert Counter(defaults_sets.each_class(split, 8, 0).targets) == {"a": 8, "b": 3}


def test_test_rows_are_a_thousand_at_most(data, monkeypatch):
    monkeypatch.setattr(defaults_sets, "TEST_ROWS", 20)
    read_set.cache_clear()
    found = {len(draw_rows(data, "sst2", size, seed).test) for size in (8, 10) for seed in (0, 1)}
    assert found == {20} and Counter(read_set(data, "sst2").test.targets) == {"0": 10, "1": 10}
    read_set.cache_clear()


def test_a_plan_has_every_training_once():
    contenders = choose_contenders(["ours", "setfit", "words", "grid"])
    cells = all_cells(contenders, ["minilm", "embedded"], ["sst2", "mrpc"], [8, 50, 1000], seeds=2)
    counts = Counter(cell.contender for cell in cells)
    assert len(set(cells)) == len(cells)
    assert counts["ours"] == 2 * 2 * 3 * 2 and counts["words"] == 2 * 3 * 2
    # No pairs, and neither of the larger sizes.
    assert counts["setfit"] == 2 * 1 * 2 * 2
    # Of few rows 1,000 updates would be as many epochs as 300.
    assert counts["grid:1e-4:300"] == counts["ours"] and counts["grid:1e-4:1000"] == counts["ours"] // 3
    assert [cell.size for cell in cells if cell.contender == "ours"] == sorted(8 * [8, 50, 1000])
    assert all(Contender("name", worker).script.is_file() for worker in WORKERS.values())


def test_epochs_of_the_grid():
    assert [grid_epochs(1000, updates) for updates in GRID_UPDATES] == [2, 5, 16]
    assert [grid_epochs(50, updates) for updates in GRID_UPDATES] == [25, 75, 75]
    assert [grid_epochs(200, updates) for updates in GRID_UPDATES] == [8, 24, 30]


def test_finished_cells_are_not_done_again(tmp_path):
    cells = all_cells(["words"], ["minilm"], ["sst2"], [8], seeds=3)
    assert without(cells, read_cells(tmp_path), again=False) == cells
    add_cell(tmp_path, cells[0], {"accuracy": 0.5})
    add_cell(tmp_path, cells[1], {"failure": "out of time (1 min)"})
    assert without(cells, read_cells(tmp_path), again=False) == cells[2:]
    assert without(cells, read_cells(tmp_path), again=True) == cells[1:]
    add_cell(tmp_path, cells[1], {"accuracy": 0.7})
    assert read_cells(tmp_path)[cells[1]]["accuracy"] == 0.7 and len(read_cells(tmp_path)) == 2
    (path,) = (tmp_path / "cells").iterdir()
    assert path.name == "rules-none-words.jsonl"
    # Cut off by a full disk: this cell is missing, and the next one is whole.
    path.write_bytes(path.read_bytes()[:-20])
    assert without(cells, read_cells(tmp_path), again=False) == cells[2:]
    add_cell(tmp_path, cells[2], {"accuracy": 0.9})
    assert read_cells(tmp_path)[cells[2]]["accuracy"] == 0.9
    path.write_text('{"set": "sst2"}\n')
    with pytest.raises(TransformerError, match="rules-none-words.jsonl must hold cells with set, size, seed"):
        read_cells(tmp_path)


def test_cells_that_are_compared_have_the_same_rows_and_weights():
    done = {Cell("sst2", 8, 0, "minilm", "ours"): {"rows_digest": "a", "weights": "w"}}
    check_same(done, Cell("sst2", 8, 0, "none", "words"), "rows_digest", "a")
    check_same(done, Cell("sst2", 8, 1, "none", "words"), "rows_digest", "b")
    check_same(done, Cell("rte", 8, 1, "embedded", "ours"), "weights", "v")
    with pytest.raises(
        TransformerError, match="rows of the finished cells; sst2, 8 a class, seed 0, minilm, ours, has"
    ):
        check_same(done, Cell("sst2", 8, 0, "none", "words"), "rows_digest", "b")
    with pytest.raises(TransformerError, match="minilm must have the weights of the finished cells"):
        check_same(done, Cell("rte", 50, 2, "minilm", "huggingface"), "weights", "v")


def test_classes_without_a_training_row_are_wrong_for_everybody():
    rows = Rows(Split(["a", "b"], ["x", "y"]), Split(list("abcd"), ["x", "y", "z", "y"]))
    figures = figures_of(rows, {"predicted": [0, 1, 1, 0], "seconds": 2.0})
    assert figures["accuracy"] == 0.5
    # F1 of x: 2 / 3, of y: 1 / 2, of z: 0.
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 3) and figures["seconds"] == 2.0
    assert figures_of(rows, {"failure": "out of time"}) == {"failure": "out of time"}
    line = line_of(Cell("sst2", 50, 1, "minilm", "ours"), figures)
    assert line == "sst2, 50 rows, seed 1, minilm, ours: accuracy 0.5000, macro F1 0.3889, 2.0 s"


def test_a_paired_difference_resamples_sets_and_seeds():
    found = paired_difference({"sst2": [0.1, 0.2, 0.3], "rte": [0.0]})
    assert (found.mean, found.pairs) == (pytest.approx(0.1), 4)
    # Twice the set with none, or twice the other at its highest, are the ends of what can be drawn.
    assert found.low == 0.0 and 0.2 <= found.high <= 0.3
    assert paired_difference({"sst2": [0.25]}).low is None
    assert paired_difference({"sst2": []}) is None


def made_up(tmp_path):
    """Cells with known means: ours at 0.8 and 0.6, the words 0.1 below, SetFit without the pairs, a grid of two."""
    accuracies = {"ours": 0.8, "words": 0.7, "grid:1e-4:100": 0.75, "grid:3e-4:100": 0.85}
    for contender, accuracy in accuracies.items():
        for name in ("sst2", "mrpc"):
            for seed in (0, 1):
                encoder = "none" if contender == "words" else "minilm"
                value = accuracy - 0.2 * (name == "mrpc") + 0.01 * seed
                figures = {"accuracy": value, "macro_f1": value - 0.05, "seconds": 2.0}
                add_cell(tmp_path, Cell(name, 8, seed, encoder, contender), figures)
    add_cell(tmp_path, Cell("sst2", 8, 0, "minilm", "setfit"), {"accuracy": 0.9, "macro_f1": 0.9, "seconds": 60.0})
    add_cell(tmp_path, Cell("sst2", 8, 1, "minilm", "setfit"), {"failure": "out of time (30 min)"})
    return read_cells(tmp_path)


def test_the_tables_have_means_differences_and_what_is_missing(tmp_path):
    cells = made_up(tmp_path)
    lines = summary(Results(cells), "minilm", "rules", 8).splitlines()
    assert lines[0] == "### rules, 8 a class, minilm: 2 of 4 sets, 4 trainings"
    assert lines[4:] == [
        "| ours | 70.50 | 65.50 | – | 4 of 4 | -5.00 | 2.0 |",
        "| setfit | – | – | -10.00 | 1 of 4 | – | – |",
        "| words | 60.50 | 55.50 | +10.00 (+10.00 to +10.00) | 4 of 4 | -15.00 | 2.0 |",
        "| ceiling | 75.50 | 70.50 | – | – | – | – |",
    ]
    text = tables(cells)
    assert "| rules | sst2 | 8 a class | 80.50 | 90.00 (1 of 2) | 70.50 | 85.50 | grid:3e-4:100 |" in text
    assert "| rules | mrpc | 8 a class | 60.50 | – | 50.50 | 65.50 | grid:3e-4:100 |" in text
    assert "| rules | mrpc | 8 a class | 55.50 | – | 45.50 | 60.50 | grid:3e-4:100 |" in text
    assert text.endswith("## Failed\n\n- sst2, 8 a class, seed 1, minilm, setfit: out of time (30 min)\n")
    assert "half judged" not in text


def test_a_setting_that_lacks_a_seed_is_no_ceiling(tmp_path):
    cells = made_up(tmp_path)
    del cells[Cell("sst2", 8, 1, "minilm", "grid:3e-4:100")]
    setting, mean = Results(cells).ceiling("minilm", 8, "sst2", {0, 1}, "accuracy")
    assert setting == "grid:1e-4:100" and mean == pytest.approx(0.755)
    del cells[Cell("sst2", 8, 0, "minilm", "grid:1e-4:100")]
    assert "| ceiling |" not in summary(Results(cells), "minilm", "rules", 8).replace("| ceiling | its", "")


def test_the_plot_shows_who_has_everything(tmp_path):
    cells = made_up(tmp_path)
    found = curves(Results(cells), "rules", "minilm")
    assert found["ours"] == {8: pytest.approx(0.705)} and found["setfit"] == {}
    assert found["ceiling (best of the grid on the test rows)"] == {8: pytest.approx(0.755)}
    plot_cells(tmp_path / "plot.png", cells)
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"
    plot_cells(tmp_path / "none.png", {})
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("choose", "words"),
    [
        (
            lambda: choose_sets("rule", None),
            "half must be one of rules, judged, both; got 'rule'; did you mean 'rules'",
        ),
        (lambda: choose_sets("rules", ["sst"]), "sets must be one of .*; got 'sst'; did you mean 'sst2'"),
        (lambda: choose_sets("rules", ["rte"]), "sets must be of the half 'rules', sst2, .*; got 'rte'"),
        (lambda: choose_contenders(["our"]), "contenders must be one of .*; got 'our'; did you mean 'ours'"),
        (lambda: choose_contenders(["ours", "ours"]), "contenders must be different; got 'ours' twice"),
        (lambda: choose_contenders(["grid:1e-3:100"]), "contenders must be one of grid:3e-5:100, .*; got 'grid:1e-3"),
        (lambda: choose_contenders(["strategy"]), "contenders must name a strategy, such as strategy:head"),
        (lambda: choose_contenders(["strategy:hed"]), "strategy must be one of .*; got 'hed'; did you mean 'head'"),
        (lambda: choose_contenders(["words:2"]), "contenders must be words without a colon; got 'words:2'"),
        (lambda: choose_contenders([]), "contenders must name at least one; got none"),
        (lambda: choose_encoders(["miniln"]), "encoders must be one of .*; got 'miniln'; did you mean 'minilm'"),
        (lambda: choose_encoders([]), "encoders must name at least one; got none"),
        (lambda: choose_sizes("sizes", ["8", "1"]), "sizes must be whole numbers of at least 2; got 8, 1"),
        (lambda: choose_sizes("sizes", ["many"]), "sizes must be whole numbers of at least 2; got many"),
        (lambda: check_folders([], "nowhere", None, None), "data must be a folder; got 'nowhere'"),
    ],
)
def test_flags_are_checked(choose, words):
    with pytest.raises(TransformerError, match=words):
        choose()


def test_folders_are_checked(tmp_path):
    cells = [Cell("sst2", 8, 0, "minilm", "setfit")]
    with pytest.raises(TransformerError, match="data must be a folder with sst2 in it"):
        check_folders(cells, str(tmp_path), None, None)
    with pytest.raises(TransformerError, match="data must be a folder with sst2 in it"):
        read_set(str(tmp_path), "sst2")
    (tmp_path / "sst2").mkdir()
    with pytest.raises(TransformerError, match="minilm must be a folder with config.json; got None"):
        check_folders(cells, str(tmp_path), None, None)
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).touch()
    with pytest.raises(TransformerError, match="setfit_python must be a Python interpreter; got 'nowhere'"):
        check_folders(cells, str(tmp_path), str(tmp_path), "nowhere")
    check_folders(cells, str(tmp_path), str(tmp_path), sys.executable)


FAKE = """
import os
from sidebyside.turns import cells
from sidebyside.worker import serve

def train(order):
    if order["seed"] == 1:
        raise ValueError("no\\nluck")
    with open({diary!r}, "a") as diary:
        diary.write(f"{{os.getpid()}} {{order['labels']}} {{type(order['texts'][0]).__name__}}\\n")
    return lambda texts: [0] * len(texts)

def load():
    {load}

serve(*cells(load, ["numpy"], train))
"""


def test_a_failure_stays_in_its_cell(data, tmp_path, monkeypatch):
    diary = tmp_path / "diary"
    for name, load in (("works", "pass"), ("absent", "import no_such_package")):
        script = tmp_path / f"{name}.py"
        script.write_text(FAKE.format(diary=str(diary), load=load))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setitem(WORKERS, "ours", str(tmp_path / "works.py"))
    monkeypatch.setitem(WORKERS, "keras_hub", str(tmp_path / "absent.py"))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    cells = all_cells(["keras_hub", "ours"], ["minilm"], ["mrpc"], [8, 10], seeds=2)
    lines = []
    minutes = {"setfit": 1.0, "others": 1.0}
    make_cells(cells, tmp_path / "out", data, str(tmp_path), minutes=minutes, say=lines.append)
    assert lines[0] == "keras_hub: no_such_package is not installed; 4 cells left out"
    assert [line.partition(": ")[2].partition(",")[0] for line in lines[1:]] == [
        "accuracy 0.5000", "ValueError: no luck; 2 to go", "accuracy 0.5000", "ValueError: no luck; 0 to go",
    ]  # fmt: skip
    found = read_cells(tmp_path / "out")
    assert len(found) == 4 and sum("failure" in piece for piece in found.values()) == 2
    piece = found[cells[4]]
    assert {"rows": 16, "classes": 2, "test_rows": 30}.items() <= piece.items() and "numpy" in piece["versions"]
    assert "predicted" not in piece and "texts" not in piece
    # A new process after the failure, and pairs as tuples.
    notes = [line.split(" ", 1) for line in diary.read_text().splitlines()]
    assert len({number for number, _ in notes}) == 2 and {rest for _, rest in notes} == {"['0', '1'] tuple"}


@pytest.mark.slow
def test_a_tiny_run_gives_the_table_and_goes_on_where_it_was(data, tmp_path):
    def run(*options):
        return subprocess.run(
            [
                sys.executable, str(ROOT / "benchmarks" / "defaults.py"), f"--data={data}", "--sizes=8", "--seeds=2",
                "--contenders=words", "--out=out", *options,
            ],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    done = run("--sets=sst2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[0] == "0 of 2 cells are there" and done.stdout.splitlines()[-1] == "saved out"
    assert (tmp_path / "out" / "defaults.md").is_file() and (tmp_path / "out" / "defaults.png").is_file()
    done = run("--sets=sst2,mrpc")
    lines = done.stdout.splitlines()
    assert lines[0] == "2 of 4 cells are there"
    assert lines[1].startswith("mrpc, 8 a class, seed 0, none, words: accuracy")
    assert "2 of 4 sets, 4 trainings" in run("--table_only").stdout
    wrong = run("--sets=sst")
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1
    assert wrong.stderr.startswith("error: --sets must be one of")


def test_words_are_counted_in_a_process_of_their_own(data, tmp_path):
    cells = all_cells(["words"], ["minilm"], ["sst2", "rte"], [8], seeds=1)
    lines = []
    make_cells(cells, tmp_path, data, minutes={"setfit": 1.0, "others": 1.0}, say=lines.append)
    found = read_cells(tmp_path)
    assert list(found) == sorted(cells, key=lambda cell: cell.half != "judged")
    assert found[cells[0]]["accuracy"] == 1.0 and lines[0].endswith("; 1 to go")
