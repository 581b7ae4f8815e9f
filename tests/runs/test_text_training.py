"""The best epoch's weights come back, also where the run was interrupted between the best epoch and the end."""

import keras
import numpy as np

from tftransformer.runs.text_training import BestEpoch


def test_the_best_epoch_comes_back_in_a_run_that_was_interrupted(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    def epochs(losses, first):
        watch = BestEpoch(tmp_path)
        watch.set_model(model)
        watch.on_train_begin()
        for epoch, loss in enumerate(losses, first):
            model.set_weights([np.full((1, 1), epoch + 1.0), np.zeros(1)])
            watch.on_epoch_end(epoch, {"val_loss": loss})
        return watch

    epochs([2.0, 1.0, 3.0], 0)
    watch = epochs([1.5, float("nan")], 3)
    watch.on_train_end()
    assert watch.epoch == 2 and float(model.get_weights()[0][0, 0]) == 2.0
    watch = epochs([0.5], 5)
    watch.on_train_end()
    assert watch.epoch == 6 and float(model.get_weights()[0][0, 0]) == 6.0


def test_without_a_validation_loss_the_last_weights_stay(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    before = model.get_weights()
    watch = BestEpoch(tmp_path)
    watch.set_model(model)
    watch.on_train_begin()
    watch.on_epoch_end(0, {"loss": 1.0})
    watch.on_train_end()
    assert watch.epoch is None and all(map(np.array_equal, before, model.get_weights()))
    assert list(tmp_path.iterdir()) == []
