import sys

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.checkpoints.sources import TensorFlowSource, open_weights
from tftransformer.checkpoints.sources.tensorflow_file import find_checkpoint
from tftransformer.errors import TransformerError


def save(prefix, tensors):
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(value) for value in tensors.values()],
    )


def test_the_source_reads_every_dtype(tmp_path):
    arrays = {
        "a/half": np.ones((2, 3), "float16"),
        "b": np.arange(4, dtype="int64"),
        "c": np.float64(2),
        "d/bfloat16": tf.constant([1.5, 2], tf.bfloat16).numpy(),
    }
    save(tmp_path / "model.ckpt", arrays)
    source = open_weights(tmp_path)
    assert source.keys() == tuple(arrays) and source.name == str(find_checkpoint(tmp_path))
    for key, value in arrays.items():
        assert (source.shape(key), source.dtype(key)) == (value.shape, str(value.dtype))
        assert source.get(key).dtype == value.dtype
        np.testing.assert_array_equal(source.get(key), value)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(TransformerError, match="there is no checkpoint .*model.ckpt: it lacks .*model.ckpt.index"):
        TensorFlowSource(tmp_path / "model.ckpt")
    save(tmp_path / "model.ckpt", {"a": np.ones((2, 3), "float32")})
    data = next(tmp_path.glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(TransformerError, match="its index states 24 bytes of tensors, and its .data files hold 23"):
        TensorFlowSource(tmp_path / "model.ckpt")
    data.unlink()
    with pytest.raises(TransformerError, match="model.ckpt is "):
        TensorFlowSource(tmp_path / "model.ckpt")


def test_a_damaged_tensor(tmp_path):
    save(tmp_path / "model.ckpt", {"a": np.ones((2, 3), "float32")})
    data = next(tmp_path.glob("*.data-*"))
    data.write_bytes(bytes(24))
    with pytest.raises(TransformerError, match="tensor 'a' of .*model.ckpt cannot be read .*[Cc]hecksum"):
        TensorFlowSource(tmp_path / "model.ckpt").get("a")
    (tmp_path / "model.ckpt.index").write_bytes(b"damaged")
    with pytest.raises(TransformerError, match="model.ckpt is a damaged checkpoint"):
        TensorFlowSource(tmp_path / "model.ckpt")


def test_every_damaged_byte_or_end_is_one_line_or_harmless(tmp_path):
    values = {"a": np.arange(6, dtype="float32"), "b": np.ones((2, 2), "float32"), "c": np.int64(3)}
    save(tmp_path / "model.ckpt", values)
    rng = np.random.default_rng(0)
    outcomes = {"refused": 0, "harmless": 0}
    for path in sorted(tmp_path.glob("model.ckpt.*")):
        data = path.read_bytes()
        damaged = [data[:length] for length in range(0, len(data), 5)]
        for place in range(len(data)):
            changed = bytearray(data)
            changed[place] ^= int(rng.integers(1, 256))
            damaged.append(bytes(changed))
        for content in damaged:
            path.write_bytes(content)
            try:
                source = TensorFlowSource(tmp_path / "model.ckpt")
                for key in source.keys():
                    np.testing.assert_array_equal(source.get(key), values[key])
                outcomes["harmless"] += 1
            except TransformerError as error:
                assert "\n" not in str(error)
                outcomes["refused"] += 1
        path.write_bytes(data)
    assert outcomes["refused"] > outcomes["harmless"]


def test_without_tensorflow_it_says_so(tmp_path, monkeypatch):
    save(tmp_path / "model.ckpt", {"a": np.ones(1, "float32")})
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(TransformerError, match="can only be read where tensorflow is installed"):
        TensorFlowSource(tmp_path / "model.ckpt")
