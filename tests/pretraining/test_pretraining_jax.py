"""Training from shards on JAX, on a machine that has no TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tftransformer.checkpoints import load_preset

ROOT = Path(__file__).resolve().parents[2]
# What a machine without these packages says when they are imported.
WITHOUT_TENSORFLOW = """
import json, sys
for name in ("tensorflow", "tensorflow_text", "tensorflow_datasets"):
    sys.modules[name] = None
from tftransformer.runs.commands.running import start_quietly
start_quietly()
from tftransformer.pretraining import callbacks
from tftransformer.runs import pretraining
from tftransformer.runs.pretraining_options import PretrainingOptions

class Stopping(callbacks.RunLength):
    stop_at = None

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.figures["step"] == self.stop_at:
            raise KeyboardInterrupt

callbacks.RunLength = Stopping
for flags, Stopping.stop_at in json.loads(sys.argv[1]):
    try:
        pretraining.pretrain(PretrainingOptions(**flags))
    except KeyboardInterrupt:
        print("interrupted")
assert not [name for name, module in sys.modules.items() if name.startswith("tensorflow") and module]
"""


@pytest.mark.slow
def test_a_run_trains_saves_and_resumes_without_tensorflow(tmp_path, shard_folder, two_block_preset):
    flags = {
        "shards": str(shard_folder), "num_layers": 1, "hidden_dim": 8, "num_heads": 1, "intermediate_dim": 16,
        "max_sequence_length": 16, "sequence_length": 16, "batch_size": 4, "warmup": 2, "learning_rate": 3e-3,
        "steps": 8, "heldout_batches": 1, "output_dir": str(tmp_path / "whole"),
    }  # fmt: skip
    broken = {**flags, "output_dir": str(tmp_path / "parts")}
    distilled = {
        **flags, "output_dir": str(tmp_path / "distilled"), "objective": "both", "teacher": str(two_block_preset),
        "num_layers": 2, "sample_texts": 20, "steps": 4,
    }  # fmt: skip
    runs = [(flags, None), (broken, 4), ({**broken, "resume": True}, None), (distilled, None)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, json.dumps(runs)],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "interrupted\n" in done.stdout and "resumed after 4 steps" in done.stdout
    with np.load(tmp_path / "whole.run" / "checkpoint.npz") as whole:
        with np.load(tmp_path / "parts.run" / "checkpoint.npz") as parts:
            for name in whole.files:
                if not name.startswith("figure/"):
                    np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)
    # The preset that JAX wrote is one for TensorFlow as well.
    preset = load_preset(str(tmp_path / "whole"))
    assert preset.config.hidden_dim == 8 and preset.task["pretraining"]["figures"]["step"] == 8
    figures = load_preset(str(tmp_path / "distilled")).task["pretraining"]["figures"]
    assert figures["step"] == 4 and all(np.isfinite(figures[f"heldout_{n}"]) for n in ("masked_lm", "word"))
    ids = np.full((1, 5), 7, "int32")
    batch = {"token_ids": ids, "padding_mask": ids * 0 + 1, "segment_ids": ids * 0}
    assert np.isfinite(preset.build_encoder()(batch)).all()
