"""`examples/regress.py` as users run it: a whole run on pairs, and mistakes in one line."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tftransformer as tt

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *flags):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "regress.py"), *flags],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reviews):
    folder = tmp_path_factory.mktemp("regress")
    texts, labels = reviews
    with open(folder / "pairs.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["first", "second", "grade", "length"])
        for text, label in zip(texts, labels, strict=True):
            writer.writerow([text, text, 5.0 if label == "positive" else 1.0, len(text)])
    return folder


@pytest.mark.slow
def test_pairs_with_two_numbers_from_a_file_to_a_served_model(folder, two_block_preset):
    done = run(
        folder, "--dataset=pairs.csv", "--text_columns=first,second", "--label_column=grade,length",
        "--names=grade,length", f"--preset={two_block_preset}", "--epochs=2", "--strategy=lora:2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "TF-IDF + ridge regression" in done.stdout and "everything is in runs/pairs-1" in done.stdout
    metrics = json.loads((folder / "runs" / "pairs-1" / "metrics.json").read_text())
    assert set(metrics["test"]["per_number"]) == {"grade", "length"}
    assert (folder / "runs" / "pairs-1" / "predictions.png").stat().st_size > 10_000
    regressor = tt.load(folder / "runs" / "pairs-1" / "model")
    assert regressor.predict([("good", "good")], verbose=0).shape == (1, 2)
    assert (folder / "runs" / "pairs-1" / "serving" / "1" / "saved_model.pb").exists()


@pytest.mark.by_default("a column of words")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(["--label_column=first"], "error: .*'first' must hold numbers; got ", id="a column of words"),
        pytest.param(["--label_column=grade", "--names=a,b"], "must have 2 numbers in each row, a, b; got 1", id="names"),
        pytest.param(["--label_column=grade", "--levels=5,1"], "--levels must be at least two numbers in rising", id="levels"),
        pytest.param(["--label_column=grade", "--levels=1,2"], "targets must be among the levels, 1, 2; got 5", id="others"),
        pytest.param(["--label_column=grade", "--strategy=probe"], "probe is for a classifier", id="method"),
        pytest.param(["--label_column=nothing"], "has no column 'nothing'", id="column"),
    ],
)  # fmt: skip
def test_mistakes_are_answered_in_one_line_and_leave_nothing(folder, tiny_preset, flags, message):
    given = ["--dataset=pairs.csv", "--text_columns=second", f"--preset={tiny_preset}", "--epochs=1"]
    done = run(folder, *given, *flags, "--output_dir=failed")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert not (folder / "failed").exists()
