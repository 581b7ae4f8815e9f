"""`examples/classify.py` as users run it: a whole run, then predictions from it, and mistakes in one line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "classify.py"


def run(folder, *flags):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, str(SCRIPT), *flags], cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reviews):
    folder = tmp_path_factory.mktemp("cli")
    with open(folder / "reviews.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "label"])
        writer.writerows(zip(*reviews))
    return folder


@pytest.fixture(scope="module")
def finished(folder, tiny_preset):
    done = run(
        folder, "--dataset=reviews.csv", f"--preset={tiny_preset}", "--freeze_layers=1", "--extra_blocks=1", "--epochs=2",
        "--learning_rate=1e-3", "--class_weight=balanced", "--early_stopping=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "runs" / "reviews-1", done


def test_a_run_leaves_what_the_readme_says(finished):
    path, _ = finished
    expected = {
        "run.json", "metrics.json", "report.txt", "history.csv", "confusion_matrix.png", "roc.png", "curves.png",
        "predictions.csv", "model", "saved_model", "tensorboard",
    }  # fmt: skip
    assert {p.name for p in path.iterdir()} == expected
    assert (path / "saved_model" / "1" / "saved_model.pb").exists()
    metrics = json.loads((path / "metrics.json").read_text())
    assert set(metrics) >= {"test", "train", "data", "config"}
    assert set(metrics["test"]) >= {
        "accuracy", "macro_f1", "weighted_f1", "auc", "loss", "per_class", "confidence_interval", "baseline",
    }  # fmt: skip
    assert set(metrics["train"]) >= {"seconds", "examples_per_second", "trainable_parameters", "epochs"}
    assert len(metrics["train"]["epochs"]) == 2
    assert metrics["config"]["freeze_layers"] == 1 and metrics["config"]["extra_blocks"] == 1
    rows = list(csv.DictReader(open(path / "predictions.csv", newline="")))
    assert list(rows[0]) == ["text", "label", "prediction", "probability"] and len(rows) == 12


def test_a_run_prints_progress_and_report_and_no_noise(finished):
    path, done = finished
    assert (path / "report.txt").read_text().strip() in done.stdout
    assert "prefix cache: embeddings and block 0 run once over " in done.stdout
    assert "frozen: embeddings, encoder_block_0" in done.stdout and "epoch 2/2: done" in done.stdout
    assert done.stderr == ""


def test_predict_and_evaluate_use_the_finished_run(finished, folder):
    done = run(
        folder, "--mode=predict", "--model=runs/reviews-1", "--text=a good film", "--text=bad, very bad"
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.strip().splitlines()]
    assert [line[2] for line in lines] == ["a good film", "bad, very bad"]
    assert all(line[0] in ("negative", "positive") and 0.5 <= float(line[1]) <= 1 for line in lines)


@pytest.mark.slow
def test_evaluate_repeats_the_report(finished, folder):
    done = run(folder, "--mode=evaluate", "--model=runs/reviews-1", "--dataset=reviews.csv")
    assert done.returncode == 0, done.stderr
    accuracy = json.loads((finished[0] / "metrics.json").read_text())["test"]["accuracy"]
    assert f"accuracy   {accuracy:.4f}" in done.stdout


def test_a_mistake_is_one_line_and_nothing_is_written(folder):
    before = sorted(p.name for p in folder.iterdir())
    done = run(folder, "--dataset=review.csv", "--output_dir=new")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert "reviews.csv" in done.stderr and "Traceback" not in done.stderr
    assert sorted(p.name for p in folder.iterdir()) == before
