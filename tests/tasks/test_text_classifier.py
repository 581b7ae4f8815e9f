"""The classifier over raw text: forms of data, loading and saving, the usual recipe, exact probabilities."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning import freeze
from tftransformer.patterns import addresses
from tftransformer.tasks import TextClassifier
from tftransformer.training import compilation
from tftransformer.training.compilation import choose_xla

LABELS = ("negative", "positive")


def build(preset, labels=LABELS, **options):
    keras.utils.set_random_seed(0)
    return TextClassifier.from_preset(preset, labels=labels, **options)


def weights(model):
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in addresses(model).items()}


@pytest.fixture(scope="module")
def trained(tiny_preset, reviews):
    classifier = build(tiny_preset, dropout=0.0)
    classifier.compile(learning_rate=3e-3, fresh_multiplier=3.0)
    classifier.fit(*reviews, epochs=14, batch_size=16, verbose=0)
    return classifier


def test_it_learns_and_its_probabilities_are_in_the_order_of_the_texts(trained, reviews):
    texts, labels = reviews
    probabilities = trained.predict(texts, verbose=0)
    assert probabilities.shape == (60, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert np.mean([a == b for a, b in zip(trained.predicted_labels(probabilities), labels)]) > 0.9
    alone = np.concatenate([trained.predict([text], verbose=0) for text in texts[:7]])
    np.testing.assert_allclose(alone, probabilities[:7], atol=1e-5)


def test_every_form_of_texts_gives_the_same_probabilities(trained, reviews):
    texts = reviews[0][:9]
    expected = trained.predict(texts, verbose=0)
    forms = [
        np.array(texts), np.array(texts, dtype=object), np.array([t.encode() for t in texts]), tf.constant(texts),
        Split(texts), tf.data.Dataset.from_tensor_slices(texts), tf.data.Dataset.from_tensor_slices(texts).batch(4),
    ]  # fmt: skip
    for form in forms:
        np.testing.assert_allclose(trained.predict(form, verbose=0), expected, atol=1e-5)


def test_no_texts_give_no_rows(trained):
    assert trained.predict([], verbose=0).shape == (0, 2)


@pytest.mark.parametrize("text", ["", "   ", "漢字", "\u0000\u200b", "good " * 500])
def test_odd_texts_are_still_classified(trained, text):
    assert np.isfinite(trained.predict([text], verbose=0)).all()


# By default test_text_batches.py and test_label_law.py train on these forms, some at a time.
@pytest.mark.slow
@pytest.mark.parametrize("run_eagerly", [True, False])
def test_fit_takes_datasets_names_ids_weights_and_validation(tiny_preset, reviews, run_eagerly):
    texts, labels = (column[:12] for column in reviews)
    ids = [LABELS.index(label) for label in labels]
    rows = tf.data.Dataset.from_tensor_slices((texts, labels))
    forms = [
        dict(x=texts, y=ids, validation_split=0.2),
        dict(x=Split(texts, labels), validation_data=Split(texts[:9], labels[:9])),
        dict(x=rows, validation_data=rows.take(7)),
        dict(x=rows.batch(10), class_weight={"negative": 2.0}),
        dict(x=texts, y=labels, sample_weight=np.linspace(0, 1, 12), validation_data=(texts[:5], ids[:5])),
        dict(x=texts, y=labels, class_weight="balanced"),
    ]
    classifier = build(tiny_preset)
    classifier.compile(run_eagerly=run_eagerly)
    for form in forms:
        history = classifier.fit(**form, batch_size=10, epochs=1, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        assert ("val_macro_f1" in history) == ("validation_data" in form or "validation_split" in form)


@pytest.mark.slow
def test_a_dataset_trains_like_the_same_batches_from_lists(tiny_preset, reviews):
    texts, labels = reviews
    results = []
    for x, y in ((texts, labels), (tf.data.Dataset.from_tensor_slices((texts, labels)), None)):
        classifier = build(tiny_preset, dropout=0.0, head_dropout=0.0)
        classifier.compile(keras.optimizers.SGD(0.1))
        classifier.fit(x, y, batch_size=12, epochs=2, shuffle=False, verbose=0)
        results.append(weights(classifier))
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_class_weights_equal_the_same_sample_weights(tiny_preset, reviews):
    texts, labels = reviews
    results = []
    for weighted in (
        dict(class_weight={"negative": 3.0, "positive": 0.5}),
        dict(sample_weight=[3.0 if label == "negative" else 0.5 for label in labels]),
    ):
        classifier = build(tiny_preset, dropout=0.0, head_dropout=0.0)
        classifier.compile(keras.optimizers.SGD(0.1))
        classifier.fit(texts, labels, batch_size=12, verbose=0, epochs=1, **weighted)
        results.append(weights(classifier))
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, atol=1e-6, err_msg=name)


@pytest.mark.by_default("True")
@pytest.mark.parametrize("run_eagerly", [True, False])
def test_one_seed_gives_one_result(tiny_preset, reviews, run_eagerly):
    results = []
    for _ in range(2):
        classifier = build(tiny_preset)
        classifier.compile(run_eagerly=run_eagerly)
        classifier.fit(*(column[:12] for column in reviews), batch_size=8, epochs=2, verbose=0)
        results.append(weights(classifier))
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value, err_msg=name)


def test_frozen_weights_stay_bit_equal_and_have_no_slots(tiny_preset, reviews):
    classifier = build(tiny_preset, extra_blocks=1)
    summary = freeze(classifier, layers=1)
    assert summary.frozen_layers == ("embeddings", "encoder_block_0")
    before = weights(classifier)
    classifier.compile(learning_rate=1e-2, run_eagerly=True)
    classifier.fit(*reviews, batch_size=30, epochs=1, verbose=0)
    after = weights(classifier)
    for name in before:
        frozen = name.split("/")[0] in summary.frozen_layers
        # Key biases have no gradient but rounding noise: they may or may not move.
        assert np.array_equal(before[name], after[name]) == frozen or name.endswith("key/bias"), name
    trained = sum(np.prod(variable.shape) for variable in classifier.trainable_variables)
    slots = sum(np.prod(variable.shape) for variable in classifier.optimizer.variables)
    # Two moments a weight; and a few counters, of which one stands for each variable.
    assert 2 * trained <= slots < 2 * trained + 16 + len(classifier.trainable_variables)


@pytest.mark.parametrize(("rate", "block"), [(2e-5, 25.0), (2.5e-4, 2.0), (1e-3, 1.0)])
def test_fresh_weights_train_at_a_higher_rate(tiny_preset, rate, block):
    classifier = build(tiny_preset, extra_blocks=1)
    classifier.compile(learning_rate=rate)
    classifier.optimizer.build(classifier.trainable_variables)
    factors = dict(zip((v.path for v in classifier.trainable_variables), classifier.optimizer._rate_factors))
    for path, factor in factors.items():
        assert factor == pytest.approx(block if "head/" in path or "extra_block_0" in path else 1.0), path


def test_save_and_load_keeps_every_weight_and_setting(trained, tmp_path, reviews):
    trained.save_to_preset(tmp_path / "model")
    loaded = TextClassifier.from_preset(tmp_path / "model")
    assert loaded.labels == LABELS and loaded.newly_initialized == ()
    for name, value in weights(trained).items():
        np.testing.assert_array_equal(weights(loaded)[name], value, err_msg=name)
    np.testing.assert_array_equal(loaded.predict(reviews[0], verbose=0), trained.predict(reviews[0], verbose=0))
    other = TextClassifier.from_preset(tmp_path / "model", labels=["x", "y"])
    assert set(other.load_summary.newly_initialized) == {"head/logits/kernel", "head/logits/bias"}


def test_keras_file_holds_the_whole_classifier_and_its_optimizer(tiny_preset, tmp_path, reviews):
    classifier = build(tiny_preset, extra_blocks=1, pooling="cls", multi_label=False)
    freeze(classifier, layers=1)
    classifier.compile(run_eagerly=True)  # the file remembers it
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), monitor="val_loss")
    classifier.fit(*reviews, batch_size=24, validation_split=0.2, epochs=1, verbose=0, callbacks=[checkpoint])
    loaded = keras.models.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(
        loaded.predict(reviews[0], verbose=0), classifier.predict(reviews[0], verbose=0), atol=1e-6
    )
    assert int(loaded.optimizer.iterations) == int(classifier.optimizer.iterations) == 2
    loaded.fit(*reviews, batch_size=60, epochs=1, verbose=0)


@pytest.mark.slow
def test_keras_callbacks_work(tiny_preset, tmp_path, reviews):
    classifier = build(tiny_preset)
    classifier.compile(learning_rate=1e-2)
    stop = keras.callbacks.EarlyStopping("val_macro_f1", mode="max", patience=1, restore_best_weights=True)
    log = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    board = keras.callbacks.TensorBoard(str(tmp_path / "board"))
    classifier.fit(*reviews, batch_size=16, validation_split=0.3, epochs=4, verbose=0, callbacks=[stop, log, board])
    assert "macro_f1" in (tmp_path / "log.csv").read_text().splitlines()[0]
    assert list((tmp_path / "board").rglob("events*"))
    scores = classifier.evaluate(reviews[0][-18:], reviews[1][-18:], verbose=0, return_dict=True)
    assert scores["macro_f1"] == pytest.approx(stop.best, abs=1e-5)


def test_callbacks_that_set_the_rate_need_a_constant_schedule(tiny_preset, reviews):
    classifier = build(tiny_preset)
    classifier.compile()
    setter = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    with pytest.raises(TransformerError, match="constant"):
        classifier.fit(*reviews, verbose=0, callbacks=[setter], epochs=1)
    classifier.compile(schedule="constant", learning_rate=0.01, run_eagerly=True)
    classifier.fit(*reviews, batch_size=30, verbose=0, callbacks=[setter], epochs=1)
    assert float(classifier.optimizer.learning_rate) == pytest.approx(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_in_float32_variables(two_block_preset, reviews, dtype):
    classifier = build(two_block_preset, dtype=dtype)
    assert {v.dtype for v in classifier.trainable_variables} == {"float32"}
    assert classifier.encoder.get_layer("encoder_block_0").compute_dtype == dtype.removeprefix("mixed_")
    classifier.compile(learning_rate=1e-3)
    history = classifier.fit(*reviews, batch_size=16, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert classifier.predict(reviews[0][:3], verbose=0).dtype == np.float32


def test_pairs_are_one_sequence_with_two_segments(tiny_preset, reviews, tmp_path):
    texts, labels = reviews
    pairs = list(zip(texts, texts[::-1]))
    classifier = build(tiny_preset)
    classifier.compile(run_eagerly=True)
    classifier.fit(pairs, labels, batch_size=60, verbose=0, epochs=1)
    assert classifier.text_pairs is True
    both = classifier.predict(pairs[:4], verbose=0)
    np.testing.assert_allclose(classifier.predict({"text": texts[:4], "text_pair": texts[::-1][:4]}, verbose=0), both)
    with pytest.raises(TransformerError, match="pairs of texts"):
        classifier.predict(texts, verbose=0)


@pytest.mark.parametrize("run_eagerly", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_multi_label_thresholds_and_metrics(tiny_preset, reviews, run_eagerly):
    texts, labels = reviews
    targets = [(label, "long") if len(text) > 25 else (label,) for text, label in zip(texts, labels)]
    data = Split(texts, targets, multi_label=True)
    classifier = build(tiny_preset, labels=data.labels, multi_label=True)
    classifier.compile(learning_rate=3e-3, label_smoothing=0.1, run_eagerly=run_eagerly)
    history = classifier.fit(data, batch_size=30, epochs=1, validation_data=data, verbose=0).history
    assert {"micro_f1", "macro_f1", "val_micro_f1"} <= set(history)
    threshold = classifier.tune_threshold(data)
    assert 0 < threshold < 1 and classifier.get_config()["threshold"] == threshold
    probabilities = classifier.predict(texts, verbose=0)
    assert classifier.predicted_labels(probabilities)[0] == tuple(
        label for label, p in zip(data.labels, probabilities[0]) if p >= threshold
    )
    assert "micro" in str(classifier.report(data))


@pytest.mark.slow
def test_accumulated_batches_equal_one_big_batch(tiny_preset, reviews):
    from tftransformer.finetuning import SGD

    results = []
    for batch, steps in ((30, None), (15, 2)):
        classifier = build(tiny_preset, dropout=0.0, head_dropout=0.0)
        classifier.compile(SGD(0.1, global_clipnorm=0.5, gradient_accumulation_steps=steps))
        classifier.fit(*reviews, batch_size=batch, epochs=1, shuffle=False, verbose=0)
        results.append(weights(classifier))
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, atol=1e-6, err_msg=name)


def test_a_loss_that_is_not_finite_stops_and_names_the_step(tiny_preset, reviews):
    texts, labels = reviews
    weight = np.ones(60)
    weight[45] = 3e38
    classifier = build(tiny_preset)
    classifier.compile(run_eagerly=True)  # test_guards.py has it in graphs
    with pytest.raises(TransformerError, match="step"):
        classifier.fit(texts, labels, sample_weight=weight, batch_size=10, shuffle=False, epochs=2, verbose=0)
    assert all(np.isfinite(value).all() for value in weights(classifier).values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(labels=["a"]), "at least two"),
        (dict(labels=["a", "a"]), "at least two different"),
        (dict(pooling="men"), "did you mean 'mean'"),
        (dict(sequence_length=33), "between 3 and 32"),
        (dict(sequence_length=2), "between 3 and 32"),
        (dict(extra_blocks=-1), "extra_blocks"),
        (dict(labels=None), "labels or num_classes must be given"),
        (dict(num_classes=3), "num_classes must be 2, as many as labels, or left out; got 3"),
        (dict(labels=None, num_classes=1), "num_classes must be an integer of at least 2; got 1"),
    ],
)
def test_wrong_arguments_are_named(tiny_preset, options, message):
    with pytest.raises(TransformerError, match=message):
        build(tiny_preset, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(schedul="linear"), "did you mean 'schedule'"),
        (dict(schedule="linaer"), "did you mean 'linear'"),
        (dict(optimizer="sgd", learning_rate=0.1), "learning_rate cannot go with an optimizer"),
        (dict(label_smoothing=1.0), "label_smoothing"),
        (dict(loss="mse", label_smoothing=0.1), "label_smoothing cannot go with a loss"),
        (dict(l2=-1.0), "l2"),
    ],
)
def test_wrong_compile_arguments_are_named(tiny_preset, options, message):
    with pytest.raises(TransformerError, match=message):
        build(tiny_preset).compile(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(x=["a"], y=["other"]), "other"),
        (dict(x=["a", "b"], y=["positive"]), "as many"),
        (dict(x=["a", "b"]), "labels"),
        (dict(x=["a", "b"], y=[0, 1], validation_split=1.5), "validation_split"),
        (dict(x=["a", "b"], y=[0, 1], class_weight={"good": 2.0}), "good"),
        (dict(x=["a", "b"], y=[0, 1], validation_data=3), "validation_data"),
        (dict(x=["a", "b"], y=[0, 1], batch_size=-2), "batch_size must be a positive integer; got -2"),
        (dict(x=["a", "b"], y=[0, 1], batch_size=0), "batch_size must be a positive integer; got 0"),
        (dict(x=["a", "b"], y=[0, 1], batch_size="16"), "batch_size must be a positive integer; got '16'"),
    ],
)
def test_wrong_data_are_named(tiny_preset, arguments, message):
    classifier = build(tiny_preset)
    classifier.compile()
    with pytest.raises(TransformerError, match=message):
        classifier.fit(**arguments, epochs=1, verbose=0)


def test_xla_is_chosen_by_device_and_length_of_the_run(tiny_preset, monkeypatch):
    classifier = TextClassifier.from_preset(tiny_preset, labels=["no", "yes"])
    classifier.compile()
    assert "without XLA" in choose_xla(classifier, 10_000) and not classifier.jit_compile
    monkeypatch.setattr(compilation, "_has_accelerator", lambda: True)
    classifier.compile()
    assert classifier.jit_compile
    assert "compiled by XLA" in choose_xla(classifier, compilation.XLA_UPDATES) and classifier.jit_compile
    assert "too few" in choose_xla(classifier, compilation.XLA_UPDATES - 1) and not classifier.jit_compile
    for asked in (True, False):
        classifier.compile(jit_compile=asked)
        assert "was told" in choose_xla(classifier, 5) and classifier.jit_compile == asked


# Answers and vectors.


def test_answers_by_name(trained, reviews):
    texts = reviews[0][:3]
    probabilities = trained.predict(texts, verbose=0)
    for answer, label, row in zip(
        trained.classify(texts), trained.predicted_labels(probabilities), probabilities, strict=True
    ):
        assert answer.label == label and answer.probability == answer.probabilities[label]
        assert list(answer.probabilities) == list(LABELS)
        np.testing.assert_allclose(list(answer.probabilities.values()), row, atol=1e-6)
    assert trained.classify([]) == []
    assert repr(trained.classify("good")).startswith("[Prediction(label=")


def test_answers_of_several_labels(tiny_preset):
    classifier = build(tiny_preset, ["a", "b", "c"], multi_label=True, threshold=0.4)
    probabilities = np.array([[0.5, 0.1, 0.9], [0.1, 0.2, 0.3]])
    first, none = classifier.objective.answers(probabilities)
    assert (first.label, first.probability) == (("a", "c"), (0.5, 0.9))
    assert (none.label, none.probability, none.probabilities) == ((), (), {"a": 0.1, "b": 0.2, "c": 0.3})


@pytest.mark.by_default("mean")
@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_vectors_are_what_the_head_sees_and_leave_predict_alone(tiny_preset, reviews, pooling):
    classifier = build(tiny_preset, pooling=pooling, extra_blocks=1)
    texts = reviews[0][:13]
    before = classifier.predict(texts, verbose=0)
    function = classifier.predict_function
    vectors = classifier.encode(texts, batch_size=2)
    assert vectors.shape == (13, 16) and vectors.dtype == np.float32
    assert classifier.predict_function is function
    expected = keras.ops.softmax(classifier.head(vectors))
    np.testing.assert_allclose(before, expected, atol=1e-5)
    np.testing.assert_array_equal(classifier.predict(texts, verbose=0), before)
    alone = np.concatenate([classifier.encode([text]) for text in texts[:3]])
    np.testing.assert_allclose(alone, vectors[:3], atol=1e-5)
    for form in (np.array(texts), tf.data.Dataset.from_tensor_slices(texts), Split(texts)):
        np.testing.assert_allclose(classifier.encode(form), vectors, atol=1e-5)
    assert classifier.encode([]).shape == (0, 16)


def test_vectors_follow_new_weights(tiny_preset, reviews):
    classifier = build(tiny_preset)
    old = classifier.encode(reviews[0][:3])
    weight = classifier.encoder.weights[0]
    weight.assign(-keras.ops.convert_to_numpy(weight)[::-1])
    assert np.abs(classifier.encode(reviews[0][:3]) - old).max() > 1e-3


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_a_summary_shows_the_parts(tiny_preset, pooling, capsys):
    build(tiny_preset, pooling=pooling, extra_blocks=1).summary()
    said = capsys.readouterr().out
    assert all(name in said for name in ("encoder", "extra_block_0", "pooler", "head"))


def test_names_of_keras_hub_mean_what_they_mean_there(tiny_preset, tmp_path):
    classifier = TextClassifier.from_preset(tiny_preset, num_classes=3)
    assert classifier.labels == ("0", "1", "2") and classifier.backbone is classifier.encoder
    texts = ["a good film", "bad"]
    for given in (texts, (texts, texts)):
        logits = classifier(classifier.preprocessor(given))
        pairs = texts if given is texts else list(zip(*given))
        expected = classifier.predict(pairs, verbose=0)
        np.testing.assert_allclose(keras.ops.softmax(logits), expected, atol=1e-6)
    named = TextClassifier.from_preset(tiny_preset, labels=["no", "yes"])
    named.save_to_preset(tmp_path / "named")
    assert TextClassifier.from_preset(tmp_path / "named", num_classes=2).labels == ("no", "yes")
    assert TextClassifier.from_preset(tmp_path / "named", num_classes=3).labels == ("0", "1", "2")
