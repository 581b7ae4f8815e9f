"""`python -m tftransformer classify_documents` as users run it: flags that reach the run, and a mistake in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_example_runs_and_names_a_mistake(tmp_path, two_block_preset):
    def run(*flags):
        return subprocess.run(
            [sys.executable, "-m", "tftransformer", "classify_documents", *flags],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    wrong = run("--max_chunks=0")
    assert wrong.returncode == 1 and wrong.stderr == "error: --max_chunks must be at least 1; got 0\n"
    done = run(
        f"--preset={two_block_preset}", "--sequence_length=16", "--epochs=1", "--train_examples=40", "--output_dir=run"
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr[-3000:]
    assert "macro F1" in done.stdout and "what counts in the first documents" in done.stdout
    assert (tmp_path / "run" / "saved_model" / "1" / "saved_model.pb").exists()
