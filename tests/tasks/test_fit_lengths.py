"""How long an epoch is: datasets of unknown size, one-shot generators, and batches that make one update together."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.patterns import addresses
from tftransformer.tasks import TextClassifier

LABELS = ("negative", "positive")
ROWS, BATCH, EPOCHS = 11, 4, 4  # three updates an epoch
SIGNATURE = (tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.string))


def generated(texts, labels):
    return tf.data.Dataset.from_generator(lambda: zip(texts, labels), output_signature=SIGNATURE)


def known(texts, labels):
    return tf.data.Dataset.from_tensor_slices((texts, labels))


FORMS = {
    "list": lambda t, y: (t, y),
    "known": lambda t, y: (known(t, y), None),
    "known, batched": lambda t, y: (known(t, y).batch(BATCH), None),
    "generator": lambda t, y: (generated(t, y), None),
    "generator, batched": lambda t, y: (generated(t, y).batch(BATCH), None),
    "filter, batched": lambda t, y: (known(t + ["no"], y + ["x"]).filter(lambda _, y: y != "x").batch(BATCH), None),
}  # fmt: skip


class Rates(keras.callbacks.Callback):
    """Notes the rate before every batch."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(float(self.model.optimizer.learning_rate))


@pytest.fixture(scope="module")
def rows(reviews):
    return reviews[0][:ROWS], reviews[1][:ROWS]


def build(preset, **options):
    keras.utils.set_random_seed(0)
    classifier = TextClassifier.from_preset(preset, labels=LABELS, dropout=0.0, head_dropout=0.0, sequence_length=16)
    classifier.compile(learning_rate=1e-3, **options)
    return classifier


@pytest.fixture(scope="module")
def in_graph(tiny_preset):
    # The step that finds the end of the data counts only where it was traced.
    return build(tiny_preset, warmup=0)


@pytest.mark.by_default("generator, batched")
@pytest.mark.parametrize("form", FORMS)
def test_the_schedule_spans_the_updates_whatever_form_the_data_have(in_graph, rows, form):
    x, y = FORMS[form](*rows)
    before, rates = int(in_graph.optimizer.iterations), Rates()
    in_graph.fit(x, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[rates])
    updates = 3 * EPOCHS
    np.testing.assert_allclose(rates.seen, [1e-3 * (1 - i / updates) for i in range(updates)], rtol=1e-4)
    assert int(in_graph.optimizer.iterations) - before == updates


@pytest.mark.by_default("True")
@pytest.mark.parametrize("batched", [False, True])
def test_data_that_can_be_read_only_once_are_refused(in_graph, rows, batched):
    once = zip(*rows)
    data = tf.data.Dataset.from_generator(lambda: once, output_signature=SIGNATURE)
    data = data.batch(BATCH) if batched else data
    count = 3 if batched else ROWS
    with pytest.raises(TransformerError, match=f"^x must begin anew .*; its {count} elements can be read only once"):
        in_graph.fit(data, batch_size=BATCH, epochs=2, verbose=0)
    once = zip(*rows)
    with pytest.raises(TransformerError, match="^validation_data must begin anew"):
        in_graph.fit(*rows, validation_data=data, verbose=0, epochs=1)
    # What the message advises.
    once = zip(*rows)
    assert len(in_graph.fit(data.cache(), batch_size=BATCH, epochs=2, verbose=0).history["loss"]) == 2


def test_an_epoch_without_batches_is_refused(in_graph, rows):
    for empty in (known(*rows).take(0), generated([], []), generated([], []).batch(4)):
        with pytest.raises(TransformerError, match="^x must have at least one batch; got a dataset without"):
            in_graph.fit(empty, verbose=0, epochs=1)
        with pytest.raises(TransformerError, match="^validation_data must have at least one batch"):
            in_graph.fit(*rows, validation_data=empty, verbose=0, epochs=1)


def test_epochs_of_different_lengths_are_refused(in_graph, rows):
    sizes = iter((8, 8, 4))

    def fewer():
        size = next(sizes)
        return zip(*(column[:size] for column in rows))

    data = tf.data.Dataset.from_generator(fewer, output_signature=SIGNATURE)
    with pytest.raises(TransformerError, match="must have the same number of elements in each epoch"):
        in_graph.fit(data, batch_size=BATCH, verbose=0, epochs=1)


def test_validation_of_unknown_size_sees_every_row(in_graph, rows):
    epoch = dict(epochs=1, batch_size=BATCH, shuffle=False, verbose=0)
    found = in_graph.fit(*rows, validation_data=generated(*rows), **epoch).history["val_loss"]
    assert found[0] == pytest.approx(in_graph.evaluate(*rows, verbose=0, return_dict=True)["loss"], rel=1e-5)


def weights(model):
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in addresses(model).items()}


@pytest.mark.parametrize("data", ["lists", pytest.param("generator", marks=pytest.mark.slow)])
def test_fewer_batches_than_are_accumulated_make_an_update(tiny_preset, rows, data):
    results = []
    for steps, batch in ((8, 4), (None, 12)):
        texts, labels = (column + column[:1] for column in rows)
        classifier = build(tiny_preset, schedule="constant", gradient_accumulation_steps=steps, run_eagerly=True)
        start = weights(classifier)
        x, y = (texts, labels) if data == "lists" else (generated(texts, labels), None)
        for _ in range(2):
            classifier.fit(x, y, batch_size=batch, shuffle=False, verbose=0, epochs=1)
        assert int(classifier.optimizer.iterations) == 2
        results.append(weights(classifier))
    for name, value in results[0].items():
        if not name.endswith("key/bias"):  # whose gradient is rounding noise
            np.testing.assert_allclose(results[1][name], value, atol=1e-5, err_msg=name)
    assert max(np.abs(value - start[name]).max() for name, value in results[0].items()) > 1e-4


def test_what_is_carried_over_is_compiled_and_saved(tiny_preset, rows, tmp_path):
    classifier = build(tiny_preset, gradient_accumulation_steps=2, carry_accumulation=True, run_eagerly=True)
    classifier.fit(*rows, batch_size=BATCH, epochs=3, verbose=0)
    assert int(classifier.optimizer.iterations) == 5, "nine batches: four pairs and the last one"
    classifier.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert again.optimizer.carry_accumulation and int(again.optimizer.iterations) == 5
