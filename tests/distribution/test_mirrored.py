"""A step on two replicas is the step on one device: clipping, accumulation and the loss scale included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


# In default runs the one that holds most of what can go wrong.
CASES = [
    "clipping and accumulation",
    *(
        pytest.param(case, marks=pytest.mark.slow)
        for case in ("clipping", "schedule", "float16", "average", "average in float16")
    ),
]


@pytest.fixture(scope="module")
def results(request):
    """What two_replicas.py prints of the cases that are tested; one process for all starts TensorFlow once."""
    cases = [item.callspec.params["case"] for item in request.session.items if item.module is request.module]
    script = Path(__file__).with_name("two_replicas.py")
    settings = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, str(script), *cases],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "WARNING:tensorflow" not in run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_two_replicas_equal_one_device(results, case):
    assert results["replicas"] == 2
    result = results[case]
    assert result["movement"] > 1e-3, "weights that do not move are equal whatever the update"
    # Half precision rounds the two halves of a batch otherwise than the whole.
    assert result["difference"] < (1e-3 if "float16" in case else 1e-6)
    assert result["updates"][0] == result["updates"][1] > 0
    if case == "clipping and accumulation":
        assert result["updates"][1] == 6, "two epochs of 8 batches by 3: the last two of each make an update"
