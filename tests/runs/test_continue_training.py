"""Going on with a finished run: its rows and new ones, both test sets, labels that are new."""

import csv
import dataclasses
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tftransformer import files
from tftransformer.data import Split
from tftransformer.data.split import Splits
from tftransformer.errors import TransformerError
from tftransformer.runs import classification, continue_training
from tftransformer.runs.continue_training import BothTests
from tftransformer.runs.finished_runs import merged, run_splits, without
from tftransformer.runs.options import ClassificationOptions, continued_options, options_of
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.train import fingerprints
from tftransformer.tasks import TextClassifier


def write(path, texts, labels):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, labels)])
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory, reviews, tiny_preset):
    """A finished run as `train` leaves one, without the training, and files of new rows."""
    folder = tmp_path_factory.mktemp("continuing")
    texts, labels = reviews
    write(folder / "old.csv", texts, labels)
    write(folder / "new.csv", [*texts[:8], *(f"{text} this movie" for text in texts[:30])],
          [*labels[:8], *labels[:30]])  # fmt: skip
    write(folder / "more.csv", [f"{text} it is" for text in texts[:30]],
          ["mixed" if i % 3 == 0 else label for i, label in enumerate(labels[:30])])  # fmt: skip
    keras.utils.set_random_seed(0)
    classifier = TextClassifier.from_preset(tiny_preset, labels=("negative", "positive"), sequence_length=24)
    options = ClassificationOptions(
        preset=str(tiny_preset), dataset=str(folder / "old.csv"), epochs=1, learning_rate=1e-3, seed=3
    )
    with RunFolder.create(folder / "run", "old", config=dataclasses.asdict(options)) as run:
        classifier.save_to_preset(run.model_path)
        run.finish({"test": {}, "data": {"fingerprints": fingerprints(classification.load_splits(options))}})
    return folder


def test_a_first_run_is_another_function():
    with pytest.raises(TransformerError, match="init_from is for runs.continue_training.train"):
        classification.train(ClassificationOptions(init_from="runs/april-1"))


def test_a_run_gives_its_options_and_its_rows_again(place):
    run = RunFolder.open(place / "run")
    options = continued_options(place / "run", {"dataset": "new.csv", "epochs": 2})
    expected = dataclasses.replace(
        options_of(run, over_chunks=False), dataset="new.csv", epochs=2, init_from=str(place / "run")
    )
    assert options == expected and options.seed == 3 and options.learning_rate == 1e-3
    assert [len(split) for split in run_splits(place / "run")] == [42, 6, 12]


def test_the_length_that_version_0_1_wrote_is_read(place):
    run = RunFolder.open(place / "run")
    config = {name: value for name, value in run.config.items() if name != "sequence_length"}
    old = SimpleNamespace(path=run.path, config={**config, "max_length": 12})
    assert options_of(old, over_chunks=False).sequence_length == 12


def test_figures_of_both_test_sets_are_those_of_the_reports(place, capsys):
    run = RunFolder.open(place / "run")
    classifier = TextClassifier.from_preset(run.model_path)
    classifier.run_eagerly = True
    test = run_splits(place / "run").test
    files.write_text(run.report_path, "as it was\n")
    watch = BothTests({"old": test, "new": test.take(range(5))})
    expected = [classifier.report(test)]
    watch.before(classifier, {})
    classifier.head.logits.bias.assign([9.0, -9.0])
    expected.append(classifier.report(test))
    found = watch.after(classifier, run, np.ones(len(test), bool))["continued"]
    for side, report in zip(("before", "after"), expected):
        assert found["old"][side]["accuracy"] == report["accuracy"]
        assert found["old"][side]["examples"] == 12 and found["new"][side]["examples"] == 5
    assert found["old"]["after"]["accuracy"] == np.mean([label == "negative" for label in test.targets])
    change = found["old"]["corrected"] - found["old"]["broken"]
    assert change == round(12 * (expected[1]["accuracy"] - expected[0]["accuracy"]))
    text = run.report_path.read_text("utf-8")
    assert text.startswith("as it was\n\nBefore and after going on")
    assert text.removeprefix("as it was\n").strip() in capsys.readouterr().out


@pytest.mark.slow
def test_both_test_sets_are_reported_and_the_run_can_be_gone_on_with(place, capsys):
    given = {"dataset": str(place / "new.csv"), "output_dir": str(place / "second")}
    continue_training.train(continued_options(place / "run", given))
    said = capsys.readouterr().out
    assert "8 of the new rows are left out" in said and "before and after going on" in said.lower()
    metrics = json.loads((place / "second" / "metrics.json").read_text())
    found = metrics["continued"]
    assert set(found) == {"old", "new"} and found["old"]["after"]["examples"] == 12
    sizes = [split["rows"] for split in metrics["data"]["splits"].values()]
    assert sum(sizes) == 90 and metrics["test"]["examples"] == sizes[-1]
    start = TextClassifier.from_preset(place / "run" / "model")
    expected = start.report(run_splits(place / "run").test)
    assert found["old"]["before"]["accuracy"] == pytest.approx(expected["accuracy"])
    assert found["old"]["before"]["loss"] == pytest.approx(expected["loss"], abs=1e-6)
    assert "Before and after going on" in (place / "second" / "report.txt").read_text()
    again = run_splits(place / "second")
    assert sum(map(len, again)) == 90
    with pytest.raises(TransformerError, match="init_from needs new rows; all texts of"):
        continue_training.train(continued_options(place / "second", {"dataset": str(place / "new.csv")}))
    over = {"dataset": str(place / "more.csv"), "output_dir": str(place / "run"), "overwrite": True}
    with pytest.raises(TransformerError, match="output_dir must be another folder than .*run, which"):
        continue_training.train(continued_options(place / "second", over))


def test_what_a_strategy_put_in_is_not_put_in_again(place, tmp_path):
    for strategy, goes_on in (("lora:2", None), ("head", "head")):
        config = {**RunFolder.open(place / "run").config, "strategy": strategy}
        with RunFolder.create(tmp_path / strategy[:4], "parts", config=config) as run:
            run.finish({"test": {}})
        options = continued_options(tmp_path / strategy[:4], {"dataset": str(place / "new.csv")})
        assert options.strategy == goes_on


def test_rows_that_changed_since_are_refused(place, tmp_path):
    config = RunFolder.open(place / "run").config
    old = (place / "old.csv").read_text()
    (tmp_path / "old.csv").write_text(f"{old}one more,positive\n")
    config = {**config, "dataset": str(tmp_path / "old.csv")}
    with RunFolder.create(tmp_path / "run", "changed", config=config) as run:
        run.finish({"test": {}, "data": {"fingerprints": fingerprints(run_splits(place / "run"))}})
    with pytest.raises(TransformerError, match="have changed since: .* other train rows"):
        run_splits(tmp_path / "run")
    (tmp_path / "old.csv").write_text(old)
    assert len(run_splits(tmp_path / "run").train) == 42


def test_new_labels_are_refused_or_added_beside_the_old_ones(place):
    options = continued_options(place / "run", {"dataset": str(place / "more.csv")})
    with pytest.raises(TransformerError, match="negative, positive; got 'mixed'.*add_labels"):
        continue_training.train(options)
    run = RunFolder.open(place / "run")
    wider = continue_training._build(run, ("mixed",), options, None)
    before = TextClassifier.from_preset(run.model_path)
    assert wider.labels == ("mixed", "negative", "positive") and wider.sequence_length == 24
    wider.run_eagerly = before.run_eagerly = True
    texts = ["good film", "bad plot , very bad"]
    own, old = wider.predict(texts, verbose=0), before.predict(texts, verbose=0)
    np.testing.assert_allclose(own[:, 1] / own[:, 2], old[:, 0] / old[:, 1], rtol=1e-4)


@pytest.mark.slow
def test_a_run_with_new_labels_trains_and_reports(place):
    given = {"dataset": str(place / "more.csv"), "add_labels": True, "output_dir": str(place / "third")}
    continue_training.train(continued_options(place / "run", given))
    assert TextClassifier.from_preset(place / "third" / "model").labels == ("mixed", "negative", "positive")


def test_rows_that_are_known_are_no_new_rows():
    old = Splits(Split(["a", "b"], ["1", "0"]), None, Split(["C"], ["1"], "test"))
    new = Splits(Split(["B ", "d"], ["1", "0"]), Split(["e"], ["1"]), Split(["c"], ["0"], "test"))
    left = without(new, old)
    assert left.train.texts == ["d"] and left.validation.texts == ["e"] and left.test is None
    together = merged(old, left)
    assert together.train.texts == ["a", "b", "d"] and together.test.texts == ["C"]
    pairs = Splits(Split([("a", "b")], ["1"]), None, None)
    with pytest.raises(TransformerError, match="texts with one label each; got pairs with one label each"):
        merged(old, pairs)


def test_the_table_counts_what_turned():
    figures = {"accuracy": 0.5, "macro_f1": 0.4, "examples": 1200}
    row = {"before": figures, "after": {**figures, "accuracy": 0.75}, "corrected": 7, "broken": 2, "p_value": 0.18}
    line = continue_training.comparison_text({"old": row}).splitlines()[2]
    assert line.split() == "old test 1,200 0.5000 -> 0.7500 0.4000 -> 0.4000 7 2 0.180".split()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "init_from needs new rows: name them"),
        ({"dataset": "x", "preset": "y"}, "preset does not go with init_from"),
        ({"dataset": "x", "epoch": 3}, "no option 'epoch'; did you mean 'epochs'"),
        ({"dataset": "x", "epochs": 0}, "epochs must be at least 1"),
    ],
)
def test_wrong_options_are_named(given, message, place):
    with pytest.raises(TransformerError, match=message):
        continued_options(place / "run", given)


def test_sources_that_are_gone_and_other_runs_are_one_line(place, tmp_path):
    config = {**RunFolder.open(place / "run").config, "dataset": str(tmp_path / "gone.csv")}
    configs = {
        "gone": config,
        "other": {"a": 1},
        "damaged": {**config, "epochs": -1},
        "orphan": {**config, "dataset": str(place / "new.csv"), "init_from": str(tmp_path / "deleted")},
        "documents": {**config, "max_chunks": 8},
    }
    for name, own in configs.items():
        with RunFolder.create(tmp_path / name, name, config=own) as run:
            run.finish({"test": {}})
    RunFolder.create(tmp_path / "unfinished", "unfinished", config=config).close()
    given = {"dataset": str(place / "new.csv")}
    for name, message in (
        ("gone", "cannot be read again: .*gone.csv does not exist"),
        ("other", "must hold a run of classify"),
        ("damaged", "options in its run.json are damaged: epochs"),
        ("orphan", "cannot be read again: a run must be a folder; .*deleted does not exist"),
        ("documents", "must hold a run of classify.py; it holds one over chunks"),
        ("unfinished", "must hold a finished run; this one is interrupted"),
        ("none", "does not exist"),
        ("", "must be a run's folder"),
    ):
        with pytest.raises(TransformerError, match=message) as error:
            continue_training.train(continued_options(tmp_path / name if name else "", given))
        assert "\n" not in str(error.value)
    with pytest.raises(TransformerError, match="output_dir must be another folder"):
        continue_training.train(continued_options(place / "run", {**given, "output_dir": str(place / "run")}))
