"""`python -m tftransformer inspect_preset` as users run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tftransformer.checkpoints import embedded_presets

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, "-m", "tftransformer", "inspect_preset", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_names_and_folders_and_a_near_miss_in_one_line(tmp_path, two_block_preset):
    done = run(tmp_path, "bert_12x192_en_uncased", str(two_block_preset), "bert_12x192_en_uncase")
    first, second = done.stdout.split("\n\n")
    assert first.startswith("bert_12x192_en_uncased\n") and "7,884,288" in first
    assert second.startswith(f"{two_block_preset}\n") and "of width 16" in second
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ") and "did you mean 'bert_12x192_en_uncased'" in done.stderr


@pytest.mark.slow
def test_json_and_the_embedded_presets_by_default(tmp_path):
    done = run(tmp_path, "--json")
    assert done.returncode == 0 and done.stderr == ""
    names = [json.loads(line)["name"] for line in done.stdout.splitlines()]
    assert names == list(embedded_presets())
