"""Both tokenizers in an exported graph, in a process that has no trace of this package."""

import json
import subprocess
import sys

import pytest
import tensorflow as tf
import tokenizer_cases as cases

from tftransformer.text.byte_bpe import ByteBPETokenizer
from tftransformer.text.wordpiece import WordPieceTokenizer

TEXTS = [*cases.TEXTS, *cases.BYTE_TEXTS]
PROGRAM = """
import json, sys
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
core = set(dir(tf.raw_ops))
import tensorflow_text
folder = sys.argv[1]
texts = tf.constant(json.load(open(folder + "/texts.json")))
out = {}
for name in ("wordpiece", "byte_bpe"):
    data = open(f"{folder}/{name}/saved_model.pb", "rb").read()
    graph = saved_model_pb2.SavedModel.FromString(data).meta_graphs[0].graph_def
    ops = {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
    ops -= {f.signature.name for f in graph.library.function}
    found = tf.saved_model.load(f"{folder}/{name}").signatures["serving_default"](texts)
    rows = [tf.RaggedTensor.from_row_splits(found[k], found["row_splits"]).to_list()
            for k in ("ids", "starts", "ends")]
    out[name] = [rows, sorted(ops - core), sorted(op for op in ops if "PyFunc" in op)]
print(json.dumps([out, [m for m in sys.modules if m.startswith("tftransformer")]]))
"""


@pytest.fixture(scope="module")
def tokenizers():
    return {
        "wordpiece": WordPieceTokenizer(cases.vocabulary()),
        "byte_bpe": ByteBPETokenizer.from_files({}, cases.byte_bpe_files()),
    }


def save(tokenizer, folder):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(text):
        tokens = tokenizer.tokenize_with_offsets(text)
        row_splits = tokenizer.tokenize(text).row_splits
        return {
            "ids": tokens.ids.values,
            "starts": tokens.starts.values,
            "ends": tokens.ends.values,
            "row_splits": row_splits,
        }

    tf.saved_model.save(tf.Module(), str(folder), signatures=serve)


@pytest.mark.slow
def test_in_a_saved_model_in_a_process_without_this_package(tokenizers, tmp_path):
    for name, tokenizer in tokenizers.items():
        save(tokenizer, tmp_path / name)
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found, ours = json.loads(done.stdout.splitlines()[-1])
    foreign = {"wordpiece": ["FastWordpieceTokenizeWithOffsets"], "byte_bpe": []}
    assert ours == []
    for name, tokenizer in tokenizers.items():
        expected = [part.to_list() for part in tokenizer.tokenize_with_offsets(tf.constant(TEXTS))]
        assert found[name] == [expected, foreign[name], []], name
