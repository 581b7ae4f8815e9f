import builtins
import json
import shlex
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from tftransformer.checkpoints.sources import TorchSource, open_weights
from tftransformer.errors import TransformerError


def refusal(folder):
    with pytest.raises(TransformerError) as caught:
        open_weights(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def without_torch(monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments, **keywords):
        if name.split(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", absent)


def pickle_that_touches(path):
    return f"cos\nsystem\n(S'touch {path}'\ntR.".encode()


def test_without_torch_nothing_is_opened_and_the_way_out_is_said(tmp_path, without_torch):
    (tmp_path / "pytorch_model.bin").write_bytes(pickle_that_touches(tmp_path / "ran"))
    message = refusal(tmp_path)
    assert "is a pickle, which can run any code" in message and "torch, which is not installed" in message
    assert "weights_only=True" in message and f"{tmp_path / 'model.safetensors'}" in message
    assert not (tmp_path / "ran").exists()


def test_a_missing_file():
    with pytest.raises(TransformerError, match="there is no weights file nowhere.bin"):
        TorchSource("nowhere.bin")


@pytest.mark.live
def test_the_command_that_converts_does(torch, tmp_path, monkeypatch):
    shared = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": shared, "tied": shared, "b": shared.T}, tmp_path / "pytorch_model.bin")
    from tftransformer.checkpoints.sources.torch_file import _without_torch

    command = shlex.split(_without_torch(tmp_path / "pytorch_model.bin").split("are: ")[1])
    subprocess.run([sys.executable, *command[1:]], check=True)
    source = open_weights(tmp_path)
    assert source.name.endswith("model.safetensors")
    np.testing.assert_array_equal(source.get("b"), shared.T.numpy())
    np.testing.assert_array_equal(source.get("tied"), shared.numpy())


@pytest.mark.live
@pytest.mark.parametrize("new_format", [True, False])
def test_values_are_exact_in_both_formats(new_format, torch, tmp_path):
    state = {
        "float32": torch.randn(3, 4),
        "float16": torch.randn(3, 4).half(),
        "bfloat16": torch.randn(3, 4).bfloat16(),
        "int64": torch.arange(5),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
    }
    state["transposed"], state["tied"] = state["float32"].T, state["float32"]
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=new_format)
    source = open_weights(tmp_path)
    assert set(source.keys()) == set(state)
    for key, tensor in state.items():
        assert source.shape(key) == tuple(tensor.shape)
        assert source.dtype(key) == str(source.get(key).dtype) == str(tensor.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(source.get(key).astype("float64"), tensor.double().numpy())
    assert source.get("bfloat16").dtype == ml_dtypes.bfloat16


@pytest.mark.live
def test_the_file_is_mapped_and_not_read(torch, tmp_path):
    torch.save({"a": torch.zeros(4 * 2**20)}, tmp_path / "pytorch_model.bin")
    source = open_weights(tmp_path)
    # A change on disk shows: the values were not copied when the source was made.
    with open(tmp_path / "pytorch_model.bin", "r+b") as file:
        file.seek(8 * 2**20)
        file.write(np.ones(1, "float32").tobytes() * 4)
    assert source.get("a").sum() == 4


@pytest.mark.live
def test_code_in_a_pickle_never_runs(torch, tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(pickle_that_touches(tmp_path / "ran"))
    assert "is damaged, or holds more than tensors and is not opened" in refusal(tmp_path)

    class Attack:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"a": torch.ones(1), "b": Attack()}, tmp_path / "pytorch_model.bin")
    assert "is not opened" in refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.live
def test_what_is_no_state_dict(torch, tmp_path):
    for content, message in [
        ([torch.ones(1)], "it holds list"),
        ({}, "it holds dict"),
        ({"epoch": 3, "model": {"a": torch.ones(1)}}, "'epoch' is a int (a training checkpoint?"),
        ({1: torch.ones(1)}, "1 is a Tensor"),
        ({"a": torch.ones(1).to_sparse()}, "'a' is sparse"),
        ({"a": torch.ones(1).expand(2**40)}, "larger than what is stored of it"),
        ({"a": torch.ones(4, device="meta")}, "without values"),
    ]:
        torch.save(content, tmp_path / "pytorch_model.bin")
        assert message in refusal(tmp_path)


@pytest.mark.live
def test_a_format_that_numpy_lacks(torch, tmp_path):
    torch.save({"a": torch.ones(4).to(torch.float8_e4m3fn)}, tmp_path / "pytorch_model.bin")
    source = open_weights(tmp_path)
    assert source.dtype("a") == "float8_e4m3fn"
    with pytest.raises(TransformerError, match="tensor 'a' of .*pytorch_model.bin cannot be read"):
        source.get("a")


@pytest.mark.live
def test_shards(torch, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model-1.bin")
    torch.save({"b": torch.zeros(3)}, tmp_path / "pytorch_model-2.bin")
    places = {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    source = open_weights(tmp_path)
    assert (source.shape("b"), source.get("a").tolist()) == ((3,), [1.0, 1.0])
    (tmp_path / "pytorch_model-2.bin").unlink()
    assert "lacks shards" in refusal(tmp_path)


@pytest.mark.live
def test_a_damaged_byte_or_end_is_one_line_or_harmless(torch, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(64), "b": torch.ones(8, 8).half()}, path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [data[:length] for length in rng.integers(0, len(data), 60)]
    for place in rng.integers(0, len(data), 400):
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        damaged.append(bytes(changed))
    for content in damaged:
        path.write_bytes(content)
        try:
            source = open_weights(tmp_path)
            for key in source.keys():
                assert source.get(key).nbytes <= len(data)
        except TransformerError as error:
            assert "\n" not in str(error)
