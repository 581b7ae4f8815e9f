"""Runs of numbers and of tags, which are `TrainingRun` as it stands: what they leave, and what their models answer later."""

import csv
import json
import shutil

import numpy as np
import pytest

from tftransformer.data import Split, Splits
from tftransformer.data.readers.tagged import read_tagged
from tftransformer.errors import TransformerError
from tftransformer.runs import finished
from tftransformer.runs.classification import ClassificationRun
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.regression import RegressionRun
from tftransformer.runs.regression_options import RegressionOptions
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.tagging import TaggingRun
from tftransformer.runs.tagging_options import TaggingOptions
from tftransformer.runs.train import fingerprints, train
from tftransformer.tasks import TextRegressor, TokenClassifier

KINDS = {"movie": "I-THING", "film": "I-THING"}


@pytest.fixture(scope="module")
def place(tmp_path_factory, reviews, tiny_preset):
    """A folder with data, and a finished run of each task on them, trained and predicting without graphs, not exported."""
    folder = tmp_path_factory.mktemp("train")
    with open(folder / "reviews.csv", "w", newline="") as file:
        rows = ((text, 5.0 if label == "positive" else 1.0) for text, label in zip(*reviews, strict=True))
        csv.writer(file).writerows([("words", "stars"), *rows])
    sentences = ("\n".join(f"{word} {KINDS.get(word, 'O')}" for word in text.split()) for text in reviews[0])
    (folder / "reviews.conll").write_text("\n\n".join(sentences) + "\n")
    shared = {"preset": str(tiny_preset), "epochs": 1, "seed": 3, "train_examples": 20, "drop_leaked": True}
    with pytest.MonkeyPatch.context() as patch:
        for kind in (TextRegressor, TokenClassifier):
            patch.setattr(kind, "run_eagerly", property(lambda _: True, lambda *_: None))
            patch.setattr(kind, "export", lambda _, path: path.mkdir(parents=True))
        train(RegressionRun, RegressionOptions(
            dataset=str(folder / "reviews.csv"), text_columns=["words"], levels=[1, 5], early_stopping=2,
            output_dir=str(folder / "numbers"), augmentation="swap:0.1", **shared,
        ))  # fmt: skip
        train(TaggingRun, TaggingOptions(
            dataset=str(folder / "reviews.conll"), scheme="BIOES", sequence_length=8, early_stopping=2,
            output_dir=str(folder / "tags"), label_smoothing=0.1, **shared,
        ))  # fmt: skip
    return folder


@pytest.fixture
def eager(monkeypatch):
    for kind in (TextRegressor, TokenClassifier):
        monkeypatch.setattr(kind, "run_eagerly", property(lambda _: True, lambda *_: None))


LEFT = {
    "run.json", "metrics.json", "report.txt", "history.csv", "curves.png", "predictions.csv", "model", "saved_model",
    "tensorboard",
}  # fmt: skip


def test_a_run_of_numbers_leaves_report_picture_and_predictions(place):
    run = RunFolder.open(place / "numbers")
    assert {path.name for path in run.path.iterdir()} == {*LEFT, "predictions.png"}
    assert run.config["command"] == "regress" and run.config["columns"]["label"] == ["stars"]
    assert set(run.metrics["test"]["per_number"]) == {"stars"} and len(run.metrics["test"]["baselines"]) == 2
    with open(run.predictions_path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["text", "stars", "predicted_stars"] and len(rows) == run.metrics["test"]["examples"]
    errors = [abs(float(row["stars"]) - float(row["predicted_stars"])) for row in rows]
    assert np.mean(errors) == pytest.approx(run.metrics["test"]["mae"], rel=1e-4)


def test_a_run_of_tags_leaves_report_picture_and_predictions(place):
    run = RunFolder.open(place / "tags")
    assert {path.name for path in run.path.iterdir()} == {*LEFT, "confusion_matrix.png"}
    assert set(run.metrics["test"]["per_class"]) == {"THING"} and run.metrics["test"]["scheme"] == "BIOES"
    with open(run.predictions_path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["word", "sentence", "start", "end", "tag", "prediction", "probability"]
    right = np.mean([row["tag"] == row["prediction"] for row in rows])
    assert len(rows) == run.metrics["test"]["tokens"] and right == pytest.approx(run.metrics["test"]["accuracy"])


@pytest.mark.parametrize(
    ("kind", "name", "figure"), [(RegressionRun, "numbers", "mae"), (TaggingRun, "tags", "accuracy")]
)
def test_evaluate_repeats_the_report_from_anywhere(place, tmp_path, monkeypatch, eager, kind, name, figure):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / name, "moved")
    told = RunFolder.open("moved").metrics["test"]
    assert finished.evaluate(kind, "moved")[figure] == pytest.approx(told[figure], rel=1e-5)
    options = kind.options_class.of_run(RunFolder.open("moved"))
    assert options.to_evaluate({"epochs": 3}) is None
    data = {"numbers": "reviews.csv", "tags": "reviews.conll"}[name]
    whole = finished.test_rows(kind, options.to_evaluate({"test_path": str(place / data)}))
    assert len(whole) == 60 and whole.name == "test"


def test_a_recipe_counts_windows_of_long_sentences(place):
    # 20 sentences, windows of eight tokens.
    run = RunFolder.open(place / "tags")
    rows = int(run.config["recipe"].split(" rows,")[0])
    assert rows > 20


def test_rows_that_have_changed_are_no_test(place, tmp_path):
    shutil.copytree(place / "tags", tmp_path / "tags")
    (tmp_path / "reviews.conll").write_text((place / "reviews.conll").read_text().replace("I-THING", "I-FILM"))
    record = json.loads((tmp_path / "tags" / "run.json").read_text())
    record["config"]["dataset"] = str(tmp_path / "reviews.conll")
    (tmp_path / "tags" / "run.json").write_text(json.dumps(record))
    with pytest.raises(TransformerError, match="have changed since"):
        finished.evaluate(TaggingRun, tmp_path / "tags")


def test_numbers_for_texts_go_to_a_file_or_to_the_screen(place, tmp_path, eager, capsys):
    texts = ["a good film", "a bad film"]
    answers = finished.predict(RegressionRun, place / "numbers", texts, tmp_path / "answers.csv")
    with open(tmp_path / "answers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == texts and {row["stars_level"] for row in rows} <= {"1", "5"}
    np.testing.assert_allclose([float(row["stars"]) for row in rows], answers[:, 0], rtol=1e-4)
    capsys.readouterr()
    finished.predict(RegressionRun, place / "numbers", texts)
    assert [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()] == texts


def test_entities_of_texts_are_read_back_from_their_file(place, tmp_path, eager, capsys):
    texts = ["a good film, a film", "nothing"]
    answers = finished.predict(TaggingRun, place / "tags", texts, tmp_path / "answers.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == texts
    for line, spans in zip(lines, answers, strict=True):
        found = [line["text"][entity["start"] : entity["end"]] for entity in line["entities"]]
        assert found == [span.text for span in spans]
    assert read_tagged(tmp_path / "answers.jsonl").texts == texts
    capsys.readouterr()
    finished.predict(TaggingRun, place / "tags", texts)
    assert capsys.readouterr().out.startswith("a good film, a film\n")


def test_pairs_are_no_sentences(place):
    with pytest.raises(TransformerError, match="texts must be single ones for tags; the file holds pairs"):
        finished.predict(TaggingRun, place / "tags", [("a good film", "a film")])


def test_a_run_of_another_command_is_refused(place):
    with pytest.raises(TransformerError, match="numbers must hold a run of tag; it holds one of regress"):
        TaggingOptions.of_run(RunFolder.open(place / "numbers"))
    with pytest.raises(TransformerError, match="model must be a run of regress; .*tags holds a TokenClassifier"):
        finished.load_task(RegressionRun, place / "tags")


def test_a_fingerprint_is_of_the_rows():
    once, again, other = (
        fingerprints(Splits(Split(["a", "b"], ["1", label]), None, None)) for label in ("0", "0", "1")
    )
    assert once == again != other


def test_early_stopping_watches_what_the_objective_says(two_block_preset):
    for kind, options, monitor in (
        (ClassificationRun, {"labels": ["a", "b"]}, ("val_macro_f1", "max")),
        (ClassificationRun, {"labels": ["a", "b"], "multi_label": True}, ("val_micro_f1", "max")),
        (RegressionRun, {}, ("val_mae", "min")),
        (TaggingRun, {"labels": ["O", "B-X", "I-X"]}, ("val_entity_f1", "max")),
        (TaggingRun, {"labels": ["NOUN", "VERB"]}, ("val_accuracy", "max")),
    ):
        task = kind.task_class.from_preset(two_block_preset, load_weights=False, **options)
        assert task.objective.monitor == monitor
        compiled = task.objective.compiled(None, None, None, 0.0)
        named = [metric.name for key in ("metrics", "weighted_metrics") for metric in compiled.get(key) or []]
        assert monitor[0].removeprefix("val_") in named


def test_options_of_data_say_what_a_loader_takes():
    paths = ClassificationOptions(train_path="a.csv").data_paths
    assert paths == {"source": None, "train": "a.csv", "validation": None, "test": None}
    assert RegressionOptions().data_paths["source"] == "sample_rated"
    assert RegressionOptions(label_columns=["a"]).label_arguments() == {"label_column": "a"}
    assert RegressionOptions(label_columns=["a", "b"]).label_arguments() == {"label_columns": ["a", "b"]}
