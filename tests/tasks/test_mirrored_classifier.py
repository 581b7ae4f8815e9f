"""A classifier trained on two replicas is the one trained on a single device, uneven last batches included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(request, two_block_preset):
    """What mirrored_classifier.py prints of the cases that are tested; one process for all starts TensorFlow once."""
    cases = [item.callspec.params["case"] for item in request.session.items if item.module is request.module]
    script = Path(__file__).with_name("mirrored_classifier.py")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), str(two_block_preset), *cases], env=environment, capture_output=True, text=True,
        timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "last batch of 5", "last batch of 1", "one frozen block", "all frozen", "stages of frozen blocks", "changed copies",
        "packed last batch of 1", "packed dataset", "packed tasks", "put in after predict", "weighted mean",
        "numbers", "tags",
    ],
)  # fmt: skip
def test_two_replicas_equal_one_device(results, case):
    result = results[case]
    assert result["movement"] > 1e-3
    assert result["difference"] < 1e-6
    assert bool(result["stored_rows"]) == ("frozen" in case)
    assert result["probabilities"] < 1e-6
