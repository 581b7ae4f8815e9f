import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from tftransformer.checkpoints import ArraySource, SafetensorsSource
from tftransformer.checkpoints.sources import ShardedSource, open_weights
from tftransformer.checkpoints.sources.shards import _MOST
from tftransformer.errors import TransformerError


def refusal(opener, *arguments):
    with pytest.raises(TransformerError) as caught:
        opener(*arguments)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2000
    return str(caught.value)


# Safetensors


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32", "float64", "int64", "bool"])
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
    "greatest length": b"\xff" * 8 + b"{}",
    "length beyond the end": (50).to_bytes(8, "little") + b"{}",
    "no JSON": (2).to_bytes(8, "little") + b"xx",
    "no UTF-8": (4).to_bytes(8, "little") + b'{"\xff"',
    "a list": header([TENSOR]),
    "cut off": header({"a": {**TENSOR, "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
    "overlapping": header({"a": TENSOR, "b": TENSOR}, b"1234"),
    "partly overlapping": header(
        {"a": {**TENSOR, "shape": [2], "data_offsets": [0, 8]}, "b": {**TENSOR, "data_offsets": [4, 8]}}, b"12345678"
    ),
    "a gap": header({"a": TENSOR, "b": {**TENSOR, "data_offsets": [8, 12]}}, b"1" * 12),
    "out of range": header({"a": {**TENSOR, "data_offsets": [2**40, 2**40 + 4]}}, b"1234"),
    "backwards": header({"a": {**TENSOR, "data_offsets": [4, 0]}}, b"1234"),
    "negative offset": header({"a": {**TENSOR, "data_offsets": [-4, 0]}}, b"1234"),
    "negative shape": header({"a": {**TENSOR, "shape": [-1]}}, b"1234"),
    "more than is stored": header({"a": {**TENSOR, "shape": [2**40]}}, b"1234"),
    "overflowing shape": header({"a": {**TENSOR, "shape": [2**62, 8]}}, b"1234"),
    "overflowing to 0": header({"a": {**TENSOR, "shape": [2**32, 2**32]}}, b"1234"),
    "unknown dtype": header({"a": {**TENSOR, "dtype": "F99"}}, b"1234"),
    "trailing bytes": header({"a": TENSOR}, b"12345678"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_give_one_line(kind, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(BROKEN[kind])
    assert "w.safetensors is damaged, cut off or no safetensors file" in refusal(SafetensorsSource, path)


def test_a_header_beyond_100_megabytes_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:  # sparse: it takes no room on the disk
        file.write((120 * 10**6).to_bytes(8, "little"))
        file.truncate(130 * 10**6)
    assert "damaged" in refusal(SafetensorsSource, path)


def test_missing_file():
    assert refusal(SafetensorsSource, "nowhere") == "there is no weights file nowhere"


def test_unreadable_tensor(tmp_path):
    # A floating format that NumPy does not have.
    path = tmp_path / "w.safetensors"
    path.write_bytes(header({"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}, b"1234"))
    source = SafetensorsSource(path)
    assert source.dtype("a") == "f8_e8m0"
    assert "tensor 'a' of" in refusal(source.get, "a")


def test_arrays():
    source = ArraySource({"a": np.ones((2, 3), "float16")}, name="test")
    assert (source.keys(), source.shape("a"), source.dtype("a")) == (("a",), (2, 3), "float16")


# Shards

ARRAYS = {"a": np.arange(6, dtype="float32").reshape(2, 3), "b": np.ones(2, "float16"), "c": np.zeros((), "float64")}
PLACES = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}


def write_shards(folder, places=PLACES, weight_map=None):
    for file in set(places.values()):
        save_file({key: ARRAYS[key] for key in places if places[key] == file}, str(folder / file))
    weight_map = PLACES if weight_map is None else weight_map
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_one_source(tmp_path):
    write_shards(tmp_path)
    source = open_weights(tmp_path)
    assert source.name.endswith("model.safetensors.index.json") and set(source.keys()) == set(ARRAYS)
    for key, value in ARRAYS.items():
        assert (source.shape(key), source.dtype(key)) == (value.shape, str(value.dtype))
        np.testing.assert_array_equal(source.get(key), value)


def test_a_missing_and_a_damaged_shard(tmp_path):
    write_shards(tmp_path)
    (tmp_path / "model-2.safetensors").write_bytes(b"")
    assert "model-2.safetensors is damaged" in refusal(open_weights, tmp_path)
    (tmp_path / "model-2.safetensors").unlink()
    assert "lacks shards that model.safetensors.index.json names: model-2.safetensors" in refusal(
        open_weights, tmp_path
    )


def test_index_and_shards_must_agree(tmp_path):
    write_shards(tmp_path, weight_map={**PLACES, "d": "model-2.safetensors"})
    assert "1 in the index that their shard lacks: d (of model-2.safetensors)" in refusal(open_weights, tmp_path)
    write_shards(tmp_path, weight_map={"a": "model-1.safetensors", "b": "model-2.safetensors"})
    message = "1 in a shard that the index does not place there: c (in model-1.safetensors)"
    assert message in refusal(open_weights, tmp_path)
    write_shards(tmp_path, weight_map={**PLACES, "b": "model-1.safetensors", "c": "model-2.safetensors"})
    message = refusal(open_weights, tmp_path)
    assert "b (of model-1.safetensors), c (of model-2.safetensors)" in message
    assert "c (in model-1.safetensors), b (in model-2.safetensors)" in message
    write_shards(tmp_path, weight_map={**PLACES, "a\nb" * 99: "model-1.safetensors"})
    assert "their shard lacks: 'a\\nb" in refusal(open_weights, tmp_path)


@pytest.mark.parametrize(
    "file",
    [
        "../secret.safetensors",
        "/etc/passwd",
        "sub/model.safetensors",
        "..\\x",
        "C:x",
        "..",
        "",
        5,
        None,
        "a\0b",
        "a\nb",
    ],
)
def test_an_index_cannot_leave_its_folder(file, tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_file({"a": ARRAYS["a"]}, str(tmp_path / "secret.safetensors"))
    write_shards(folder, weight_map={"a": file})
    assert "must name files beside itself, without a folder; got" in refusal(open_weights, folder)


@pytest.mark.parametrize("stated", [{}, {"weight_map": {}}, {"weight_map": ["a"]}, {"weight_map": None}])
def test_an_index_without_a_map(stated, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(stated))
    assert "must have weight_map" in refusal(open_weights, tmp_path)


def test_an_index_of_too_many_shards_opens_none(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {str(i): f"{i}.safetensors" for i in range(_MOST + 1)}}))
    assert f"at most {_MOST} shards" in refusal(ShardedSource, index, SafetensorsSource)


# Folders


def test_one_file_comes_before_shards_and_pickles(tmp_path):
    write_shards(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    assert open_weights(tmp_path).name.endswith("index.json")
    save_file({"whole": np.ones(1, "float32")}, str(tmp_path / "model.safetensors"))
    assert open_weights(tmp_path).keys() == ("whole",)


def test_a_link_to_nothing_is_an_error_and_not_another_file(tmp_path):
    write_shards(tmp_path)
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    assert "there is no weights file" in refusal(open_weights, tmp_path)


def test_folders_without_weights_that_can_be_read(tmp_path):
    assert "has no weights: none of model.safetensors, " in refusal(open_weights, tmp_path)
    (tmp_path / "tf_model.h5").touch()
    assert "tf_model.h5 was written by transformers' TensorFlow classes" in refusal(open_weights, tmp_path)
