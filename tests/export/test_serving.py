"""What tasks say of how they are served, which is all that a format has of them."""

import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.export.serving import FORMATS
from tftransformer.objectives import ClassificationTask
from tftransformer.tasks import DocumentClassifier, MultiTaskClassifier, TextClassifier

LABELS = ("no", "yes", "perhaps")
TEXTS = ["a good film", "", "one two three four five six seven eight nine ten eleven twelve"]
SEVERAL = {
    "mood": LABELS,
    "topics": ClassificationTask(["a", "b"], multi_label=True, text_pairs=False),
    "pair": ClassificationTask(["same", "other"], text_pairs=True),
}


def build(preset, kind):
    if kind == "tasks":
        return MultiTaskClassifier.from_preset(preset, tasks=SEVERAL)
    if kind == "documents":
        return DocumentClassifier.from_preset(preset, labels=LABELS, sequence_length=8, max_chunks=3)
    return TextClassifier.from_preset(preset, labels=LABELS, text_pairs=kind == "pairs")


@pytest.mark.parametrize("kind", ["texts", "pairs", "documents", "tasks"])
def test_a_task_says_what_it_takes_and_answers(two_block_preset, kind):
    model = build(two_block_preset, kind)
    serving = model.serving()
    tasks = model.tasks if kind == "tasks" else {"serving_default": model}
    assert serving.labels == ({name: task.labels for name, task in tasks.items()} if kind == "tasks" else LABELS)
    assert set(serving.signatures) == set(tasks)
    for name, signature in serving.signatures.items():
        pairs = bool(tasks[name].text_pairs)
        assert signature.inputs == (("text", "text_pair") if pairs else ("text",))
        sides = (TEXTS, TEXTS[::-1]) if pairs else (TEXTS,)
        strings = [tf.constant(side) for side in sides]
        answers = signature(*strings)
        assert set(answers) == {"probabilities", "label_id", "label"}
        of_task = {"task": name} if kind == "tasks" else {}
        expected = model.predict(list(zip(*sides)) if pairs else TEXTS, verbose=0, **of_task)
        np.testing.assert_allclose(answers[signature.compared], expected, atol=1e-6)
        np.testing.assert_allclose(signature.expected(*strings), expected, atol=1e-6)
        assert signature.shape == expected.shape[1:] == (len(tasks[name].labels),)


def test_another_format_is_a_module_and_a_row(two_block_preset, tmp_path, monkeypatch):
    module = types.ModuleType("tftransformer.export.names")

    def write(serving, folder, *, tolerance, overwrite):
        folder.write_text(f"{list(serving.signatures)} {serving.labels} {tolerance} {overwrite}")

    module.write = write
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FORMATS, "only_names", "names")
    build(two_block_preset, "documents").export(tmp_path / "one", "only_names")
    assert (tmp_path / "one").read_text() == f"['serving_default'] {LABELS} 0.0001 False"
    build(two_block_preset, "tasks").export(tmp_path / "two", format="only_names", dtype="bfloat16", overwrite=True)
    assert (tmp_path / "two").read_text().startswith("['mood', 'topics', 'pair'] {'mood': ('no', 'yes', 'perhaps')")
    assert (tmp_path / "two").read_text().endswith(" 0.1 True")
