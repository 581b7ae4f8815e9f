"""Training on packed rows gives the weights that training on a row a text gives, or says why texts are not packed."""

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, ActivationCache, freeze
from tftransformer.patterns import addresses
from tftransformer.tasks import MultiTaskClassifier, TextClassifier
from tftransformer.text import WordPieceTokenizer

TEXTS = ["good", "bad bad good", "a long good text that is good", "bad", "good bad a", "that text", "a a a a", "is"]


def trained(vocabulary, config, packing, pairs=False, **compiled):
    keras.utils.set_random_seed(0)
    config = config.replace(dropout=0.0, attention_dropout=0.0)
    options = {"head_dropout": 0.0, "pooling": "mean", "sequence_length": 16, "extra_blocks": 1}
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
    if eagerly["run_eagerly"]:
        tiny_config = tiny_config.replace(num_layers=1)  # and an extra block
    expected, history = trained(tiny_vocabulary, tiny_config, False, pairs, **eagerly)
    weights, packed_history = trained(tiny_vocabulary, tiny_config, True, pairs, **compiled)
    for name, value in expected.items():
        np.testing.assert_allclose(weights[name], value, atol=1e-6, err_msg=name)
    for name, values in history.items():
        np.testing.assert_allclose(packed_history[name], values, atol=1e-5, err_msg=name)


def test_several_tasks_pack_as_one_does(tiny_vocabulary, tiny_config):
    config = tiny_config.replace(num_layers=1, dropout=0.0, attention_dropout=0.0)
    tasks = {"mood": ["no", "yes"], "tone": ["low", "high", "flat"]}
    data = {"mood": (TEXTS, [0, 1] * 4), "tone": (TEXTS[:5], [2, 1, 0, 1, 2])}
    trained = []
    for packing in (False, True):
        keras.utils.set_random_seed(0)
        model = MultiTaskClassifier(config, WordPieceTokenizer(tiny_vocabulary), tasks, head_dropout=0.0)
        model.compile(SGD(0.05), run_eagerly=True)
        model.fit(data, batch_size=8, verbose=0, packing=packing, epochs=1)
        trained.append({name: np.array(v) for name, v in addresses(model).items()})
    for name, value in trained[0].items():
        np.testing.assert_allclose(trained[1][name], value, atol=1e-6, err_msg=name)


def test_a_cache_that_was_not_asked_for_makes_room_and_says_so(tiny_vocabulary, tiny_config, tmp_path, capsys):
    classifier = TextClassifier(tiny_config, WordPieceTokenizer(tiny_vocabulary), ("no", "yes"))
    freeze(classifier, layers=1)
    classifier.compile(SGD(0.05), run_eagerly=True)
    cache = ActivationCache()
    options = {"batch_size": 4, "epochs": 2, "verbose": 2, "packing": True}
    classifier.fit(TEXTS, [0, 1] * 4, activation_cache=cache, **options)
    assert capsys.readouterr().out.count("activation cache: off with packing=True: ") == 1
    assert cache.computed_rows == 0
    with pytest.raises(TransformerError, match="packing=True cannot go with an activation cache: stored"):
        classifier.fit(TEXTS, [0, 1] * 4, activation_cache=tmp_path / "cache", **options)
    assert not (tmp_path / "cache").exists()
    classifier.fit(TEXTS, [0, 1] * 4, activation_cache="off", **options)
    assert "packing" not in capsys.readouterr().out
