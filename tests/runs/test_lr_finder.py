"""The learning-rate finder: it leaves no trace, it finds where training goes too far, and its mistakes are one line."""

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning.optimizers import AdamW
from tftransformer.patterns import addresses
from tftransformer.runs.lr_finder import ExponentialRise, LearningRateSweep, find_learning_rate
from tftransformer.tasks.text_classifier import TextClassifier


@pytest.fixture
def classifier(tiny_preset):
    def build(**options):
        keras.utils.set_random_seed(5)
        made = TextClassifier.from_preset(tiny_preset, labels=("negative", "positive"), sequence_length=16)
        made.compile(run_eagerly=True, **(options or {"learning_rate": 1e-2}))
        return made

    return build


def regression(rate=0.1, optimizer=None):
    """A straight line through (64, 3) inputs, for which gradient descent diverges at rates of about 1."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="head")])
    model.compile(optimizer or keras.optimizers.SGD(rate), "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    return model, x, x @ np.array([[1.0], [-2.0], [3.0]], "float32")


def values(model):
    return {name: keras.ops.convert_to_numpy(v).copy() for name, v in addresses(model).items()}


def same_with_and_without_a_sweep(build, x, y):
    """One epoch, a sweep or none, and another epoch end in the same weights, drawn dropout included."""
    trained = []
    for sweeps in (False, True):
        made = build()
        made.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
        optimizer, before = made.optimizer, values(made)
        slots = [np.array(v) for v in optimizer.variables]
        if sweeps:
            sweep = find_learning_rate(made, x, y, steps=10, batch_size=32, lowest=1e-3, highest=3e-2)
            assert made.optimizer is optimizer and len(sweep.rates) == 10
            for name, value in values(made).items():
                np.testing.assert_array_equal(value, before[name], err_msg=name)
            for slot, value in zip(slots, optimizer.variables, strict=True):
                np.testing.assert_array_equal(np.array(value), slot)
        made.fit(x, y, batch_size=16, epochs=2, initial_epoch=1, shuffle=False, verbose=0)
        trained.append(values(made))
    for name in trained[0]:
        np.testing.assert_array_equal(trained[1][name], trained[0][name], err_msg=name)


@pytest.mark.slow
def test_training_after_a_sweep_is_training_without_one():
    _, x, y = regression()

    def build():
        keras.utils.set_random_seed(0)
        drop = keras.layers.Dropout(0.5, name="dropout")
        model = keras.Sequential([keras.Input((3,)), drop, keras.layers.Dense(1, name="head")])
        model.compile("adam", "mse", jit_compile=False)
        return model

    same_with_and_without_a_sweep(build, x, y)


@pytest.mark.slow
def test_training_a_task_after_a_sweep_is_training_without_one(classifier, reviews):
    same_with_and_without_a_sweep(classifier, reviews[0][:32], reviews[1][:32])


@pytest.mark.slow
def test_a_task_that_is_not_compiled_gets_its_defaults_and_keeps_its_weights(tiny_preset, reviews):
    made = TextClassifier.from_preset(tiny_preset, labels=("negative", "positive"), sequence_length=16)
    before = values(made)
    find_learning_rate(made, *reviews, steps=20, batch_size=16, lowest=1e-4)
    assert made.optimizer.name == "adamw" and int(made.optimizer.iterations) == 0
    assert made.text_pairs is None
    for name, value in values(made).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_every_weight_has_the_rate_of_the_sweep(monkeypatch):
    seen = []

    class Noted(AdamW):
        def build(self, variables):
            super().build(variables)
            seen.append((self._rate_factors, self.gradient_accumulation_steps, self.weight_decay))

    given = Noted(2e-5, rate_multipliers={".*/bias": 25.0, ".*/kernel": 0.5}, gradient_accumulation_steps=4)
    model, x, y = regression(optimizer=given)
    find_learning_rate(model, x, y, steps=10, batch_size=32, lowest=1e-3)
    assert seen[-1] == ((0.5, 1.0), None, 0.01)
    assert model.optimizer is given and given.gradient_accumulation_steps == 4


def test_the_rate_rises_exponentially_from_end_to_end():
    rise = ExponentialRise(1e-6, 1e-1, 51)
    rates = np.array([float(rise(step)) for step in range(51)])
    np.testing.assert_allclose(rates[[0, -1]], [1e-6, 1e-1], rtol=1e-4)
    np.testing.assert_allclose(rates[1:] / rates[:-1], 10**0.1, rtol=1e-4)
    assert ExponentialRise.from_config(rise.get_config()).highest == 1e-1


def test_it_stops_where_gradient_descent_diverges_and_suggests_less(tmp_path):
    model, x, y = regression()
    before = values(model)
    sweep = find_learning_rate(model, x, y, lowest=1e-4, highest=100.0, steps=60, batch_size=64)
    # The largest rate that converges is 2 over the largest eigenvalue of the Hessian.
    most = 2.0 / np.linalg.eigvalsh(2 * x.T @ x / len(x))[-1]
    assert sweep.diverged and len(sweep.rates) < 60
    assert sweep.rates[-1] > most > sweep.steepest
    assert sweep.suggestion == min(sweep.steepest, sweep.tenth_of_minimum) > 1e-3
    np.testing.assert_allclose(sweep.losses[0], np.mean((x @ before["head/kernel"] - y) ** 2), rtol=1e-4)
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    sweep.plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 5000
    assert "where the loss diverged" in str(sweep) and f"try {sweep.suggestion:.1e}" in str(sweep)


def test_one_jump_of_the_average_is_not_the_steepest_part():
    rates = np.logspace(-6, 0, 61)
    loss = 2.0 - np.clip(np.log10(rates) + 4.0, 0.0, 1.0)
    loss[50] -= 0.05
    sweep = LearningRateSweep.of(rates, loss, loss, diverged=False)
    assert 1e-4 < sweep.steepest < 1e-3 and sweep.tenth_of_minimum == pytest.approx(1e-2)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_sweep_of_a_task(classifier, reviews):
    made = classifier(optimizer=keras.optimizers.SGD(0.1))
    before = values(made)
    sweep = find_learning_rate(made, *reviews, batch_size=60, steps=40, lowest=1e-3, highest=1e30)
    assert sweep.diverged and len(sweep.rates) < 40
    for name, value in values(made).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_the_loss_of_a_batch_is_its_own_whatever_came_before():
    model, x, y = regression()
    # The largest losses first, so that there is something that falls.
    order = np.argsort(-np.square(model(x) - y)[:, 0])
    x, y = x[order], y[order]
    sweep = find_learning_rate(model, x, y, lowest=1e-9, highest=1e-8, steps=10, batch_size=16, shuffle=False)
    each = [float(np.mean((model(x[i : i + 16]) - y[i : i + 16]) ** 2)) for i in range(0, 64, 16)]
    np.testing.assert_allclose(sweep.losses, (each * 3)[:10], rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(lowest=0.0), "lowest must be positive; got 0.0"),
        (dict(lowest=1e-2, highest=1e-3), "highest must be above lowest, 0.01; got 0.001"),
        (dict(steps=9), "steps must be an integer of at least 10; got 9"),
        (dict(smoothing=1.0), "smoothing must be at least 0 and below 1; got 1.0"),
        (dict(divergence=1.0), "divergence must be above 1; got 1.0"),
    ],
)
def test_arguments_out_of_range(given, words):
    model, x, y = regression()
    with pytest.raises(TransformerError, match=words):
        find_learning_rate(model, x, y, **given)


def test_a_model_that_is_not_ready_or_learns_nothing():
    with pytest.raises(TransformerError, match="model must be built"):
        find_learning_rate(keras.Sequential([keras.layers.Dense(1)]), [[1.0]], [1.0])
    with pytest.raises(TransformerError, match="model must be compiled"):
        find_learning_rate(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), [[1.0]], [1.0])

    class Rateless(keras.optimizers.SGD):
        def get_config(self):
            return {"name": self.name}

    model, x, y = regression(optimizer=Rateless())
    with pytest.raises(TransformerError, match="an optimizer that has one learning_rate; got Rateless"):
        find_learning_rate(model, x, y)
    model, x, y = regression()
    with pytest.raises(TransformerError, match="the loss was not finite at once"):
        find_learning_rate(model, x * np.nan, y)
    with pytest.raises(TransformerError, match="never fell from 1.0e-06 to 1.0e-04"):
        LearningRateSweep.of([1e-6, 1e-5, 1e-4], [1.0, 2.0, 3.0], [1.0, 1.5, 2.0], diverged=False)
