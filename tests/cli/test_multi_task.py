"""`python -m tftransformer multi_task` as users run it, from the embedded sample."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *flags):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, "-m", "tftransformer", "multi_task", *flags],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_from_the_sample_to_a_table(two_block_preset, tmp_path):
    done = run(tmp_path, f"--preset={two_block_preset}", "--train_examples=40", "--epochs=1", "--sampling=equal")
    assert done.returncode == 0 and done.stderr == "", done.stderr[-3000:]
    assert "accuracy alone  together" in done.stdout and "\ninner " in done.stdout
    assert (tmp_path / "runs" / "multi_task-1" / "saved_model" / "1" / "saved_model.pb").exists()


@pytest.mark.slow
def test_a_mistake_is_one_line(tmp_path):
    done = run(tmp_path, "--tasks=sst2,sst2", "--data=.")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: --tasks must have different names") and not list(tmp_path.iterdir())
