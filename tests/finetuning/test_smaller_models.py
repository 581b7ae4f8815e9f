"""A model that got smaller is a model like any other: saved, loaded, served, frozen, packed, cached and trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.config import TransformerConfig
from tftransformer.finetuning.freezing import freeze
from tftransformer.finetuning.head_importance import head_importance
from tftransformer.finetuning.methods import Adapter, LoRA, Prefix
from tftransformer.finetuning.pruning import prune_heads
from tftransformer.finetuning.rebuilding import keep_layers
from tftransformer.patterns import addresses
from tftransformer.tasks.document_classifier import DocumentClassifier
from tftransformer.tasks.multi_task import MultiTaskClassifier
from tftransformer.tasks.text_classifier import TextClassifier
from tftransformer.text import WordPieceTokenizer

SIZES = {"num_layers": 3, "hidden_dim": 16, "num_heads": 4, "intermediate_dim": 24}
LABELS = ("a", "b", "c")


def prune(task, texts, targets):
    scores = head_importance(task, texts, targets)
    small = prune_heads(task, fraction=0.5, scores=scores)
    assert task.count_params() - small.count_params() >= 2 * task.config.num_blocks * (4 * 16 * 4 + 3 * 4)
    return small


def keep(task, texts, targets):
    return keep_layers(task, "every:2")


# Every two settings of different columns meet.
CASES = [
    # family, several labels, pairs, parts put in, how it gets smaller
    ("bert", False, True, False, prune),
    ("distilbert", True, False, True, prune),
    ("roberta", False, False, True, keep),
    ("xlm_roberta", True, True, False, keep),
    ("electra", True, True, True, prune),
    ("albert", False, False, False, prune),
    ("albert", False, True, True, keep),
]


@pytest.fixture(scope="module")
def pieces(tiny_vocabulary):
    return WordPieceTokenizer(tiny_vocabulary)


def make_config(family, tokenizer, length=32):
    sizes = {**SIZES, "embedding_dim": 8} if family == "albert" else SIZES
    return TransformerConfig(family, vocabulary_size=len(tokenizer.vocabulary), max_sequence_length=length, **sizes)


def shake(task):
    draw = np.random.default_rng(5)
    for name, variable in addresses(task).items():
        variable.assign(draw.normal(1.0 if name.endswith("gamma") else 0.0, 0.4, variable.shape))
    return task


@pytest.mark.slow
@pytest.mark.parametrize(("family", "several", "pairs", "parts", "shrink"), CASES)
def test_it_goes_through_the_whole_house(family, several, pairs, parts, shrink, pieces, reviews, tmp_path):
    texts = reviews[0][:12]
    rows = list(zip(texts, texts[::-1], strict=True)) if pairs else texts
    targets = [["a"], ["b", "c"], []] * 4 if several else list(LABELS) * 4
    task = TextClassifier(
        make_config(family, pieces),
        pieces,
        LABELS,
        multi_label=several,
        pooling="mean",
        sequence_length=16,
        text_pairs=pairs,
    )
    if parts:
        LoRA(rank=2).apply(task)
        Adapter(bottleneck_dim=3).apply(task)
        Prefix(length=2).apply(task)
    small = shrink(shake(task), rows, targets)
    expected = small.predict(rows, verbose=0)

    small.save_to_preset(tmp_path / "preset")
    loaded = TextClassifier.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(loaded.predict(rows, verbose=0), expected, atol=1e-6)
    small.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(rows, verbose=0), expected, atol=1e-6)
    small.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    columns = {"text": texts, "text_pair": texts[::-1]} if pairs else {"text": texts}
    answers = served(**{name: tf.constant(column) for name, column in columns.items()})
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-5)

    # All layers of ALBERT are one block.
    freeze(loaded, layers=1 if family != "albert" else 0)
    loaded.compile(learning_rate=1e-2, schedule="constant")
    packed = {"packing": True, "activation_cache": "off"} if parts else {}
    history = loaded.fit(rows, targets, batch_size=6, epochs=2, verbose=0, **packed)
    assert np.isfinite(history.history["loss"]).all()
    assert np.abs(loaded.predict(rows, verbose=0) - expected).max() > 1e-3


@pytest.mark.slow
def test_documents(pieces, reviews, tmp_path):
    texts, targets = reviews[0][:6], list(LABELS) * 2
    task = shake(DocumentClassifier(make_config("bert", pieces, length=8), pieces, LABELS))
    scores = head_importance(task, texts, targets, batch_size=4)
    small = prune_heads(task, {0: [int(scores[0].argmin())], 2: [1, 2]})
    assert small.config.num_heads == (3, 4, 2)
    same = prune_heads(task, {})
    np.testing.assert_array_equal(same.predict(texts, verbose=0), task.predict(texts, verbose=0))
    small.save_to_preset(tmp_path / "preset")
    loaded = DocumentClassifier.from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(loaded.predict(texts, verbose=0), small.predict(texts, verbose=0))


@pytest.mark.slow
def test_several_tasks(pieces, reviews, tmp_path):
    texts = {"mood": reviews[0][:6], "topic": reviews[0][6:12]}
    heads = {"mood": ["no", "yes"], "topic": list(LABELS)}
    task = shake(MultiTaskClassifier(make_config("bert", pieces), pieces, heads))
    small = prune_heads(keep_layers(task, [2, 0]), {1: [3]})
    assert small.config.num_heads == (4, 3)
    small.save_to_preset(tmp_path / "preset")
    loaded = MultiTaskClassifier.from_preset(tmp_path / "preset")
    for name, rows in texts.items():
        expected = small.predict(rows, task=name, verbose=0)
        np.testing.assert_array_equal(loaded.predict(rows, task=name, verbose=0), expected)
