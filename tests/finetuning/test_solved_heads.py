"""Heads that are solved for: the linear head itself, probing, starting from it, and contrastive fine-tuning."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info

from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.evaluation.label_errors import held_out_probabilities
from tftransformer.finetuning import linear_head
from tftransformer.finetuning.linear_head import STRENGTHS, fit_linear_head
from tftransformer.finetuning.methods import Contrastive, LinearProbe, LoRA
from tftransformer.finetuning.methods.contrastive import pair_batches, pair_loss
from tftransformer.patterns import addresses
from tftransformer.runs.options import ClassificationOptions
from tftransformer.tasks.document_classifier import DocumentClassifier
from tftransformer.tasks.multi_task import MultiTaskClassifier
from tftransformer.tasks.text_classifier import TextClassifier


def clouds(classes, rows=60, width=8, noise=0.6, seed=0):
    draw = np.random.default_rng(seed)
    targets = np.arange(rows) % classes
    return draw.normal(0, 1, (classes, width))[targets] + draw.normal(0, noise, (rows, width)), targets


def softmax(logits):
    return np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))


# The head alone.


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_logistic_regression(classes):
    vectors, targets = clouds(classes)
    head = fit_linear_head(vectors, targets, classes, strength=3.0)
    scale = np.linalg.norm(vectors, axis=-1).mean()
    wanted = (
        LogisticRegression(C=3.0, max_iter=5000, tol=1e-8).fit(vectors / scale, targets).predict_proba(vectors / scale)
    )
    np.testing.assert_allclose(softmax(vectors @ head.kernel + head.bias), wanted, atol=1e-5)
    assert head.kernel.shape == (8, classes) and head.kernel.dtype == head.bias.dtype == np.float32


@pytest.mark.parametrize("classes", [2, 3])
def test_its_answers_do_not_depend_on_the_length_of_all_vectors(classes):
    vectors, targets = clouds(classes)
    one, other = (fit_linear_head(factor * vectors, targets, classes) for factor in (1.0, 50.0))
    assert one.strength == other.strength
    np.testing.assert_allclose(vectors @ one.kernel, 50 * vectors @ other.kernel, rtol=1e-3, atol=1e-4)


def test_its_products_run_on_one_thread(monkeypatch):
    """Where other work runs, too, threads that wait for one another took up to ninety times as long."""
    seen, fit = set(), linear_head.LogisticRegression.fit

    def watched(self, *args, **options):
        seen.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return fit(self, *args, **options)

    monkeypatch.setattr(linear_head.LogisticRegression, "fit", watched)
    vectors, targets = np.eye(12), np.arange(12) % 2
    fit_linear_head(vectors, targets, 2)
    held_out_probabilities(vectors, targets)
    assert seen == {1}


def test_noise_wants_a_stronger_penalty_than_what_can_be_told_apart():
    clear = fit_linear_head(*clouds(2, noise=0.1), 2)
    noisy = fit_linear_head(*clouds(2, noise=6.0), 2)
    assert noisy.strength < clear.strength and noisy.strength in STRENGTHS
    assert clear.accuracy == 1.0 and noisy.accuracy < 0.8


def test_a_weight_of_two_is_a_row_twice():
    vectors, targets = clouds(3)
    weights = np.ones(60)
    weights[:10] = 2.0
    weighted = fit_linear_head(vectors, targets, 3, weights=weights, strength=1.0)
    rows = np.concatenate([np.arange(60), np.arange(10)])
    # The scale is that of the rows as they are.
    scale = np.linalg.norm(vectors, axis=-1).mean() / np.linalg.norm(vectors[rows], axis=-1).mean()
    twice = fit_linear_head(vectors[rows], targets[rows], 3, strength=1.0 / scale**2)
    np.testing.assert_allclose(softmax(vectors @ weighted.kernel + weighted.bias),
                               softmax(vectors @ twice.kernel + twice.bias), atol=1e-3)  # fmt: skip


@pytest.mark.parametrize(
    ("targets", "classes"),
    [([0, 1], 2), ([0, 0], 2), ([2], 3), ([0, 1, 1], 4), ([0, 1, 2, 2], 3)],
    ids=["a row each", "one label", "one row", "labels without rows", "a label with one row"],
)
def test_few_rows_give_a_head_all_the_same(targets, classes):
    vectors = np.eye(4)[: len(targets)]
    head = fit_linear_head(vectors, np.array(targets), classes)
    logits = vectors @ head.kernel + head.bias
    assert np.isfinite(logits).all()
    missing = np.setdiff1d(np.arange(classes), targets)
    assert (logits[:, missing].max(-1, initial=-np.inf) < logits[np.arange(len(targets)), targets]).all()


def test_several_labels_are_a_regression_each():
    vectors, first = clouds(2)
    second = np.random.default_rng(1).integers(0, 2, 60)
    both = fit_linear_head(vectors, np.stack([first, second, np.zeros(60, int)], 1), 3, strength=1.0)
    alone = fit_linear_head(vectors, first, 2, strength=1.0)
    one = vectors @ both.kernel + both.bias
    two = vectors @ alone.kernel + alone.bias
    np.testing.assert_allclose(one[:, 0], two[:, 1] - two[:, 0], atol=1e-4)
    assert (one[:, 2] < -3).all()


@pytest.mark.parametrize("several", [False, True])
def test_a_name_counts_as_one_more_row(several):
    vectors, targets = clouds(3)
    names = np.random.default_rng(1).normal(size=(3, 8)) * np.linalg.norm(vectors, axis=-1).mean() / 3
    labels = np.arange(3)
    if several:
        targets, labels = np.eye(3, dtype=int)[targets], np.eye(3, dtype=int)
    found = fit_linear_head(vectors, targets, 3, names=names, strength=2.0)
    more, rows = np.concatenate([vectors, names]), np.concatenate([targets, labels])
    scale = np.linalg.norm(vectors, axis=-1).mean() / np.linalg.norm(more, axis=-1).mean()
    wanted = fit_linear_head(more, rows, 3, strength=2.0 / scale**2)
    np.testing.assert_allclose(found.kernel, wanted.kernel, atol=1e-3)


def test_a_label_without_a_row_is_known_by_its_name():
    vectors = np.eye(4)
    head = fit_linear_head(vectors[:2], np.array([0, 1]), 3, names=vectors[:3])
    assert (vectors[2] @ head.kernel + head.bias).argmax() == 2


# As methods.


def build(preset, **options):
    keras.utils.set_random_seed(3)
    options = {"labels": ("negative", "positive"), "sequence_length": 16, **options}
    return TextClassifier.from_preset(preset, **options)


def weights_of(classifier):
    return {name: np.array(value) for name, value in addresses(classifier).items()}


def solved(classifier, split, **options):
    targets = classifier.objective.encode(split.targets).values
    if options.pop("names", True):
        options["names"] = classifier.encode(list(classifier.labels))
    head = fit_linear_head(classifier.encode(split), targets, len(classifier.labels), **options)
    return classifier.objective.activate(classifier.encode(split) @ head.kernel + head.bias)


@pytest.fixture
def split(reviews):
    return Split(*reviews)


def test_a_probe_is_the_regression_on_the_vectors_and_changes_nothing_else(tiny_preset, split, tmp_path):
    classifier = build(tiny_preset)
    classifier.apply("probe")
    before = weights_of(classifier)
    log = tmp_path / "log.csv"
    history = classifier.fit(
        split, validation_data=split, verbose=0, callbacks=[keras.callbacks.CSVLogger(str(log))], epochs=1
    )
    for name, value in weights_of(classifier).items():
        assert name.startswith("head/") or np.array_equal(value, before[name]), name
    assert int(classifier.optimizer.iterations) == 0
    np.testing.assert_allclose(classifier.predict(split, verbose=0), solved(classifier, split), atol=1e-5)
    figures = classifier.evaluate(split, verbose=0, return_dict=True)
    assert {name: [value] for name, value in figures.items()}.items() <= history.history.items()
    assert history.history["val_accuracy"] == history.history["accuracy"] and history.epoch == [0]
    assert "val_macro_f1" in log.read_text()
    classifier.save_to_preset(tmp_path / "probe")
    again = TextClassifier.from_preset(tmp_path / "probe")
    np.testing.assert_array_equal(again.predict(split, verbose=0), classifier.predict(split, verbose=0))


def test_rows_of_weight_nothing_do_not_matter(tiny_preset, split):
    weights = np.ones(60)
    weights[:20] = 0.0
    wrong = ["negative"] * 20 + list(split.targets[20:])
    answers = []
    for targets in (wrong, list(split.targets)):
        classifier = build(tiny_preset)
        classifier.apply(LinearProbe(strength=10.0))
        classifier.fit(split.texts, targets, sample_weight=weights, verbose=0, epochs=1)
        answers.append(classifier.predict(split, verbose=0))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)


class AtStart(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.kernel = np.array(self.model.head.logits.kernel)


@pytest.mark.by_default("head_start")
@pytest.mark.parametrize("strategy", ["head_start", "head_start+freeze:1", "lora:2+head_start"])
def test_training_starts_from_the_solved_head_once(tiny_preset, split, strategy):
    classifier = build(tiny_preset, dropout=0.0)
    classifier.apply(strategy)
    classifier.compile(learning_rate=1e-3)
    names = classifier.encode(list(classifier.labels))
    wanted = fit_linear_head(
        classifier.encode(split), classifier.objective.encode(split.targets).values, 2, names=names
    ).kernel
    first, second = AtStart(), AtStart()
    classifier.fit(split, verbose=0, callbacks=[first], epochs=1)
    np.testing.assert_allclose(first.kernel, wanted, atol=1e-4)
    trained = np.array(classifier.head.logits.kernel)
    assert not np.allclose(trained, wanted)
    classifier.fit(split, verbose=0, callbacks=[second], epochs=1)
    np.testing.assert_array_equal(second.kernel, trained)


def test_a_started_head_trains_at_the_rate_of_the_rest_unless_told(tiny_preset):
    for given, wanted in (({}, 1.0), ({"fresh_multiplier": 7.0}, 7.0)):
        classifier = build(tiny_preset)
        classifier.apply("head_start")
        classifier.compile(learning_rate=1e-5, **given)
        multipliers = classifier.optimizer.get_config()["rate_multipliers"]
        assert set(multipliers.values()) == {wanted} and "head/logits/kernel" in multipliers


def test_contrastive_training_brings_a_label_together_and_leaves_the_frozen_as_it_was(two_block_preset, split):
    classifier = build(two_block_preset)
    classifier.apply(["freeze:1", Contrastive(60, encoder_rate=1e-2)])
    before, vectors = weights_of(classifier), classifier.encode(split)
    classifier.compile(run_eagerly=True)
    classifier.fit(split, verbose=0, epochs=1)
    targets = classifier.objective.encode(split.targets).values
    assert float(pair_loss(targets, classifier.encode(split))) < 0.5 * float(pair_loss(targets, vectors))
    changed = {name.split("/")[0] for name, value in weights_of(classifier).items() if (value != before[name]).any()}
    assert changed == {"encoder_block_1", "head"}
    assert classifier.head.trainable and int(classifier.optimizer.iterations) == 0
    np.testing.assert_allclose(
        classifier.predict(split, verbose=0), solved(classifier, split, strength=10.0, names=False), atol=1e-5
    )


def test_the_loss_of_pairs_is_that_of_its_definition():
    draw = np.random.default_rng(0)
    vectors, targets = draw.normal(size=(7, 4)), draw.integers(0, 3, 7)
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    near, apart = [], []
    for i in range(7):
        for j in range(i):
            cosine = unit[i] @ unit[j]
            (near if targets[i] == targets[j] else apart).append((i, j, cosine))
    wanted = np.mean([(1 - c) ** 2 for *_, c in near]) + np.mean([max(c, 0) ** 2 for *_, c in apart])
    assert float(pair_loss(targets, vectors)) == pytest.approx(wanted, rel=1e-5)
    one_hot = np.eye(3)[targets]
    assert float(pair_loss(one_hot, vectors)) == pytest.approx(wanted, rel=1e-5)


def test_texts_that_share_half_of_their_labels_should_be_half_alike():
    labels = np.array([[1, 1, 0], [1, 0, 0]])
    half = np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    assert float(pair_loss(labels, half)) == pytest.approx(0.0, abs=1e-10)
    assert float(pair_loss(labels, half[[0, 0]])) == pytest.approx(0.25)


def test_a_pair_weighs_what_its_texts_do():
    vectors, targets = clouds(3, rows=12)
    weights = np.random.default_rng(1).uniform(0.1, 2.0, 12)
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    cosines, pairs = unit @ unit.T, np.outer(weights, weights)
    same = targets[:, None] == targets
    alike, apart = pairs * (same & ~np.eye(12, dtype=bool)), pairs * ~same
    wanted = (alike * (1 - cosines) ** 2).sum() / alike.sum() + (
        apart * np.maximum(cosines, 0) ** 2
    ).sum() / apart.sum()
    assert float(pair_loss(targets, vectors, weights)) == pytest.approx(wanted, rel=1e-5)
    assert float(pair_loss(targets, vectors, 5 * weights)) == pytest.approx(wanted, rel=1e-5)
    assert float(pair_loss(targets, vectors, np.ones(12))) == pytest.approx(
        float(pair_loss(targets, vectors)), rel=1e-6
    )


@pytest.mark.parametrize("given", ["sample_weight", "class_weight"])
def test_weights_reach_the_encoder_of_contrastive_training(tiny_preset, reviews, given):
    texts, labels = (list(column)[:20] for column in reviews)
    weighted = {
        "sample_weight": {"sample_weight": np.linspace(0.1, 3.0, 20)},
        "class_weight": {"class_weight": {"positive": 5.0}},
    }[given]
    found = []
    for options in ({}, weighted):
        classifier = build(tiny_preset)
        classifier.apply(Contrastive(3))
        classifier.compile(run_eagerly=True)
        classifier.fit(texts, labels, verbose=0, **options)
        found.append(weights_of(classifier)["encoder_block_0/attention/value/kernel"])
    assert not np.allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize("method", ["contrastive:3", "probe"])
def test_changed_copies_are_refused_where_no_update_would_see_them(tiny_preset, reviews, method):
    classifier = build(tiny_preset)
    classifier.apply(method)
    with pytest.raises(TransformerError, match=f"augmentation cannot go with {method}, which reads the texts as they"):
        classifier.fit(*reviews, augmentation="swap:0.1", verbose=0)
    with pytest.raises(TransformerError, match=f"augmentation cannot go with {method}, which reads the texts as they"):
        ClassificationOptions(strategy=method, augmentation=("swap:0.1",))


def test_a_row_of_weight_0_does_not_count():
    vectors, targets = clouds(3)
    weights = np.ones(62)
    weights[[3, 40]] = 0.0
    more = np.insert(vectors, [3, 39], 100.0, axis=0)
    head = fit_linear_head(more, np.insert(targets, [3, 39], 0), 3, weights=weights)
    np.testing.assert_array_equal(head.kernel, fit_linear_head(vectors, targets, 3).kernel)


@pytest.mark.parametrize("targets", [np.arange(40) % 4, np.r_[np.zeros(39, int), 1], np.arange(40)], ids=str)
def test_batches_have_pairs_of_a_label(targets):
    for rows in pair_batches(targets, 6, 20, np.random.default_rng(0)):
        assert len(rows) == 6
        counts = np.bincount(targets[rows])
        assert (counts[counts > 0] >= 2).all() and (counts > 0).sum() >= 2


@pytest.mark.parametrize("strategy", ["probe", "head_start", "contrastive:2"])
def test_rows_have_to_be_known_beforehand(tiny_preset, split, strategy):
    classifier = build(tiny_preset)
    classifier.apply(strategy)
    dataset = tf.data.Dataset.from_tensor_slices((list(split.texts), list(split.targets)))
    with pytest.raises(TransformerError, match="cannot go with a dataset: give a Split or texts"):
        classifier.fit(dataset, verbose=0, epochs=1)


def test_what_has_no_linear_head_of_one_task_is_refused(tiny_preset):
    tasks = MultiTaskClassifier.from_preset(tiny_preset, tasks={"one": ("a", "b"), "two": ("c", "d")})
    for strategy in ("probe", "head_start", "contrastive"):
        with pytest.raises(TransformerError, match=f"{strategy} is for a classifier with one linear head; got a Multi"):
            tasks.apply(strategy)
    classifier = build(tiny_preset)
    classifier.apply(LoRA(2, targets="head/logits"))
    with pytest.raises(TransformerError, match="head_start needs a head without a change in it"):
        classifier.apply("head_start")


def test_what_does_not_go_together_is_refused(tiny_preset, split):
    classifier = build(tiny_preset)
    with pytest.raises(TransformerError, match="strategy probe goes with no other method; got probe.lora:2"):
        classifier.apply("probe+lora:2")
    with pytest.raises(TransformerError, match="head_start and contrastive:150 want the same place, head"):
        classifier.apply("head_start+contrastive")
    classifier.apply("contrastive:2")
    with pytest.raises(TransformerError, match="contrastive needs rows of two labels at least; all rows have the same"):
        classifier.fit(["good", "fine"], ["positive", "positive"], verbose=0, epochs=1)
    for wrong in ({"updates": 0}, {"batch_size": 1}, {"encoder_rate": 0.0}, {"strength": -1.0}):
        with pytest.raises(TransformerError, match=next(iter(wrong))):
            Contrastive(**wrong)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["probe", "head_start"])
def test_documents_have_one_linear_head_too(two_block_preset, split, strategy):
    classifier = DocumentClassifier.from_preset(
        two_block_preset, labels=("negative", "positive"), sequence_length=6, max_chunks=3
    )
    classifier.apply(strategy)
    classifier.fit(split, verbose=0, epochs=1)
    assert classifier.evaluate(split, verbose=0, return_dict=True)["accuracy"] > 0.8
    with pytest.raises(TransformerError, match="contrastive is for texts that are one row; a DocumentClassifier cuts"):
        classifier.apply("contrastive")


@pytest.mark.slow
def test_vectors_of_frozen_blocks_are_taken_from_where_they_are_stored(two_block_preset, split, monkeypatch):
    kernels, runs = [], []
    for cache in ("off", "auto"):
        classifier = build(two_block_preset, dropout=0.0)
        classifier.apply("head_start+freeze:1")
        classifier.compile(keras.optimizers.SGD(0.0))
        encode = classifier.encode
        monkeypatch.setattr(classifier, "encode", lambda data, encode=encode: runs.append(1) or encode(data))
        classifier.fit(split, epochs=2, verbose=0, activation_cache=cache)
        kernels.append(np.array(classifier.head.logits.kernel))
    np.testing.assert_allclose(kernels[0], kernels[1], atol=1e-3)
    # Texts without the cache, and the names of the labels.
    assert len(runs) == 3
