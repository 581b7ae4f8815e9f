"""An export answers as `predict` does, whatever the structure: positions, blocks of its own, pooling, parts put in, dtype."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.config import POSITIONS, TransformerConfig
from tftransformer.export.serving import in_precision
from tftransformer.finetuning import prune_heads
from tftransformer.finetuning.methods import Adapter, LoRA, Prefix
from tftransformer.patterns import addresses
from tftransformer.tasks import TextClassifier
from tftransformer.text import WordPieceTokenizer

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij", *(f"##{c}" for c in "abcdefghij")]
TEXTS = ["a b c", "", "abcdefghij a b c d e f g h", "j"]


def two_adapters(classifier):
    # Of one width; a copy makes the second first, whose places begin earlier in a block.
    Adapter(adapter="one", bottleneck_dim=4, kind="pfeiffer").apply(classifier)
    Adapter(adapter="two", bottleneck_dim=4, kind="houlsby").apply(classifier)
    return classifier


def with_lora(classifier):
    LoRA(rank=2).apply(classifier)
    return classifier


def with_prefix(classifier):
    Prefix(length=3).apply(classifier)
    return classifier


CHANGES = {
    "as it is": lambda classifier: classifier,
    "lora": with_lora,
    "two adapters": two_adapters,
    "prefix": with_prefix,
    "pruned": lambda classifier: prune_heads(classifier, {0: [1]}),
}
AXES = {
    "position": ("learned", "sinusoidal", "rotary", "relative", "alibi", "relative_buckets"),
    "extra_blocks": (0, 1),
    "pooling": ("cls", "mean", "max"),
    "change": tuple(CHANGES),
    "dtype": ("float32", "bfloat16"),
}
PRODUCT = [
    case for case in itertools.product(*AXES.values()) if not (POSITIONS[case[0]].enters == "scores" and case[3] == "pruned")
]  # fmt: skip


def covering(cases, together):
    """Few of the cases in which so many values that go together meet, whichever they are."""

    def meetings(case):
        return set(itertools.combinations(enumerate(case), together))

    missing, chosen = set().union(*map(meetings, cases)), []
    while missing:
        chosen.append(max(cases, key=lambda case: len(meetings(case) & missing)))
        missing -= meetings(chosen[-1])
    return chosen


def build(position, extra_blocks, pooling, change):
    """A classifier whose every weight is random, what was put in included."""
    config = TransformerConfig(
        vocabulary_size=len(TOKENS), num_layers=2, hidden_dim=16, num_heads=2, intermediate_dim=24,
        max_sequence_length=12, position=position,
    )  # fmt: skip
    classifier = TextClassifier(
        config, WordPieceTokenizer(TOKENS), ["x", "y", "z"], pooling=pooling, extra_blocks=extra_blocks
    )
    classifier = CHANGES[change](classifier)
    draw = np.random.default_rng(7)
    for name, variable in addresses(classifier).items():
        variable.assign(draw.normal(1.0 if name.endswith("gamma") else 0.0, 0.3, variable.shape))
    return classifier


def tolerance(dtype):
    return 2e-6 if dtype == "float32" else 6e-2


@pytest.mark.parametrize("case", covering(PRODUCT, together=2), ids=str)
def test_the_graph_of_an_export_gives_the_layers_answers(case):
    check_graph(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", covering([c for c in PRODUCT if c[-1] == "bfloat16"], together=3), ids=str)
def test_the_graph_of_an_export_gives_the_layers_answers_wherever_three_meet(case):
    check_graph(case)


def check_graph(case):
    *structure, dtype = case
    classifier = build(*structure)
    packed = classifier.preprocessor(tf.constant(TEXTS))
    expected = classifier.objective.activate(classifier(packed, training=False))
    # In float32, which shows more, in any case.
    for name in {"float32", dtype}:
        served = classifier.objective.activate(in_precision(classifier, name).served_network()(packed))
        np.testing.assert_allclose(served, expected, atol=tolerance(name))


def check_export(case, folder):
    *structure, dtype = case
    classifier = build(*structure)
    classifier.export(folder, dtype=dtype)
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    for texts in (TEXTS, TEXTS[:1], []):
        found = served(text=tf.constant(texts, tf.string))["probabilities"]
        np.testing.assert_allclose(found, classifier.predict(texts, verbose=0), atol=tolerance(dtype))


def test_an_export_equals_predict(tmp_path):
    check_export(("alibi", 1, "mean", "as it is", "float32"), tmp_path / "1")


@pytest.mark.slow
@pytest.mark.parametrize("case", covering(PRODUCT, together=2), ids=str)
def test_an_export_equals_predict_in_every_pair(case, tmp_path):
    check_export(case, tmp_path / "1")
