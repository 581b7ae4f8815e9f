"""`examples/tag.py` as users run it: a whole run on a column file, and mistakes in one line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tftransformer as tt

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *flags):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "tag.py"), *flags],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reviews):
    folder = tmp_path_factory.mktemp("tag")
    kinds = {"movie": "I-THING", "film": "I-THING"}
    sentences = ("\n".join(f"{word} x {kinds.get(word, 'O')}" for word in text.split()) for text in reviews[0])
    (folder / "reviews.conll").write_text("\n\n".join(sentences) + "\n")
    return folder


@pytest.mark.slow
def test_a_column_file_from_its_sentences_to_a_served_model(folder, two_block_preset):
    done = run(folder, "--dataset=reviews.conll", f"--preset={two_block_preset}", "--epochs=8", "--strategy=lora:4",
               "--learning_rate=0.01", "--scheme=BIOES")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "most frequent tag" in done.stdout and "everything is in runs/reviews-1" in done.stdout
    metrics = json.loads((folder / "runs" / "reviews-1" / "metrics.json").read_text())
    assert set(metrics["test"]["per_class"]) == {"THING"}
    tagger = tt.load(folder / "runs" / "reviews-1" / "model")
    assert set(tagger.labels) == {"O", "B-THING", "I-THING", "S-THING", "E-THING"}
    assert (folder / "runs" / "reviews-1" / "serving" / "1" / "saved_model.pb").exists()


@pytest.mark.by_default("a column")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(["--tag_column=4"], "error: .*reviews.conll:1.*4", id="a column"),
        pytest.param(["--word_column=word"], "word_column must be a number from 1", id="a name"),
        pytest.param(["--scheme=IOB3"], "scheme must be one of IOB1", id="scheme"),
        pytest.param(["--strategy=probe"], "probe is for a classifier with one linear head", id="method"),
        pytest.param(["--sequence_length=999"], "sequence_length must be between 3 and", id="length"),
        pytest.param(["--dataset=nothing.conll"], "nothing.conll", id="file"),
    ],
)
def test_mistakes_are_answered_in_one_line_and_leave_nothing(folder, tiny_preset, flags, message):
    done = run(
        folder, "--dataset=reviews.conll", f"--preset={tiny_preset}", "--epochs=1", "--output_dir=failed", *flags
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert not (folder / "failed").exists()
