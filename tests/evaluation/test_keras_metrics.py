"""The Keras metrics agree with scikit-learn, batch by batch, weighted, compiled, saved and loaded."""

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from tftransformer.errors import TransformerError
from tftransformer.evaluation import MacroF1, MultiLabelF1, classification_metrics, multilabel_metrics

generator = np.random.default_rng(0)
LOGITS = generator.normal(size=(90, 4)).astype("float32")
TARGETS = generator.integers(0, 4, 90)
MANY = generator.integers(0, 2, (90, 4))
WEIGHT = generator.random(90).astype("float32")


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("column", [False, True])
def test_macro_f1_is_scikit_learns(weight, column):
    metric = MacroF1(4)
    for rows in np.array_split(np.arange(90), 4):
        metric.update_state(
            TARGETS[rows, None] if column else TARGETS[rows], LOGITS[rows], None if weight is None else weight[rows]
        )
    expected = f1_score(TARGETS, LOGITS.argmax(-1), average="macro", sample_weight=weight)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_macro_f1_leaves_out_classes_that_do_not_occur():
    metric = MacroF1(4)
    metric.update_state([0, 1, -1], np.eye(4)[[0, 0, 3]])
    assert float(metric.result()) == pytest.approx((2 / 3 + 0) / 2, abs=1e-6)
    report = classification_metrics([0, 1], np.eye(4)[[0, 0]], list("abcd"))
    assert report["macro_f1"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("from_logits", [False, True])
def test_multi_label_f1_is_scikit_learns(average, from_logits, weight):
    probabilities = 1 / (1 + np.exp(-LOGITS))
    metric = MultiLabelF1(4, average, threshold=0.4, from_logits=from_logits)
    for rows in np.array_split(np.arange(90), 3):
        given = LOGITS if from_logits else probabilities
        metric.update_state(MANY[rows], given[rows], None if weight is None else weight[rows])
    expected = f1_score(MANY, probabilities >= 0.4, average=average, sample_weight=weight)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    assert metric.name == f"{average}_f1"


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_labels_that_nobody_has_count_as_in_scikit_learn(average):
    targets, probabilities = MANY.copy(), 1 / (1 + np.exp(-LOGITS))
    targets[:, 3], probabilities[:, 3] = 0, 0.1
    expected = f1_score(targets, probabilities >= 0.5, average=average, zero_division=0)
    metric = MultiLabelF1(4, average)
    metric.update_state(targets, probabilities)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    report = multilabel_metrics(targets, probabilities, list("abcd"))
    assert report[f"{average}_f1"] == pytest.approx(expected)
    low, high = report["confidence_interval"][f"{average}_f1"]
    assert low < expected < high


@pytest.mark.parametrize("metric", [MacroF1(4), MultiLabelF1(4), MultiLabelF1(4, "micro")], ids=lambda m: m.name)
def test_keras_knows_that_more_is_better(metric, tmp_path):
    several = isinstance(metric, MultiLabelF1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, activation="sigmoid")])
    loss = "binary_crossentropy" if several else "sparse_categorical_crossentropy"
    model.compile("sgd", loss, metrics=[metric], run_eagerly=True)
    monitor, targets = f"val_{metric.name}", MANY if several else TARGETS
    callbacks = [
        keras.callbacks.EarlyStopping(monitor, patience=1),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.weights.h5", monitor, save_best_only=True, save_weights_only=True),
        keras.callbacks.ReduceLROnPlateau(monitor, patience=1),
    ]  # fmt: skip
    model.fit(LOGITS, targets, epochs=2, validation_data=(LOGITS, targets), verbose=0, callbacks=callbacks)
    for callback in callbacks:
        assert callback.monitor_op is keras.ops.greater


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("metric", "targets", "activation"), [(MacroF1(4), TARGETS, "softmax"), (MultiLabelF1(4, "micro"), MANY, "sigmoid")]
)
def test_in_fit_and_evaluate(metric, targets, activation, jit_compile):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, activation=activation)])
    loss = "sparse_categorical_crossentropy" if activation == "softmax" else "binary_crossentropy"
    metric.reset_state()
    model.compile("sgd", loss, weighted_metrics=[metric], jit_compile=jit_compile)
    model.fit(LOGITS, targets, batch_size=40, sample_weight=WEIGHT, verbose=0, epochs=1)
    figures = model.evaluate(LOGITS, targets, batch_size=40, sample_weight=WEIGHT, verbose=0, return_dict=True)
    out = model.predict(LOGITS, verbose=0)
    expected = (
        f1_score(targets, out.argmax(-1), average="macro", sample_weight=WEIGHT)
        if activation == "softmax"
        else f1_score(targets, out >= 0.5, average="micro", sample_weight=WEIGHT)
    )
    assert figures[metric.name] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_counts_are_exact_under_half_precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        metric = MacroF1(2)
    finally:
        keras.config.set_dtype_policy(before)
    for _ in range(6):
        metric.update_state(np.zeros(1000, int), keras.ops.cast(np.eye(2)[np.zeros(1000, int)], policy[6:]))
    assert float(keras.ops.sum(metric.variables[0])) == 6000


@pytest.mark.parametrize("metric", [MacroF1(3, name="f"), MultiLabelF1(3, "micro", 0.25, True)])
def test_serialisation(metric):
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(again) is type(metric) and again.get_config() == metric.get_config()


def test_replicas_add_up():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow" or len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("needs TensorFlow and two logical CPUs")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        metric = MacroF1(4)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Activation("softmax")])
        model.compile(loss="sparse_categorical_crossentropy", metrics=[metric])
    figures = model.evaluate(LOGITS, TARGETS, batch_size=20, verbose=0, return_dict=True)
    assert figures["macro_f1"] == pytest.approx(f1_score(TARGETS, LOGITS.argmax(-1), average="macro"), abs=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MacroF1(0), "num_classes must be a positive integer; got 0"),
        (lambda: MacroF1(True), "num_classes must be a positive integer"),
        (lambda: MultiLabelF1(2, "samples"), "average must be 'macro' or 'micro'; got 'samples'"),
        (lambda: MultiLabelF1(2, threshold=2), "threshold must be between 0 and 1; got 2"),
        (lambda: MacroF1(3).update_state([0], [[0.5, 0.5]]), r"y_pred must be \(B, 3\); got shape \(1, 2\)"),
        (lambda: MultiLabelF1(3).update_state([[0, 1]], [[0.5, 0.5]]), r"y_pred must be \(B, 3\)"),
    ],
)
def test_errors(make, message):
    with pytest.raises(TransformerError, match=message):
        make()
