"""The distillation benchmark: a tiny run of the whole, and a mistake in one line."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_way_is_measured_and_a_mistake_is_one_line(tmp_path, two_block_preset, reviews):
    with open(tmp_path / "reviews.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(*reviews)])

    def run(*flags):
        command = [
            sys.executable, str(ROOT / "benchmarks" / "distillation.py"), f"--preset={two_block_preset}",
            "--train_path=reviews.csv", "--test_path=reviews.csv", "--sequence_length=16", *flags,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = run("--train_examples=16", "--unlabelled=16", "--teacher_epochs=1", "--epochs=2", "--seeds=1")
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 10 and sum(line.startswith("seed 0") for line in lines) == 5
    assert "against alone +0.0000" in lines[6] and lines[9].startswith("and unlabelled rows")
    for flags, message in (
        (["--seeds=0"], "--seeds must be at least 1; got 0"),
        (
            ["--epochs=4"],
            "--epochs * --train_examples must be a multiple of --train_examples + --unlabelled, so that all students "
            "make as many updates; got 4 * 2000 and 2000 + 4000",
        ),
        (
            ["--train_examples=50", "--unlabelled=50"],
            "--train_examples and --unlabelled must be at most the 60 rows of reviews.csv; got 50 + 50",
        ),
    ):
        done = run(*flags)
        assert done.returncode == 1 and done.stderr == f"error: {message}\n"
