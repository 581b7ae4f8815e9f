"""Every strategy with every kind of labels: it trains, is saved, reloaded and exported, and stays what it was.

By default each strategy meets one kind of labels and each kind several strategies, without tracing; the rest is `slow`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.finetuning.strategy import KINDS, parse_strategy
from tftransformer.patterns import addresses
from tftransformer.tasks.text_classifier import TextClassifier

SMALL = {"freeze": "freeze:1", "lora": "lora:2", "adapter": "adapter:3", "prefix": "prefix:2"}
LABELS = ("single", "multi", "pairs")
BY_DEFAULT = {name: LABELS[place % 3] for place, name in enumerate(KINDS)}


def cases():
    for name in KINDS:
        for labels in LABELS:
            marks = () if BY_DEFAULT[name] == labels else pytest.mark.slow
            yield pytest.param(SMALL.get(name, name), labels, marks=marks, id=f"{name}-{labels}")


def task(labels, reviews, preset):
    texts, targets = (part[:24] for part in reviews)
    if labels == "pairs":
        texts = list(zip(texts, reversed(texts)))
    if labels == "multi":
        targets = [
            (target, "long") if len(text.split()) > 4 else (target,) for text, target in zip(texts, targets)
        ]
    keras.utils.set_random_seed(2)
    classifier = TextClassifier.from_preset(
        preset,
        labels=("negative", "positive", "long") if labels == "multi" else ("negative", "positive"),
        multi_label=labels == "multi",
        text_pairs=labels == "pairs",
        max_length=16,
    )
    return classifier, texts, targets


def train(classifier, strategy, texts, targets, epochs, **options):
    brought = strategy.apply(classifier)
    classifier.compile(learning_rate=1e-2, schedule="constant", **brought.get("compile", {}), **options)
    base = {name: variable.numpy() for name, variable in addresses(classifier).items()}
    classifier.fit(texts, targets, batch_size=12, epochs=epochs, verbose=0, **brought.get("fit", {}))
    return base


@pytest.mark.parametrize("text, labels", cases())
def test_it_trains_and_is_the_same_when_reloaded(text, labels, reviews, tiny_preset, tmp_path, request):
    whole = bool(list(request.node.iter_markers("slow")))
    classifier, texts, targets = task(labels, reviews, tiny_preset)
    # Unfreezing has two stages at least.
    epochs = 3 if whole else 2 if text == "unfreeze" else 1
    before = train(classifier, parse_strategy(text), texts, targets, epochs, run_eagerly=not whole)
    trained = {variable.path for variable in classifier.trainable_variables}
    for name, variable in addresses(classifier).items():
        changed = not np.array_equal(variable.numpy(), before[name])
        assert changed <= (variable.path in trained), name
    assert not np.array_equal(classifier.head.logits.kernel.numpy(), before["head/logits/kernel"])
    probabilities = classifier.predict(texts, verbose=0)
    classifier.save_to_preset(tmp_path / "preset")
    again = TextClassifier.from_preset(tmp_path / "preset")
    again.compile(run_eagerly=not whole)
    np.testing.assert_allclose(again.predict(texts, verbose=0), probabilities, atol=1e-6)
    if not whole:
        return
    classifier.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    sides = dict(zip(("text", "text_pair"), zip(*texts))) if labels == "pairs" else {"text": texts}
    answers = served(**{name: tf.constant(list(side)) for name, side in sides.items()})
    np.testing.assert_allclose(answers["probabilities"], probabilities, atol=1e-5)
    classifier.save(tmp_path / "classifier.keras")
    again = keras.saving.load_model(tmp_path / "classifier.keras")
    np.testing.assert_allclose(again.predict(texts, verbose=0), probabilities, atol=1e-6)
    np.testing.assert_array_equal(
        [variable.numpy() for variable in again.optimizer.variables[:1]],
        [variable.numpy() for variable in classifier.optimizer.variables[:1]],
    )
