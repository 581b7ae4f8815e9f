"""Training on changed copies: what they reach, what they never reach, and what goes off with them."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data.augmentation.operations import Operation
from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.errors import TransformerError
from tftransformer.finetuning.freezing import freeze
from tftransformer.tasks.text_classifier import TextClassifier

NAMES = ("negative", "positive")


class Seen(Operation):
    """Changes nothing and remembers what it was given."""

    name = "seen"

    def __init__(self):
        super().__init__(1.0)
        self.texts = []

    def apply(self, texts, draws):
        self.texts.extend(texts)
        return texts


@pytest.fixture
def trained(tiny_preset, monkeypatch):
    """What Keras's loop would be given: `epochs`, the rows of each, `validation`'s rows, and the classifier."""

    def run(x, y, change=lambda model: None, model=None, **settings):
        epochs, validation = [], []

        def loop(self, x, epochs, initial_epoch, callbacks, validation_data=None, **_):
            for epoch in range(initial_epoch, epochs):
                callbacks[0].set_model(self)
                callbacks[0].on_epoch_begin(epoch)
                given.append(rows_of(x))
            if validation_data is not None:
                validation.extend(rows_of(validation_data))

        given = epochs
        monkeypatch.setattr(keras.Model, "fit", loop)
        classifier = TextClassifier.from_preset(tiny_preset, sequence_length=16, **(model or {"labels": NAMES}))
        change(classifier)
        classifier.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
        classifier.fit(x, y, **{"epochs": 1, "batch_size": 8, "verbose": 0, **settings})
        return SimpleNamespace(epochs=epochs, validation=validation, classifier=classifier)

    return run


def rows_of(dataset):
    """(tokens of segment 0, tokens of segment 1, target, weight) of every row."""
    rows = []
    for x, y, *weight in dataset.as_numpy_iterator():
        for i, target in enumerate(y.tolist()):
            second, real = x["segment_ids"][i] > 0, x["padding_mask"][i] > 0
            ids = x["token_ids"][i]
            first = tuple(ids[real & ~second].tolist())
            rows.append((first, tuple(ids[second].tolist()), target, float(weight[0][i]) if weight else None))
    return rows


def test_changing_nothing_gives_the_rows_of_no_augmentation(trained, reviews):
    plain = trained(*reviews, epochs=2).epochs
    assert trained(*reviews, epochs=2, augmentation=Augmentation(Seen(), copies=0)).epochs == plain
    changed = trained(*reviews, epochs=2, augmentation="delete:0.5").epochs
    assert changed == trained(*reviews, epochs=2, augmentation="delete:0.5").epochs
    assert [len(rows) for rows in changed] == [120, 120] and set(plain[0]) < set(changed[0])


@pytest.mark.slow
def test_changing_nothing_trains_as_without(tiny_preset, reviews):
    def losses(augmentation):
        keras.utils.set_random_seed(0)
        classifier = TextClassifier.from_preset(tiny_preset, labels=NAMES, sequence_length=16)
        classifier.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
        return classifier.fit(*reviews, epochs=2, batch_size=8, verbose=0, augmentation=augmentation).history["loss"]

    plain = losses(None)
    assert losses(Augmentation(Seen(), copies=0)) == plain != losses("delete:0.5")


def test_only_what_is_trained_on_is_changed(trained, reviews):
    texts, labels = reviews
    seen = Seen()
    both = Augmentation(seen, "delete:0.5", copies=2)
    held_out = trained(texts[:40], labels[:40], augmentation=both, validation_split=0.25)
    assert set(seen.texts) == set(texts[:30]) and len(seen.texts) == 2 * 30
    assert len(held_out.epochs[0]) == 3 * 30
    plain = trained(texts[:40], labels[:40], validation_split=0.25)
    assert sorted(held_out.validation) == sorted(plain.validation)
    seen.texts.clear()
    given = trained(texts[:40], labels[:40], augmentation=both, validation_data=(texts[40:], labels[40:]))
    assert set(seen.texts) == set(texts[:40])
    expected = trained(texts[:40], labels[:40], validation_data=(texts[40:], labels[40:]))
    assert given.validation == expected.validation and len(given.validation) == 20


def test_a_resumed_run_sees_the_copies_of_its_epoch(trained, reviews):
    whole = trained(*reviews, epochs=3, augmentation="delete:0.4").epochs
    later = trained(*reviews, epochs=3, initial_epoch=1, augmentation="delete:0.4").epochs
    assert later == whole[1:] and sorted(whole[0]) != sorted(whole[1])


def test_copies_keep_the_targets_and_weights_of_their_texts(trained, reviews):
    texts, labels = reviews[0][:10], reviews[1][:10]
    weights = np.arange(1.0, 11.0, dtype="float32")
    rows = trained(
        texts, labels, sample_weight=weights, class_weight={"positive": 0.5, "negative": 1}, augmentation="swap:0.5"
    ).epochs[0]  # fmt: skip
    expected = [(NAMES.index(k), w * (0.5 if k == "positive" else 1)) for k, w in zip(labels, weights, strict=True)]
    assert sorted(row[2:] for row in rows) == sorted(2 * expected)


def test_pairs_with_several_labels_keep_the_other_text_and_the_labels(trained, reviews):
    pairs = [(text, f"plot {'a ' * (i % 3)}") for i, text in enumerate(reviews[0][:10])]
    targets = np.array([[i % 2, i % 3 == 0, i > 4] for i in range(10)], "float32")
    model = {"labels": ("a", "b", "c"), "multi_label": True, "text_pairs": True}
    change = Augmentation("delete:0.4", side="first")
    rows = trained(pairs, targets, model=model, augmentation=change, shuffle=False).epochs[0]
    kept, changed = rows[::2], rows[1::2]
    assert [row[1:] for row in kept] == [row[1:] for row in changed]
    assert [row[2] for row in kept] == targets.tolist()
    assert any(one[0] != other[0] for one, other in zip(kept, changed, strict=True))


def test_the_activation_cache_is_off_and_says_so(trained, reviews, capsys):
    trained(*reviews, lambda model: freeze(model, layers=1), augmentation="swap:0.2", verbose=2, epochs=2)
    assert "activation cache: off with augmentation: it draws other texts in each epoch" in capsys.readouterr().out
    trained(*reviews, augmentation="swap:0.2", verbose=2)
    assert "activation cache" not in capsys.readouterr().out


def test_synonyms_come_from_the_encoders_own_table(trained, reviews):
    augmentation = Augmentation("synonyms:0.5", synonyms="embeddings", copies=0)
    classifier = trained(*reviews, augmentation=augmentation).classifier
    source = augmentation._ready[0].source
    table = classifier.encoder.get_layer("embeddings").token.embeddings
    assert source("good") and set(source("good")) <= set(classifier.tokenizer.vocabulary)
    assert source._table.shape[1] == table.shape[1]


def test_what_cannot_be_augmented_is_refused(trained, reviews, tmp_path):
    texts, labels = reviews
    dataset = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(8)
    with pytest.raises(TransformerError, match="augmentation does not go with this kind of data"):
        trained(dataset, None, augmentation="swap:0.1")
    with pytest.raises(TransformerError, match="augmentation must be an Augmentation or a string such"):
        trained(texts, labels, augmentation=0.1)
    with pytest.raises(TransformerError, match="an activation cache cannot go with augmentation: it draws"):
        trained(texts, labels, augmentation="swap:0.1", activation_cache=tmp_path / "cache")


def test_texts_that_can_be_read_once_are_augmented(trained, reviews):
    once, again = (trained(given, reviews[1], augmentation="swap:0.1") for given in (iter(reviews[0]), reviews[0]))
    assert [sorted(map(repr, rows)) for rows in once.epochs] == [sorted(map(repr, rows)) for rows in again.epochs]
