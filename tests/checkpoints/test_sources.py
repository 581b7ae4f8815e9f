import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from tftransformer.checkpoints import ArraySource, SafetensorsSource
from tftransformer.checkpoints.sources import weights_file
from tftransformer.errors import TransformerError


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32", "float64"])
def test_safetensors_values_are_exact(dtype, tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    save_file({"a": values}, str(tmp_path / "w.safetensors"))
    source = SafetensorsSource(tmp_path / "w.safetensors")
    assert source.keys() == ("a",)
    assert source.shape("a") == (3, 4)
    assert source.dtype("a") == str(np.dtype(dtype))
    assert source.get("a").dtype == np.dtype(dtype)
    np.testing.assert_array_equal(source.get("a"), values)


def header(description, data=b""):
    text = json.dumps(description).encode()
    return len(text).to_bytes(8, "little") + text + data


TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
BROKEN = {
    "empty": b"",
    "three bytes": b"abc",
    "absurd length": (2**60).to_bytes(8, "little") + b"{}",
    "length beyond the end": (50).to_bytes(8, "little") + b"{}",
    "no JSON": (2).to_bytes(8, "little") + b"xx",
    "cut off": header({"a": {**TENSOR, "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
    "overlapping": header({"a": TENSOR, "b": TENSOR}, b"1234"),
    "out of range": header({"a": {**TENSOR, "data_offsets": [2**40, 2**40 + 4]}}, b"1234"),
    "overflowing shape": header({"a": {**TENSOR, "shape": [2**62, 8]}}, b"1234"),
    "unknown dtype": header({"a": {**TENSOR, "dtype": "F99"}}, b"1234"),
    "trailing bytes": header({"a": TENSOR}, b"12345678"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_give_one_line(kind, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(BROKEN[kind])
    with pytest.raises(
        TransformerError, match="w.safetensors is damaged, cut off or no safetensors file"
    ) as caught:
        SafetensorsSource(path)
    assert "\n" not in str(caught.value)


def test_missing_file():
    with pytest.raises(TransformerError, match="there is no weights file nowhere"):
        SafetensorsSource("nowhere")


def test_unreadable_tensor(tmp_path):
    # A floating format that NumPy does not have.
    path = tmp_path / "w.safetensors"
    path.write_bytes(header({"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}, b"1234"))
    source = SafetensorsSource(path)
    assert source.dtype("a") == "f8_e8m0"
    with pytest.raises(TransformerError, match="tensor 'a' of .*w.safetensors cannot be read"):
        source.get("a")


def test_arrays():
    source = ArraySource({"a": np.ones((2, 3), "float16")}, name="test")
    assert (source.keys(), source.shape("a"), source.dtype("a")) == (("a",), (2, 3), "float16")


def test_pickles_are_never_opened(tmp_path):
    ran = tmp_path / "ran"
    (tmp_path / "pytorch_model.bin").write_bytes(f"cos\nsystem\n(S'touch {ran}'\ntR.".encode())
    with pytest.raises(
        TransformerError, match="pytorch_model.bin is a pickle.*never opened.*save_pretrained"
    ):
        weights_file(tmp_path)
    assert not ran.exists()


def test_other_forms_of_weights(tmp_path):
    with pytest.raises(TransformerError, match="has no model.safetensors"):
        weights_file(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(TransformerError, match="several shards"):
        weights_file(tmp_path)
