"""`python -m tftransformer search` and `cross_validate` as users run them, and their mistakes in one line."""

import csv
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.runs import tuning
from tftransformer.runs.flags import read_range
from tftransformer.runs.options import ClassificationOptions

ROOT = Path(__file__).resolve().parents[2]


def run(folder, command, *flags):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, "-m", "tftransformer", command, *flags], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path, reviews):
    with open(tmp_path / "reviews.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "label", "author"])
        writer.writerows((*row, f"author {i % 12}") for i, row in enumerate(zip(*reviews)))
    return tmp_path


@pytest.mark.slow
def test_a_search_ends_with_a_table_and_a_test_report_and_goes_on(folder, two_block_preset):
    flags = (
        "--dataset=reviews.csv", f"--preset={two_block_preset}", "--strategies=freeze:1,lora:2", "--learning_rate=1e-3,1e-2",
        "--epochs=1,2",
    )  # fmt: skip
    done = run(folder, "search", *flags, "--trials=2")
    assert done.returncode == 0, done.stderr[-3000:]
    path = folder / "runs" / "reviews-search"
    assert (path / "report.txt").read_text().strip() in done.stdout and done.stderr == ""
    assert (path / "test_report.txt").read_text().strip() in done.stdout
    assert list(path.glob("best-trial-*/model.safetensors")) and (path / "quality.png").exists()
    done = run(folder, "search", *flags, "--trials=3")
    assert done.returncode == 0 and "holds 2 trials" in done.stdout and "trial 3 of 3" in done.stdout
    done = run(folder, "search", *flags, "--trials=3", "--seed=1")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "same settings" in done.stderr


@pytest.mark.slow
def test_a_cross_validation_ends_with_a_table(folder, two_block_preset):
    done = run(
        folder, "cross_validate", "--dataset=reviews.csv", f"--preset={two_block_preset}", "--strategy=freeze:1",
        "--learning_rate=1e-3", "--epochs=2", "--folds=3", "--group_column=author",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    path = folder / "runs" / "reviews-folds"
    assert (path / "report.txt").read_text().strip() in done.stdout and done.stderr == ""
    figures = json.loads((path / "metrics.json").read_text())
    assert sum(fold["rows"] for fold in figures["folds"]) == 48


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("search", ["--dataset=review.csv"], "did you mean 'reviews.csv'"),
        ("search", ["--strategies=ful,head"], "did you mean 'full'"),
        ("search", ["--learning_rate=1e-5,high"], "error: --learning_rate must be a number, or two"),
        ("cross_validate", ["--strategy=lora8"], "did you mean 'lora'"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(folder, script, flags, words):
    before = sorted(p.name for p in folder.iterdir())
    done = run(folder, script, *flags)
    assert done.returncode == 1 and done.stderr.startswith("error: "), done.stderr
    assert len(done.stderr.splitlines()) == 1 and words in done.stderr
    assert sorted(p.name for p in folder.iterdir()) == before


def test_a_further_column_is_read_row_by_row(folder):
    splits = importlib.import_module("tftransformer.data.loading").load(folder / "reviews.csv")
    with open(folder / "reviews.csv", newline="") as file:
        authors = [row["author"] for row in csv.DictReader(file)]
    for split in splits:
        assert tuning.column_values(split, "author") == [authors[line - 2] for line in split.rows]
    with pytest.raises(TransformerError, match="group_column must be a column of reviews.csv.*did you mean 'author'"):
        tuning.column_values(splits.train, "autor")
    with pytest.raises(TransformerError, match="group_column needs data from a CSV"):
        tuning.column_values(Split(["a"], ["x"]), "author")


def test_flags_that_are_ranges():
    assert read_range("epochs", ["2", "5"], int) == (2, 5)
    assert read_range("epochs", ["3"], int) == 3
    for values in (["a"], ["1", "2", "3"], ["1.5"]):
        with pytest.raises(TransformerError, match="epochs must be a number, or two with a comma"):
            read_range("epochs", values, int)


def test_runs_that_lack_what_they_need(folder, monkeypatch):
    options = ClassificationOptions(dataset=str(folder / "reviews.csv"), train_examples=20)
    with pytest.raises(TransformerError, match="train_examples cannot go with group_column"):
        tuning.run_cross_validation(options, {"epochs": 1}, group_column="author")
    whole = tuning.load_splits(options)
    monkeypatch.setattr(tuning, "load_splits", lambda _: whole._replace(validation=None))
    with pytest.raises(TransformerError, match="needs a validation split"):
        tuning.run_search(options, {"epochs": (1, 2)})
