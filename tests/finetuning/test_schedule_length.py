"""Schedules bound when fit starts, continued runs, and callbacks that set the rate."""

import keras
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, AdamW, BindSchedule, bind_schedule, build_schedule, check_callbacks


class Rates(keras.callbacks.Callback):
    """Notes the rate before every batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(round(float(self.model.optimizer.learning_rate), 4))


def compiled(small, optimizer, **options):
    model = small.build_model(blocks=1)
    model.compile(optimizer, small.loss(), **{"jit_compile": False, **options})
    return model


def fit(small, model, epochs, rows=24, **options):
    rates = Rates()
    x, y = small.data()
    model.fit(
        x[:rows],
        y[:rows],
        batch_size=6,
        epochs=epochs,
        verbose=0,
        callbacks=[BindSchedule(options.get("initial_epoch", 0)), rates],
        **options,
    )
    return rates.seen


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_fit_starts_its_own_schedule_in_the_graph_of_the_first(small, jit_compile):
    model = compiled(small, SGD(build_schedule("linear", 1.0, warmup=0)), jit_compile=jit_compile)
    assert fit(small, model, 1) == [1.0, 0.75, 0.5, 0.25]
    function = model.train_function
    assert fit(small, model, 2) == [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert model.train_function is function
    assert fit(small, model, 4, initial_epoch=2)[:2] == [0.5, 0.4375]


def test_the_rate_in_the_graph_is_the_one_that_is_read(small):
    # One weight, gradient 1: what it moves by is the rate.
    weight = keras.Variable(0.0, name="kernel")
    optimizer = SGD(build_schedule("cosine", 1.0, warmup=2))
    moves = []
    for total in (6, 3):
        optimizer.bind_schedule(total)
        for _ in range(total):
            before, rate = float(weight), float(optimizer.learning_rate)
            optimizer.apply_gradients([(keras.ops.ones(()), weight)])
            moves.append((before - float(weight), rate))
    for move, rate in moves:
        assert move == pytest.approx(rate, abs=1e-6)
    assert moves[0] != moves[2]


def test_updates_are_counted_and_not_batches(small):
    model = compiled(small, AdamW(build_schedule("linear", 1.0, warmup=0), gradient_accumulation_steps=2))
    assert fit(small, model, 2) == [1.0, 1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]


def test_a_keras_schedule_counts_updates_too(small):
    rate = keras.optimizers.schedules.PolynomialDecay(1.0, 4, end_learning_rate=0.0)
    model = compiled(small, AdamW(rate, gradient_accumulation_steps=2), run_eagerly=True)
    assert fit(small, model, 2) == [1.0, 1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]


def test_fit_without_a_length_says_what_to_do(small):
    model = compiled(small, SGD(build_schedule("linear", 0.1)))
    with pytest.raises(TransformerError, match="the schedule has no length"):
        model.fit(*small.data(), verbose=0, epochs=1)


def test_data_of_unknown_length(small):
    with pytest.raises(TransformerError, match="steps_per_epoch must be given"):
        bind_schedule(SGD(build_schedule("linear", 0.1)), None, 2)
    bind_schedule(SGD(0.1), None, 2)


def test_inside_the_loss_scale():
    inner = SGD(build_schedule("linear", 1.0, warmup=0))
    optimizer = keras.optimizers.LossScaleOptimizer(inner)
    bind_schedule(optimizer, 10, 2)
    assert float(optimizer.learning_rate) == 1.0
    assert int(inner._schedule_steps) == 20


@pytest.mark.parametrize(
    "callback", [keras.callbacks.LearningRateScheduler(lambda epoch: 0.1), keras.callbacks.ReduceLROnPlateau()]
)
def test_callbacks_that_set_the_rate(callback):
    name = type(callback).__name__
    for optimizer in (
        SGD(build_schedule("linear", 0.1)),
        keras.optimizers.LossScaleOptimizer(SGD(build_schedule("cosine", 0.1))),
    ):
        for callbacks in (
            callback,
            [keras.callbacks.TerminateOnNaN(), callback],
            keras.callbacks.CallbackList([callback]),
        ):
            with pytest.raises(TransformerError, match=f'{name} .*Schedule.* schedule="constant"'):
                check_callbacks(callbacks, optimizer)
        check_callbacks([keras.callbacks.TerminateOnNaN()], optimizer)
        check_callbacks(None, optimizer)
    check_callbacks([callback], SGD(build_schedule("constant", 0.1)))


def test_callbacks_set_a_constant_rate(small):
    model = compiled(small, AdamW(build_schedule("constant", 0.1)), run_eagerly=True)
    rates = Rates()
    model.fit(
        *small.data(),
        batch_size=48,
        epochs=3,
        verbose=0,
        callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)), rates],
    )
    assert rates.seen == [0.1, 0.05, 0.0333]
