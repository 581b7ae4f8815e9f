"""Training stops at the first loss that is not finite, says where, and keeps good weights."""

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, AdamW, StopOnNonFinite

ROWS, BATCH = 32, 8


def build_model(optimizer):
    keras.utils.set_random_seed(0)
    x = keras.Input((3,))
    hidden = keras.layers.Dense(4, activation="tanh", name="encoder_block_0")(x)
    model = keras.Model(x, keras.layers.Dense(1, name="head")(hidden))
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def data(bad_row=None):
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, 3)).astype("float32")
    y = x[:, :1].copy()
    if bad_row is not None:
        y[bad_row] = np.nan
    return x, y


class Poison(keras.callbacks.Callback):
    """Makes one target NaN from an epoch on."""

    def __init__(self, y, epoch, row):
        super().__init__()
        self.y, self.epoch, self.row = y, epoch, row

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.y[self.row] = np.nan


class Snapshots(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen, self.losses, self.batches = [], [], 0

    def on_train_begin(self, logs=None):
        self.seen.append(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model.get_weights())
        self.losses.append((logs or {}).get("val_loss"))


def poisoned(optimizer, epoch=1, row=17, validation=True, epochs=4, **options):
    """Trains with a NaN that turns up in the third batch of an epoch."""
    model = build_model(optimizer)
    x, y = data()
    guard, snapshots = StopOnNonFinite(**options), Snapshots()
    poison = Poison(y, epoch, row)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return ROWS // BATCH

        def __getitem__(self, index):
            return x[index * BATCH :][:BATCH], y[index * BATCH :][:BATCH]

    error = None
    try:
        model.fit(
            Batches(),
            epochs=epochs,
            verbose=0,
            shuffle=False,
            callbacks=[poison, snapshots, guard],
            validation_data=data() if validation else None,
        )
    except TransformerError as caught:
        error = str(caught)
    return model, guard, snapshots, error


def assert_weights(model, expected):
    for a, b in zip(model.get_weights(), expected):
        np.testing.assert_array_equal(a, b)


@pytest.mark.by_default("AdamW")
@pytest.mark.parametrize("optimizer", [AdamW, SGD, keras.optimizers.Adam])
def test_says_where_and_keeps_the_best_epoch(optimizer):
    model, guard, snapshots, error = poisoned(optimizer(0.05))
    assert error == guard.message
    assert error.startswith(
        "the loss is not finite at step 7 (epoch 2, batch 3): training stopped, and the weights of epoch 1 are kept; "
    )
    assert "\n" not in error
    assert_weights(model, snapshots.seen[1])
    assert snapshots.batches < 12, "it stopped"


@pytest.mark.slow
def test_the_weights_before_the_bad_step_are_kept_without_validation():
    model, _, _, error = poisoned(SGD(0.05), validation=False)
    assert "the weights before that step are kept" in error
    reference = build_model(SGD(0.05))
    x, y = data()
    reference.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
    reference.fit(x[:16], y[:16], batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), reference.get_weights()):
        # The fourth batch was good, and may have run before the stop.
        assert np.abs(a - b).max() < 0.05
        assert np.isfinite(a).all()


def test_a_foreign_optimizer_goes_back_to_the_last_good_epoch():
    model, _, snapshots, error = poisoned(keras.optimizers.SGD(0.05), validation=False, epoch=2)
    assert "at step 11 (epoch 3, batch 3)" in error
    assert "the weights of epoch 2 are kept" in error
    assert_weights(model, snapshots.seen[2])
    model, _, snapshots, error = poisoned(keras.optimizers.SGD(0.05), validation=False, epoch=0)
    assert "the weights of the start are kept" in error
    assert_weights(model, snapshots.seen[0])


def test_the_step_counts_updates():
    _, _, _, error = poisoned(SGD(0.05, gradient_accumulation_steps=2))
    assert "at step 4 (epoch 2, batch 3)" in error


def test_best_is_by_what_is_monitored():
    model, _, snapshots, error = poisoned(SGD(0.2), epoch=3, epochs=5, mode="max")
    worst = int(np.argmax(snapshots.losses[:3]))
    assert f"the weights of epoch {worst + 1} are kept" in error
    assert_weights(model, snapshots.seen[worst + 1])


class RootOfZero(keras.regularizers.Regularizer):
    """Zero, and its gradient is not finite."""

    def __call__(self, kernel):
        return keras.ops.sum(keras.ops.sqrt(kernel * 0.0))


def test_a_gradient_that_is_not_finite_while_the_loss_is():
    model = build_model(SGD(0.05))
    x, y = data()
    before = model.get_weights()
    model.get_layer("head").kernel.regularizer = RootOfZero()
    model.compile(SGD(0.05), "mse", jit_compile=False)
    with pytest.raises(TransformerError, match=r"gradient is not finite at step 1 \(epoch 1\): .* before"):
        model.fit(x, y, batch_size=BATCH, epochs=3, verbose=0, callbacks=[StopOnNonFinite()])
    assert_weights(model, before)


def test_without_raising_the_message_is_left():
    _, guard, _, error = poisoned(AdamW(0.05), raise_error=False)
    assert error is None
    assert guard.message.startswith("the loss is not finite at step 7")


def test_a_good_run_is_left_alone():
    model = build_model(AdamW(0.05))
    guard = StopOnNonFinite()
    history = model.fit(*data(), epochs=3, batch_size=BATCH, verbose=0, validation_data=data(), callbacks=[guard])
    assert guard.message is None
    assert len(history.history["loss"]) == 3


def test_unknown_mode():
    with pytest.raises(TransformerError, match="mode must be one of min, max; got 'low'"):
        StopOnNonFinite(mode="low")
