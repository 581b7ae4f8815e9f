"""The server's form of the network against the layers, for every family and kind of block, and what it costs."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.export.inference_graph import is_plain
from tftransformer.tasks import TextClassifier
from tftransformer.text import WordPieceTokenizer

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij", *(f"##{c}" for c in "abcdefghij")]
SIZES = dict(
    vocabulary_size=len(TOKENS), num_layers=2, hidden_dim=16, num_heads=2, intermediate_dim=32, max_sequence_length=16
)
# Options of the config, options of the classifier, and whether the blocks have the faster form.
KINDS = {
    "bert": (dict(), dict(), True),
    "bert, pairs": (dict(), dict(text_pairs=True), True),
    "bert, mean": (dict(), dict(pooling="mean"), True),
    "bert, max and extra block": (dict(), dict(pooling="max", extra_blocks=1), True),
    "bert, extra block": (dict(), dict(extra_blocks=1, pooler=False), True),
    "distilbert": (dict(family="distilbert"), dict(), True),
    "roberta": (dict(family="roberta"), dict(), True),
    "xlm_roberta": (dict(family="xlm_roberta"), dict(), True),
    "electra": (dict(family="electra", embedding_dim=8), dict(), True),
    "albert": (dict(family="albert", embedding_dim=8, num_distinct_blocks=1), dict(), True),
    "pre-norm": (dict(normalize_first=True), dict(), True),
    "pre-norm and extra block": (dict(normalize_first=True), dict(extra_blocks=1), True),
    "gated": (dict(gated=True, activation="silu"), dict(), True),
    "without biases": (dict(use_bias=False, activation="gelu_tanh"), dict(), True),
    "wide heads": (dict(head_dim=12, activation="relu"), dict(), True),
    "sinusoidal": (dict(position="sinusoidal"), dict(), True),
    "alibi": (dict(position="alibi"), dict(), True),
    "relative buckets, mean": (dict(position="relative_buckets"), dict(pooling="mean"), True),
    "rotary": (dict(position="rotary"), dict(), False),
    "relative": (dict(position="relative"), dict(extra_blocks=1), False),
    "shared key heads": (dict(num_key_value_heads=1), dict(), False),
}


def build(kind="bert", **options):
    """A classifier whose every weight is random: swapped weights of equal values would go unseen."""
    config, own, _ = KINDS[kind]
    classifier = TextClassifier(
        TransformerConfig(**{**SIZES, **config}), WordPieceTokenizer(TOKENS), ["x", "y", "z"], **{**own, **options}
    )
    draw = np.random.default_rng(7)
    classifier.set_weights([0.3 * draw.standard_normal(w.shape) + (w.ndim == 1) for w in classifier.get_weights()])
    return classifier


def inputs(classifier):
    draw = np.random.default_rng(3)
    lengths = np.array([9, 2, 6])[:, np.newaxis]
    mask = (np.arange(9) < lengths).astype("int32")
    segments = (np.arange(9) >= lengths // 2) * mask if classifier.text_pairs else mask * 0
    ids = draw.integers(5, len(TOKENS), mask.shape) * mask
    given = {"token_ids": ids, "padding_mask": mask, "segment_ids": segments}
    return {name: tf.constant(value, tf.int32) for name, value in given.items()}


# By default what test_export_laws.py leaves out.
@pytest.mark.by_default(*(kind for kind in KINDS if "bert" not in kind or kind == "bert, pairs"), "albert", "roberta")
@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_the_layers_probabilities(kind):
    classifier = build(kind)
    given = inputs(classifier)
    expected = classifier.objective.activate(classifier(given, training=False))
    # Compiled, as it is served: TensorFlow's rewriter takes some forms of a norm for others.
    served = tf.function(classifier.served_network(), autograph=False)(given)
    np.testing.assert_allclose(classifier.objective.activate(served), expected, atol=1e-6)
    assert is_plain(classifier.encoder.get_layer("encoder_block_0")) == KINDS[kind][2]


def test_a_block_with_weights_of_its_own_runs_as_the_layer():
    classifier = build("bert, mean")
    block = classifier.encoder.get_layer("encoder_block_0")
    projection = block.feed_forward.output_projection
    projection._tracker.unlock()  # as Keras's own `enable_lora` does
    projection.extra = projection.add_weight(name="extra", shape=(16,))
    assert not is_plain(block)
    assert is_plain(classifier.encoder.get_layer("encoder_block_1"))


def test_bfloat16_is_near_and_leaves_the_classifier_alone(tmp_path):
    classifier = build()
    before = classifier.predict(["a b", "c d e f"], verbose=0)
    classifier.export(tmp_path / "1", dtype="bfloat16")
    served = tf.saved_model.load(tmp_path / "1").signatures["serving_default"]
    probabilities = served(text=tf.constant(["a b", "c d e f"]))["probabilities"]
    assert probabilities.dtype == tf.float32
    np.testing.assert_allclose(probabilities, before, atol=3e-2)
    assert np.abs(probabilities - before).max() > 1e-6
    assert classifier.compute_dtype == "float32"


def test_an_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(TransformerError, match="dtype must be one of float32, bfloat16; got 'bfloat61'"):
        build().export(tmp_path / "1", dtype="bfloat61")
    assert not list(tmp_path.iterdir())


def test_the_graph_holds_few_operations():
    classifier = build(text_pairs=False)
    network = tf.function(classifier.served_network(), autograph=False)
    graph = network.get_concrete_function(inputs(classifier)).graph.as_graph_def()
    used = collections.Counter(node.op for node in graph.node)
    # Four products a block (query, key and value are one), five in the last, which needs one query a text.
    assert used["MatMul"] == 4 + 5 + 2
    assert used["BatchMatMulV2"] == 4 and used["Softmax"] == 2
    # The mask is one addition: no choice over all scores. (The one there is belongs to the token lookup.)
    assert used["SelectV2"] <= 1 and not used["Any"] and not used["Where"]
    free = ("Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp")
    assert sum(count for op, count in used.items() if op not in free) <= 150, used.most_common()


def test_only_the_first_token_leaves_the_last_block():
    classifier = build()
    network = tf.function(classifier.served_network(), autograph=False)
    function = network.get_concrete_function(**{"inputs": inputs(classifier)})
    shapes = [op.outputs[0].shape for op in function.graph.get_operations() if op.type == "Softmax"]
    assert [shape[2] for shape in shapes] == [9, 1]
