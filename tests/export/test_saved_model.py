"""The exported SavedModel, in a process that knows neither tftransformer nor Keras."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.tasks import TextClassifier

SERVE = """
import importlib.util, json, os, pathlib, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.modules["keras"] = sys.modules["tftransformer"] = None  # importing them fails from here on
import tensorflow as tf
# Only the kernel, as in TF Serving: the Python package of tensorflow-text would import Keras.
text = pathlib.Path(importlib.util.find_spec("tensorflow_text").submodule_search_locations[0])
tf.load_op_library(str(text / "python/ops/_fast_wordpiece_tokenizer.so"))
results = []
for folder, pairs in json.loads(sys.argv[1]):
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    for rows in json.loads(sys.argv[2]):
        given = {"text": tf.constant(rows)}
        if pairs:
            given["text_pair"] = tf.constant(rows[::-1])
        out = serve(**given)
        results.append({k: [x.decode() for x in v.numpy()] if v.dtype == tf.string else v.numpy().tolist()
                        for k, v in out.items()})
print(json.dumps(results))
"""
BATCHES = [["good film"], ["bad", "a very good movie and " * 30, "", "漢字 !", "[SEP]"]]


KINDS = {
    "single": dict(labels=["no", "yes", "perhaps"], text_pairs=False),
    "pairs": dict(labels=["no", "yes", "perhaps"], text_pairs=True),
    "multi_label": dict(labels=["a", "b", "c"], text_pairs=False, multi_label=True, threshold=0.5),
    "bfloat16": dict(labels=["no", "yes"], text_pairs=False, dtype="mixed_bfloat16"),
}


def export_and_serve(preset, root, *kinds):
    """Classifiers of these kinds, and what a process without Keras gets from their SavedModels."""
    classifiers = {kind: TextClassifier.from_preset(preset, **KINDS[kind]) for kind in kinds}
    for kind, classifier in classifiers.items():
        classifier.export(root / kind / "1")
    folders = [(str(root / kind / "1"), bool(KINDS[kind]["text_pairs"])) for kind in kinds]
    command = [sys.executable, "-c", SERVE, json.dumps(folders), json.dumps(BATCHES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    served = iter(json.loads(done.stdout.splitlines()[-1]))
    return root, {kind: (classifier, [next(served) for _ in BATCHES]) for kind, classifier in classifiers.items()}


@pytest.fixture(scope="module")
def exported(tiny_preset, tmp_path_factory):
    return export_and_serve(tiny_preset, tmp_path_factory.mktemp("serving"), "pairs", "multi_label")


def test_a_fresh_process_gets_the_same_probabilities(exported):
    agrees("pairs", exported, 1e-6)


@pytest.mark.slow
def test_a_fresh_process_gets_the_same_for_other_kinds(tiny_preset, tmp_path):
    exported = export_and_serve(tiny_preset, tmp_path, "single", "bfloat16")
    agrees("single", exported, 1e-6)
    agrees("bfloat16", exported, 1e-2)


def agrees(kind, exported, tolerance):
    classifier, results = exported[1][kind]
    for rows, served in zip(BATCHES, results):
        expected = classifier.predict(list(zip(rows, rows[::-1])) if kind == "pairs" else rows, verbose=0)
        np.testing.assert_allclose(served["probabilities"], expected, atol=tolerance)
        assert served["label_id"] == np.argmax(served["probabilities"], axis=1).tolist()
        assert served["label"] == [classifier.labels[i] for i in served["label_id"]]


def test_multi_label_names_are_joined(exported):
    classifier, results = exported[1]["multi_label"]
    for rows, served in zip(BATCHES, results):
        expected = classifier.predict(rows, verbose=0)
        np.testing.assert_allclose(served["probabilities"], expected, atol=1e-6)
        assert served["label_id"] == (expected >= 0.5).astype(int).tolist()
        assert served["label"] == ["|".join(labels) for labels in classifier.predicted_labels(expected)]


def test_the_graph_holds_only_operations_that_servers_carry(exported):
    from tensorflow.python.saved_model import loader_impl

    proto = loader_impl.parse_saved_model(str(exported[0] / "pairs" / "1"))
    graph = proto.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    used = {node.op for node in nodes}
    names = {function.signature.name for function in graph.library.function}
    others = {op.split(">")[-1] for op in used - names if not _is_core(op)}
    assert others == {"FastWordpieceTokenizeWithOffsets"}
    assert not {op for op in used if "PyFunc" in op}
    for function in graph.library.function:
        must = function.attr.get("_XlaMustCompile")
        assert must is None or not must.b, function.signature.name


def _is_core(operation):
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(operation) is not None and "Wordpiece" not in operation


def test_a_folder_with_files_is_not_touched(tiny_preset, tmp_path):
    classifier = TextClassifier.from_preset(tiny_preset, labels=["no", "yes"])
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(TransformerError):
        classifier.export(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_an_unknown_format_is_refused(tiny_preset, tmp_path):
    classifier = TextClassifier.from_preset(tiny_preset, labels=["no", "yes"])
    with pytest.raises(TransformerError, match="format must be one of tf_saved_model; got 'tf_savedmodel'; did you"):
        classifier.export(tmp_path / "1", format="tf_savedmodel")
    assert not list(tmp_path.iterdir())
