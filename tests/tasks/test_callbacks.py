"""Keras's usual callbacks with every kind of `fit`: each does its work, or is refused in a line before anything trains."""

import csv

import keras
import numpy as np
import pytest

from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.recipe import choose_recipe
from tftransformer.tasks.text_classifier import TextClassifier

LABELS = ("negative", "positive")
# kind -> method, number of epochs
KINDS = {
    "probe": ("probe", 1),
    "contrastive": ("contrastive:2", None),
    "full": ("full", 2),
    "cached": ("freeze:1", 2),
    "staged": ("unfreeze", 3),
    "recipe": (None, "recipe"),
    "restarted": (None, "recipe"),
}
WITHOUT_UPDATES = ("probe", "contrastive")


class Rates(keras.callbacks.LambdaCallback):
    """Notes the rates of epochs, as TensorBoard does."""

    def __init__(self):
        self.seen = []
        super().__init__(on_epoch_end=lambda epoch, logs: self.seen.append(self.rate()))

    def rate(self):
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


def fitted(preset, reviews, kind, callbacks, **compiled):
    method, epochs = KINDS[kind]
    keras.utils.set_random_seed(5)
    options = {"labels": LABELS, "sequence_length": 12, "dropout": 0.0, "head_dropout": 0.0}
    classifier = TextClassifier.from_preset(preset, **options)
    if method is not None:
        classifier.apply(method)
    if kind == "restarted":
        classifier.recommended_hparams = {**classifier.recommended_hparams, "learning_rate": 20.0}
    classifier.compile(run_eagerly=KINDS[kind][1] != "recipe", **compiled)
    rows = Split(*reviews)
    if epochs == "recipe":
        rows = Split([f"{text} {word}" for text in rows.texts for word in ("film", "story")],
                     [label for label in rows.targets for _ in range(2)])  # fmt: skip
        updates = 16 if kind == "restarted" else 4
        epochs = choose_recipe(120, 16, 2, classifier.recommended_hparams, fresh_head=True, epochs=updates)
    history = classifier.fit(rows, validation_data=Split(*reviews), epochs=epochs, callbacks=callbacks, verbose=0)
    return classifier, history


def check(preset, reviews, kind, folder):
    rates = Rates()
    backup = [keras.callbacks.BackupAndRestore(str(folder / "backup"))]
    if kind == "staged":
        with pytest.raises(TransformerError, match="BackupAndRestore does not go with unfreezing"):
            fitted(preset, reviews, kind, backup)
        backup = []
    callbacks = [
        rates,
        keras.callbacks.TensorBoard(str(folder / "board"), write_graph=False),
        keras.callbacks.CSVLogger(str(folder / "log.csv")),
        keras.callbacks.ModelCheckpoint(str(folder / "best.weights.h5"), save_best_only=True, save_weights_only=True,
                                        monitor="val_loss"),
        keras.callbacks.EarlyStopping("val_loss", patience=50),
        keras.callbacks.TerminateOnNaN(),
        *backup,
    ]  # fmt: skip
    classifier, history = fitted(preset, reviews, kind, callbacks)
    epochs = len(history.history["loss"])
    # A run that begins again is seen from its start.
    assert len(rates.seen) == epochs if kind != "restarted" else len(rates.seen) > epochs
    assert kind not in WITHOUT_UPDATES or epochs == 1
    assert np.all(np.isfinite(rates.seen)) and max(rates.seen) > 0
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 1 and {"epoch", "loss", "val_loss"} <= set(rows[-1])
    assert (folder / "best.weights.h5").exists() and list((folder / "board").rglob("events*"))
    classifier.load_weights(folder / "best.weights.h5")


@pytest.mark.parametrize("kind", ["probe", "contrastive", "cached"])
def test_callbacks_work(tiny_preset, reviews, tmp_path, kind):
    check(tiny_preset, reviews, kind, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "staged", "recipe", "restarted"])
def test_callbacks_work_with_updates(tiny_preset, reviews, tmp_path, kind):
    check(tiny_preset, reviews, kind, tmp_path)


SETTERS = [
    keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
    keras.callbacks.ReduceLROnPlateau("val_loss", patience=1),
]


@pytest.mark.parametrize("kind", ["probe", "contrastive", pytest.param("full", marks=pytest.mark.slow)])
def test_callbacks_that_set_the_rate_want_a_constant_one(tiny_preset, reviews, kind):
    for setter in SETTERS:
        with pytest.raises(TransformerError, match='compile with schedule="constant"'):
            fitted(tiny_preset, reviews, kind, [setter])
    rates = Rates()
    fitted(tiny_preset, reviews, kind, [*SETTERS, rates], schedule="constant", learning_rate=1e-3)
    assert rates.seen == pytest.approx([5e-4] if kind != "full" else [5e-4, 2.5e-4])


def test_the_rate_of_a_schedule_without_a_length_is_where_it_starts(tiny_preset):
    for compiled, rate in (({"warmup": 9}, 1e-4), ({"warmup": 0.1}, 1e-3), ({"schedule": "constant"}, 1e-3)):
        classifier = TextClassifier.from_preset(tiny_preset, labels=LABELS)
        classifier.compile(learning_rate=1e-3, **compiled)
        assert float(classifier.optimizer.learning_rate) == pytest.approx(rate)
