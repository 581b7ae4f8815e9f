import json
from dataclasses import replace

import keras
import numpy as np
import pytest

from tftransformer import patterns
from tftransformer.checkpoints import embedded_presets, load_preset, presets, save_preset
from tftransformer.errors import TransformerError
from tftransformer.models.encoder import build_encoder
from tftransformer.text.spec import TokenizerSpec
from tftransformer.text.vocabulary import vocabulary_bytes

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"piece{i}" for i in range(17)] + ["\u2028"]


class Tokenizer:
    """What `save_preset` asks of a tokenizer."""

    vocabulary = tuple(PIECES)

    def spec(self):
        files = {"vocab.txt": vocabulary_bytes(self.vocabulary)}
        settings = {"lowercase": False, "strip_accents": True}
        return TokenizerSpec("wordpiece", self.vocabulary, settings, files)


@pytest.fixture
def encoder(config):
    rng = np.random.default_rng(1)
    model = build_encoder(config)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape).astype("float32"))
    return model


@pytest.fixture
def saved(encoder, config, tmp_path):
    def save(name="own", **options):
        variables = patterns.addresses(encoder)
        return save_preset(tmp_path / name, config=config, tokenizer=Tokenizer(), variables=variables, **options)

    return save


def values(model):
    return {name: keras.ops.convert_to_numpy(v) for name, v in patterns.addresses(model).items()}


def test_what_version_0_1_called_otherwise_is_read(saved):
    folder = saved(task={"max_length": 9, "extra_blocks": 0})
    assert load_preset(folder).task == {"sequence_length": 9, "extra_blocks": 0}


def test_round_trip_is_bit_equal(saved, encoder, config):
    folder = saved(
        pooling="mean",
        labels=["no", "yes"],
        head={"multi_label": False},
        task={"sequence_length": 9},
        modifications=[{"kind": "lora", "rank": 4}],
    )
    preset = load_preset(folder)
    assert preset.config == config and preset.origin == "tftransformer"
    assert preset.tokenizer.vocabulary == tuple(PIECES)
    assert preset.tokenizer.settings == {"lowercase": False, "strip_accents": True}
    assert (preset.pooling, preset.pooler, preset.labels) == ("mean", False, ("no", "yes"))
    assert (preset.head, preset.task) == ({"multi_label": False}, {"sequence_length": 9})
    assert preset.modifications == ({"kind": "lora", "rank": 4},)
    with pytest.raises(TransformerError, match="holds changes of structure"):
        preset.build_encoder()
    ours, again = values(encoder), values(replace(preset, modifications=()).build_encoder())
    assert list(ours) == list(again)
    for name, value in ours.items():
        np.testing.assert_array_equal(value, again[name])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_halves_the_file(dtype, saved, encoder):
    small, large = saved("small", dtype=dtype), saved("large")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (small, large)]
    assert sizes[0] < 0.75 * sizes[1]  # the header is the rest
    for name, value in values(load_preset(small).build_encoder()).items():
        assert value.dtype == "float32"
        np.testing.assert_allclose(value, values(encoder)[name], rtol=1e-2)


def test_a_head_is_left_behind_by_an_encoder(encoder, config, tmp_path):
    variables = {
        **patterns.addresses(encoder),
        "head/logits/kernel": np.ones((8, 2), "float32"),
        "pooler/dense/kernel": np.ones((8, 8), "float32"),
    }
    save_preset(tmp_path / "own", config=config, tokenizer=Tokenizer(), variables=variables)
    preset = load_preset(tmp_path / "own")
    assert preset.pooler
    summary = preset.load_into(build_encoder(config))
    assert set(summary.ignored) == {"head/logits/kernel", "pooler/dense/kernel"}


def test_saving_refuses(saved, encoder, config, tmp_path):
    with pytest.raises(TransformerError, match="pooling must be one of cls, mean, max; got 'maen'; did you mean"):
        saved(pooling="maen")
    with pytest.raises(TransformerError, match="dtype must be one of"):
        saved(dtype="int8")

    class Large(Tokenizer):
        vocabulary = (*Tokenizer.vocabulary, "more")

    with pytest.raises(TransformerError, match="24 pieces and the embeddings 23 rows"):
        save_preset(tmp_path / "own", config=config, tokenizer=Large(), variables={})
    with pytest.raises(TransformerError, match="weights must be finite.*x holds NaN or infinity as float16"):
        save_preset(
            tmp_path / "own",
            config=config,
            tokenizer=Tokenizer(),
            variables={"x": np.array([1e6], "float32")},
            dtype="float16",
        )
    assert list(tmp_path.iterdir()) == []  # nothing half-written
    saved()
    with pytest.raises(TransformerError, match="holds files"):
        saved()
    saved(overwrite=True)


def change(folder, **fields):
    path = folder / "preset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 2}, "must have format 1; got 2"),
        ({"config": None}, "config as a JSON dict; got None"),
        ({"config": {"family": "bert"}}, "preset.json: a TransformerConfig needs vocabulary_size"),
        ({"tokenizer": []}, "tokenizer as a JSON dict"),
        ({"labels": "ab"}, "labels as a list of strings or null"),
        ({"pooling": "sum"}, "pooling must be one of cls, mean, max; got 'sum'"),
        ({"weights_sha256": "0"}, "model.safetensors is damaged: its checksum"),
    ],
)
def test_a_broken_description(fields, message, saved):
    folder = saved()
    change(folder, **fields)
    with pytest.raises(TransformerError, match=message) as caught:
        load_preset(folder)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_noticed(saved):
    path = saved() / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(TransformerError, match="is damaged: its checksum"):
        load_preset(path.parent)


def test_a_config_that_lies(saved, config):
    folder = saved()
    change(folder, config=config.replace(hidden_dim=16).to_dict())
    with pytest.raises(TransformerError, match=r"embeddings is \(23, 16\), in the weights it is \(23, 8\)"):
        load_preset(folder)
    change(folder, config=config.replace(num_layers=3).to_dict())
    with pytest.raises(TransformerError, match="16 missing in it: encoder_block_2/attention/query/kernel"):
        load_preset(folder).build_encoder()


def test_a_vocabulary_of_another_size(saved):
    folder = saved()
    (folder / "vocab.txt").write_text("\n".join(PIECES[:-1]), encoding="utf-8")
    with pytest.raises(TransformerError, match="vocab.txt is damaged: its checksum"):
        load_preset(folder)


def test_a_vocabulary_may_be_smaller_than_the_table_of_a_preset_without_checksums(saved):
    folder = saved()
    stated = json.loads((folder / "preset.json").read_text())
    del stated["tokenizer_sha256"]
    (folder / "preset.json").write_text(json.dumps(stated))
    (folder / "vocab.txt").write_text("\n".join(PIECES[:-1]), encoding="utf-8")
    assert len(load_preset(folder).tokenizer.vocabulary) == 22
    (folder / "vocab.txt").write_text("\n".join([*PIECES, "more"]), encoding="utf-8")
    with pytest.raises(TransformerError, match="it has 24 pieces and the embeddings 23 rows"):
        load_preset(folder)


def test_embedded_presets_go_by_name(saved, monkeypatch):
    folder = saved("bert_tiny")
    monkeypatch.setattr(presets, "_EMBEDDED", folder.parent)
    assert embedded_presets() == ("bert_tiny",)
    assert load_preset("bert_tiny").name == "bert_tiny"


def test_files_have_the_mode_of_any_new_file(saved, tmp_path):
    (tmp_path / "other").write_text("")
    wanted = (tmp_path / "other").stat().st_mode
    folder = saved()
    assert {path.name: path.stat().st_mode for path in folder.iterdir()} == dict.fromkeys(
        (path.name for path in folder.iterdir()), wanted
    )


def test_the_folder_of_a_run_is_its_model(saved, tmp_path):
    run = tmp_path / "run"
    saved("run/model")
    (run / "run.json").write_text("{}")
    assert load_preset(run).config == load_preset(run / "model").config
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.json").write_text("{}")
    with pytest.raises(TransformerError, match="empty is the folder of a run that has left no model"):
        load_preset(tmp_path / "empty")


@pytest.mark.parametrize("name", [5, None, b"bert", ["bert"], ""])
def test_what_is_no_name_is_refused_in_plain_words(name):
    with pytest.raises(TransformerError, match="a preset must be a name or a folder; got ") as error:
        load_preset(name)
    assert repr(name) in str(error.value) and "\n" not in str(error.value)
