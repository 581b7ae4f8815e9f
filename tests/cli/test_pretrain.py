"""`python -m tftransformer pretrain` as users run it: texts to shards to a preset, and mistakes in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tftransformer.checkpoints import load_preset

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *flags, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, "-m", "tftransformer", "pretrain", *flags],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_texts_become_shards_and_shards_a_preset(tmp_path):
    (tmp_path / "book.txt").write_text("The plot was slow but the acting was great.\n\n" * 40, encoding="utf-8")
    done = run(tmp_path, "prepare", "--texts=book.txt", "--vocabulary_size=120", "--output_dir=shards")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "saved shards" and "Traceback" not in done.stderr
    sizes = ("--num_layers=1", "--hidden_dim=16", "--num_heads=2", "--intermediate_dim=32", "--batch_size=4")
    train = ("train", "--shards=shards", "--output_dir=out", "--sequence_length=16", *sizes)
    done = run(tmp_path, *train, "--steps=3")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "saved out after 3 steps" in done.stdout
    done = run(tmp_path, *train, "--steps=5", "--resume", KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resumed after 3 steps" in done.stdout and "saved out after 5 steps" in done.stdout
    assert load_preset(str(tmp_path / "out")).config.num_layers == 1


# On JAX: the checks are the same and start sooner.
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("prepare", "--texts=none.txt", "--output_dir=out"), "--texts: there is no file or folder none.txt"),
        pytest.param(
            ("--texts=none.txt",), "say what to do: pretrain prepare --texts=... or pretrain train --shards=...; "
            "got ''", marks=pytest.mark.slow,
        ),
        pytest.param(
            ("trian", "--shards=none"), "say what to do: pretrain prepare --texts=... or pretrain train "
            "--shards=...; got 'trian'; did you mean 'train'?", marks=pytest.mark.slow,
        ),
        pytest.param(
            ("train", "--output_dir=out"), "--shards is missing; --help lists the flags", marks=pytest.mark.slow
        ),
        pytest.param(
            ("train", "now", "--shards=none"), "every argument must be a flag, --name=value; got 'now'",
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, flags, message):
    done = run(tmp_path, *flags, KERAS_BACKEND="jax")
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: {message}"
    assert not (tmp_path / "out").exists()
