"""Training on packed rows gives the weights that training on a row a text gives."""

import keras
import numpy as np
import pytest

from tftransformer.data.tokenizers import WordPieceTokenizer
from tftransformer.finetuning import SGD
from tftransformer.patterns import addresses
from tftransformer.tasks import TextClassifier

TEXTS = [
    "good",
    "bad bad good",
    "a long good text that is good",
    "bad",
    "good bad a",
    "that text",
    "a a a a",
    "is",
]


def trained(vocabulary, config, packing, pairs=False, **compiled):
    keras.utils.set_random_seed(0)
    config = config.replace(dropout=0.0, attention_dropout=0.0)
    options = {"head_dropout": 0.0, "pooling": "mean", "max_length": 16, "extra_blocks": 1}
    classifier = TextClassifier(config, WordPieceTokenizer(vocabulary), ("no", "yes"), **options)
    draw = np.random.default_rng(0)
    for variable in addresses(classifier).values():
        variable.assign(draw.normal(0.5, 0.2, variable.shape))
    classifier.compile(SGD(0.05), **compiled)
    x = list(zip(TEXTS, TEXTS[::-1])) if pairs else TEXTS
    history = classifier.fit(
        x, [0, 1] * 4, batch_size=4, epochs=3, verbose=0, packing=packing, class_weight={"no": 2.0, "yes": 1.0},
        validation_data=(x, [1, 0] * 4),
    )  # fmt: skip
    return {name: np.array(v) for name, v in addresses(classifier).items()}, history.history


@pytest.mark.parametrize(
    ("pairs", "compiled"),
    [
        (False, {"run_eagerly": True}),
        pytest.param(False, {}, marks=pytest.mark.slow),
        pytest.param(True, {"jit_compile": True}, marks=pytest.mark.slow),
    ],
)
def test_packed_training_equals_unpacked(tiny_vocabulary, tiny_config, pairs, compiled):
    eagerly = {"run_eagerly": compiled.get("run_eagerly", False)}
    expected, history = trained(tiny_vocabulary, tiny_config, False, pairs, **eagerly)
    weights, packed_history = trained(tiny_vocabulary, tiny_config, True, pairs, **compiled)
    for name, value in expected.items():
        np.testing.assert_allclose(weights[name], value, atol=1e-6, err_msg=name)
    for name, values in history.items():
        np.testing.assert_allclose(packed_history[name], values, atol=1e-5, err_msg=name)
