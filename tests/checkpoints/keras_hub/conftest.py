"""Folders of keras-hub's to break: classifiers of two families, and how to change what they state."""

import json
import shutil

import keras
import pytest

from tftransformer.checkpoints import load_preset
from tftransformer.errors import TransformerError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {
    "vocabulary_size": 8,
    "num_layers": 1,
    "num_heads": 1,
    "hidden_dim": 4,
    "intermediate_dim": 5,
    "max_sequence_length": 6,
}


@pytest.fixture
def one_line():
    """The message of a preset that does not load."""

    def message(preset):
        with pytest.raises(TransformerError) as caught:
            load_preset(preset)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message


@pytest.fixture
def change():
    """Change what a JSON file states, or the settings of the object that it describes."""

    def write(path, key=None, **settings):
        stated = json.loads(path.read_text())
        (stated if key is None else stated[key]).update(settings)
        path.write_text(json.dumps(stated))

    return write


@pytest.fixture
def sizes():
    """Of the backbones."""
    return dict(SIZES)


def write_task(task, folder, whole=False):
    """What `task.save_to_preset` writes, in any version of keras-hub: before 0.29 it is `whole`, and needs a preprocessor."""
    task.backbone.save_to_preset(str(folder))
    (folder / "task.json").write_text(json.dumps(keras.saving.serialize_keras_object(task)))
    skipped = [] if whole else [task.backbone]
    keras.saving.save_weights(task, folder / "task.weights.h5", objects_to_skip=skipped)


@pytest.fixture(scope="session")
def save_task():
    return write_task


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Classifiers of two families, whose pooler is in the backbone and in the head."""
    keras_hub = pytest.importorskip("keras_hub")
    folder = tmp_path_factory.mktemp("saved")
    tokens = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *"ab", "ab", "<mask>"])}
    for classes, tokenizer in (
        ("Bert", keras_hub.models.BertTokenizer(vocabulary=[*SPECIAL, "a", "b", "ab"])),
        ("Roberta", keras_hub.models.RobertaTokenizer(vocabulary=tokens, merges=["a b"])),
    ):
        backbone = getattr(keras_hub.models, f"{classes}Backbone")(**SIZES)
        task = getattr(keras_hub.models, f"{classes}TextClassifier")(backbone, 2, compile=False)
        write_task(task, folder / classes)
        tokenizer.save_to_preset(str(folder / classes))
    return folder


@pytest.fixture
def bert(saved, tmp_path):
    return shutil.copytree(saved / "Bert", tmp_path / "bert")


@pytest.fixture
def roberta(saved, tmp_path):
    return shutil.copytree(saved / "Roberta", tmp_path / "roberta")
