"""A task says what its targets look like; batching, packing, stored states, weights and Keras's loops follow.

The tasks here are small ones of a user's own: a label for each token, a span, a number, a sequence.
"""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from tftransformer.data.fields import Sequences, TokenLabels, Values
from tftransformer.data.ragged import Ragged
from tftransformer.errors import TransformerError
from tftransformer.finetuning import ActivationCache, Freeze
from tftransformer.objectives import Objective
from tftransformer.tasks.task import Task
from tftransformer.text import WordPieceTokenizer

TEXTS = [
    "good film",
    "bad",
    "a good plot and a bad film",
    "the film",
    "bad plot",
    "good",
    "a plot",
    "the bad film and plot",
]
TAGS = {"good": 1, "bad": 2}


class Arrays(Objective):
    def encode(self, targets):
        return Values(targets)


class Tags(Objective):
    """Targets: of each text a label for each word of one token."""

    def encode(self, targets):
        return TokenLabels(Ragged.of([[-1, *row, -1] for row in targets], "int32"), ignore=-1)


class Rows(Objective):
    def encode(self, targets):
        return Sequences(Ragged.of(targets, "int32"))


class TokenTask(Task):
    """A vector for each token, and a dense layer over it."""

    meaning = Arrays

    def __init__(self, config, tokenizer, width, activation=None):
        super().__init__(config, tokenizer, objective=self.meaning(), pooling=None, sequence_length=16)
        self.add_head(keras.layers.Dense(width, activation=activation, name="head"))


class Tagger(TokenTask):
    meaning = Tags


class SpanFinder(TokenTask):
    def call(self, inputs, training=None):
        hidden = ops.cast(inputs["padding_mask"], "float32")[..., None]
        return ops.transpose(super().call(inputs, training) - 1e9 * (1 - hidden), (0, 2, 1))


class Rater(TokenTask):
    def call(self, inputs, training=None):
        return super().call(inputs, training)[:, 0, 0]


def tags(texts=TEXTS):
    return [[TAGS.get(word, 0) for word in text.split()] for text in texts]


@pytest.fixture
def build(tiny_config, tiny_vocabulary):
    def make(kind, width):
        keras.utils.set_random_seed(0)
        return kind(tiny_config.replace(dropout=0.0, attention_dropout=0.0), WordPieceTokenizer(tiny_vocabulary), width)

    return make


@pytest.fixture
def tagger(build):
    task = build(Tagger, 3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    task.compile(keras.optimizers.Adam(3e-2), loss, weighted_metrics=["sparse_categorical_accuracy"])
    return task


def run(task, **options):
    targets = options.pop("targets", None) or tags()
    validation = (TEXTS[:3], tags()[:3])
    return task.fit(TEXTS, targets, batch_size=4, epochs=4, verbose=0, validation_data=validation, **options).history


def test_a_label_for_each_token_is_learned_and_padding_counts_nowhere(tagger):
    history = run(tagger)
    assert history["loss"][-1] < history["loss"][0] / 2
    assert history["val_sparse_categorical_accuracy"][-1] == pytest.approx(1.0)
    # One row at a time has no padding at all.
    logits = [tagger(tagger.preprocess([text]).features(np.array([0]), len(text.split()) + 2)) for text in TEXTS]
    losses = [
        keras.losses.sparse_categorical_crossentropy(np.array(row), out[0, 1:-1], from_logits=True)
        for row, out in zip(tags(), logits, strict=True)
    ]
    expected = float(ops.mean(ops.concatenate(losses)))
    assert tagger.evaluate(TEXTS, tags(), verbose=0)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.by_default("stored states")
@pytest.mark.parametrize("step", ["packing", "stored states", "stored states of all blocks"])
def test_a_label_for_each_token_goes_the_same_way_through_every_step(build, tagger, step):
    steps = {
        "packing": ({"packing": True}, None),
        "stored states": ({"activation_cache": ActivationCache(say=lambda line: None)}, Freeze(1)),
        "stored states of all blocks": ({"activation_cache": ActivationCache(say=lambda line: None)}, Freeze(2)),
    }
    options, method = steps[step]
    histories = []
    for given in ({"activation_cache": "off"}, options):
        task = build(Tagger, 3)
        if method is not None:
            task.apply(method)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        task.compile(keras.optimizers.SGD(0.1), loss)
        histories.append(run(task, **given))
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4)
    if method is not None:
        assert options["activation_cache"].computed_rows


@pytest.mark.slow
def test_spans_numbers_and_vectors_are_learned(build):
    spans = np.array([[1, 2 if " " in text else 1] for text in TEXTS])
    finder = build(SpanFinder, 2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    finder.compile(keras.optimizers.Adam(3e-2), loss)
    losses = finder.fit(TEXTS, spans, batch_size=4, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    rater = build(Rater, 1)
    rater.compile(keras.optimizers.Adam(3e-2), "mse")
    numbers = np.array([text.count("good") - text.count("bad") for text in TEXTS], "float32")
    losses = rater.fit(TEXTS, numbers, batch_size=4, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2


def test_sequences_of_their_own_lengths_reach_the_loss_padded_and_weighted(build):
    seen = []

    class Copier(TokenTask):
        meaning = Rows

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            seen.append((np.array(y), np.array(sample_weight)))
            return ops.mean(y_pred)

    task = build(Copier, 1)
    task.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    rows = [[number] * (1 + number % 5) for number in range(8)]
    task.fit(TEXTS, rows, batch_size=4, verbose=0, epochs=1)
    found = [row[: int(weight.sum())].tolist() for y, weights in seen for row, weight in zip(y, weights, strict=True)]
    assert sorted(found) == sorted(rows) and all(y.shape == weights.shape for y, weights in seen)


def test_labels_that_are_not_one_a_token_are_refused(tagger):
    with pytest.raises(TransformerError, match=r"one for each token; row 1 \(from 0\) has 3 tokens and 4 targets"):
        run(tagger, targets=[tags()[0], [2, 2], *tags()[2:]])


# Examples stand for texts.


@pytest.fixture(scope="module")
def classifiers(two_block_preset):
    from tftransformer.tasks import TextClassifier

    def make(**options):
        keras.utils.set_random_seed(1)
        options = {"labels": ["no", "yes"], "sequence_length": 12, "dropout": 0.0, **options}
        classifier = TextClassifier.from_preset(two_block_preset, **options)
        classifier.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        return classifier

    return make


LABELS = ["yes", "no"] * 4


def test_examples_give_what_their_texts_give(classifiers, monkeypatch):
    from tftransformer.data.split import Split

    results = []
    for prepared in (False, True):
        classifier = classifiers()
        split = Split(TEXTS, LABELS)
        data = classifier.preprocess(split) if prepared else split
        if prepared:
            monkeypatch.setattr(classifier.tokenizer, "tokenize", None)
        history = classifier.fit(data, validation_data=data, epochs=2, batch_size=4, verbose=0).history
        results.append(
            SimpleNamespace(
                history=history,
                loss=classifier.evaluate(data, verbose=0),
                probabilities=classifier.predict(data, verbose=0),
                answers=classifier.classify(data),
                vectors=classifier.encode(data),
                report=str(classifier.report(data)),
            )
        )
    texts, examples = results
    assert texts.history == examples.history and texts.loss == examples.loss and texts.report == examples.report
    np.testing.assert_array_equal(texts.probabilities, examples.probabilities)
    np.testing.assert_array_equal(texts.vectors, examples.vectors)
    assert texts.answers == examples.answers


def test_examples_are_augmented_like_their_texts(classifiers):
    histories = []
    for prepared in (False, True):
        classifier = classifiers()
        data = (classifier.preprocess(TEXTS, LABELS),) if prepared else (TEXTS, LABELS)
        options = {"augmentation": "swap:0.5", "epochs": 2, "batch_size": 4, "verbose": 0, "validation_split": 0.25}
        histories.append(classifier.fit(*data, **options).history)
    assert histories[0] == histories[1]


def test_examples_of_another_task_are_refused(classifiers):
    examples = classifiers().preprocess(TEXTS, LABELS)
    other = classifiers(labels=["low", "high"])
    with pytest.raises(TransformerError, match="examples must be of this task's preprocess"):
        other.fit(examples, verbose=0, epochs=1)
    with pytest.raises(TransformerError, match="examples must be of this task's preprocess"):
        classifiers(sequence_length=8).predict(examples, verbose=0)
    # The labels that predict does not look at may be others.
    assert other.predict(examples, verbose=0).shape == (8, 2)
    with pytest.raises(TransformerError, match="y does not go with this kind of data"):
        other.evaluate(examples, LABELS)
    unlabelled = classifiers().preprocess(TEXTS)
    with pytest.raises(TransformerError, match="data must have labels; got examples without"):
        classifiers().report(unlabelled)
    with pytest.raises(TransformerError, match="fit needs labels"):
        classifiers().fit(unlabelled, verbose=0, epochs=1)
