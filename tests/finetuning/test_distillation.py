"""Laws of distillation: a teacher that is the student teaches nothing, a share of 0 is plain training."""

from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tftransformer.data import Split
from tftransformer.data.pipeline import Epoch
from tftransformer.errors import TransformerError
from tftransformer.finetuning.methods import Distillation
from tftransformer.finetuning.methods.distillation import TeacherOutputs, hidden_state_loss, soft_label_loss
from tftransformer.patterns import addresses
from tftransformer.tasks import DocumentClassifier, MultiTaskClassifier, TextClassifier
from tftransformer.text import WordPieceTokenizer

LABELS = ("negative", "positive")


def build(preset, labels=LABELS, seed=0, **options):
    keras.utils.set_random_seed(seed)
    options = {"dropout": 0.0, "head_dropout": 0.0, "sequence_length": 16, **options}
    return TextClassifier.from_preset(preset, labels=labels, **options)


def shaken(preset, seed=5, **options):
    """A teacher with an opinion."""
    model = build(preset, seed=seed, **options)
    draw = np.random.default_rng(seed)
    kernel = model.head.logits.kernel
    kernel.assign(draw.normal(0, 2.0, kernel.shape))
    return model


def values(model):
    return {name: ops.convert_to_numpy(variable) for name, variable in addresses(model).items()}


def fit(model, reviews, rate=0.5, epochs=1, run_eagerly=True, activation_cache="auto", **options):
    # Two batches take less time than tracing the step does.
    model.compile(keras.optimizers.SGD(rate), run_eagerly=run_eagerly, **options)
    texts, labels = reviews
    return model.fit(
        texts[:30], labels[:30], batch_size=15, epochs=epochs, verbose=0, activation_cache=activation_cache
    )


def several(labels):
    """Labels of multi-label data."""
    return [(label,) if i % 3 else ("negative", "positive") for i, label in enumerate(labels)]


def pairs_of(texts):
    return list(zip(texts, texts[::-1]))


# Each kind of data with either law, traced once: the others in the slow suite.
TRACED = pytest.param("one label", False, marks=pytest.mark.slow)
PAIRS = pytest.param("pairs", True, marks=pytest.mark.slow)


@pytest.fixture
def of_kind(reviews):
    """(texts, labels) and the options of their classifier."""

    def data(kind):
        texts, labels = reviews
        texts = pairs_of(texts) if kind == "pairs" else texts
        labels = several(labels) if kind == "several labels" else labels
        return (texts, labels), {"multi_label": kind == "several labels"}

    return data


@pytest.mark.parametrize(("kind", "eagerly"), [("several labels", True), TRACED, PAIRS])
def test_a_teacher_that_is_the_student_teaches_nothing(kind, eagerly, two_block_preset, of_kind):
    data, options = of_kind(kind)
    student, teacher = build(two_block_preset, **options), build(two_block_preset, **options)
    before = values(student)
    student.apply(Distillation(teacher, temperature=1.0, alpha=1.0, blocks={0: 0, 1: 1}))
    history = fit(student, data, run_eagerly=eagerly).history
    assert history["loss"][0] == pytest.approx(0.0, abs=1e-6)
    for name, value in values(student).items():
        np.testing.assert_allclose(value, before[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("kind", "eagerly"), [("one label", True), TRACED, PAIRS])
def test_a_share_of_nothing_is_plain_training_and_the_teacher_stays(kind, eagerly, two_block_preset, of_kind):
    data, options = of_kind(kind)
    plain, taught, teacher = (make(two_block_preset, **options) for make in (build, build, shaken))
    started, known = values(plain), values(teacher)
    expected = fit(plain, data, l2=0.01, run_eagerly=eagerly).history
    taught.apply(Distillation(teacher, alpha=0.0))
    history = fit(taught, data, l2=0.01, run_eagerly=eagerly).history
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    for name, value in values(taught).items():
        np.testing.assert_allclose(value, values(plain)[name], atol=1e-6, err_msg=name)
    assert any(np.abs(value - started[name]).max() > 1e-3 for name, value in values(taught).items())
    for name, value in values(teacher).items():
        np.testing.assert_array_equal(value, known[name], err_msg=name)
    assert taught.loss_step is None and taught.methods
    taught.apply("full")
    assert not taught.methods and not {"train_step", "compute_loss", "frozen_part", "_batches"} & set(vars(taught))


def test_penalties_keep_their_weight_and_hard_labels_lose_theirs(two_block_preset, reviews):
    student = build(two_block_preset)
    student.compile(keras.optimizers.SGD(0.0), run_eagerly=True, l2=0.01)
    texts, labels = reviews[0][:8], reviews[1][:8]
    examples, teacher = student.preprocess(texts, labels), build(two_block_preset)
    plain = student.training_batches(replace(examples, numbered=True), 8, False, Epoch(0))
    batch = next(iter(plain))
    logits = student(batch[0], training=False)
    penalty = float(sum(student.losses))
    assert penalty > 0.1
    for alpha, own in ((1.0, 0.0), (0.25, 0.75)):
        method = Distillation(teacher, temperature=1.0, alpha=alpha)
        student.loss_step = method.loss_step(student, examples)
        batch = next(iter(student.loss_step.batches(plain, examples)))
        hard = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(batch[1], logits)
        loss = student.compute_loss(batch[0], batch[1], logits)
        assert float(loss) == pytest.approx(own * float(hard) + penalty, rel=1e-5)


def test_what_cannot_go_with_a_teacher_is_refused_by_fit(two_block_preset, reviews):
    student = build(two_block_preset)
    student.apply(Distillation(shaken(two_block_preset)))
    student.compile(run_eagerly=True)
    dataset = tf.data.Dataset.from_tensor_slices(reviews)
    for given, options, reason in (
        (reviews, {"augmentation": "swap:0.1"}, "augmentation: the teacher runs once"),
        (reviews, {"packing": True}, "a teacher: its outputs are looked up row by row"),
        ((dataset,), {}, "a dataset: give a Split or texts"),
    ):
        with pytest.raises(
            TransformerError, match=f"a teacher cannot go with {reason}|packing=True cannot go with {reason}"
        ) as error:
            student.fit(*given, verbose=0, **options)
        assert "\n" not in str(error.value) and student.loss_step is None


@pytest.mark.slow
def test_other_texts_are_taught_as_well_and_the_same_ones_once(two_block_preset, reviews):
    student, teacher, ran = build(two_block_preset), shaken(two_block_preset), []
    teacher.call = lambda inputs, call=teacher.call, **options: ran.append(1) or call(inputs, **options)
    student.apply(Distillation(teacher))
    student.compile(run_eagerly=True)
    texts, labels = (part[:8] for part in reviews)
    counts = []
    for given in (texts, texts[:4], ["never seen before", *texts[1:]]):
        student.fit(given, labels[: len(given)], verbose=0, epochs=1)
        counts.append(len(ran))
    assert counts[0] == counts[1] < counts[2]


def test_gradients_of_soft_labels_are_the_difference_of_probabilities():
    draw = np.random.default_rng(0)
    logits, taught = (tf.constant(draw.normal(size=(4, 3)), tf.float32) for _ in range(2))
    for multi_label, squash in ((False, tf.nn.softmax), (True, tf.sigmoid)):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = tf.reduce_sum(soft_label_loss(logits, taught, 3.0, multi_label))
        difference = 3.0 * (squash(logits / 3.0) - squash(taught / 3.0)) / (3.0 if multi_label else 1.0)
        np.testing.assert_allclose(tape.gradient(loss, logits), difference, atol=1e-5)
        assert (soft_label_loss(logits, taught, 3.0, multi_label).numpy() > 0).all()


def test_padding_is_not_compared_and_the_mean_has_loss_one():
    draw = np.random.default_rng(0)
    wanted = draw.normal(3.0, 2.0, (50, 6, 4)).astype("float32")
    mask = np.ones((50, 6), "int32")
    mask[:, 4:] = 0
    real = wanted[:, :4].reshape(-1, 4)
    mean = np.broadcast_to(real.mean(axis=0), wanted.shape).copy()
    variance = float(real.var(axis=0).mean())
    assert float(hidden_state_loss(mean, wanted, mask, variance)) == pytest.approx(1.0, abs=1e-5)
    mean[:, 4:] = 99.0
    assert float(hidden_state_loss(mean, wanted, mask, variance)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_a_narrower_student_comes_near_and_stays_a_classifier_like_any_other(
    two_block_preset, tiny_config, tiny_vocabulary, reviews, tmp_path
):
    teacher = shaken(two_block_preset)
    keras.utils.set_random_seed(1)
    config = tiny_config.replace(hidden_dim=8, num_layers=1, dropout=0.0, attention_dropout=0.0)
    student = TextClassifier(
        config, WordPieceTokenizer(tiny_vocabulary), LABELS, pooling="mean", sequence_length=16, head_dropout=0.0
    )
    names, ran = set(values(student)), []
    teacher.call = lambda inputs, call=teacher.call, **options: ran.append(1) or call(inputs, **options)
    method = Distillation(teacher, temperature=1.0, alpha=1.0, blocks={0: 1})
    step = method.loss_step(student, student.preprocess(*reviews))
    once, started = len(ran), ops.convert_to_numpy(step.projections[0])
    student.apply(method)
    student.compile(learning_rate=2e-2, schedule="constant")
    losses = student.fit(*reviews, batch_size=15, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2 and len(ran) == once
    assert np.abs(ops.convert_to_numpy(step.projections[0]) - started).max() > 1e-3
    agree = np.abs(student.predict(reviews[0], verbose=0) - teacher.predict(reviews[0], verbose=0)).mean()
    assert agree < 0.15
    assert set(values(student)) == names
    student.save(tmp_path / "student.keras")
    student.save_to_preset(tmp_path / "student")
    loaded = TextClassifier.from_preset(tmp_path / "student")
    np.testing.assert_array_equal(loaded.predict(reviews[0][:5], verbose=0), student.predict(reviews[0][:5], verbose=0))


def test_a_teacher_may_name_the_labels_in_another_order_and_have_another_vocabulary(
    two_block_preset, tiny_config, tiny_vocabulary, reviews
):
    student = build(two_block_preset)
    shuffled = [*tiny_vocabulary[:5], *tiny_vocabulary[:4:-1]]
    teacher = TextClassifier(
        tiny_config, WordPieceTokenizer(shuffled), LABELS[::-1], pooling="mean", sequence_length=16
    )
    outputs = TeacherOutputs(teacher, student.labels, student.preprocess(reviews[0]))
    some = replace(student.preprocess(reviews[0][:9]), numbered=True)
    batches = outputs.batches(student.ordered_batches(some, 9)[0], some)
    logits = next(iter(batches))["teacher_logits"].numpy()
    expected = teacher.predict(reviews[0][:9], verbose=0)[:, ::-1]
    order = np.argsort(student.preprocess(reviews[0][:9]).lengths, kind="stable")
    np.testing.assert_allclose(tf.nn.softmax(logits).numpy(), expected[order], atol=1e-5)
    with pytest.raises(TransformerError, match=r"same tokens.*of row 0 \(from 0\)"):
        Distillation(teacher, blocks={1: 1}).loss_step(student, student.preprocess(reviews[0]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs", "several labels", "weights", "mixed precision"])
def test_every_kind_of_data_is_taught(kind, two_block_preset, reviews, tmp_path):
    texts, labels = reviews
    options, extra = {}, {}
    if kind == "pairs":
        texts = pairs_of(texts)
    if kind == "several labels":
        labels = [(label, "long") if len(text) > 25 else (label,) for text, label in zip(texts, labels)]
        options = {"multi_label": True, "labels": (*LABELS, "long")}
    if kind == "weights":
        extra = {"class_weight": "balanced"}
    if kind == "mixed precision":
        options = {"dtype": "mixed_bfloat16"}
    data = Split(texts, labels, multi_label=kind == "several labels")
    student, teacher = build(two_block_preset, **options), shaken(two_block_preset, **options)
    before = np.abs(student.predict(texts, verbose=0) - teacher.predict(texts, verbose=0)).mean()
    student.apply(Distillation(teacher, alpha=0.9, blocks={0: 1}))
    student.compile(learning_rate=1e-2)
    history = student.fit(data, validation_data=data, batch_size=15, epochs=8, verbose=0, **extra).history
    assert np.isfinite(history["loss"]).all() and np.isfinite(history["val_loss"]).all()
    after = np.abs(student.predict(texts, verbose=0) - teacher.predict(texts, verbose=0)).mean()
    assert after < before / 2
    student.export(tmp_path / "serving")


@pytest.mark.slow
def test_frozen_blocks_learn_nothing_and_need_no_stored_states(two_block_preset, reviews, tmp_path):
    from tftransformer.finetuning import ActivationCache, freeze

    student = build(two_block_preset)
    freeze(student, layers=1)
    before = values(student)
    student.apply(Distillation(shaken(two_block_preset)))
    with pytest.raises(TransformerError, match="an activation cache cannot go with a teacher"):
        fit(student, reviews, activation_cache=ActivationCache(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()
    fit(student, reviews)
    for name, value in values(student).items():
        if name.startswith(("embeddings", "encoder_block_0")):
            np.testing.assert_array_equal(value, before[name], err_msg=name)
    assert any(np.abs(values(student)[name] - before[name]).max() > 1e-4 for name in before if "head/" in name)


@pytest.fixture(scope="module")
def two_models(two_block_preset):
    return build(two_block_preset), build(two_block_preset)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(temperature=0), "temperature must be positive; got 0"),
        (dict(alpha=1.5), "alpha must be from 0 to 1; got 1.5"),
        (dict(hidden_weight=-1), "hidden_weight must be at least 0; got -1"),
        (dict(blocks={2: 0}), "blocks of the student must be from 0 to 1, it has 2; got 2"),
        (dict(blocks={0: -1}), "blocks of the teacher must be from 0 to 1, it has 2; got -1"),
        (dict(blocks=[0, 1]), "blocks must map blocks"),
    ],
)
def test_wrong_arguments_are_named(options, message, two_models):
    with pytest.raises(TransformerError, match=message):
        student, teacher = two_models
        student.apply(Distillation(teacher, **options))


def test_wrong_models_are_named(two_block_preset, reviews, monkeypatch):
    student, teacher = build(two_block_preset), build(two_block_preset)
    documents = DocumentClassifier.from_preset(two_block_preset, labels=student.labels)
    tasks = MultiTaskClassifier.from_preset(two_block_preset, tasks={"mood": student.labels})
    for given, message in (
        ((student, student), "teacher must be another model"),
        ((student, build(two_block_preset, labels=("a", "b"))), "teacher must have the student's labels, negative"),
        ((student, build(two_block_preset, multi_label=True)), "several labels a text"),
        ((keras.Sequential(), teacher), "student must be a text classifier; got Sequential"),
        ((student, documents), "teacher must be a text classifier; got DocumentClassifier"),
        ((tasks, teacher), "student must be a text classifier; got MultiTaskClassifier"),
    ):
        with pytest.raises(TransformerError, match=message):
            Distillation(given[1]).check(given[0])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(TransformerError, match="blocks need .* of disk"):
        Distillation(teacher, blocks={0: 0}).loss_step(student, student.preprocess(*reviews))
    monkeypatch.setattr(TextClassifier, "distribute_strategy", SimpleNamespace(num_replicas_in_sync=2))
    with pytest.raises(TransformerError, match="distillation is for one device"):
        student.apply(Distillation(teacher))
