"""A step on two replicas is the step on one device: clipping, accumulation and the loss scale included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results():
    script = Path(__file__).with_name("two_replicas.py")
    settings = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return {**json.loads(run.stdout.splitlines()[-1]), "stderr": run.stderr}


def test_there_are_two_replicas(results):
    assert results["replicas"] == 2
    assert "WARNING:tensorflow" not in results["stderr"]


@pytest.mark.parametrize("case", ["clipping", "clipping and accumulation", "schedule"])
def test_two_replicas_equal_one_device(results, case):
    result = results[case]
    assert result["movement"] > 1e-3, "weights that do not move are equal whatever the update"
    assert result["difference"] < 1e-6
    assert result["updates"][0] == result["updates"][1] > 0


def test_float16_with_its_loss_scale(results):
    # Half precision rounds the two halves of a batch otherwise than the whole.
    assert results["float16"]["movement"] > 1e-3
    assert results["float16"]["difference"] < 1e-3
    assert results["float16"]["updates"][0] == results["float16"]["updates"][1] > 0
