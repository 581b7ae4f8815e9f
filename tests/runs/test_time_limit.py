"""Training within some minutes, by a clock of the test's own: a batch takes a second, a text a hundredth."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest

from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.methods import LoRA
from tftransformer.runs import halving, time_limit
from tftransformer.runs.halving import Candidate, last_updates, rungs_of, select_candidates
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.time_limit import HEAD, train_within
from tftransformer.tasks.text_classifier import TextClassifier
from tftransformer.training.planning import recipe_for

A_BATCH, A_TEXT, TRACING = 1.0, 0.01, 5.0


class Clock:
    """Stands for `time`."""

    now = 0.0

    def monotonic(self):
        return self.now


class Ticks(keras.callbacks.Callback):
    """Lets training take its time; in front of the callbacks that read the clock."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.updates = clock, 0

    def on_train_begin(self, logs=None):
        self.clock.now += TRACING

    def on_train_batch_begin(self, batch, logs=None):
        self.clock.now += A_BATCH
        self.updates += 1


@pytest.fixture
def timed(monkeypatch, two_block_preset, reviews):
    """Trains within some seconds; gives the result, the classifier and the clock."""
    clock = Clock()
    monkeypatch.setattr(time_limit, "time", clock)
    predict = TextClassifier.predict

    def slowly(self, x, *args, **options):
        clock.now += A_TEXT * len(x)
        return predict(self, x, *args, **options)

    monkeypatch.setattr(TextClassifier, "predict", slowly)
    # With a wish for fewer updates there is soon time for several candidates.
    monkeypatch.setattr(time_limit, "LEAST_UPDATES", 4)
    monkeypatch.setattr(time_limit, "default_epochs", lambda *_: 3)
    # Of the sixty validation rows here; a test of folds takes it back.
    monkeypatch.setattr(time_limit, "_LEAST_TEXTS", 60)
    rows = Split(*reviews)

    def train(seconds, kinds=("full",), copies=2, **given):
        keras.utils.set_random_seed(5)
        clock.now = 0.0
        classifier = TextClassifier.from_preset(two_block_preset, labels=("negative", "positive"), sequence_length=12)
        for kind in kinds:
            classifier.apply(kind)
        train_rows = rows.take(list(range(60)) * copies)
        options = {"say": lambda _: None, **given}
        more = options.pop("callbacks", list)
        recipe = recipe_for(classifier, len(train_rows), fresh_head=True)
        if recipe.epochs:
            recipe = dataclasses.replace(recipe, epochs=2)
        ticks = Ticks(clock)
        options["callbacks"] = lambda: [ticks, *more()]
        options["compile_options"] = {"run_eagerly": True, **options.get("compile_options", {})}
        result = train_within(classifier, train_rows, rows, seconds / 60, recipe, **options)
        return result, classifier, clock, ticks

    return train


def test_rungs_share_the_time_without_rest():
    for count, seconds in itertools.product((1, 2, 3, 5, 9), (100.0, 1000.0, 5000.0)):
        last = last_updates(count, seconds, 0.5, 3.0)
        rungs = rungs_of(count)
        spent = sum(left * (3.0 + 0.5 * (last / 3**above)) for above, left in zip(range(len(rungs))[::-1], rungs))
        assert spent <= seconds + 1e-6 or last == 0
        assert spent > seconds - 3 * 0.5 * count or last == 0


def test_more_time_never_means_fewer_candidates():
    candidates = [Candidate("full", rate) for rate in (1e-4, 3e-4, 3e-5, 1e-5, 1e-3)]
    chosen = [select_candidates(candidates, seconds, 0.5, 3.0, 250) for seconds in range(0, 2000, 50)]
    assert chosen == sorted(chosen) and set(chosen) == {1, 3, 5}


def test_a_model_is_left_whatever_happens(timed):
    result, classifier, _, ticks = timed(0.01)
    (only,) = result.trials
    assert only.strategy == HEAD and result.best is only and ticks.updates == 0
    assert only.accuracy > 0.6 and result.epochs == [{"val_loss": only.loss, "val_accuracy": only.accuracy}]
    assert "probe" in str(result) and "kept" in str(result)
    classifier.fit(Split(["good", "bad"], ["positive", "negative"]), epochs=1, verbose=0)  # it goes on from there


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [60, 140])
def test_it_is_done_in_time_and_the_best_is_left(timed, reviews, seconds):
    saved = []
    result, classifier, clock, _ = timed(seconds, keep=lambda: saved.append(1), rows_after=100, seconds_after=4.0)
    # Behind the end: the texts that are still to be predicted, a judgement and a batch.
    assert clock.now <= seconds - 100 * A_TEXT - 4.0 + 60 * A_TEXT + A_BATCH
    assert clock.now > 0.5 * seconds
    losses = [trial.loss for trial in result.trials]
    assert result.best.loss == min(losses) and len(saved) == sum(
        loss < min(losses[:number], default=np.inf) for number, loss in enumerate(losses)
    )
    right = [label == answer.label for label, answer in zip(reviews[1], classifier.classify(list(reviews[0])))]
    assert np.mean(right) == pytest.approx(result.best.accuracy)


@pytest.mark.slow
def test_time_for_a_few_updates_goes_into_few_blocks(timed):
    result, classifier, _, _ = timed(30)
    assert [trial.strategy for trial in result.trials] == [HEAD, "freeze:1"]
    assert result.trials[-1].updates > 10


@pytest.mark.slow
def test_all_trials_start_from_the_same_weights(timed, monkeypatch):
    """One that makes no update to speak of judges like the head alone."""
    monkeypatch.setattr(halving, "RATES", (1e-9,))
    result, _, _, _ = timed(140)
    head, *others = result.trials
    assert len(others) >= 3
    for trial in others:
        assert trial.strategy != "full" or trial.loss == pytest.approx(head.loss, abs=1e-4)


@pytest.mark.slow
def test_what_was_asked_for_is_all_that_is_trained(timed):
    result, classifier, _, _ = timed(120, kinds=[LoRA(2)], methods=False)
    assert {trial.strategy for trial in result.trials} <= {"as it is", HEAD}
    assert len({trial.learning_rate for trial in result.trials} - {None}) == 3
    result, _, _, _ = timed(120, rates=False)
    assert len({trial.learning_rate for trial in result.trials} - {None}) == 1


@pytest.mark.slow
def test_few_rows_have_contrastive_training_among_what_competes(timed):
    result, _, _, _ = timed(140, copies=1)
    assert "contrastive" in {trial.strategy for trial in result.trials}


def test_few_validation_rows_leave_judging_to_folds_of_the_training_rows(timed, monkeypatch):
    monkeypatch.setattr(time_limit, "_LEAST_TEXTS", 100)
    trained, judged, solved = [], [], []
    fit, predict, solve = TextClassifier.fit, TextClassifier.predict, time_limit.solve_head

    def names(examples):
        return set(range(120) if examples.numbers is None else examples.numbers.tolist())

    def seen_by_fit(self, x, *arguments, **options):
        trained.append(names(x))
        return fit(self, x, *arguments, **options)

    def seen_by_predict(self, x, *arguments, **options):
        judged.append(names(x) if hasattr(x, "numbers") else None)
        return predict(self, x, *arguments, **options)

    def seen_by_head(task, vectors, *arguments, **options):
        solved.append(len(vectors))
        return solve(task, vectors, *arguments, **options)

    monkeypatch.setattr(TextClassifier, "fit", seen_by_fit)
    monkeypatch.setattr(TextClassifier, "predict", seen_by_predict)
    monkeypatch.setattr(time_limit, "solve_head", seen_by_head)
    result, classifier, clock, _ = timed(400)
    in_folds = [trial for trial in result.trials if trial.folds]
    assert len(in_folds) >= 2 and {trial.folds for trial in in_folds} == {3}
    # The pilot and the last training have all rows; each fold has two thirds, and a head that was solved for on those.
    assert [len(rows) for rows in trained] == [120, *[80] * 3 * len(in_folds), 120]
    assert solved == [120, *[80] * 3 * len(in_folds)]
    held_out = [rows for rows in judged if rows is not None and len(rows) == 40]
    assert all(
        rows | rest == set(range(120)) and not rows & rest for rows, rest in zip(trained[1:-1], held_out, strict=True)
    )
    best = min(in_folds, key=lambda trial: trial.loss)
    assert result.trials[-1].strategy == best.strategy and result.trials[-1].learning_rate == best.learning_rate
    assert clock.now <= 400 + A_BATCH + 60 * A_TEXT and "3 folds" in str(result)


def test_little_time_is_told_with_the_minutes_that_would_do(timed):
    short, *_ = timed(0.01)
    assert short.missing > 0
    enough, *_ = timed(140)
    assert enough.missing == 0


@pytest.mark.slow
def test_the_usual_callbacks_go_with_every_trial(timed, tmp_path):
    """With contrastive training among the trials, which makes no updates of the optimizer."""
    rates = []

    def callbacks():
        note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: rates.append(logs["loss"]))
        return [
            note,
            keras.callbacks.TensorBoard(str(tmp_path / "board"), write_graph=False),
            keras.callbacks.CSVLogger(str(tmp_path / "log.csv"), append=True),
            keras.callbacks.ModelCheckpoint(str(tmp_path / "last.weights.h5"), save_weights_only=True),
            keras.callbacks.EarlyStopping("loss", patience=50),
            keras.callbacks.TerminateOnNaN(),
        ]

    result, *_ = timed(140, copies=1, callbacks=callbacks)
    assert "contrastive" in {trial.strategy for trial in result.trials} and result.best.loss is not None
    assert len(rates) >= len(result.trials) - 1 and np.isfinite(rates).all()
    assert (tmp_path / "last.weights.h5").exists() and (tmp_path / "log.csv").stat().st_size
    assert list((tmp_path / "board").rglob("events*"))


def test_a_training_that_diverges_is_left_out(timed, monkeypatch):
    monkeypatch.setattr(halving, "RATES", (1e32,))
    result, _, _, _ = timed(120, methods=False, compile_options={"global_clipnorm": None})
    head, diverged = result.trials
    assert diverged.loss is None and result.best is head and "diverged" in str(result)


def test_what_cannot_be_is_refused(timed):
    with pytest.raises(TransformerError, match="minutes must be above 0 and finite; got 0"):
        timed(0)
    for given, message in (
        ({"minutes": -1.0}, "minutes must be above 0 and finite; got -1"),
        ({"minutes": float("nan")}, "minutes must be above 0 and finite"),
        ({"minutes": 1.0, "epochs": 3}, "epochs cannot go with minutes, .*; got 3"),
        ({"minutes": 1.0, "early_stopping": 2}, "early_stopping cannot go with minutes"),
        ({"test_all": True}, "test_all goes with minutes"),
        ({"minutes": 1.0, "strategy": "probe"}, "minutes cannot go with probe, which takes no updates"),
        ({"minutes": 1.0, "strategy": "unfreeze"}, "minutes cannot go with unfreeze.*, which divides"),
    ):
        with pytest.raises(TransformerError, match=message):
            ClassificationOptions(**given)
    assert dataclasses.replace(ClassificationOptions(), minutes=0.5).minutes == 0.5
