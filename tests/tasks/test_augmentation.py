"""Training on changed copies: what they reach, what they never reach, and what goes off with them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data.augmentation.operations import Operation
from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.errors import TransformerError
from tftransformer.finetuning.freezing import freeze
from tftransformer.tasks.text_classifier import TextClassifier


class Seen(Operation):
    """Changes nothing and remembers what it was given."""

    name = "seen"

    def __init__(self):
        super().__init__(1.0)
        self.texts = []

    def apply(self, texts, draws):
        self.texts.extend(texts)
        return texts


def fitted(preset, reviews, change=lambda model: None, **settings):
    keras.utils.set_random_seed(0)
    classifier = TextClassifier.from_preset(preset, labels=("negative", "positive"), max_length=16)
    change(classifier)
    classifier.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    texts, labels = reviews
    settings = {"verbose": 0, "batch_size": 8, "epochs": 2, **settings}
    history = classifier.fit(texts[:40], labels[:40], **settings)
    return history.history["loss"], classifier


def test_changing_nothing_trains_as_without(tiny_preset, reviews):
    plain, _ = fitted(tiny_preset, reviews)
    same, _ = fitted(tiny_preset, reviews, augmentation=Augmentation(Seen(), copies=0))
    assert same == plain
    changed, _ = fitted(tiny_preset, reviews, augmentation="delete:0.5")
    again, _ = fitted(tiny_preset, reviews, augmentation="delete:0.5")
    assert changed == again != plain


def test_only_what_is_trained_on_is_changed(tiny_preset, reviews):
    texts, labels = reviews
    seen = Seen()
    steps = []
    counted = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    fitted(
        tiny_preset, reviews, augmentation=Augmentation(seen, copies=2), validation_split=0.25, epochs=1,
        callbacks=[counted],
    )  # fmt: skip
    assert set(seen.texts) == set(texts[:30]) and len(seen.texts) == 2 * 30 and len(steps) == -(-3 * 30 // 8)
    seen.texts.clear()
    _, classifier = fitted(
        tiny_preset,
        reviews,
        augmentation=Augmentation(seen),
        epochs=1,
        validation_data=(texts[40:], labels[40:]),
    )
    assert set(seen.texts) == set(texts[:40])
    seen.texts.clear()
    classifier.predict(texts[:4], verbose=0)
    classifier.evaluate(texts[:4], labels[:4], verbose=0)
    assert not seen.texts


def test_the_prefix_cache_is_off_and_says_so(tiny_preset, reviews, capsys):
    fitted(tiny_preset, reviews, lambda model: freeze(model, layers=1), augmentation="swap:0.2", verbose=2)
    assert "prefix cache: off, augmentation draws other texts in each epoch" in capsys.readouterr().out
    fitted(tiny_preset, reviews, augmentation="swap:0.2", verbose=2, epochs=1)
    assert "prefix cache" not in capsys.readouterr().out


def test_synonyms_come_from_the_encoders_own_table(tiny_preset, reviews):
    augmentation = Augmentation("synonyms:0.5", synonyms="embeddings", copies=0)
    loss, classifier = fitted(tiny_preset, reviews, augmentation=augmentation, epochs=1)
    assert np.isfinite(loss).all()
    source = augmentation._ready[0].source
    table = classifier.encoder.get_layer("embeddings").token.embeddings
    assert source("good") and set(source("good")) <= set(classifier.tokenizer.vocabulary)
    assert source._table.shape[1] == table.shape[1]


def test_a_dataset_is_not_augmented(tiny_preset, reviews):
    texts, labels = reviews
    classifier = TextClassifier.from_preset(tiny_preset, labels=("negative", "positive"), max_length=16)
    dataset = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(8)
    with pytest.raises(TransformerError, match="augmentation does not go with this kind of data"):
        classifier.fit(dataset, augmentation="swap:0.1", verbose=0)
    with pytest.raises(TransformerError, match="augmentation must be an Augmentation or a spelling"):
        classifier.fit(texts, labels, augmentation=0.1, verbose=0)
