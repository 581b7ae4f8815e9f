"""keras-hub's presets beside their numbers (tests/parity): folders, names, handles, and everything that may be wrong."""

import json
import shutil
import sys

import h5py
import keras
import numpy as np
import pytest

from tftransformer.checkpoints import load_preset
from tftransformer.checkpoints.assign import assign
from tftransformer.checkpoints.keras_hub_files import explain
from tftransformer.checkpoints.keras_hub_presets import preset_names
from tftransformer.data.tokenizers.sentencepiece_model import PieceType, UnigramModel, model_bytes
from tftransformer.errors import TransformerError

keras_hub = pytest.importorskip("keras_hub")
kagglehub = pytest.importorskip("kagglehub")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {
    "vocabulary_size": 8,
    "num_layers": 1,
    "num_heads": 1,
    "hidden_dim": 4,
    "intermediate_dim": 5,
    "max_sequence_length": 6,
}


def one_line(preset):
    with pytest.raises(TransformerError) as caught:
        load_preset(preset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(path, key=None, **settings):
    """Change what a JSON file states, or the settings of the object that it describes."""
    stated = json.loads(path.read_text())
    (stated if key is None else stated[key]).update(settings)
    path.write_text(json.dumps(stated))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Classifiers of two families, whose pooler is in the backbone and in the head."""
    folder = tmp_path_factory.mktemp("saved")
    tokens = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *"ab", "ab", "<mask>"])}
    for classes, tokenizer in (
        ("Bert", keras_hub.models.BertTokenizer(vocabulary=[*SPECIAL, "a", "b", "ab"])),
        ("Roberta", keras_hub.models.RobertaTokenizer(vocabulary=tokens, merges=["a b"])),
    ):
        backbone = getattr(keras_hub.models, f"{classes}Backbone")(**SIZES)
        task = getattr(keras_hub.models, f"{classes}TextClassifier")(backbone, 2, compile=False)
        task.save_to_preset(str(folder / classes))
        tokenizer.save_to_preset(str(folder / classes))
    return folder


@pytest.fixture
def bert(saved, tmp_path):
    return shutil.copytree(saved / "Bert", tmp_path / "bert")


@pytest.fixture
def roberta(saved, tmp_path):
    return shutil.copytree(saved / "Roberta", tmp_path / "roberta")


# Configurations and weights


def test_classes_that_do_not_load(bert):
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
def test_nothing_that_a_folder_names_is_imported(file, bert):
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
def test_configurations_that_do_not_load(settings, message, bert):
    change(bert / "config.json", "config", **settings)
    assert message in one_line(bert)


def test_settings_that_are_missing(bert):
    stated = json.loads((bert / "config.json").read_text())
    del stated["config"]["num_segments"]
    (bert / "config.json").write_text(json.dumps(stated))
    assert "config.json must state num_segments; they are missing" in one_line(bert)


def test_alberts_groups(bert):
    sizes = {**SIZES, "embedding_dim": 4, "num_groups": 1, "num_segments": 2, "dropout": 0}
    albert = {"class_name": "AlbertBackbone", "config": {**sizes, "num_inner_repetitions": 2}}
    change(bert / "config.json", **albert)
    assert "num_inner_repetitions must be 1; got 2" in one_line(bert)
    change(bert / "config.json", "config", num_inner_repetitions=1, num_layers=3, num_groups=2)
    assert "num_layers must be a multiple of num_groups; got 3 and 2" in one_line(bert)


def test_broken_weights(bert):
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


def test_weights_that_are_in_other_files(bert):
    (bert / "raw").write_bytes(bytes(4 * 4))
    with h5py.File(bert / "model.weights.h5", "a") as file:
        file.create_dataset("layers/more", (4,), "f4", external=[(str(bert / "raw"), 0, 16)])
    assert "must hold its arrays itself; some are in other files" in one_line(bert)


def test_weights_in_shards(bert):
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


def test_keras_hub_must_be_installed(bert, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    assert "is keras-hub's, which is not installed; pip install keras-hub" in one_line(bert)


# Tokenizers


def test_wordpiece_settings(bert):
    assert load_preset(bert).tokenizer.settings == {"lowercase": False, "strip_accents": None}
    change(bert / "tokenizer.json", "config", lowercase=True, strip_accents=True, oov_token="a")
    expected = {"lowercase": True, "strip_accents": True, "unknown_token": "a"}
    assert load_preset(bert).tokenizer.settings == expected
    change(bert / "tokenizer.json", "config", suffix_indicator="@@")
    assert "tokenizer.json: suffix_indicator must be '##'; got '@@'" in one_line(bert)
    change(bert / "tokenizer.json", class_name="T5Tokenizer")
    assert "it describes a T5Tokenizer" in one_line(bert)
    change(bert / "tokenizer.json", class_name="AlbertTokenizer")
    change(bert / "tokenizer.json", "config", suffix_indicator="##")
    assert "has no assets/tokenizer/vocabulary.spm" in one_line(bert)


def test_byte_bpe_files(roberta):
    change(roberta / "tokenizer.json", "config", add_prefix_space=True)
    tokenizer = load_preset(roberta).tokenizer
    assert (tokenizer.kind, tokenizer.settings) == ("byte_bpe", {"add_prefix_space": True})
    assert tokenizer.vocabulary == ("<s>", "<pad>", "</s>", "<unk>", "a", "b", "ab", "<mask>")
    (roberta / "assets/tokenizer/merges.txt").unlink()
    assert "has no assets/tokenizer/merges.txt" in one_line(roberta)


@pytest.mark.parametrize(("piece", "uncased"), [("▁ab", True), ("▁Ab", False)])
def test_alberts_rules_are_for_uncased_vocabularies(piece, uncased, bert):
    pieces = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", piece)
    control, normal = PieceType.CONTROL, PieceType.NORMAL
    types = (control, PieceType.UNKNOWN, control, control, control, normal)
    data = model_bytes(UnigramModel(pieces, (0.0,) * 5 + (-1.0,), types))
    (bert / "assets/tokenizer/vocabulary.spm").write_bytes(data)
    change(bert / "tokenizer.json", class_name="AlbertTokenizer")
    # An encoder of one family with the tokenizer of another: keras-hub has such presets.
    tokenizer = load_preset(bert).tokenizer
    assert (tokenizer.kind, tokenizer.vocabulary, tokenizer.files) == (
        "sentencepiece",
        pieces,
        {"spiece.model": data},
    )
    for rule in ("lowercase", "strip_accents", "straighten_quotes"):
        assert tokenizer.settings[rule] is uncased


# Tasks


def test_a_folder_without_a_task(bert):
    (bert / "task.json").unlink()
    preset = load_preset(bert)
    assert (preset.labels, preset.head, preset.pooling, preset.pooler) == (None, {}, "cls", True)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_an_embedders_pooling(pooling, bert):
    change(bert / "task.json", class_name="BertTextEmbedder", config={"pooling_mode": pooling})
    preset = load_preset(bert)
    assert (preset.labels, preset.pooling, preset.pooler) == (None, pooling, False)


@pytest.mark.parametrize(
    ("activation", "multi_label"),
    [("linear", False), ("softmax", False), ("sigmoid", True), ({"config": "sigmoid"}, True), (None, False)],
)
def test_activations_of_heads(activation, multi_label, bert):
    change(bert / "task.json", "config", activation=activation)
    preset = load_preset(bert)
    assert preset.labels == ("LABEL_0", "LABEL_1")
    assert preset.head == {"multi_label": multi_label, "head_dropout": 0.1}


def test_the_old_names_of_classes(bert):
    change(bert / "config.json", module="keras_nlp.src.models.bert.bert_backbone")
    change(
        bert / "task.json", module="keras_nlp.src.models.bert.bert_classifier", class_name="BertClassifier"
    )
    assert load_preset(bert).labels == ("LABEL_0", "LABEL_1")


def ignored(preset):
    """Why the tensors of a classifier's head are not taken."""
    shapes = {"head/logits/kernel": (4, 2), "head/logits/bias": (2,), "pooler/dense/kernel": (4, 4)}
    variables = {name: keras.Variable(np.zeros(shape)) for name, shape in shapes.items()}
    from tftransformer.patterns import addresses

    variables.update(addresses(preset.build_encoder()))
    summary = assign(variables, preset.source, preset.table, optional=("head/.*", "pooler/.*"))
    assert "head/logits/kernel" in summary.fresh
    return summary.ignored


def test_heads_that_stay_behind(bert, roberta):
    change(bert / "task.json", "config", activation="relu")
    preset = load_preset(bert)
    assert (preset.labels, preset.pooler) == (None, True)
    reasons = ignored(preset)
    assert reasons["logits/kernel"] == "a head with the activation relu, another task"
    assert set(reasons) == {
        "logits/kernel",
        "logits/bias",
        "pooled_dense/bias",
    }  # the pooler's kernel is taken

    for settings, reason in (
        ({"num_classes": 1}, "the head of one output, another task"),
        ({"num_classes": 2, "hidden_dim": 3}, "a head whose inner layer has 3 units and not the encoder's 4"),
    ):
        backbone = keras_hub.models.RobertaBackbone(**SIZES)
        keras_hub.models.RobertaTextClassifier(backbone, compile=False, **settings).save_to_preset(
            str(roberta)
        )
        reasons = ignored(load_preset(roberta))
        assert set(reasons.values()) == {reason}
        assert set(reasons) == {
            f"{name}/{kind}" for name in ("logits", "pooled_dense") for kind in ("kernel", "bias")
        }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": True}, "num_classes must be a positive integer; got True"),
        ({"dropout": 1}, "dropout must be at least 0 and below 1; got 1"),
        ({"num_classes": 10**12}, "task.json must fit task.weights.h5; it describes 1000000000000 classes"),
        ({"hidden_dim": 9}, "2 classes on 9 units, which are 65 parameters, and 30 are stored"),
        ({"hidden_dim": "9"}, "task.json: hidden_dim must be a positive integer; got '9'"),
    ],
)
def test_tasks_that_do_not_load(settings, message, roberta):
    change(roberta / "task.json", "config", **settings)
    assert message in one_line(roberta)


def test_broken_tasks(bert):
    with h5py.File(bert / "task.weights.h5", "a") as file:
        file.move("layers/dense", "layers/other")
    assert "task.weights.h5 cannot be loaded: " in one_line(bert)
    (bert / "task.weights.h5").unlink()
    assert "has no task.weights.h5" in one_line(bert)
    change(bert / "task.json", class_name="BertTextEmbedder", config={"pooling_mode": "sum"})
    assert "pooling_mode must be one of cls, mean, max; got 'sum'" in one_line(bert)
    change(bert / "task.json", module="os")
    assert "task.json must describe a task of keras-hub's; it describes a 'BertTextEmbedder'" in one_line(
        bert
    )


# Names and handles


class NotFound(Exception):
    """As Kaggle's client says that there is no such file."""

    response = type("Response", (), {"status_code": 404})


@pytest.fixture
def kaggle(monkeypatch):
    """A hub that serves a folder; returns what was asked of it."""

    def serve(folder, missing=NotFound("no such file")):
        asked = []

        def download(handle, path):
            asked.append((handle, path))
            if folder is None or not (folder / path).exists():
                raise missing
            return str(folder / path)

        monkeypatch.setattr(kagglehub, "model_download", download)
        return asked

    return serve


def test_names_of_all_families():
    names = preset_names()
    assert len(names) == len(set(names))
    assert {
        "bert_base_en_uncased",
        "distil_bert_base_en",
        "roberta_base_en",
        "xlm_roberta_base_multi",
        "electra_base_discriminator_uncased_en",
        "albert_base_en_uncased",
    } <= set(names)


def test_names_and_handles(bert, kaggle):
    asked = kaggle(bert)
    assert load_preset("bert_tiny_en_uncased_sst2").labels == ("LABEL_0", "LABEL_1")
    assert {handle for handle, _ in asked} == {"keras/bert/keras/bert_tiny_en_uncased_sst2/5"}
    (bert / "task.json").unlink()
    preset = load_preset("kaggle://somebody/bert/keras/mine")
    assert (preset.name, preset.labels) == ("kaggle://somebody/bert/keras/mine", None)
    assert asked[-1] == ("somebody/bert/keras/mine", "task.json")
    (bert / "config.json").unlink()
    assert "preset 'bert_base_en' has no config.json" in one_line("bert_base_en")


def test_hubs_that_cannot_be_reached(bert, kaggle):
    offline = ConnectionError("HTTPSConnectionPool(host='api.kaggle.com'): Max retries\nexceeded")
    kaggle(None, offline)
    expected = "cannot be loaded: the network or the hub cannot be reached, and it is not in the local cache"
    assert expected in one_line("bert_base_en_uncased")
    assert expected in one_line("kaggle://keras/bert/keras/bert_base_en_uncased")
    (bert / "task.json").unlink()
    kaggle(bert, offline)
    assert load_preset("bert_base_en").labels is None  # all but what may not exist is in the cache
    (bert / "tokenizer.json").unlink()
    assert expected in one_line("bert_base_en")
    kaggle(None, ValueError("Invalid model handle:\n x"))
    assert "preset 'kaggle://x' cannot be loaded: Invalid model handle: x" in one_line("kaggle://x")


def test_reasons_of_the_hub_are_one_line():
    assert explain(ValueError("a\n b")) == "a b"
    assert explain(ValueError()) == "ValueError"
