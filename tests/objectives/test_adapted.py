"""Losses and metrics of Keras's mean what they say of the probabilities that `predict` returns."""

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tftransformer.errors import TransformerError
from tftransformer.evaluation import MacroF1, MultiLabelF1
from tftransformer.finetuning import SGD
from tftransformer.tasks import DocumentClassifier, MultiTaskClassifier, TextClassifier

K = keras.losses
TEXTS = ["good film", "bad film", "a slow story", "great acting and music", "dull", "very quick plot"] * 2
IDS = np.array([0, 1, 2, 2, 1, 0] * 2)
MANY = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]] * 2, "float32")
ONE_HOT = np.eye(3, dtype="float32")[IDS]


def build(preset, multi_label=False, labels=("a", "b", "c"), kind=TextClassifier):
    keras.utils.set_random_seed(0)
    model = kind.from_preset(preset, labels=labels, multi_label=multi_label, sequence_length=16)
    # Logits that are far from those of a constant answer.
    kernel = next(weight for weight in model.head.trainable_variables if weight.path.endswith("kernel"))
    kernel.assign(kernel * 20)
    return model


@pytest.fixture(scope="module")
def classifiers(tiny_preset):
    models = {"single": build(tiny_preset), "several": build(tiny_preset, True)}
    models["two"] = build(tiny_preset, labels=("no", "yes"))
    models["document"] = build(tiny_preset, kind=DocumentClassifier)
    return {name: (model, model.predict(TEXTS, verbose=0)) for name, model in models.items()}


def evaluated(model, targets, **compiled):
    model.compile("sgd", run_eagerly=True, **compiled)
    return model.evaluate(TEXTS, targets, verbose=0, return_dict=True)


def cross_entropy(targets, p, smoothing=0.0):
    targets = targets * (1 - smoothing) + smoothing / targets.shape[1]
    return -(targets * np.log(p)).sum(-1).mean()


def binary_cross_entropy(targets, p, smoothing=0.0):
    targets = targets * (1 - smoothing) + smoothing / 2
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()


def generalized_cross_entropy(targets, p, q=0.5):
    return ((1 - (targets * p).sum(-1) ** q) / q).mean()


SINGLE = {
    "name": ("sparse_categorical_crossentropy", cross_entropy),
    "name of the class": ("SparseCategoricalCrossentropy", cross_entropy),
    "short name": ("crossentropy", cross_entropy),
    "function": (K.sparse_categorical_crossentropy, cross_entropy),
    "class": (K.SparseCategoricalCrossentropy, cross_entropy),
    "object": (K.SparseCategoricalCrossentropy(), cross_entropy),
    "object over logits": (K.SparseCategoricalCrossentropy(from_logits=True), cross_entropy),
    "list": (["sparse_categorical_crossentropy"], cross_entropy),
    "sum": (K.SparseCategoricalCrossentropy(reduction="sum"), lambda t, p: len(t) * cross_entropy(t, p)),
    "one-hot name": ("categorical_crossentropy", cross_entropy),
    "one-hot object": (
        K.CategoricalCrossentropy(label_smoothing=0.1),
        lambda t, p: cross_entropy(t, p, 0.1),
    ),
    "generalized": ("CategoricalGeneralizedCrossEntropy", generalized_cross_entropy),
    "generalized function": (K.categorical_generalized_cross_entropy, generalized_cross_entropy),
    "generalized name": ("categorical_generalized_cross_entropy", generalized_cross_entropy),
    "generalized object": (
        K.CategoricalGeneralizedCrossEntropy(q=0.9),
        lambda t, p: generalized_cross_entropy(t, p, 0.9),
    ),
    "focal": (K.CategoricalFocalCrossentropy(gamma=1.5), lambda t, p: float(K.CategoricalFocalCrossentropy(gamma=1.5)(t, p))),
    "divergence": ("kl_divergence", lambda t, p: float(K.KLDivergence()(t, p))),
    "poisson": (K.poisson, lambda t, p: (p - t * np.log(p)).mean()),
    "Brier": ("mse", lambda t, p: ((t - p) ** 2).mean()),
    "user's own": (lambda y, logits: keras.ops.mean(logits, axis=-1) * 0 + keras.ops.cast(y, "float32"), lambda t, p: IDS.mean()),
}  # fmt: skip
SEVERAL = {
    "name": ("binary_crossentropy", binary_cross_entropy),
    "short name": ("bce", binary_cross_entropy),
    "function": (K.binary_crossentropy, binary_cross_entropy),
    "object": (K.BinaryCrossentropy(label_smoothing=0.2), lambda t, p: binary_cross_entropy(t, p, 0.2)),
    "focal": ("binary_focal_crossentropy", lambda t, p: float(K.BinaryFocalCrossentropy()(t, p))),
    "error": (K.MeanAbsoluteError(), lambda t, p: np.abs(t - p).mean()),
    "hinge": ("hinge", lambda t, p: np.maximum(1 - (2 * t - 1) * np.log(p / (1 - p)), 0).mean()),
}


@pytest.mark.parametrize("case", SINGLE)
def test_a_loss_is_that_of_the_probabilities(classifiers, case):
    loss, expected = SINGLE[case]
    model, p = classifiers["single"]
    found = evaluated(model, IDS, loss=loss)["loss"]
    assert found == pytest.approx(expected(ONE_HOT, p.astype("float64")), rel=1e-4)
    assert abs(p - 1 / 3).max() > 0.2


@pytest.mark.parametrize("case", SEVERAL)
def test_a_loss_over_several_labels_is_that_of_the_probabilities(classifiers, case):
    loss, expected = SEVERAL[case]
    model, p = classifiers["several"]
    found = evaluated(model, MANY, loss=loss)["loss"]
    assert found == pytest.approx(expected(MANY, p.astype("float64")), rel=1e-4)


def test_documents_and_the_default_agree(classifiers):
    model, p = classifiers["document"]
    for loss in ("sparse_categorical_crossentropy", None):
        assert evaluated(model, IDS, loss=loss)["loss"] == pytest.approx(cross_entropy(ONE_HOT, p), rel=1e-4)


def test_training_by_name_is_training_by_default(tiny_preset):
    results = []
    for loss in (None, "sparse_categorical_crossentropy"):
        model = build(tiny_preset)
        model.compile(SGD(0.1), loss, run_eagerly=True)
        model.fit(TEXTS, IDS, epochs=1, verbose=0)
        results.append(model.predict(TEXTS, verbose=0))
    np.testing.assert_array_equal(*results)


METRICS = {
    "accuracy": ("single", "accuracy", lambda p: (p.argmax(-1) == IDS).mean()),
    "top": ("single", "sparse_top_k_categorical_accuracy", lambda p: 1.0),
    "ids": ("single", "sparse_categorical_crossentropy", lambda p: cross_entropy(ONE_HOT, p)),
    "ids over logits": (
        "single", keras.metrics.SparseCategoricalCrossentropy(from_logits=True), lambda p: cross_entropy(ONE_HOT, p)
    ),
    "one-hot": ("single", "categorical_accuracy", lambda p: (p.argmax(-1) == IDS).mean()),
    "function": ("single", keras.metrics.categorical_crossentropy, lambda p: cross_entropy(ONE_HOT, p)),
    "short entropy": ("single", "ce", lambda p: cross_entropy(ONE_HOT, p)),
    "short entropy of labels": ("several", "crossentropy", lambda p: binary_cross_entropy(MANY, p)),
    "a loss alone": (
        "single", "categorical_focal_crossentropy", lambda p: float(K.CategoricalFocalCrossentropy()(ONE_HOT, p))
    ),
    "a loss alone, of labels": ("several", K.huber, lambda p: ((MANY - p) ** 2 / 2).mean()),
    "error": ("single", "mse", lambda p: ((ONE_HOT - p) ** 2).mean()),
    "one class": (
        "single", keras.metrics.Recall(class_id=1, thresholds=0.3), lambda p: (p[IDS == 1, 1] > 0.3).mean()
    ),
    "f1": ("single", "f1_score", None),
    "ours": ("single", MacroF1(3), None),
    "second of two": ("two", keras.metrics.Recall(), lambda p: (p[IDS % 2 == 1, 1] > 0.5).mean()),
    "area of two": ("two", keras.metrics.AUC(num_thresholds=2000), lambda p: roc_auc_score(IDS % 2, p[:, 1])),
    "binary accuracy of two": ("two", "binary_accuracy", lambda p: (p.argmax(-1) == IDS % 2).mean()),
    "accuracy of labels": ("several", "accuracy", lambda p: ((p > 0.5) == MANY).mean()),
    "binary accuracy": ("several", "binary_accuracy", lambda p: ((p > 0.5) == MANY).mean()),
    "entropy of labels": ("several", "binary_crossentropy", lambda p: binary_cross_entropy(MANY, p)),
    "area": ("several", keras.metrics.AUC(num_thresholds=2000), lambda p: roc_auc_score(MANY.ravel(), p.ravel())),
    "precision": ("several", "precision", lambda p: MANY[p > 0.5].mean()),
    "ours, of probabilities": ("several", MultiLabelF1(3, "micro"), None),
    "ours, of logits": ("several", MultiLabelF1(3, "micro", from_logits=True), None),
}  # fmt: skip


@pytest.mark.parametrize("case", METRICS)
def test_a_metric_is_that_of_the_probabilities(classifiers, case):
    which, metric, expected = METRICS[case]
    model, p = classifiers[which]
    targets = {"single": IDS, "two": IDS % 2, "several": MANY}[which]
    logs = evaluated(model, targets, metrics=[metric])
    (value,) = (value for name, value in logs.items() if name != "loss")
    if expected is None:
        fresh = keras.metrics.get(metric) if isinstance(metric, str) else type(metric).from_config(metric.get_config())
        read = np.log(p / (1 - p)) if getattr(fresh, "from_logits", False) else p
        fresh.update_state(ONE_HOT if case == "f1" else targets, read)
        np.testing.assert_allclose(value, fresh.result(), rtol=1e-5)
    else:
        assert float(value) == pytest.approx(float(expected(p)), rel=1e-3)
    assert isinstance(metric, str) is (metric in logs)


@pytest.mark.parametrize(
    ("which", "compiled", "message"),
    [
        ("single", dict(loss="binary_crossentropy"), "loss must be for one label a text, as 'sparse_cat.* got 'binary_c"),
        ("two", dict(loss=K.BinaryCrossentropy()), "loss must be for one label a text, as 'sparse_categorical_cross"),
        ("several", dict(loss="sparse_categorical_crossentropy"), "for any number of labels .* as 'binary_crossentropy'"),
        ("several", dict(loss="CategoricalGeneralizedCrossEntropy"), "for any number of labels .* as 'binary_cross"),
        ("single", dict(loss="ctc"), "loss must be for one label"),
        ("single", dict(loss="sparse_categorical_crossentropi"), "one of Keras's by name.* did you mean 'sparse_cat"),
        ("single", dict(loss={"head": "mse"}), "loss must be one loss, for the one output"),
        ("single", dict(loss=["mse", "mae"]), "loss must be one loss"),
        ("single", dict(metrics=["AUC"]), "metrics must be for one of 3 labels a text; 'AUC' is not: try 'accuracy'"),
        ("single", dict(weighted_metrics=["Precision"]), "weighted_metrics must be for one of 3 labels"),
        ("several", dict(metrics=["categorical_accuracy"]), "metrics must be for any number of labels a text"),
        ("single", dict(metrics={"head": ["accuracy"]}), "metrics must be a list of metrics"),
        ("single", dict(metrics=["acuracy"]), "metrics must be one of Keras's by name"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_in_one_line(classifiers, which, compiled, message):
    with pytest.raises(TransformerError, match=message) as error:
        classifiers[which][0].compile(**compiled)
    assert "\n" not in str(error.value)


def test_a_metric_of_the_users_own_is_left_as_it_is(classifiers):
    class Rows(keras.metrics.Sum):
        def update_state(self, y_true, y_pred, sample_weight=None):
            assert tuple(y_pred.shape)[1:] == (3,)
            return super().update_state(keras.ops.ones_like(y_true))

    model, _ = classifiers["single"]
    assert evaluated(model, IDS, metrics=[Rows(name="accuracy")])["accuracy"] == len(IDS)


def test_a_class_of_the_users_own_keeps_its_state(classifiers):
    class Weighed(keras.losses.CategoricalCrossentropy):
        def __init__(self, table):
            super().__init__(from_logits=True)
            self.table = table

        def call(self, y_true, y_pred):
            one_hot = keras.ops.one_hot(keras.ops.cast(y_true, "int32"), 3)
            return super().call(one_hot, y_pred) * keras.ops.take(self.table, keras.ops.cast(y_true, "int32"))

    class Seen(keras.metrics.Precision):
        def __init__(self, table):
            super().__init__(name="seen")
            self.table = table

        def update_state(self, y_true, y_pred, sample_weight=None):
            return super().update_state(keras.ops.ones_like(y_true), keras.ops.take(self.table, y_true))

    model, p = classifiers["single"]
    table = np.array([1.0, 2.0, 4.0], "float32")
    logs = evaluated(model, IDS, loss=Weighed(table), metrics=[Seen(np.ones(3, "float32"))])
    assert logs["loss"] == pytest.approx((-(ONE_HOT * np.log(p)).sum(-1) * table[IDS]).mean(), rel=1e-4)
    assert logs["seen"] == 1.0


def test_weighted_metrics_follow_the_threshold(tiny_preset, tmp_path):
    model = build(tiny_preset, True)
    model.compile(SGD(0.0), weighted_metrics=["accuracy"], run_eagerly=True)
    p = model.predict(TEXTS, verbose=0)
    model.threshold = 0.9
    model.fit(TEXTS, MANY, verbose=0, epochs=1)
    model.save(tmp_path / "m.keras")
    for one in (model, keras.models.load_model(tmp_path / "m.keras")):
        logs = one.evaluate(TEXTS, MANY, verbose=0, return_dict=True)
        assert logs["accuracy"] == pytest.approx(((p > 0.9) == MANY).mean())


def test_several_tasks_have_losses_of_their_own(tiny_preset):
    model = MultiTaskClassifier.from_preset(tiny_preset, tasks={"one": ["a", "b"]})
    with pytest.raises(TransformerError, match="compile of several tasks takes no loss"):
        model.compile(loss={"one": "sparse_categorical_crossentropy"})


def test_a_saved_classifier_has_its_loss_and_metrics(tiny_preset, tmp_path):
    model = build(tiny_preset, labels=("no", "yes"))
    compiled = dict(loss=K.CategoricalCrossentropy(label_smoothing=0.1), metrics=["AUC", "accuracy"])
    before = evaluated(model, IDS % 2, **compiled)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    after = again.evaluate(TEXTS, IDS % 2, verbose=0, return_dict=True)
    assert after == pytest.approx(before, rel=1e-5)


def test_early_stopping_knows_the_direction(classifiers):
    model, _ = classifiers["two"]
    model.compile(SGD(0.0), metrics=["AUC"], run_eagerly=True)
    stop = keras.callbacks.EarlyStopping("val_AUC", patience=1)
    model.fit(TEXTS, IDS % 2, validation_data=(TEXTS, IDS % 2), verbose=0, callbacks=[stop], epochs=1)
    assert stop.monitor_op is keras.ops.greater
