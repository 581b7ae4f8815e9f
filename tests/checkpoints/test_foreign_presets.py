import json

import keras
import ml_dtypes
import numpy as np
import pytest

import tftransformer as tt
from tftransformer.checkpoints import load_preset
from tftransformer.errors import TransformerError
from tftransformer.patterns import addresses


def one_line(preset):
    with pytest.raises(TransformerError) as caught:
        load_preset(preset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def loaded(preset):
    return {name: keras.ops.convert_to_numpy(v) for name, v in addresses(preset.build_encoder()).items()}


# Hugging Face folders


def test_a_folder_describes_itself(folder):
    preset = load_preset(folder.write())
    assert preset.config.to_dict().items() >= {"hidden_dim": 8, "num_layers": 2, "activation": "gelu"}.items()
    assert (preset.origin, preset.pooling, preset.pooler, preset.labels) == ("huggingface", "cls", True, None)
    stated = {"lowercase": True, "strip_accents": None, "split_on_cjk": True, "unknown_token": "[UNK]"}
    assert preset.tokenizer.settings.items() >= stated.items()
    assert preset.tokenizer.vocabulary == tuple(folder.vocabulary)


def test_older_names_and_a_prefix_change_nothing(folder):
    plain = loaded(load_preset(folder.write()))
    for name in list(folder.tensors):
        new = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        folder.rename(name, "bert." + new)
    folder.tensors["bert.embeddings.position_ids"] = np.arange(10)[None, :]
    folder.tensors["cls.predictions.bias"] = np.zeros(23, "float32")
    preset = load_preset(folder.write())
    for name, value in loaded(preset).items():
        np.testing.assert_array_equal(value, plain[name])
    summary = preset.load_into(preset.build_encoder())
    assert set(summary.ignored) == {
        "bert.embeddings.position_ids",
        "cls.predictions.bias",
        "bert.pooler.dense.bias",
        "bert.pooler.dense.weight",
    }


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_half_precision_is_read_exactly(dtype, folder):
    folder.tensors = {name: value.astype(dtype) for name, value in folder.tensors.items()}
    kernel = loaded(load_preset(folder.write()))["encoder_block_1/attention/query/kernel"]
    stored = folder.tensors["encoder.layer.1.attention.self.query.weight"]
    np.testing.assert_array_equal(kernel, stored.T.astype("float32"))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("gelu", "gelu"), ("gelu_new", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh"), ("relu", "relu")],
)
def test_activations(theirs, ours, folder):
    folder.settings["hidden_act"] = theirs
    assert load_preset(folder.write()).config.activation == ours


def test_tokenizer_settings(folder):
    path = folder.write()
    described = {
        "normalizer": {
            "type": "BertNormalizer",
            "lowercase": False,
            "strip_accents": None,
            "handle_chinese_chars": False,
        }
    }
    (path / "tokenizer.json").write_text(json.dumps(described))
    found = load_preset(path).tokenizer.settings
    assert found.items() >= {"lowercase": False, "strip_accents": None, "split_on_cjk": False}.items()
    stated = {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": True, "unk_token": "[UNK]"}
    (path / "tokenizer_config.json").write_text(json.dumps(stated))
    found = load_preset(path).tokenizer.settings
    assert found.items() >= {"lowercase": True, "strip_accents": False, "split_on_cjk": True}.items()
    assert found["unknown_token"] == "[UNK]"


@pytest.mark.parametrize(("key", "pooling"), [("mean_tokens", "mean"), ("max_tokens", "max"), ("cls_token", "cls")])
def test_sentence_transformers_pooling(key, pooling, folder):
    path = folder.write()
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{key}": True}))
    preset = load_preset(path)
    assert (preset.pooling, preset.pooler) == (pooling, False)


def test_a_classifiers_head_comes_along(folder):
    folder.add_head()
    folder.settings.update(
        architectures=["BertForSequenceClassification"],
        classifier_dropout=0.3,
        id2label={"0": "low", "1": "mid", "2": "high"},
        problem_type="multi_label_classification",
    )
    preset = load_preset(folder.write())
    assert preset.labels == ("low", "mid", "high")
    assert preset.head == {"multi_label": True, "head_dropout": 0.3}


@pytest.mark.parametrize(
    "names", [None, {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, {"0": "a", "1": "b", "2": "c"}]
)
def test_the_head_of_a_regression_gives_numbers(names, folder):
    folder.add_head()
    folder.settings.update(problem_type="regression", **({} if names is None else {"id2label": names}))
    preset = load_preset(folder.write())
    assert preset.labels is None and preset.is_regression
    regressor = tt.load(preset)
    assert regressor.names == (("a", "b", "c") if names and names["0"] == "a" else ("number 1", "number 2", "number 3"))
    assert not regressor.load_summary.newly_initialized and regressor.predict(["a b"], verbose=0).shape == (1, 3)
    assert "head/logits/kernel" in tt.TextClassifier.from_preset(preset, labels=["x", "y", "z"]).newly_initialized


def test_the_head_of_a_token_classification_gives_tags(folder):
    folder.add_head()
    folder.settings.update(
        architectures=["BertForTokenClassification"],
        id2label={"0": "O", "1": "B-X", "2": "I-X"},
        classifier_dropout=0.3,
    )
    preset = load_preset(folder.write())
    assert preset.head == {"kind": "tagging", "labels": ["O", "B-X", "I-X"], "decode": "argmax", "head_dropout": 0.3}
    tagger = tt.load(preset)
    assert (
        type(tagger) is tt.TokenClassifier
        and not tagger.load_summary.newly_initialized
        and tagger.network.head_dropout == 0.3
    )
    assert "head/logits/kernel" in tt.TextClassifier.from_preset(preset, labels=["x", "y", "z"]).newly_initialized
    folder.settings["id2label"] = {"0": "O"}
    assert "id2label must name the 3 classes" in one_line(folder.write())


def test_heads_of_other_tasks_stay_behind(folder):
    folder.add_head()
    folder.settings.update(architectures=["BertForMultipleChoice"])
    preset = load_preset(folder.write())
    assert preset.labels is None and preset.head == {}
    variables = {**addresses(preset.build_encoder()), "head/logits/kernel": keras.Variable(np.zeros((8, 3)))}
    from tftransformer.checkpoints.assign import assign

    summary = assign(variables, preset.source, preset.table, optional="head/.*")
    assert "head/logits/kernel" in summary.newly_initialized
    assert "another task" in summary.ignored["classifier.weight"]


def test_spare_rows_are_padding_and_missing_ones_an_error(folder):
    folder.vocabulary.pop()
    assert len(load_preset(folder.write()).tokenizer.vocabulary) == 22
    folder.vocabulary += ["one", "two"]
    assert "it has 24 pieces and the embeddings 23 rows" in one_line(folder.write())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model_type": "opt"},
            "(bert, distilbert, roberta, xlm-roberta, electra, albert, gpt2, llama, mistral, qwen2, bart, t5); its model_type is 'opt'",
        ),
        ({"model_type": None}, "its model_type is None"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type must be 'absolute'; got 'relative_key'"),
        ({"is_decoder": True}, "is_decoder must be False; got True"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads must be {}; got {'0': [1]}"),
        ({"hidden_act": "mish"}, "hidden_act must be one of gelu, gelu_new"),
        ({"hidden_act": ["gelu"]}, "hidden_act must be one of"),
        ({"hidden_size": "8"}, "hidden_dim must be a positive integer; got '8'"),
        ({"num_attention_heads": 3}, "hidden_dim must be a multiple of num_heads"),
        ({"hidden_size": 16}, "embeddings/token/embeddings is (23, 8) there and (23, 16) in the model"),
        ({"vocab_size": 40}, "embeddings/token/embeddings is (23, 8) there and (40, 8) in the model"),
        ({"num_hidden_layers": 3}, "16 missing in it: encoder_block_2/"),
        ({"num_hidden_layers": 1}, "16 in it that the model has no place for: encoder.layer.1."),
        ({"num_hidden_layers": 50}, "there are 50 layers, and the weights are 39 tensors"),
        ({"num_hidden_layers": 10**9}, "the number of layers must be at most 1000; got 1000000000"),
    ],
)
def test_configurations_that_do_not_load(settings, message, folder):
    folder.settings.update(settings)
    assert message in one_line(folder.write())


def test_labels_that_do_not_fit_the_head(folder):
    folder.add_head()
    folder.settings["id2label"] = {"0": "low", "1": "high"}
    assert "id2label must name the 3 classes" in one_line(folder.write())


def test_broken_small_files(folder):
    path = folder.write()
    (path / "vocab.txt").write_bytes(b"[PAD]\n[UNK]\n\xff\n")
    assert "UTF-8" in one_line(path)
    (path / "vocab.txt").unlink()
    assert "vocab.txt" in one_line(path)
    (path / "config.json").write_text('{"model_type": ')
    assert "config.json must be JSON; line 1" in one_line(path)
    (path / "config.json").write_text("[" * 100_000)
    assert "config.json must be JSON; too deep" in one_line(path)
    (path / "config.json").write_text("[]")
    assert "config.json must hold a JSON object; got list" in one_line(path)
    (path / "config.json").write_bytes(b"{\n\xff}")
    assert "config.json must be UTF-8; line 2 is not" in one_line(path)


def test_truncated_weights(folder):
    path = folder.write() / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "is damaged, cut off" in one_line(path.parent)
    path.unlink()
    assert "has no weights: none of model.safetensors, model.safetensors.index.json" in one_line(path.parent)


# Names, handles and folders that are nothing


def test_unknown_names():
    assert "there is no preset or folder 'bert_base_en_uncasd'; did you mean 'bert_base_en_uncased'" in one_line(
        "bert_base_en_uncasd"
    )
    assert "presets are for instance" in one_line("qqqqqqqqqqq")
    assert "a checkpoint of the family gpt2; those that load are bert" in one_line("gpt2_base_en")
    assert "there is no preset folder ./nowhere" in one_line("./nowhere")
    assert "must be a name or a folder; got ''" in one_line("")
    assert "must start with kaggle:// or hf://; got 's3://x/y'" in one_line("s3://x/y")


def test_folders_that_are_no_presets(tmp_path):
    assert "is no preset: it has neither preset.json" in one_line(tmp_path)
    (tmp_path / "bert_config.json").write_text("{}")
    assert "has no TensorFlow checkpoint: no file whose name ends in .index" in one_line(tmp_path)
    assert "bert_config.json is a file (give its folder)" in one_line(tmp_path / "bert_config.json")


def test_hugging_face_handles(folder, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    path = folder.write()
    monkeypatch.setattr(hub, "snapshot_download", lambda repository, **_: str(path) if repository == "a/b" else 1 / 0)
    preset = load_preset("hf://a/b")
    assert (preset.name, preset.config.activation) == ("hf://a/b", "gelu")
    assert "preset 'hf://c/d' cannot be loaded: division by zero" in one_line("hf://c/d")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    assert "pytorch_model.bin" in one_line("hf://a/b")  # torch is missing, or refuses the file


def test_hugging_face_handles_need_its_client(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "needs huggingface_hub (pip install huggingface_hub)" in one_line("hf://a/b")
