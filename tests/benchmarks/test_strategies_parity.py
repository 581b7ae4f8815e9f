"""The comparison of strategies with Hugging Face: what it refuses, how it judges, and a tiny run of the whole."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sidebyside.flag_rules import check_flags
from sidebyside.texts import fixed_length
from sidebyside.weights import random_folder
from strategies_parity import FLAG_RULES, choose_strategies, encoder_config, judge, summary, table

from tftransformer.errors import TransformerError

ROOT = Path(__file__).resolve().parents[2]


def test_the_difference_is_judged_by_the_larger_deviation_and_then_by_welch():
    near = judge([0.80, 0.82, 0.84], [0.79, 0.80, 0.81])
    assert near["deviation"] == pytest.approx([0.02, 0.01]) and near["difference"] == pytest.approx(0.02)
    assert near["verdict"] == "within"
    assert near["welch"][0] < 0 < near["welch"][1]
    # Welch's interval by hand: 0.03 -+ t(.975; 2.94) * sqrt((4e-4 + 1e-4) / 3).
    beyond = judge([0.81, 0.83, 0.85], [0.79, 0.80, 0.81])
    assert beyond["verdict"] == "beyond the spread"
    assert beyond["welch"] == pytest.approx([0.03 - 0.0416, 0.03 + 0.0416], abs=2e-4)
    assert judge([0.90, 0.91, 0.92], [0.79, 0.80, 0.81])["verdict"] == "different"
    assert judge([0.79, 0.80, 0.81], [0.90, 0.91, 0.92])["verdict"] == "different"
    assert judge([0.8, 0.8], [0.8, 0.8])["verdict"] == "within"
    assert judge([0.8, 0.8], [0.7, 0.7])["verdict"] == "different"


def piece(accuracy, predicted, seconds, **changes):
    ends = [[step * seconds, 2 * step * seconds] for step in range(6)]
    found = {"accuracy": accuracy, "predicted": predicted, "ends": ends, "parameters": 7, "loss_before": 0.7}
    return {**found, "tokens": 50, "steps": 5, **changes}


def test_a_row_has_the_ratios_of_runs_side_by_side_and_says_what_was_not_alike(tmp_path):
    for seed in range(2):
        ours = piece(0.8 + seed / 100, [0, 1, 1, 0], 1.0 + seed)
        theirs = piece(0.8, [0, 1, 1, 1], 2.0 + 2 * seed, tokens=50 + seed)
        for side, run in (("ours", ours), ("theirs", theirs)):
            (tmp_path / f"lora_2-{side}-{seed}.json").write_text(json.dumps(run))
    row = summary(tmp_path, "lora:2", 2)
    assert (row["wall_ratio"], row["processor_ratio"], row["same_predictions"]) == (0.5, 0.5, 0.75)
    assert row["seconds_a_step"] == [1.5, 3.0] and row["unlike"] == ["tokens 50, theirs 51"]
    text = table([row])
    assert "| lora:2 | 80.50 ± 0.71 | 80.00 ± 0.00 | +0.50 |" in text and "| within | 7 / 7 | 75.0 |" in text
    assert text.splitlines()[-1] == "Not alike, lora:2: tokens 50, theirs 51"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["ful"], "strategy must be one of .*; got 'ful'; did you mean 'full'"),
        (["head"], "strategies must be among full, freeze, lora; got 'head'"),
        (["lora", "lora:8"], "strategies must be different; got 'lora:8' twice"),
        (["freeze:7"], "strategies must freeze at most 6 blocks; got 'freeze:7'"),
        (["lora:0"], "strategy lora takes a positive integer; got 'lora:0'"),
        ([], "strategies must name at least one; got none"),
    ],
)
def test_strategies_are_checked(names, words):
    with pytest.raises(TransformerError, match=words):
        choose_strategies(names, 6)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("seeds", 1, "at least 2"),
        ("train_rows", 0, "at least 1"),
        ("dropout", 1.0, "at least 0 and below 1"),
        ("timeout", 0.0, "above 0"),
    ],
)
def test_numbers_are_checked(name, value, rule):
    check_flags(FLAG_RULES, {name: None})
    with pytest.raises(TransformerError, match=f"{name} must be {rule}; got {value}"):
        check_flags(FLAG_RULES, {name: value})


def test_folders_are_checked(tmp_path, monkeypatch):
    with pytest.raises(TransformerError, match="data must be a folder; got None"):
        encoder_config(None, str(tmp_path))
    with pytest.raises(TransformerError, match="minilm must be a folder; got 'nowhere'"):
        encoder_config(str(tmp_path), "nowhere")
    with pytest.raises(TransformerError, match="minilm must be a folder with config.json"):
        encoder_config(str(tmp_path), str(tmp_path))
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).touch()
    other = SimpleNamespace(config=SimpleNamespace(family="distilbert"))
    monkeypatch.setattr("tftransformer.checkpoints.load_preset", lambda folder: other)
    with pytest.raises(TransformerError, match="minilm must hold a BERT encoder; got 'distilbert'"):
        encoder_config(str(tmp_path), str(tmp_path))


@pytest.mark.live
def test_without_dropout_both_sides_give_the_same_answers(tmp_path):
    for package in ("torch", "transformers", "peft"):
        pytest.importorskip(package)
    random_folder(tmp_path / "weights", 2, 24)
    (tmp_path / "sst2").mkdir()
    for file, rows in (("train", 40), ("stanford_sentences_test", 30)):
        texts = fixed_length(rows, 12, seed=rows)
        lines = "".join(f"{text}\t{label}\n" for text, label in zip(texts.texts, texts.labels))
        (tmp_path / "sst2" / f"{file}.tsv").write_text("sentence\tlabel\n" + lines)

    def run(*options):
        return subprocess.run(
            [
                sys.executable, str(ROOT / "benchmarks" / "strategies_parity.py"), f"--data={tmp_path}",
                f"--minilm={tmp_path / 'weights'}", "--seeds=2", "--train_rows=12", "--batch_size=4",
                "--dropout=0", "--output_dir=out", *options,
            ],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=900,
            check=False,
        )  # fmt: skip

    done = run("--epochs=1", "--strategies=lora:2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Not alike" not in done.stdout and done.stdout.splitlines()[-1] == "saved out"
    (row,) = json.loads((tmp_path / "out" / "parity.json").read_text())["rows"]
    assert row["same_predictions"] == 1.0 and row["verdict"] == "within"
    piece = tmp_path / "out" / "lora_2-ours-0.json"
    before = piece.stat().st_mtime_ns
    again = run("--epochs=1", "--strategies=lora:2")
    assert "lora:2: 4 of 4 runs are there" in again.stdout and piece.stat().st_mtime_ns == before
    other = run("--epochs=2", "--strategies=lora:2")
    assert other.returncode == 1 and "Traceback" not in other.stderr
    assert "of the same settings; " in other.stderr.strip().splitlines()[-1]
    assert piece.stat().st_mtime_ns == before
