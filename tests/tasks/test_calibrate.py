"""`calibrate` makes held-out labels likelier, changes no decision, and is part of whatever the weights go into."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tftransformer import LoRA, load, merge
from tftransformer.data import Split
from tftransformer.errors import TransformerError
from tftransformer.evaluation.calibration import conformal_threshold, label_sets, with_temperature
from tftransformer.tasks import DocumentClassifier, MultiTaskClassifier, TextClassifier

LABELS = ("negative", "positive", "neither")
TEXTS = [
    f"the {word} film and {other} plot"
    for word in ("good", "bad", "dull", "bright", "good good", "bad bad")
    for other in ("a", "slow", "quick", "dull", "the", "this")
]
TARGETS = [LABELS[i % 3] for i in range(len(TEXTS))]


def sure(task, head):
    """A model whose head is far too sure."""
    draw = np.random.default_rng(0)
    head.logits.kernel.assign(draw.normal(0, 0.7, head.logits.kernel.shape))
    task.run_eagerly = True
    return task


def single(preset):
    task = TextClassifier.from_preset(preset, labels=LABELS)
    return sure(task, task.head), task.objective, {}


def several(preset):
    task = TextClassifier.from_preset(preset, labels=LABELS, multi_label=True, threshold=0.3)
    return sure(task, task.head), task.objective, {}


def documents(preset):
    task = DocumentClassifier.from_preset(preset, labels=LABELS, sequence_length=6, max_chunks=3)
    return sure(task, task.head), task.objective, {}


def of_tasks(preset):
    task = MultiTaskClassifier.from_preset(preset, tasks={"first": ["no", "yes"], "mood": LABELS})
    return sure(task, task.head.heads[1]), task.tasks["mood"], {"task": "mood"}


def drawn(probabilities, multi_label):
    """Labels that are drawn as if the model were three times as sure as it should be."""
    draw = np.random.default_rng(1)
    fair = with_temperature(probabilities, 3.0, multi_label)
    if multi_label:
        return [tuple(itertools.compress(LABELS, row)) for row in draw.random(fair.shape) < fair]
    return [LABELS[draw.choice(3, p=row)] for row in fair]


@pytest.mark.parametrize("make", [single, several, documents, of_tasks], ids=lambda make: make.__name__)
def test_labels_get_likelier_and_no_decision_changes(make, tiny_preset, tmp_path):
    task, answers, which = make(tiny_preset)
    before, others = task.predict(TEXTS, verbose=0, **which), None
    if which:
        others = task.predict(TEXTS, task="first", verbose=0)
    chosen = answers.predicted_labels(before)
    targets = drawn(before, answers.multi_label)
    split = Split(TEXTS, targets, multi_label=answers.multi_label)
    temperature = task.calibrate(split, **which)
    assert 1 < temperature < 12
    after = task.predict(TEXTS, verbose=0, **which)
    np.testing.assert_allclose(after, with_temperature(before, temperature, answers.multi_label), atol=1e-5)
    assert answers.predicted_labels(after) == chosen
    if which:
        np.testing.assert_array_equal(task.predict(TEXTS, task="first", verbose=0), others)
    assert answers.metrics_of(targets, after)["loss"] < answers.metrics_of(targets, before)["loss"]
    # A second time there is nothing left to do.
    assert task.calibrate(split, **which) == pytest.approx(1, abs=0.01)
    task.save_to_preset(tmp_path / "saved")
    again = load(tmp_path / "saved")
    again.run_eagerly = True
    np.testing.assert_allclose(again.predict(TEXTS, verbose=0, **which), after, atol=1e-3)


@pytest.mark.slow
def test_an_export_answers_calibrated(tiny_preset, tmp_path):
    task, _, _ = single(tiny_preset)
    task.calibrate(Split(TEXTS, TARGETS))
    task.export(tmp_path / "serving")
    served = tf.saved_model.load(str(tmp_path / "serving")).signatures["serving_default"](text=tf.constant(TEXTS))
    np.testing.assert_allclose(served["probabilities"], task.predict(TEXTS, verbose=0), atol=1e-5)


def test_what_cannot_be_calibrated(tiny_preset):
    task, _, _ = single(tiny_preset)
    with pytest.raises(TransformerError, match="targets"):
        task.calibrate(Split(TEXTS))
    with pytest.raises(TransformerError, match="no task 'moood'"):
        of_tasks(tiny_preset)[0].calibrate(Split(TEXTS, TARGETS), task="moood")
    task.apply(LoRA(rank=2, targets=["head/logits"]))
    with pytest.raises(TransformerError, match="the head holds a change that is not merged: tt.merge"):
        task.calibrate(Split(TEXTS, TARGETS))
    before = task.predict(TEXTS, verbose=0)
    merge(task)
    task.calibrate(Split(TEXTS, TARGETS))
    np.testing.assert_array_equal(before.argmax(-1), task.predict(TEXTS, verbose=0).argmax(-1))


@pytest.mark.parametrize("make", [single, of_tasks], ids=lambda make: make.__name__)
def test_label_sets_are_those_of_the_threshold_and_the_likeliest_come_first(make, tiny_preset):
    task, answers, which = make(tiny_preset)
    probabilities = task.predict(TEXTS, verbose=0, **which)
    split = Split(TEXTS, drawn(probabilities, False))
    before = [()] * len(TEXTS)
    for coverage in (0.3, 0.8, 0.99):
        threshold = task.conformal_threshold(split, coverage, **which)
        assert threshold == conformal_threshold(answers.encode(split.targets).values, probabilities, coverage)
        found = answers.answers(probabilities, label_set_threshold=threshold)
        for answer, row, smaller in zip(found, label_sets(probabilities, threshold), before, strict=True):
            assert set(answer.label_set) == set(itertools.compress(LABELS, row))
            assert answer.label_set[0] == answer.label
            inside = [answer.probabilities[label] for label in answer.label_set]
            assert inside == sorted(inside, reverse=True)
            # A larger set goes on where the smaller one ends.
            assert answer.label_set[: len(smaller)] == smaller
        before = [answer.label_set for answer in found]
    assert all(len(labels) == 3 for labels in before)  # 36 rows are too few for .99
    if not which:
        assert task.classify(TEXTS, label_set_threshold=threshold) == found


def test_of_equally_likely_labels_the_answer_comes_first(tiny_preset):
    _, answers, _ = of_tasks(tiny_preset)
    rows = np.array([[0.25, 0.375, 0.375], [0.5, 0.25, 0.25]])
    found = answers.answers(rows, min_probability=0.4, label_set_threshold=0.6)
    assert [answer.label for answer in found] == [None, LABELS[0]]  # a set may stand where the label is left out
    assert [answer.label_set for answer in found] == [LABELS[1:], LABELS[:1]]
    assert [answer.label_set for answer in answers.answers(rows)] == [None, None]
    assert answers.answers(rows[:0], label_set_threshold=0.5) == []


def test_wrong_label_sets(tiny_preset):
    task, _, _ = single(tiny_preset)
    several_labels, _, _ = several(tiny_preset)
    split = Split(TEXTS[:3], TARGETS[:3])
    with pytest.raises(TransformerError, match="label_set_threshold must be between 0 and 1; got 1.5"):
        task.classify(TEXTS[:3], label_set_threshold=1.5)
    with pytest.raises(TransformerError, match="coverage must be above 0 and below 1; got 90"):
        task.conformal_threshold(split, 90)
    with pytest.raises(TransformerError, match="targets"):
        task.conformal_threshold(Split(TEXTS[:3]))
    with pytest.raises(TransformerError, match="label_set_threshold is for one label a text"):
        several_labels.classify(TEXTS[:3], label_set_threshold=0.0)
    with pytest.raises(TransformerError, match="conformal_threshold is for one label a text"):
        several_labels.conformal_threshold(split)


def test_unsure_answers_are_left_out(tiny_preset):
    task, _, _ = single(tiny_preset)
    probabilities = task.predict(TEXTS, verbose=0).max(-1)
    middle = float(np.median(probabilities))
    answers = task.classify(TEXTS, min_probability=middle)
    assert [answer.label is None for answer in answers] == list(probabilities < middle)
    assert [answer.probability for answer in answers] == pytest.approx(list(probabilities))
    with pytest.raises(TransformerError, match="min_probability must be between 0 and 1; got 1.5"):
        task.classify(TEXTS, min_probability=1.5)
    with pytest.raises(TransformerError, match="min_probability is for one label a text"):
        several(tiny_preset)[0].classify(TEXTS, min_probability=0.5)
