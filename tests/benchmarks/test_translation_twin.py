"""The translator's twin in torch: its search is the task's, and a tiny run gives the table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tftransformer.runs import translation
from tftransformer.runs.translation_options import TranslationOptions

pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]
COLOURS = {"red": "rot", "blue": "blau", "green": "grün"}
THINGS = {"house": "Haus", "dog": "Hund", "tree": "Baum"}
PAIRS = [(f"A {c} {t}.", f"Ein {t2} ist {c2}.") for c, c2 in COLOURS.items() for t, t2 in THINGS.items()]


@pytest.mark.live
def test_a_tiny_run_gives_the_table(tmp_path):
    for name, rows in (("train", PAIRS * 20), ("val", PAIRS[:4]), ("test", PAIRS)):
        for language, side in zip(("en", "de"), zip(*rows, strict=True), strict=True):
            (tmp_path / f"{name}.{language}").write_text("\n".join(side) + "\n", encoding="utf-8")
    sizes = {"vocabulary_size": 310, "num_layers": 1, "hidden_dim": 64, "num_heads": 2, "intermediate_dim": 128}
    translation.train(
        TranslationOptions(
            dataset=str(tmp_path), output_dir=str(tmp_path / "run"), **sizes, sequence_length=16, dropout=0.0, epochs=60,
            batch_size=16, warmup=40, num_beams=2,
        )
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "translation_twin.py"), f"--run={tmp_path / 'run'}", "--output_dir=out"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "out" / "translation_twin.json").read_text())
    assert len(found["val_perplexity"]) == 60
    # Both learn these few sentences by heart; the beam search of the one is that of the other then.
    for system in ("this model", "torch"):
        assert found["report"]["scores"][system]["BLEU"]["value"] > 90
    assert found["val_perplexity"][-1]["torch"] < 2 and found["val_perplexity"][-1]["ours"] < 2
