"""Classifiers' heads and embedders' pooling in keras-hub's folders."""

import shutil

import h5py
import keras
import numpy as np
import pytest

from tftransformer.checkpoints import load_preset
from tftransformer.checkpoints.assign import assign
from tftransformer.patterns import addresses

keras_hub = pytest.importorskip("keras_hub")


def test_a_folder_without_a_task(bert):
    (bert / "task.json").unlink()
    preset = load_preset(bert)
    assert (preset.labels, preset.head, preset.pooling, preset.pooler) == (None, {}, "cls", True)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_an_embedders_pooling(pooling, bert, change):
    change(bert / "task.json", class_name="BertTextEmbedder", config={"pooling_mode": pooling})
    preset = load_preset(bert)
    assert (preset.labels, preset.pooling, preset.pooler) == (None, pooling, False)


@pytest.mark.parametrize(
    ("activation", "multi_label"), [("linear", False), ("sigmoid", True), ({"config": "softmax"}, False), (None, False)]
)
def test_activations_of_heads(activation, multi_label, bert, change):
    change(bert / "task.json", "config", activation=activation)
    preset = load_preset(bert)
    assert preset.labels == ("LABEL_0", "LABEL_1")
    assert preset.head == {"multi_label": multi_label, "head_dropout": 0.1}


def test_the_old_names_of_classes(bert, change):
    change(bert / "config.json", module="keras_nlp.src.models.bert.bert_backbone")
    change(bert / "task.json", module="keras_nlp.src.models.bert.bert_classifier", class_name="BertClassifier")
    assert load_preset(bert).labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("classes", ["Bert", "Roberta"])
def test_weights_of_heads_with_and_without_the_backbone(classes, whole, saved, sizes, save_task, tmp_path):
    folder = shutil.copytree(saved / classes, tmp_path / "folder")
    backbone = getattr(keras_hub.models, f"{classes}Backbone")(**sizes)
    task = getattr(keras_hub.models, f"{classes}TextClassifier")(backbone, 2, compile=False)
    save_task(task, folder, whole)
    preset = load_preset(folder)
    assert preset.labels == ("LABEL_0", "LABEL_1")
    for variable in task.weights:
        np.testing.assert_array_equal(preset.source.get(variable.path), variable, err_msg=variable.path)


def ignored(preset):
    """Why the tensors of a classifier's head are not taken."""
    shapes = {"head/logits/kernel": (4, 2), "head/logits/bias": (2,), "pooler/dense/kernel": (4, 4)}
    variables = {name: keras.Variable(np.zeros(shape)) for name, shape in shapes.items()}
    variables.update(addresses(preset.build_encoder()))
    summary = assign(variables, preset.source, preset.table, optional=("head/.*", "pooler/.*"))
    assert "head/logits/kernel" in summary.newly_initialized
    return summary.ignored


def test_heads_that_stay_behind(bert, roberta, sizes, change, save_task):
    change(bert / "task.json", "config", activation="relu")
    preset = load_preset(bert)
    assert (preset.labels, preset.pooler) == (None, True)
    reasons = ignored(preset)
    assert reasons["logits/kernel"] == "a head with the activation relu, another task"
    assert set(reasons) == {"logits/kernel", "logits/bias", "pooled_dense/bias"}  # the pooler's kernel is taken

    for settings, reason in (
        ({"num_classes": 1}, "the head of one output, another task"),
        ({"num_classes": 2, "hidden_dim": 3}, "a head whose inner layer has 3 units and not the encoder's 4"),
    ):
        backbone = keras_hub.models.RobertaBackbone(**sizes)
        save_task(keras_hub.models.RobertaTextClassifier(backbone, compile=False, **settings), roberta)
        reasons = ignored(load_preset(roberta))
        assert set(reasons.values()) == {reason}
        assert set(reasons) == {f"{name}/{kind}" for name in ("logits", "pooled_dense") for kind in ("kernel", "bias")}


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
def test_tasks_that_do_not_load(settings, message, roberta, change, one_line):
    change(roberta / "task.json", "config", **settings)
    assert message in one_line(roberta)


def test_broken_tasks(bert, change, one_line):
    with h5py.File(bert / "task.weights.h5", "a") as file:
        file.move("layers/dense", "layers/other")
    assert "task.weights.h5 cannot be loaded: " in one_line(bert)
    (bert / "task.weights.h5").unlink()
    assert "has no task.weights.h5" in one_line(bert)
    change(bert / "task.json", class_name="BertTextEmbedder", config={"pooling_mode": "sum"})
    assert "pooling_mode must be one of cls, mean, max; got 'sum'" in one_line(bert)
    change(bert / "task.json", module="os")
    assert "task.json must describe a task of keras-hub's; it describes a 'BertTextEmbedder'" in one_line(bert)
