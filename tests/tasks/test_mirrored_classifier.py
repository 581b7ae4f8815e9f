"""A classifier trained on two replicas is the one trained on a single device, uneven last batches included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "last batch of 5", "last batch of 1", "one frozen block", "all frozen", "stages of frozen blocks", "changed copies",
        "packed last batch of 1", "packed dataset", "packed tasks", "put in after predict", "weighted mean",
    ],
)  # fmt: skip
def test_two_replicas_equal_one_device(tiny_preset, case):
    script = Path(__file__).with_name("mirrored_classifier.py")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), str(tiny_preset), case], env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])[case]
    assert result["movement"] > 1e-3
    assert result["difference"] < 1e-6
    assert bool(result["stored_rows"]) == ("frozen" in case)
    assert result["probabilities"] < 1e-6
