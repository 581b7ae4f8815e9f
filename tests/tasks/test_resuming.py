"""Training that was interrupted and restored is the training that was not, dropout included."""

import keras
import numpy as np
import pytest

from tftransformer.layers import Dropout
from tftransformer.patterns import addresses
from tftransformer.tasks import TextClassifier


class Killed(keras.callbacks.Callback):
    """Ends the process, so to speak, when an epoch begins."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def build(preset, seed, **options):
    keras.utils.set_random_seed(seed)
    classifier = TextClassifier.from_preset(preset, labels=["negative", "positive"], sequence_length=16, dropout=0.3)
    classifier.compile(learning_rate=3e-3, **options)
    return classifier


def weights(model):
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in addresses(model).items()}


@pytest.mark.parametrize(
    "options",
    [
        dict(run_eagerly=True),
        pytest.param(dict(run_eagerly=True, gradient_accumulation_steps=2), marks=pytest.mark.slow),
        pytest.param({}, marks=pytest.mark.slow),
    ],
    ids=["eager", "accumulated", "graph"],
)
def test_backup_and_restore_is_exact_with_dropout(tiny_preset, reviews, tmp_path, options):
    data = [column[:10] for column in reviews]
    fit = dict(batch_size=4, epochs=2, verbose=0)
    whole = build(tiny_preset, 0, **options)
    whole.fit(*data, **fit)
    stopped = build(tiny_preset, 0, **options)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(*data, **fit, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup"), Killed(1)])
    resumed = build(tiny_preset, 7, **options)
    history = resumed.fit(*data, **fit, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    assert history.epoch == [1]
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(resumed)[name], value, err_msg=name)


def test_weights_without_random_state_are_loaded(tmp_path, monkeypatch):
    def model(seed):
        keras.utils.set_random_seed(seed)
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), Dropout(0.5)])

    x, new = np.ones((3, 4), "float32"), model(0)
    before = keras.ops.convert_to_numpy(new.layers[1].seed_generator.state)
    with monkeypatch.context() as patch:
        patch.delattr(Dropout, "save_own_variables")
        model(1).save_weights(tmp_path / "old.weights.h5")
    new.load_weights(tmp_path / "old.weights.h5")
    np.testing.assert_array_equal(new.layers[1].seed_generator.state, before)
    old = model(1)
    np.testing.assert_array_equal(new(x), old(x))
    old.save_weights(tmp_path / "new.weights.h5")
    new.load_weights(tmp_path / "new.weights.h5")
    np.testing.assert_array_equal(new(x, training=True), old(x, training=True))
