"""keras-hub's names and Kaggle's handles, with a hub that is a folder."""

import pytest

from tftransformer.checkpoints import load_preset
from tftransformer.checkpoints.keras_hub.files import explain
from tftransformer.checkpoints.keras_hub.presets import preset_names

kagglehub = pytest.importorskip("kagglehub")


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


def test_names_and_handles(bert, kaggle, one_line):
    asked = kaggle(bert)
    assert load_preset("bert_tiny_en_uncased_sst2").labels == ("LABEL_0", "LABEL_1")
    assert {handle for handle, _ in asked} == {"keras/bert/keras/bert_tiny_en_uncased_sst2/5"}
    (bert / "task.json").unlink()
    preset = load_preset("kaggle://somebody/bert/keras/mine")
    assert (preset.name, preset.labels) == ("kaggle://somebody/bert/keras/mine", None)
    assert asked[-1] == ("somebody/bert/keras/mine", "task.json")
    (bert / "config.json").unlink()
    assert "preset 'bert_base_en' has no config.json" in one_line("bert_base_en")


def test_hubs_that_cannot_be_reached(bert, kaggle, one_line):
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
