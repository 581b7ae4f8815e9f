"""No export gets its name before it has answered as the model does."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.export.serving import TOLERANCES, Signature, tolerance_of
from tftransformer.tasks import DocumentClassifier, MultiTaskClassifier, TextClassifier

LABELS = ["no", "yes"]


def build(preset, kind):
    if kind == "several tasks":
        return MultiTaskClassifier.from_preset(preset, tasks={"mood": LABELS, "tone": ["low", "high", "flat"]})
    if kind == "documents":
        return DocumentClassifier.from_preset(preset, labels=LABELS, sequence_length=12, max_chunks=3)
    return TextClassifier.from_preset(preset, labels=LABELS, text_pairs=kind == "pairs")


def answer_wrongly(monkeypatch, change):
    """Exports of all tasks whose logits are changed on their way to the answers, though not those of the layers."""

    def wrong(signature, *texts):
        return signature.answers(change(signature.network(signature.prepare(*texts))))

    monkeypatch.setattr(Signature, "__call__", wrong)


@pytest.mark.parametrize(
    "kind", ["single", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("several tasks", "documents"))]
)
def test_a_graph_that_answers_otherwise_is_not_written(tiny_preset, tmp_path, monkeypatch, kind):
    answer_wrongly(monkeypatch, lambda y: y + tf.linspace(0.0, 0.5, y.shape[-1]))
    with pytest.raises(TransformerError, match="must give the model's probabilities to within 0.0001; .* are 0.[01]"):
        build(tiny_preset, kind).export(tmp_path / "1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda y: y * float("nan"), "are nan off, and nothing was written", marks=pytest.mark.slow),
        pytest.param(lambda y: tf.concat([y, y], 0), "are inf off", marks=pytest.mark.slow),
        # A batch without rows is one that servers are sent.
        (lambda y: y + 0 * tf.gather(y, [0]), "must run; the signature 'serving_default' of 0 texts says: "),
    ],
)
def test_a_graph_without_an_answer_is_not_written(tiny_preset, tmp_path, monkeypatch, change, words):
    answer_wrongly(monkeypatch, change)
    with pytest.raises(TransformerError, match=words) as error:
        build(tiny_preset, "single").export(tmp_path / "1")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_what_stood_there_stays_when_an_export_fails(tiny_preset, tmp_path, monkeypatch):
    (tmp_path / "note.txt").write_text("mine")
    answer_wrongly(monkeypatch, lambda y: y[:, ::-1])
    with pytest.raises(TransformerError, match="nothing was written"):
        build(tiny_preset, "single").export(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("pairs", "several tasks")), "documents"]
)
def test_label_names_are_served_and_lie_beside_the_graph_and_no_texts_get_no_answers(tiny_preset, tmp_path, kind):
    model = build(tiny_preset, kind)
    model.export(tmp_path / "1", dtype="bfloat16" if kind == "several tasks" else None)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    served = {
        name: [label.decode() for label in names.numpy()] for name, names in loaded.signatures["labels"]().items()
    }
    written = json.loads((tmp_path / "1" / "assets.extra" / "labels.json").read_text("utf-8"))
    if kind == "several tasks":
        assert served == written == {"mood": LABELS, "tone": ["low", "high", "flat"]}
    else:
        assert served == {"labels": LABELS} and written == LABELS
    if kind == "documents":
        out = loaded.signatures["serving_default"](text=tf.constant([], tf.string))
        assert out["probabilities"].shape == model.predict([], verbose=0).shape == (0, 2)
        assert out["label"].shape == out["label_id"].shape == (0,)


def test_a_task_called_as_the_signature_of_names_is_refused(tiny_preset, tmp_path):
    model = MultiTaskClassifier.from_preset(tiny_preset, tasks={"labels": LABELS})
    with pytest.raises(TransformerError, match="another name than 'labels', the signature of the labels' names"):
        model.export(tmp_path / "1")
    assert not list(tmp_path.iterdir())


def test_the_coarsest_dtype_decides_how_near_is_near_enough():
    assert tolerance_of("float32") == TOLERANCES["float32"] < TOLERANCES["float16"] < TOLERANCES["bfloat16"]
    assert tolerance_of("float32", "bfloat16") == TOLERANCES["bfloat16"]
    assert np.isclose(tolerance_of("float64"), TOLERANCES["float32"])
