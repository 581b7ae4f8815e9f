"""Several tasks in one SavedModel: a signature for each, the encoder once."""

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.objectives.several import ClassificationTask
from tftransformer.tasks.multi_task import MultiTaskClassifier

TASKS = {
    "mood": ["no", "yes", "perhaps"],
    "topics": ClassificationTask(["a", "b", "c"], multi_label=True, text_pairs=False),
    "pair": ClassificationTask(["same", "other"], text_pairs=True),
}
ROWS = ["bad", "a very good movie and " * 30, "", "漢字 !", "[SEP]"]


@pytest.fixture(scope="module")
def exported(tiny_preset, tmp_path_factory):
    model = MultiTaskClassifier.from_preset(tiny_preset, tasks=TASKS)
    folder = tmp_path_factory.mktemp("serving") / "1"
    model.export(folder)
    return model, folder, tf.saved_model.load(str(folder))


@pytest.mark.slow
def test_each_signature_answers_as_predict_does(exported):
    model, _, served = exported
    assert set(served.signatures) == {*TASKS, "labels"}
    for name, task in model.tasks.items():
        given = {"text": tf.constant(ROWS)}
        rows = ROWS
        if task.text_pairs:
            given["text_pair"], rows = tf.constant(ROWS[::-1]), list(zip(ROWS, ROWS[::-1]))
        out = served.signatures[name](**given)
        expected = model.predict(rows, task=name, verbose=0)
        np.testing.assert_allclose(out["probabilities"], expected, atol=1e-6)
        labels = [label.decode() for label in out["label"].numpy()]
        named = task.predicted_labels(expected)
        assert labels == ["|".join(label) if task.multi_label else label for label in named]


@pytest.mark.slow
def test_the_encoder_stands_in_the_file_once(exported, tiny_preset, tmp_path):
    one = MultiTaskClassifier.from_preset(tiny_preset, tasks={"mood": TASKS["mood"]})
    one.export(tmp_path / "1")
    assert _kernels(exported[1]) == _kernels(tmp_path / "1") > 0


def _nodes(folder):
    from tensorflow.python.saved_model import loader_impl

    graph = loader_impl.parse_saved_model(str(folder)).meta_graphs[0].graph_def
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def _kernels(folder):
    """How many constants have the shape of a feed-forward kernel."""
    shapes = [node.attr["value"].tensor.tensor_shape for node in _nodes(folder) if node.op == "Const"]
    return sum([dim.size for dim in shape.dim] == [16, 32] for shape in shapes)


@pytest.mark.slow
def test_a_folder_with_files_is_not_touched(exported, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(TransformerError):
        exported[0].export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
