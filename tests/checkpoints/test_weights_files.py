"""Bare weights files: their sizes are read, their names recognised, and what is not an encoder is refused."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file

from tftransformer.checkpoints import load_preset
from tftransformer.checkpoints.adaptation import adapt
from tftransformer.checkpoints.native_format import write_preset
from tftransformer.checkpoints.rules import to_source
from tftransformer.checkpoints.weights_files import preset_from_file
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.families import FAMILIES
from tftransformer.models.shapes import encoder_shapes
from tftransformer.patterns import addresses


def test_a_file_fits_a_config_of_another_depth_and_length(folder, config):
    folder.add_head(3)
    path = folder.write()
    smaller = config.replace(num_layers=1, num_decoder_layers=1, max_sequence_length=20, dropout=0.0)
    found = preset_from_file(path / "model.safetensors", smaller, path / "vocab.txt")
    assert found.config == smaller.replace(num_layers=2, max_sequence_length=10)
    assert found.pooler and found.labels is None and "classifier.weight" not in found.source.keys()
    adapted = adapt(found, smaller, layers="last")
    expected = adapt(load_preset(path), layers="last:1", max_sequence_length=20).build_encoder()
    for address, variable in addresses(adapted.build_encoder()).items():
        np.testing.assert_array_equal(variable.numpy(), addresses(expected)[address].numpy(), address)


def test_our_own_names_and_a_folder(two_block_preset, tiny_config):
    own = preset_from_file(two_block_preset, tiny_config, two_block_preset, pooling="mean")
    assert own.config == tiny_config and own.table.name == "tftransformer" and not own.pooler
    assert own.build_encoder().count_params() == load_preset(two_block_preset).build_encoder().count_params()


def test_rows_before_the_first_position_are_no_positions(config, folder, tmp_path):
    sizes = {name: getattr(config, name) for name in ("hidden_dim", "num_heads", "intermediate_dim", "num_layers")}
    config = TransformerConfig("roberta", vocabulary_size=23, max_sequence_length=10, **sizes)
    shapes = {**encoder_shapes(config), "pooler/dense/kernel": (8, 8), "pooler/dense/bias": (8,)}
    table = FAMILIES["roberta"].huggingface.table
    tensors = dict(to_source(table, a, np.ones(shape, "float32"), 2, "roberta.") for a, shape in shapes.items())
    save_file(tensors, str(tmp_path / "roberta.safetensors"))
    tokenizer = load_preset(folder.write()).tokenizer
    found = preset_from_file(tmp_path / "roberta.safetensors", config.replace(max_sequence_length=5), tokenizer)
    assert found.config.max_sequence_length == 10
    # Its dense layer before the classes is part of the head that is left out.
    assert not found.pooler and "classifier.dense.weight" not in found.source.keys()
    assert found.build_encoder().count_params() > 0


@pytest.mark.parametrize(
    ("weights", "vocabulary", "message"),
    [
        ("none.safetensors", "vocab.txt", "weights must be a file or a folder that exists; got .*none.safetensors"),
        ("model.safetensors", "none.txt", "vocabulary must be a file or a folder that exists; got .*none.txt"),
        ("model.safetensors", "model.safetensors", "vocabulary must be a vocab.txt or, for any other tokenizer"),
        ("vocab.txt", "vocab.txt", "vocab.txt is damaged, cut off or no safetensors file"),
        ("other.safetensors", "vocab.txt", "has no token table, but for instance a.weight"),
    ],
)  # fmt: skip
def test_what_is_no_encoder(folder, config, weights, vocabulary, message):
    path = folder.write()
    save_file({"a.weight": np.zeros(3, "float32")}, str(path / "other.safetensors"))
    with pytest.raises(TransformerError, match=message) as caught:
        preset_from_file(path / weights, config, path / vocabulary)
    assert "\n" not in str(caught.value)


def test_a_config_of_other_sizes(folder, config):
    path = folder.write()
    with pytest.raises(
        TransformerError, match=r"do not fit: embeddings/token/embeddings is \(23, 8\) there and \(23, 16\)"
    ):
        preset_from_file(path / "model.safetensors", config.replace(hidden_dim=16, head_dim=8), path / "vocab.txt")


def test_a_vocabulary_larger_than_the_table(folder, config, tmp_path):
    path = folder.write()
    (tmp_path / "long.txt").write_text("".join(f"{i}\n" for i in range(24)))
    with pytest.raises(TransformerError, match="long.txt must fit its embeddings"):
        preset_from_file(path / "model.safetensors", config, tmp_path / "long.txt")


def test_any_preset_becomes_a_folder_of_ours(folder, tmp_path):
    folder.add_head(3)
    folder.settings["id2label"] = {"0": "bad", "1": "fair", "2": "good"}
    found = load_preset(folder.write())
    again = load_preset(write_preset(found, tmp_path / "ours"))
    assert again.origin == "tftransformer" and again.config == found.config
    assert (again.labels, again.pooling, again.pooler) == (("bad", "fair", "good"), "cls", True)
    before = addresses(found.build_encoder())
    for address, variable in addresses(again.build_encoder()).items():
        np.testing.assert_array_equal(variable.numpy(), before[address].numpy(), address)
    np.testing.assert_array_equal(again.source.get("head/logits/kernel"), folder.tensors["classifier.weight"].T)
    with pytest.raises(TransformerError, match="holds files"):
        write_preset(found, tmp_path / "ours")
    unlabelled = dataclasses.replace(found, labels=None)
    bare = load_preset(write_preset(unlabelled, tmp_path / "ours", overwrite=True, dtype="float16"))
    assert bare.labels is None and "head/logits/kernel" not in bare.source.keys()
    with pytest.raises(TransformerError, match="before its structure is modified"):
        write_preset(dataclasses.replace(found, modifications=({},)), tmp_path / "other")
