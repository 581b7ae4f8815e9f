"""What a run below its baseline is told to try."""

import pytest

from tftransformer.data import Split, Splits
from tftransformer.evaluation import classification_metrics
from tftransformer.evaluation.reports import Report
from tftransformer.runs import classification
from tftransformer.runs.classification import below_baseline
from tftransformer.runs.options import ClassificationOptions
from tftransformer.tasks import TextClassifier

RIGHT, WRONG = [[0.9, 0.1], [0.1, 0.9]], [[0.1, 0.9], [0.1, 0.9]]
DATA = {"rows": 400, "truncated": 0.4, "tokens": {"95": 60}}


def report(own, baseline):
    figures = [classification_metrics([0, 1], rows, ["no", "yes"]) for rows in (own, baseline)]
    return Report(figures[0], baseline={"name": "word counting", **figures[1]})


def told(rows=200, epochs=3, rate=2e-5, data=DATA, run=None, longest=None, **options):
    course = {"learning_rate": rate, "epochs": epochs, "epochs_run": run or epochs, "rows": rows}
    options = ClassificationOptions(**{"max_length": 20, **options})
    usual = options.fine_tuning().learning_rate({})
    return below_baseline(report(WRONG, RIGHT), options, course, data, usual, longest)


def test_a_model_above_its_baseline_is_told_nothing():
    arguments = (
        ClassificationOptions(),
        {"learning_rate": 2e-5, "epochs": 3, "epochs_run": 3, "rows": 200},
        DATA,
        2e-5,
    )
    assert below_baseline(report(RIGHT, WRONG), *arguments) == ""
    assert below_baseline(report(RIGHT, RIGHT), *arguments) == ""
    alone = Report(classification_metrics([0, 1], WRONG, ["no", "yes"]))
    assert below_baseline(alone, *arguments) == ""


def test_the_flags_follow_from_the_run():
    lines = told(strategy="freeze:8", train_examples=200).splitlines()
    assert lines[0].startswith("The model is below word counting, by 0.6667 of macro F1.")
    assert [line.split("  ")[1] for line in lines[1:]] == [
        "--epochs=20", "--learning_rate=6e-5", "--strategy=full", "--max_length=60", "without --train_examples",
    ]  # fmt: skip
    assert "39 updates" in lines[1] and "40%" in lines[4] and "400 rows" in lines[5]


@pytest.mark.parametrize(
    ("given", "flag", "there"),
    [
        (dict(rows=2000), "--epochs", False),
        (dict(rows=2000, gradient_accumulation=4), "--epochs=8", True),
        (dict(rate=5e-3), "--learning_rate=2e-5", True),
        (dict(rate=1e-3, strategy="lora:8"), "--learning_rate=3e-3", True),
        (dict(), "--strategy", False),
        (dict(freeze_layers=8), "--strategy", False),
        (dict(freeze_layers=8), "without --freeze_layers", True),
        (dict(rows=2000, run=1), "without --early_stopping  ", True),
        (dict(rows=2000, run=1), "--epochs", False),
        (dict(rows=200, run=1), "--epochs=20 without --early_stopping  this run made 13 updates", True),
        (dict(longest=40), "--max_length=40 ", True),
        (dict(longest=100), "--max_length=60 ", True),
        (dict(longest=20), "--max_length", False),
        (dict(max_length=None, longest=512), "--max_length", False),
        (dict(data={"rows": 9, "truncated": 0.0, "tokens": {"95": 9}}), "--max_length", False),
        (dict(data={"rows": 9, "truncated": None, "tokens": None}), "--max_length", False),
    ],
)
def test_only_what_may_help_is_named(given, flag, there):
    assert (flag in told(**given)) is there


def test_a_run_tells_how_it_was_trained(tiny_preset, reviews, monkeypatch, tmp_path):
    heard = []
    split = Split(*reviews)
    monkeypatch.setattr(classification, "_fit", lambda *_: {"epochs": [{}, {}]})
    monkeypatch.setattr(classification, "_evaluate", lambda *_: (report(WRONG, RIGHT), {}))
    monkeypatch.setattr(classification, "below_baseline", lambda *given: heard.extend(given) or "")
    monkeypatch.setattr(TextClassifier, "export", lambda *_: None)
    options = ClassificationOptions(
        preset=str(tiny_preset), epochs=5, augmentation="swap:0.1", output_dir=str(tmp_path / "run")
    )
    classification.train_on(options, Splits(split, split, split))
    course, longest = heard[2], heard[5]
    assert (course["rows"], course["epochs"], course["epochs_run"], longest) == (120, 5, 2, 32)
