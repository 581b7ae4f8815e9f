"""Configurations and weights of keras-hub's folders, and everything that may be wrong with them."""

import json
import sys

import h5py
import numpy as np
import pytest

from tftransformer.checkpoints import load_preset

keras_hub = pytest.importorskip("keras_hub")


def test_classes_that_do_not_load(bert, change, one_line):
    change(bert / "config.json", module="os")
    assert "it describes a BertBackbone of os" in one_line(bert)
    change(bert / "config.json", module="keras_hub.src", class_name="GPT2Backbone")
    assert (
        "must be of a family that loads (BertBackbone, DistilBertBackbone, RobertaBackbone, XLMRobertaBackbone, "
        "ElectraBackbone, AlbertBackbone); it describes a GPT2Backbone of keras_hub.src"
    ) in one_line(bert)
    change(bert / "config.json", class_name="BertBackbone", config=[])
    assert "must hold the settings of its BertBackbone; got list" in one_line(bert)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "task.json"])
def test_nothing_that_a_folder_names_is_imported(file, bert, change):
    """An object inside the settings, which keras-hub would bring to life, is data that does not fit or does nothing."""
    evil = {"module": "antigravity", "class_name": "geohash", "config": {}, "registered_name": None}
    change(bert / file, "config", preprocessor=evil, dtype=evil, backbone=evil, sequence_length=evil)
    load_preset(bert)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_dim": "4"}, "config.json: hidden_dim must be a positive integer; got '4'"),
        ({"num_heads": 3}, "config.json: hidden_dim must be a multiple of num_heads"),
        ({"dropout": None}, "config.json: dropout must be at least 0 and below 1; got None"),
        ({"num_layers": 10**9}, "config.json: the number of layers must be at most 1000; got 1000000000"),
        ({"num_layers": 2}, "must fit the weights; it describes 382 parameters, and 237 are stored"),
        ({"hidden_dim": 10**9}, "must fit the weights; it describes"),
        ({"vocabulary_size": 6}, "it has 8 pieces and the embeddings 6 rows"),
    ],
)
def test_configurations_that_do_not_load(settings, message, bert, change, one_line):
    change(bert / "config.json", "config", **settings)
    assert message in one_line(bert)


def test_settings_that_are_missing(bert, one_line):
    stated = json.loads((bert / "config.json").read_text())
    del stated["config"]["num_segments"]
    (bert / "config.json").write_text(json.dumps(stated))
    assert "config.json must state num_segments; they are missing" in one_line(bert)


def test_alberts_groups(bert, sizes, change, one_line):
    sizes = {**sizes, "embedding_dim": 4, "num_groups": 1, "num_segments": 2, "dropout": 0}
    albert = {"class_name": "AlbertBackbone", "config": {**sizes, "num_inner_repetitions": 2}}
    change(bert / "config.json", **albert)
    assert "num_inner_repetitions must be 1; got 2" in one_line(bert)
    change(bert / "config.json", "config", num_inner_repetitions=1, num_layers=3, num_groups=2)
    assert "num_layers must be a multiple of num_groups; got 3 and 2" in one_line(bert)


def test_broken_weights(bert, one_line):
    path = bert / "model.weights.h5"
    with h5py.File(path, "a") as file:
        file.move("layers/embedding", "layers/other")
    assert "cannot be loaded: " in one_line(bert)
    path.write_bytes(b"no h5")
    assert "model.weights.h5 cannot be loaded: " in one_line(bert)
    path.unlink()
    assert "has no model.weights.h5" in one_line(bert)
    (bert / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in one_line(bert)


def test_weights_that_are_in_other_files(bert, one_line):
    (bert / "raw").write_bytes(bytes(4 * 4))
    with h5py.File(bert / "model.weights.h5", "a") as file:
        file.create_dataset("layers/more", (4,), "f4", external=[(str(bert / "raw"), 0, 16)])
    assert "must hold its arrays itself; some are in other files" in one_line(bert)


def test_weights_in_shards(bert, change, one_line):
    backbone = keras_hub.models.BertBackbone.from_preset(str(bert))
    (bert / "model.weights.h5").unlink()
    backbone.save_weights(bert / "model.weights.json", max_shard_size=3e-7)
    assert len(list(bert.glob("model_*.weights.h5"))) > 1
    encoder = load_preset(bert).build_encoder()
    table = encoder.get_layer("embeddings").token.embeddings
    np.testing.assert_array_equal(table, backbone.token_embedding.embeddings)
    change(bert / "model.weights.json", weight_map={"/layers": ["../model.weights.h5"]})
    assert "must name the files of the weights beside it" in one_line(bert)
    change(bert / "model.weights.json", weight_map={"/layers": [["x"]]})
    assert "must name the files of the weights beside it" in one_line(bert)
    change(bert / "model.weights.json", weight_map={"/layers": "model_9.weights.h5"})
    assert "has no model_9.weights.h5" in one_line(bert)


def test_keras_hub_must_be_installed(bert, monkeypatch, one_line):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    assert "is keras-hub's, which is not installed; pip install keras-hub" in one_line(bert)
