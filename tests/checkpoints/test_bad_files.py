"""Every way a checkpoint can be bad: one line, in seconds, without memory, and nothing half-loaded."""

import contextlib
import json
import resource
import shutil
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from tftransformer import patterns
from tftransformer.checkpoints import SafetensorsSource, load_preset, save_preset
from tftransformer.checkpoints.huggingface.settings import config_of
from tftransformer.checkpoints.rules import to_source
from tftransformer.errors import TransformerError
from tftransformer.models.encoder import build_encoder
from tftransformer.models.families import FAMILIES
from tftransformer.models.shapes import encoder_shapes
from tftransformer.text.spec import TokenizerSpec
from tftransformer.text.vocabulary import vocabulary_bytes

SECONDS, MEGABYTES = 2, 200


@contextlib.contextmanager
def cheaply():
    """The block must take neither time of the processor, whatever else it does, nor memory."""
    start, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < MEGABYTES * 1024


def one_line(error):
    text = str(error)
    assert "\n" not in text and len(text) < 2500, text
    return text


def refusal(preset):
    with cheaply(), pytest.raises(TransformerError) as caught:
        load_preset(preset)
    return one_line(caught.value)


def values(model):
    return {name: keras.ops.convert_to_numpy(v).copy() for name, v in patterns.addresses(model).items()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


class Tokenizer:
    """What `save_preset` asks of a tokenizer."""

    def __init__(self, vocabulary):
        self.vocabulary = tuple(vocabulary)

    def spec(self):
        return TokenizerSpec("wordpiece", self.vocabulary, {}, {"vocab.txt": vocabulary_bytes(self.vocabulary)})


@pytest.fixture
def encoder(config):
    model = build_encoder(config)
    rng = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape).astype("float32"))
    return model


@pytest.fixture
def own(encoder, folder, tmp_path):
    """A folder of our own."""
    return save_preset(
        tmp_path / "own",
        config=config_of(folder.settings),
        tokenizer=Tokenizer(folder.vocabulary),
        variables=patterns.addresses(encoder),
    )


@pytest.fixture
def google(config, folder, tmp_path):
    """One of Google's folders."""
    path = tmp_path / "google"
    path.mkdir()
    rng = np.random.default_rng(2)
    stored = dict(
        to_source(FAMILIES["bert"].google.table, address, rng.normal(size=shape).astype("float32"), 2)
        for address, shape in encoder_shapes(config).items()
    )
    tf.raw_ops.SaveV2(
        prefix=str(path / "bert_model.ckpt"),
        tensor_names=list(stored),
        shape_and_slices=[""] * len(stored),
        tensors=[tf.constant(value) for value in stored.values()],
    )
    (path / "bert_config.json").write_text(json.dumps(folder.settings))
    (path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in folder.vocabulary))
    return path


def shard(path):
    """The folder with its weights in two files and an index."""
    source = SafetensorsSource(path / "model.safetensors")
    tensors = {key: source.get(key).copy() for key in source.keys()}
    places = {key: f"model-{i % 2}.safetensors" for i, key in enumerate(tensors)}
    for file in set(places.values()):
        save_file({key: tensors[key] for key in tensors if places[key] == file}, str(path / file))
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return places


# Damaged weights


def damaged(data, rng, count, within=None):
    """Copies of a file, cut off somewhere, or with one byte changed."""
    yield b""
    for length in rng.integers(1, len(data), count // 4):
        yield data[:length]
    for place in rng.integers(0, within or len(data), count):
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        yield bytes(changed)


def test_a_damaged_safetensors_header_is_refused_or_harmless(folder, encoder):
    path = folder.write() / "model.safetensors"
    preset = load_preset(path.parent)
    preset.load_into(encoder)
    data, whole = path.read_bytes(), values(encoder)
    header = 8 + int.from_bytes(data[:8], "little")
    refused = 0
    for content in damaged(data, np.random.default_rng(0), 200, header):
        # A new file, because the old one is still mapped into memory.
        path.unlink()
        path.write_bytes(content)
        try:
            with cheaply():
                preset = load_preset(path.parent)
        except TransformerError as error:
            one_line(error)
            refused += 1
            continue
        preset.load_into(encoder)
        assert same(values(encoder), whole)
    assert refused > 200


def test_any_damaged_byte_of_our_own_weights_is_noticed(own):
    path = own / "model.safetensors"
    data = path.read_bytes()
    for content in damaged(data, np.random.default_rng(0), 60):
        path.unlink()
        path.write_bytes(content)
        message = refusal(own)
        assert "model.safetensors is damaged" in message


def test_a_damaged_tensorflow_checkpoint_is_refused_and_nothing_is_set(google, encoder):
    load_preset(google).load_into(encoder)
    whole = values(encoder)
    rng = np.random.default_rng(0)
    for path in sorted(google.glob("bert_model.ckpt.*")):
        data, refused = path.read_bytes(), 0
        for content in damaged(data, rng, 40):
            path.write_bytes(content)
            try:
                load_preset(google).load_into(encoder)
            except TransformerError as error:
                one_line(error)
                refused += 1
            assert same(values(encoder), whole)
        assert refused >= 40
        path.write_bytes(data)


def test_numbers_that_are_none_are_refused_and_nothing_is_set(folder, encoder):
    folder.tensors["encoder.layer.1.output.dense.bias"][3] = np.nan
    folder.tensors["encoder.layer.0.output.dense.bias"][3] = np.inf
    preset, before = load_preset(folder.write()), values(encoder)
    with pytest.raises(TransformerError, match="must be finite numbers") as caught:
        preset.load_into(encoder)
    assert "encoder.layer.0.output.dense.bias, encoder.layer.1.output.dense.bias" in one_line(caught.value)
    assert same(values(encoder), before)


def test_weights_of_another_model_are_refused_and_nothing_is_set(folder, config):
    preset = load_preset(folder.write())
    other = build_encoder(config.replace(num_layers=3))
    before = values(other)
    with pytest.raises(TransformerError, match="16 missing in it"):
        preset.load_into(other)
    assert same(values(other), before)


def test_shards(folder, encoder):
    path = folder.write()
    load_preset(path).load_into(encoder)
    whole = values(encoder)
    places = shard(path)
    load_preset(path).load_into(encoder)
    assert same(values(encoder), whole)
    lost = path / "model-1.safetensors"
    lost.rename(path / "aside")
    assert "lacks shards that model.safetensors.index.json names: model-1.safetensors" in refusal(path)
    index = path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(places, "../aside")}))
    assert "must name files beside itself, without a folder; got '../aside'" in refusal(path)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(places, "/dev/zero")}))
    assert "got '/dev/zero'" in refusal(path)
    index.write_bytes(b"\xff")
    assert "must be UTF-8" in refusal(path)


# Settings and vocabularies that lie


@pytest.mark.parametrize("huge", [10**9, 2**63, 10**30])
@pytest.mark.parametrize(
    "setting", ["hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size", "max_position_embeddings"]
)
def test_sizes_that_lie(setting, huge, folder, google):
    stated = {**folder.settings, setting: huge}
    folder.settings = stated
    refusal(folder.write())
    (google / "bert_config.json").write_text(json.dumps(stated))
    refusal(google)


@pytest.mark.parametrize("value", [-1, 0, None, "8", 1.5, True, [8], {}, float("nan"), float("inf")])
@pytest.mark.parametrize("setting", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_sizes_that_are_none(setting, value, folder, google):
    folder.settings = {**folder.settings, setting: value}
    refusal(folder.write())
    (google / "bert_config.json").write_text(json.dumps(folder.settings))
    refusal(google)


def test_our_own_sizes_that_lie(own):
    stated = json.loads((own / "preset.json").read_text())
    for field in ("num_layers", "hidden_dim", "vocabulary_size", "intermediate_dim", "max_sequence_length"):
        for value in (10**9, 10**30, -1, "8", None):
            changed = {**stated, "config": {**stated["config"], field: value}}
            (own / "preset.json").write_text(json.dumps(changed))
            refusal(own)


@pytest.mark.parametrize("name", ["config.json", "vocab.txt"])
def test_a_damaged_byte_of_hugging_faces_small_files(name, folder):
    path = folder.write() / name
    data = path.read_bytes()
    for content in damaged(data, np.random.default_rng(0), 60):
        path.write_bytes(content)
        with contextlib.suppress(TransformerError), cheaply():
            load_preset(path.parent)


@pytest.mark.parametrize("name", ["preset.json", "vocab.txt"])
def test_a_damaged_byte_of_our_small_files(name, own):
    data = (own / name).read_bytes()
    for content in damaged(data, np.random.default_rng(0), 60):
        (own / name).write_bytes(content)
        with contextlib.suppress(TransformerError), cheaply():
            load_preset(own)


def test_a_vocabulary_of_another_size(folder, own, google):
    for path in (folder.write(), own, google):
        with (path / "vocab.txt").open("a") as file:
            file.write("one\ntwo\n")
        message = refusal(path)
        assert "it has 25 pieces and the embeddings 23 rows" in message or "vocab.txt is damaged" in message


def test_families_that_do_not_load(folder):
    folder.settings["model_type"] = "robberta"
    assert "its model_type is 'robberta'; did you mean 'roberta' or" in refusal(folder.write())


# Hubs and folders that are not there


@pytest.mark.parametrize("error", [ConnectionError, TimeoutError, RuntimeError])
def test_no_network(error, monkeypatch):
    asked = []

    def refuse(*arguments, **_):
        asked.append(arguments)
        raise error("Max retries exceeded with url: /api\n(Name or service not known)")

    monkeypatch.setattr(pytest.importorskip("huggingface_hub"), "snapshot_download", refuse)
    monkeypatch.setattr(pytest.importorskip("kagglehub"), "model_download", refuse)
    handles = ("hf://owner/name", "kaggle://keras/bert/keras/bert_base_en_uncased", "bert_base_en_uncased")
    for number, handle in enumerate(handles, 1):
        message = refusal(handle)
        assert "the network or the hub cannot be reached" in message and handle in message
        assert len(asked) == number  # and not the real ones


def test_folders_that_lack_a_file(folder, own, google):
    huggingface = folder.write()
    for path in (huggingface, own, google):
        for file in sorted(path.iterdir()):
            copy = path.with_name("copy")
            shutil.copytree(path, copy)
            (copy / file.name).unlink()
            refusal(copy)
            (copy / file.name).mkdir()
            refusal(copy)
            shutil.rmtree(copy)
