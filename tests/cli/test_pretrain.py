"""`examples/pretrain.py` as users run it: a short run to a preset, and a mistake in one line."""

import os
import subprocess
import sys
from pathlib import Path

from tftransformer.checkpoints import load_preset

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *flags):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "pretrain.py"), *flags],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_a_short_run_leaves_a_preset(tmp_path):
    (tmp_path / "book.txt").write_text("The plot was slow but the acting was great.\n" * 40, encoding="utf-8")
    done = run(
        tmp_path, "--texts=book.txt", "--output_dir=out", "--steps=3", "--vocabulary_size=200", "--num_layers=1",
        "--hidden_dim=16", "--num_heads=2", "--intermediate_dim=32", "--max_length=16", "--batch_size=4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "saved out after 3 steps" in done.stdout
    assert load_preset(str(tmp_path / "out")).config.num_layers == 1


def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path):
    done = run(tmp_path, "--texts=none.txt", "--output_dir=out", "--steps=3")
    assert done.returncode == 1
    assert done.stderr.strip() == "error: texts: there is no file or folder none.txt"
    assert not (tmp_path / "out").exists()
