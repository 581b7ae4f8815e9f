"""Numbers are learned at mean 0 and scale 1 and given in their own units, whatever these are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.evaluation.keras_metrics import Pearson
from tftransformer.objectives import Regression

DRAW = np.random.default_rng(0)
NUMBERS = DRAW.normal([2000.0, -0.01], [12.0, 0.003], (40, 2)).astype("float32")


def known(names=("year", "rate"), **options):
    objective = Regression(names, **options)
    objective.learn(lambda: [NUMBERS[:30, : len(names)], NUMBERS[30:, : len(names)]])
    return objective


def test_what_is_learned_has_mean_0_and_scale_1_and_comes_back():
    objective = known()
    learned = np.array(objective.standardized(NUMBERS))
    np.testing.assert_allclose(learned.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(learned.std(0), 1, atol=1e-4)
    np.testing.assert_allclose(objective.activate(learned), NUMBERS, rtol=1e-5)
    before = objective.traced()
    objective.learn(lambda: [np.zeros((3, 2))])
    assert objective.traced() == before, "a task that knows its scale keeps it"


def test_the_loss_is_the_same_in_every_unit_and_metrics_are_in_the_targets_own():
    output = DRAW.normal(size=(40, 2)).astype("float32")
    objective = known()
    loss, metrics = (objective.compiled(None, None, None, 0.0)[name] for name in ("loss", "metrics"))
    z = np.array(objective.standardized(NUMBERS))
    assert float(loss(NUMBERS, output)) == pytest.approx(((z - output) ** 2).mean(), rel=1e-4)
    for metric in metrics:
        metric.update_state(NUMBERS, output)
    mae, pearson = (float(metric.result()) for metric in metrics)
    predicted = np.array(objective.activate(output))
    assert mae == pytest.approx(np.abs(predicted - NUMBERS).mean(), rel=1e-4)
    expected = np.mean([np.corrcoef(NUMBERS[:, k], predicted[:, k])[0, 1] for k in range(2)])
    assert pearson == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("given", ["mae", "huber", keras.losses.Huber(0.5), lambda y, p: keras.ops.abs(y - p)])
def test_losses_of_keras_and_of_a_user_compare_at_scale_1(given):
    objective = known(("year",))
    loss = objective.compiled(given, ["mse"], ["mae"], 0.0)["loss"]
    output = DRAW.normal(size=(40, 1)).astype("float32")
    z = objective.standardized(NUMBERS[:, :1])
    own = keras.losses.get(given)
    assert float(loss(NUMBERS[:, :1], output)) == pytest.approx(float(keras.ops.mean(own(z, output))), rel=1e-4)


def test_correlation_adds_up_over_batches_and_weights():
    x, y = DRAW.normal(size=(2, 50, 1))
    weights = DRAW.integers(0, 4, 50)
    metric = Pearson()
    for rows in np.split(np.arange(50), [7, 30]):
        metric.update_state(x[rows], y[rows], sample_weight=weights[rows])
    repeated = [np.repeat(values[:, 0], weights) for values in (x, y)]
    assert float(metric.result()) == pytest.approx(np.corrcoef(*repeated)[0, 1], abs=1e-5)
    constant = Pearson()
    constant.update_state(np.ones((5, 1)), y[:5])
    assert float(constant.result()) == 0.0
    assert Pearson.from_config(metric.get_config()).num_outputs == 1


def test_levels_are_the_nearest_ones_also_where_it_is_served():
    objective = Regression(levels=[1, 2, 4])
    numbers = np.array([-3.0, 1.49, 1.5, 1.51, 2.99, 3.01, 9.0], "float32")
    wanted = [1, 1, 1, 2, 2, 4, 4]
    assert objective.nearest(numbers).tolist() == wanted
    served = objective.served(tf.constant(numbers[:, None]))
    assert served["level"].numpy().tolist() == wanted and served["value"].shape == (7,)
    assert set(Regression().served(tf.constant(numbers[:, None]))) == {"value"}


def test_targets_of_every_form_are_the_same_numbers():
    objective = Regression()
    forms = [[1.5, 2], ["1.5", "2"], np.array([[1.5], [2]]), [[1.5], ["2"]]]
    assert all(objective.encode(form).values.tolist() == [[1.5], [2.0]] for form in forms)
    encode = objective.stream_encoder()
    for tensor in (tf.constant(["1.5", "2"]), tf.constant([1.5, 2]), tf.constant([[1.5], [2]], tf.float64)):
        assert encode(tensor).numpy().tolist() == [[1.5], [2.0]]
    with pytest.raises(tf.errors.InvalidArgumentError, match="y must hold finite numbers"):
        encode(tf.constant([1.0, np.nan]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regression(()), "^names must be different names, one for each number; got"),
        (lambda: Regression(["a", "a"]), "^names must be different names"),
        (lambda: Regression(levels=[2, 1]), "^levels must be at least two numbers in rising order; got"),
        (lambda: Regression(mean=[1.0]), "^mean and scale must be given together, or neither$"),
        (lambda: Regression(mean=[1.0], scale=[0.0]), "^scale must be above 0; got 0"),
        (lambda: Regression(mean=[1.0, 2.0], scale=[1.0, 1.0]), "^mean must be 1 numbers, one a name; got 2$"),
        (lambda: Regression().encode(["4,5"]), "targets must hold numbers; got '4,5' in row 0.*decimal point"),
        (lambda: Regression().encode([[1, 2]]), "targets must have 1 numbers in each row, number; got 2"),
        (lambda: Regression(levels=[1, 2]).encode([1, 1.5]), "among the levels, 1, 2; got 1.5 in row 1"),
        (lambda: Regression().nearest([1.0]), "^levels must be given for the nearest of them; this task has none$"),
        (lambda: Regression().compiled(None, None, None, 0.1), "^label_smoothing must be 0: Regression has no classes"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(TransformerError, match=message):
        make()
