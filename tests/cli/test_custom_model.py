"""`python -m tftransformer custom_model` as users run it: a config to an exported model, and mistakes in one line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tftransformer.checkpoints import load_preset
from tftransformer.errors import TransformerError
from tftransformer.runs.custom import CustomOptions, build_custom, parse_layers, train

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *flags):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, "-m", "tftransformer", "custom_model", *flags],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reviews):
    folder = tmp_path_factory.mktemp("custom")
    with open(folder / "reviews.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "label"])
        writer.writerows(zip(*reviews))
    return folder


@pytest.mark.slow
def test_from_a_config_to_a_served_model(folder, two_block_preset):
    (folder / "config.json").write_text(json.dumps({"num_layers": 1, "max_sequence_length": 40, "dropout": 0.0}))
    done = run(
        folder, "--dataset=reviews.csv", f"--preset={two_block_preset}", "--config=config.json", "--layers=last",
        "--new_tokens=terrific,boring", "--positions=interpolated", "--epochs=1", "--schedule=cosine",
        "--learning_rate=1e-3", "--model_dir=adapted", "--output_dir=run",
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr[-3000:]
    assert "adapted     layers: 1 of 2, the blocks 1" in done.stdout
    assert "positions: 40 instead of 32, interpolated" in done.stdout
    assert "macro F1" in done.stdout and (folder / "run" / "saved_model" / "1" / "saved_model.pb").exists()
    for path in (folder / "adapted", folder / "run" / "model"):
        preset = load_preset(path)
        assert (preset.config.num_layers, preset.config.max_sequence_length) == (1, 40)
        assert preset.tokenizer.vocabulary[-2:] == ("terrific", "boring")
    settings = json.loads((folder / "run" / "metrics.json").read_text())["config"]
    assert settings["preset"] == str(folder / "adapted") and settings["layers"] == "last"


# What the flags mean, without a process for each.


def options(two_block_preset, tmp_path, fields=None, **given):
    if fields is not None:
        (tmp_path / "config.json").write_text(json.dumps(fields))
        given["config"] = str(tmp_path / "config.json")
    return CustomOptions(preset=str(two_block_preset), **given)


def test_what_a_config_leaves_out_is_the_checkpoints_or_the_flags(two_block_preset, tmp_path, tiny_config):
    def built(*arguments, **given):
        return build_custom(options(two_block_preset, tmp_path, *arguments, **given)).config

    assert built() == tiny_config == built({})
    assert built({"dropout": 0.3}) == tiny_config.replace(dropout=0.3, attention_dropout=0.3)
    one = tiny_config.replace(num_layers=1, num_decoder_layers=1)
    assert built({"num_layers": 1}) == one == built(layers="every_second") == built({}, layers="0,")
    assert built({}, max_sequence_length=50).max_sequence_length == 50
    size = tiny_config.vocabulary_size
    assert built({}, new_tokens=["boring"]).vocabulary_size == size + 1 == built(new_tokens=["boring"]).vocabulary_size


def test_a_bare_file_takes_its_sizes_from_the_file(two_block_preset, tmp_path, tiny_config):
    fields = {**tiny_config.to_dict(), "num_layers": 1, "num_decoder_layers": 1}
    del fields["max_sequence_length"]
    preset = build_custom(
        options(
            "unused", tmp_path, fields, weights=f"{two_block_preset}/model.safetensors",
            vocabulary=f"{two_block_preset}/vocab.txt", layers="last", pooling="mean",
        )
    )  # fmt: skip
    assert preset.config.max_sequence_length == 32 and preset.pooling == "mean"
    assert preset.summary == "layers: 1 of 2, the blocks 1"


def test_a_mistake_in_the_data_leaves_nothing(two_block_preset, tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TransformerError, match="reviews.csv"):
        train(options(two_block_preset, tmp_path, layers="1", dataset=f"{folder}/review.csv"))
    assert list(tmp_path.iterdir()) == []


def test_layers_on_a_command_line():
    assert [parse_layers(text) for text in (None, "3", "3,", "0, 2,4", "last:2")] == [
        None, 3, (3,), (0, 2, 4), "last:2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "given", "message"),
    [
        ({"num_layer": 2}, {}, r"config.json: unknown field 'num_layer' in .*did you mean 'num_layers'"),
        ({"hidden_dim": 64}, {}, "hidden_dim of the config must be the checkpoint's, 16; got 64"),
        ({"num_layers": 1}, {"layers": "2"}, "as many as the config has, 1; 2 chooses 2"),
        ({"max_sequence_length": 9}, {"max_sequence_length": 8}, "must be the config's, 9"),
        (None, {"layers": "0,5"}, "between 0 and 1; got 5"),
        (None, {"layers": "some"}, "must be a number, first:N"),
        (None, {"vocabulary": "vocab.txt"}, "vocabulary goes with weights"),
        (None, {"weights": "x.safetensors"}, "need a config and a vocabulary beside them"),
        ({"num_layers": 1}, {"weights": "x.safetensors", "vocabulary": "v"}, "a TransformerConfig needs vocabulary_size"),
    ],
)  # fmt: skip
def test_flags_that_contradict(two_block_preset, tmp_path, fields, given, message):
    with pytest.raises(TransformerError, match=message) as caught:
        build_custom(options(two_block_preset, tmp_path, fields, **given))
    assert "\n" not in str(caught.value)
