"""`python -m tftransformer compare_strategies` as users run it, and their mistakes in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *flags):
    return subprocess.run(
        [sys.executable, "-m", "tftransformer", "compare_strategies", *flags], cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_table_is_printed_and_grows(tmp_path, reviews, two_block_preset):
    lines = ["text,label", *(f"{text},{label}" for text, label in zip(*reviews))]
    (tmp_path / "reviews.csv").write_text("\n".join(lines) + "\n")
    flags = [
        "--dataset=reviews.csv", f"--preset={two_block_preset}", "--sequence_length=16", "--strategies=full,lora:2",
        "--train_examples=8,16", "--updates=2",
    ]  # fmt: skip
    first = run(tmp_path, *flags, "--seeds=1")
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "runs" / "reviews-strategies"
    assert "8 training rows, 1 seed" in first.stdout and (folder / "report.txt").read_text().strip() in first.stdout
    assert len(list(folder.glob("*seed-0.json"))) == 4 and (folder / "comparison.png").stat().st_size > 0
    second = run(tmp_path, *flags, "--seeds=2")
    assert second.returncode == 0 and "holds 4 of 8 runs" in second.stdout
    assert "16 training rows, 2 seeds" in second.stdout
    for wrong, message in (
        (["--updates=3"], "has updates 2, not updates 3"),
        (["--strategies=full,lora:0"], "--strategies lora takes a positive integer"),
        (["--train_examples=8,many"], "train_examples must be whole numbers"),
    ):
        kept = (folder / "report.txt").read_bytes()
        failed = run(tmp_path, *flags, "--seeds=2", *wrong)
        assert failed.returncode == 1 and message in failed.stderr and "Traceback" not in failed.stderr
        assert (
            failed.stderr.strip().splitlines()[-1].startswith("error: ")
            and (folder / "report.txt").read_bytes() == kept
        )
