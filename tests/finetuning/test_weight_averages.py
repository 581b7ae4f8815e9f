"""Averages of weights that an optimizer keeps: the law against NumPy, places that are exchanged exactly, state on disk."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, AdamW, BindSchedule, StopOnNonFinite, build_optimizer, inner_optimizer
from tftransformer.finetuning.methods import AverageWeights
from tftransformer.finetuning.optimizers import with_rate

MAKERS = {
    "AdamW": lambda **more: AdamW(0.05, weight_decay=0.2, **more),
    "SGD": lambda **more: SGD(0.5, momentum=0.9, weight_decay=0.1, **more),
}


def averaged(history, fraction):
    """The mean of weights after updates 1, 2, …, in float64: that of update s is worth (s + k - 1) choose k, about s ** k."""
    power = 2.0 / fraction - 2.0
    values = np.asarray(history, "float64")
    worth = [1.0]
    for s in range(2, len(values) + 1):
        worth.append(worth[-1] * (s + power - 1) / (s - 1))
    return np.tensordot(worth, values, 1) / sum(worth)


class Recorded(keras.callbacks.Callback):
    """All weights after every batch, and what validation and the epochs' ends see."""

    def __init__(self):
        super().__init__()
        self.batches, self.validated, self.ended, self.begun = [], [], [], []

    def now(self):
        return [keras.ops.convert_to_numpy(weight) for weight in self.model.weights]

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append(self.now())

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(self.now())

    def on_test_begin(self, logs=None):
        self.validated.append(self.now())

    def on_epoch_end(self, epoch, logs=None):
        self.ended.append(self.now())


def fit(small, optimizer, epochs=2, model=None, compiled=(), **options):
    x, y = small.data(36)
    if model is None:
        model = small.build_model(blocks=1)
    if not model.compiled:
        model.compile(optimizer, small.loss(), **{"run_eagerly": True, "jit_compile": False, **dict(compiled)})
    recorded = Recorded()
    callbacks = [BindSchedule(options.get("initial_epoch", 0)), recorded, *options.pop("callbacks", ())]
    settings = {"batch_size": 6, "verbose": 0, "shuffle": False, "validation_data": (x[:9], y[:9]), **options}
    model.fit(x, y, epochs=epochs, callbacks=callbacks, **settings)
    return model, recorded


def assert_average(weights, batches, fraction):
    for place, weight in enumerate(weights):
        expected = averaged([values[place] for values in batches], fraction)
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "fraction", "eager"),
    [
        ("AdamW", 0.5, False),
        pytest.param("AdamW", 0.3, True, marks=pytest.mark.slow),
        pytest.param("SGD", 1.0, True, marks=pytest.mark.slow),
        pytest.param("SGD", 0.5, False, marks=pytest.mark.slow),
    ],
)
def test_the_model_has_the_average_wherever_it_is_judged(small, kind, fraction, eager):
    compiled = {"run_eagerly": eager}
    model, seen = fit(small, MAKERS[kind](average=fraction), compiled=compiled)
    plain, alone = fit(small, MAKERS[kind](), compiled=compiled)
    for mine, theirs in zip(seen.batches, alone.batches, strict=True):
        for a, b in zip(mine, theirs):
            np.testing.assert_array_equal(a, b, err_msg="the weights that train do not know of their average")
    for epoch in range(2):
        batches = seen.batches[: 6 * (epoch + 1)]
        assert_average(seen.validated[epoch], batches, fraction)
        assert_average(seen.ended[epoch], batches, fraction)
    for a, b in zip(seen.begun[1], seen.batches[5]):
        np.testing.assert_array_equal(a, b)
    for a, b, c in zip(model.get_weights(), seen.ended[1], plain.get_weights()):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() > 1e-4


def test_a_mean_of_all_is_a_mean():
    weight = keras.Variable([0.0], name="kernel")
    optimizer = SGD(1.0, average=1.0)
    for gradient in (-1.0, -1.0, -4.0):
        optimizer.apply_gradients([(tf.constant([gradient]), weight)])
    optimizer.show_average()
    assert float(weight[0]) == pytest.approx((1 + 2 + 6) / 3)
    optimizer.start_epoch()
    assert float(weight[0]) == 6.0


def test_batches_that_are_accumulated_count_once(small):
    model, seen = fit(small, SGD(0.5, average=0.5, gradient_accumulation_steps=4))
    # Of six batches the fourth and the last make an update.
    assert_average(model.get_weights(), [seen.batches[batch] for batch in (3, 5, 9, 11)], 0.5)


def test_an_update_that_was_skipped_does_not_count():
    weight = keras.Variable([0.0], name="kernel")
    optimizer = SGD(1.0, average=1.0)
    for gradient in (-1.0, float("nan"), -2.0):
        optimizer.apply_gradients([(tf.constant([gradient]), weight)])
    optimizer.show_average()
    assert float(weight[0]) == pytest.approx((1 + 3) / 2)


def test_what_does_not_train_stays(small):
    model = small.build_model(blocks=2)
    for name in ("embeddings", "encoder_block_0"):
        model.get_layer(name).trainable = False
    start = {id(weight): keras.ops.convert_to_numpy(weight) for weight in model.weights}
    model, seen = fit(small, AdamW(0.05, average=0.5), model=model)
    assert_average(model.get_weights(), seen.batches, 0.5)
    for weight in model.non_trainable_weights:
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), start[id(weight)])
    assert len(model.optimizer.weight_averages.averages) == len(model.trainable_weights) < len(model.weights)


def test_rows_of_a_large_table_that_no_gradient_has_reached():
    draw = np.random.default_rng(0)
    table = keras.Variable(draw.normal(size=(5000, 2)).astype("float32"), name="embeddings")
    optimizer, history = AdamW(0.1, weight_decay=0.5, sparse_updates=True, average=0.5), []
    for step in range(3):
        rows = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([step, 7], tf.int64), (5000, 2))
        optimizer.apply_gradients([(rows, table)])
        history.append(keras.ops.convert_to_numpy(table))
    optimizer.show_average()
    np.testing.assert_allclose(table, averaged(history, 0.5), rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_mixed_precision(small, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model, seen = fit(small, SGD(0.5, average=0.5))
        assert (model.optimizer is inner_optimizer(model.optimizer)) == (policy == "mixed_bfloat16")
        # The loss scale of float16 skips updates.
        befores = [seen.begun[0], *seen.batches]
        updates = [after for before, after in zip(befores, seen.batches) if not np.array_equal(before[0], after[0])]
        assert (len(updates) == len(seen.batches)) == (policy == "mixed_bfloat16") and len(updates) > 4
        assert_average(model.get_weights(), updates, 0.5)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.slow
def test_steps_that_xla_compiles(small):
    model, seen = fit(small, AdamW(0.05, average=0.5), compiled={"run_eagerly": False, "jit_compile": True})
    assert_average(model.get_weights(), seen.batches, 0.5)


# Runs after runs.


def test_a_second_fit_begins_anew_where_the_first_one_ended(small):
    model, first = fit(small, SGD(0.5, average=0.5))
    before = model.get_weights()
    model, second = fit(small, None, model=model)
    for a, b in zip(second.begun[0], before):
        np.testing.assert_array_equal(a, b)
    assert_average(model.get_weights(), second.batches, 0.5)
    # Also where nobody says that a run begins: the average is never taken for weights that trained.
    weight = keras.Variable([0.0], name="kernel")
    optimizer = SGD(1.0, average=1.0)
    for gradients in ((-1.0, -2.0), (-4.0, -8.0)):
        for gradient in gradients:
            optimizer.apply_gradients([(tf.constant([gradient]), weight)])
        optimizer.show_average()
        optimizer.show_average()
    assert float(weight[0]) == pytest.approx((6 + 14) / 2)


@pytest.mark.parametrize("saved", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_that_is_continued_is_the_run_in_one_go(small, saved, tmp_path):
    make = MAKERS["AdamW"]
    whole, _ = fit(small, make(average=0.5), epochs=2)
    model, _ = fit(small, make(average=0.5), epochs=1)
    if saved:
        judged = model.get_weights()
        model.save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras")
        for a, b in zip(model.get_weights(), judged):
            np.testing.assert_array_equal(a, b)
    model, _ = fit(small, None, epochs=2, model=model, initial_epoch=1)
    for a, b in zip(model.get_weights(), whole.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_a_stop_keeps_the_average_of_the_best_epoch(small):
    stop = keras.callbacks.EarlyStopping(patience=0, monitor="val_loss", mode="max", restore_best_weights=True)
    model, seen = fit(small, SGD(0.2, average=0.5), epochs=4, callbacks=[stop])
    assert len(seen.ended) == 2
    for a, b in zip(model.get_weights(), seen.ended[0]):
        np.testing.assert_array_equal(a, b)


def test_a_loss_that_is_not_finite_leaves_good_weights(small):
    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer.learning_rate = float("inf")

    guard = StopOnNonFinite(raise_error=False)
    model, seen = fit(small, SGD(0.5, average=0.5), callbacks=[Poison(), guard])
    assert guard.message and "epoch 1 are kept" in guard.message
    for a, b in zip(model.get_weights(), seen.ended[0]):
        np.testing.assert_array_equal(a, b)


def test_settings_go_with_the_optimizer(small):
    optimizer = build_optimizer(1e-3, average=0.25, total_steps=3)
    for copy in (AdamW.from_config(optimizer.get_config()), with_rate(optimizer, 1e-4)):
        assert copy.weight_averages.fraction == 0.25
    assert AdamW.from_config(AdamW().get_config()).weight_averages is None


@pytest.mark.parametrize("fraction", [0, 1.5, -1, float("nan"), "half"])
def test_bad_fractions(fraction):
    for make, argument in ((AdamW, "average"), (AverageWeights, "fraction")):
        with pytest.raises(TransformerError, match=f"{argument} must be (above 0 and at most 1|a number); got"):
            make(**{argument: fraction})
