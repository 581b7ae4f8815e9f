"""The programs of examples/ from data to a served model; `test_regress.py` and `test_tag.py` try two more."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tftransformer as tt

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reviews):
    folder = tmp_path_factory.mktemp("examples")
    with open(folder / "reviews.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(*reviews)])
    with open(folder / "tags.csv", "w", newline="") as file:
        rows = [(text, f"{label}|long" if len(text) > 20 else label) for text, label in zip(*reviews)]
        csv.writer(file).writerows([("text", "tags"), *rows])
    return folder


def run(folder, program, *flags):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / program), *flags], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "flags", "kind"),
    [
        ("classify.py", ["--dataset=reviews.csv", "--train_examples=40", "--strategy=lora:2"], tt.TextClassifier),
        ("classify.py", ["--dataset=reviews.csv", "--freeze_layers=1", "--epochs=1"], tt.TextClassifier),
        (
            "classify_documents.py",
            ["--dataset=reviews.csv", "--sequence_length=8", "--strategy=head", "--epochs=1", "--chunk_blocks=1"],
            tt.DocumentClassifier,
        ),
        (
            "multi_task.py",
            ["--datasets=reviews.csv,tags.csv", "--strategy=full", "--epochs=1", "--sampling=equal"],
            tt.MultiTaskClassifier,
        ),
    ],
    ids=["lora", "frozen", "documents", "several tasks"],
)
def test_an_example_ends_with_a_report_and_a_served_model(folder, tmp_path, two_block_preset, program, flags, kind):
    left = tmp_path / "run"
    done = run(folder, program, f"--preset={two_block_preset}", *flags, f"--output_dir={left}")
    assert done.returncode == 0 and done.stderr == "", done.stderr[-3000:]
    assert "accuracy" in (left / "report.txt").read_text() and "accuracy" in done.stdout
    assert type(tt.load(left / "model")) is kind
    assert (left / "saved_model" / "1" / "saved_model.pb").exists() and (left / "metrics.json").exists()


@pytest.mark.slow
def test_dates_are_learned_and_served(folder):
    done = run(folder, "translate.py", "--epochs=1", "--output_dir=dates")
    assert done.returncode == 0 and "of 1,000 unseen texts are right to the last character" in done.stdout, done.stderr
    assert type(tt.load(folder / "dates" / "model")) is tt.Seq2Seq
    assert (folder / "dates" / "cross_attention.png").stat().st_size > 5_000


@pytest.mark.slow
def test_pairs_of_ones_own_are_scored(folder, reviews):
    for side, change in (("en", str), ("up", str.upper)):
        for split, start, end in (("train", 0, 40), ("val", 40, 50), ("test", 50, 60)):
            lines = [change(text) for text in reviews[0][start:end]]
            (folder / f"{split}.{side}").write_text("\n".join(lines) + "\n")
    sides = ("--dataset=.", "--source=en", "--target=up")
    done = run(folder, "translate.py", *sides, "--epochs=1", "--num_layers=1", "--output_dir=pairs")
    assert done.returncode == 0 and "chrF2" in (folder / "pairs" / "report.txt").read_text(), done.stderr


@pytest.mark.slow
def test_a_run_of_the_example_answers_to_the_command(folder, two_block_preset):
    done = run(
        folder, "classify.py", "--dataset=reviews.csv", f"--preset={two_block_preset}", "--epochs=1", "--output_dir=run"
    )
    assert done.returncode == 0, done.stderr
    for flags in (["--mode=predict", "--text=a good film"], ["--mode=evaluate"]):
        command = [sys.executable, "-m", "tftransformer", "classify", "--model=run", *flags]
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0 and "positive" in done.stdout, done.stderr
