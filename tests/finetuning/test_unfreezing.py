"""Gradual unfreezing: what trains in which stage, its laws, and callbacks that see one training."""

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, AdamW, BindSchedule, LinearSchedule, StopOnNonFinite, freeze
from tftransformer.finetuning.methods import GradualUnfreezing
from tftransformer.finetuning.unfreezing import run_stages
from tftransformer.patterns import addresses


def values(model):
    return {name: keras.ops.convert_to_numpy(v).copy() for name, v in addresses(model).items()}


def compiled(small, optimizer, blocks=2, eager=True):
    # What is tested mostly is who trains when, for which tracing every stage takes long.
    model = small.build_model(blocks=blocks)
    model.compile(optimizer, small.loss(), jit_compile=False, run_eagerly=eager)
    return model


def train(small, model, unfreezing, epochs, callbacks=(), validation=None, rows=16):
    """Two batches to an epoch; in stages unless `unfreezing` is None."""
    x, y = (part[:rows] for part in small.data())
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, "validation_data": validation}

    def fit(first, last, told):
        return model.fit(x, y, initial_epoch=first, epochs=last, callbacks=told, **options)

    if unfreezing is None:
        return fit(0, epochs, list(callbacks))
    stages = unfreezing.stages(model, epochs)
    return run_stages(model, stages, fit, callbacks, steps=rows // 8)


class Watch(keras.callbacks.Callback):
    """Notes what trains, what holds slots, what moved, and what it was told."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended, self.epochs, self.training, self.moved, self.slots = 0, 0, [], [], [], []
        self.rates = []

    def on_train_begin(self, logs=None):
        self.begun += 1
        self._before = values(self.model)

    def on_train_end(self, logs=None):
        self.ended += 1

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(round(float(self.model.optimizer.learning_rate), 4))

    def on_epoch_end(self, epoch, logs=None):
        now = values(self.model)
        self.epochs.append(epoch)
        self.training.append({name for name, v in addresses(self.model).items() if v.trainable})
        self.moved.append({name for name in now if (now[name] != self._before[name]).any()})
        self.slots.append(len(self.model.optimizer._momentums))
        self._before = now


def layers(names):
    return {name.split("/")[0] for name in names}


def test_stages_join_from_the_top(small):
    model = small.build_model()
    stages = GradualUnfreezing().stages(model, epochs=9)
    assert [(stage.first, stage.last) for stage in stages] == [(0, 1), (1, 2), (2, 3), (3, 9)]
    head = {"head", "extra_block_0", "norm_2"}
    top = {"encoder_block_2"}
    assert layers(stages[0].names) == head
    assert layers(stages[1].names) == head | top
    assert layers(stages[2].names) == head | top | {"encoder_block_1", "norm_1"}
    assert set(stages[3].names) == set(addresses(model))
    two = GradualUnfreezing(blocks_per_stage=2, epochs_per_stage=3, start="block").stages(model, epochs=8)
    assert [(stage.first, stage.last) for stage in two] == [(0, 3), (3, 8)]
    assert layers(two[0].names) == head | top | {"encoder_block_1", "norm_1"}


@pytest.mark.parametrize(
    ("epochs", "options", "expected"),
    [
        (20, {}, [0, *range(1, 12), *[12] * 8]),
        (13, {}, [*range(13)]),
        (12, {}, [0, 2, 4, 6, 8, 10, *[12] * 6]),
        (4, {}, [0, 4, 8, 12]),
        (3, {}, [0, 6, 12]),
        (2, {}, [0, 12]),
        (4, {"blocks_per_stage": 6}, [0, 6, 12, 12]),
        (4, {"blocks_per_stage": 50}, [0, 12, 12, 12]),
        (3, {"start": "block"}, [4, 8, 12]),
        (1, {"start": "block"}, [12]),
        (4, {"epochs_per_stage": 1}, [0, 1, 2, 3]),
        (5, {"epochs_per_stage": 2}, [0, 0, 1, 1, 2]),
    ],
)
def test_stages_fit_into_the_epochs_and_reach_the_bottom_unless_told_otherwise(small, epochs, options, expected):
    model = small.build_model(blocks=12)
    stages = GradualUnfreezing(**options).stages(model, epochs)
    trained = [
        sum(name.startswith("encoder_block") for name in layers(stage.names))
        for stage in stages
        for _ in range(stage.first, stage.last)
    ]
    assert trained == expected
    assert ("embeddings" in layers(stages[-1].names)) is (trained[-1] == 12)


def test_what_trains_beside_frozen_blocks_joins_with_what_is_above(small):
    model = small.build_model()
    freeze(model, patterns=["encoder_block_2", "encoder_block_0"])
    first, second = GradualUnfreezing().stages(model, epochs=5)
    assert layers(first.names) == {"head", "extra_block_0", "norm_2"}
    assert layers(second.names) - layers(first.names) == {"encoder_block_1", "norm_1", "norm_0", "embeddings"}


def test_a_continued_run_sees_the_rest_of_the_stages(small):
    model, unfreezing = small.build_model(), GradualUnfreezing(epochs_per_stage=2)
    whole = unfreezing.stages(model, epochs=10)
    rest = unfreezing.stages(model, epochs=10, initial_epoch=3)
    assert [(stage.first, stage.last) for stage in rest] == [(3, 4), (4, 6), (6, 10)]
    assert [stage.names for stage in rest] == [stage.names for stage in whole[1:]]


def test_what_is_frozen_already_stays_frozen(small):
    model = small.build_model()
    freeze(model, layers=2)
    stages = GradualUnfreezing().stages(model, epochs=5)
    assert len(stages) == 2
    assert not {"embeddings", "encoder_block_0", "encoder_block_1"} & layers(stages[-1].names)


def test_frozen_weights_stay_bit_equal_and_hold_no_slots_and_the_rest_trains(small):
    model = compiled(small, AdamW(LinearSchedule(0.1, warmup=0)), eager=False)
    watch = Watch()
    history = train(small, model, GradualUnfreezing(), 4, [BindSchedule(), watch])
    assert watch.rates == [0.1, 0.0875, 0.075, 0.0625, 0.05, 0.0375, 0.025, 0.0125], "one schedule for all stages"
    assert (watch.begun, watch.ended, watch.epochs) == (1, 1, [0, 1, 2, 3])
    assert history.epoch == [0, 1, 2, 3] and len(history.history["loss"]) == 4
    stages = GradualUnfreezing().stages(model, epochs=4)
    expected = [set(stages[min(epoch, 2)].names) for epoch in range(4)]
    assert watch.training == watch.moved == expected
    assert watch.slots == [len(names) for names in expected]
    assert all(v.trainable for v in addresses(model).values())


@pytest.mark.by_default("AdamW")
@pytest.mark.parametrize(
    "make", [lambda: SGD(0.1, momentum=0.9), lambda: AdamW(LinearSchedule(1e-2))], ids=["SGD", "AdamW"]
)
def test_all_stages_in_one_equal_full_training(small, make):
    full, staged = compiled(small, make()), compiled(small, make())
    bind = [BindSchedule()] if isinstance(staged.optimizer, AdamW) else []
    train(small, full, None, 2, bind)
    train(small, staged, GradualUnfreezing(blocks_per_stage=2, start="block"), 2, bind)
    for name, value in values(full).items():
        np.testing.assert_array_equal(values(staged)[name], value, err_msg=name)


def test_training_goes_on_after_the_stages(small):
    model = compiled(small, AdamW(0.01))
    train(small, model, GradualUnfreezing(epochs_per_stage=1), 2)
    watch = Watch()
    train(small, model, None, 1, [watch])
    assert watch.moved == [set(addresses(model))]
    counts = keras.ops.convert_to_numpy(model.optimizer.unfreeze_steps)
    assert sorted(set(counts)) == [0, 2, 4], "the head, the top block, and what the two epochs did not reach"


def test_early_stopping_ends_all_stages_and_restores_the_best(small):
    model = compiled(small, AdamW(0.3))
    stop = keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True)
    validation = small.data(seed=5)
    watch = Watch()
    history = train(small, model, GradualUnfreezing(), 12, [stop, watch], validation).history["val_loss"]
    assert len(history) < 12 and watch.ended == 1
    assert model.evaluate(*validation, verbose=0) == pytest.approx(min(history), rel=1e-5)


def test_checkpoints_are_numbered_through(small, tmp_path):
    model = compiled(small, SGD(0.1))
    train(small, model, GradualUnfreezing(), 2, [keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.keras", "2.keras"]


@pytest.mark.parametrize("guarded", [True, False])
def test_after_a_loss_that_is_not_finite_all_weights_are_the_best(small, guarded):
    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.get_layer("head").bias.assign([np.nan] * 3)

    class Best(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.weights = values(self.model)

    model = compiled(small, SGD(0.5))
    # The second epoch is made to look worse than the first.
    best, guard = (Best(), StopOnNonFinite(monitor="epoch", weights=model.trainable_variables if guarded else None))

    class Log(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["epoch"] = epoch

    with pytest.raises(TransformerError, match="not finite"):
        train(small, model, GradualUnfreezing(), 4, [Poison(), Log(), best, guard])
    same = all((values(model)[name] == value).all() for name, value in best.weights.items())
    assert same is guarded, "weights that joined later have to be kept from the start"
    assert all(v.trainable for v in addresses(model).values())


def test_after_an_error_everything_may_train_again(small):
    model = compiled(small, SGD(0.1))

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small, model, GradualUnfreezing(), 3, [Stop()])
    assert all(v.trainable for v in addresses(model).values())
    train(small, model, None, 1)


def froze(small, **what):
    model = small.build_model()
    freeze(model, **what)
    return model


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda small: GradualUnfreezing(0), "blocks_per_stage must be a positive integer; got 0"),
        (lambda small: GradualUnfreezing(epochs_per_stage=1.5), "epochs_per_stage must be a positive integer"),
        (lambda small: GradualUnfreezing(epochs_per_stage=0), "epochs_per_stage must be a positive integer"),
        (
            lambda small: GradualUnfreezing(epochs_per_stage=4).stages(small.build_model(), 4),
            "unfreezes nothing in epochs=4: the first stage, without blocks, takes 4",
        ),
        (lambda small: GradualUnfreezing(start="haed"), "start must be one of head, block; .* mean 'head'"),
        (
            lambda small: GradualUnfreezing().stages(small.build_model(), 1),
            "unfreezing unfreezes nothing in epochs=1: the first stage, without blocks, takes 1",
        ),
        (
            lambda small: GradualUnfreezing().stages(froze(small, layers=3), 5),
            "nothing to unfreeze: all blocks are frozen",
        ),
        (
            lambda small: GradualUnfreezing().stages(froze(small, patterns=["head", "norm_2", "extra_block_0"]), 5),
            "starts above the blocks, where nothing trains",
        ),
        (lambda small: GradualUnfreezing().stages(small.build_model(blocks=0), 5), "must have blocks"),
        (
            lambda small: GradualUnfreezing().stages(small.build_model(), 5, initial_epoch=5),
            "epochs must be above initial_epoch, 5; got 5",
        ),
        (
            lambda small: train(small, compiled(small, "adam"), GradualUnfreezing(), 3),
            "need tftransformer's AdamW or SGD, .*; got Adam",
        ),
        (
            lambda small: train(
                small, compiled(small, SGD(0.1)), GradualUnfreezing(), 3, [keras.callbacks.BackupAndRestore("anywhere")]
            ),
            "BackupAndRestore does not go with unfreezing",
        ),
    ],
)
def test_bad_arguments(small, act, message):
    with pytest.raises(TransformerError, match=message) as caught:
        act(small)
    assert "\n" not in str(caught.value)
