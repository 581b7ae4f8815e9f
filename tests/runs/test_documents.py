"""A run of the document classifier: what it leaves, what it says, and its mistakes in one line."""

import csv
import json

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation.intervals import mcnemar
from tftransformer.runs.documents import DocumentOptions, train
from tftransformer.runs.finished_runs import load_classifier, predict
from tftransformer.tasks.document_classifier import DocumentClassifier
from tftransformer.tasks.text_classifier import TextClassifier


@pytest.fixture(scope="module")
def table(tmp_path_factory, reviews):
    path = tmp_path_factory.mktemp("documents") / "reviews.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "title", "label"])
        writer.writerows(
            (f"{text} the plot was very slow {text} {i}", f"film {i}", label)
            for i, (text, label) in enumerate(zip(*reviews))
        )
    return path


def options(two_block_preset, table, **given):
    fields = {
        "epochs": 1,
        "sequence_length": 8,
        "overlap": 1,
        "learning_rate": 1e-3,
        "text_columns": ["review"],
        **given,
    }
    return DocumentOptions(preset=str(two_block_preset), dataset=str(table), **fields)


def right(run):
    with open(run / "predictions.csv", newline="") as file:
        return np.array([row["label"] == row["prediction"] for row in csv.DictReader(file)])


@pytest.mark.slow
def test_a_run_reports_exports_and_compares_with_truncation(two_block_preset, table, tmp_path, capsys):
    run = tmp_path / "run"
    report = train(options(two_block_preset, table, against_truncation=True, output_dir=str(run), test_examples=8))
    said = capsys.readouterr().out
    assert "longer than one chunk of 8 tokens" in said and "what counts in the first documents" in said
    metrics = json.loads((run / "metrics.json").read_text())
    other = json.loads((tmp_path / "run-truncated" / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] == report["accuracy"] and metrics["test"]["examples"] == 8
    assert f"{report['accuracy']:.3f} / {report['macro_f1']:.3f} with chunks" in said
    assert f"{other['test']['accuracy']:.3f} / {other['test']['macro_f1']:.3f} truncated\np " in said
    one, two = (right(folder) for folder in (run, tmp_path / "run-truncated"))
    p = float(said.rsplit("truncated\np ", 1)[1].split(":")[0])
    assert one.mean() == report["accuracy"] and p == pytest.approx(mcnemar(one, two), abs=6e-4)
    assert (run / "saved_model" / "1" / "saved_model.pb").exists()
    assert DocumentClassifier.from_preset(run / "model").preprocessor.cut.overlap == 1
    predict(run, ["the plot was very slow"])
    assert "the plot was very slow" in capsys.readouterr().out
    assert load_classifier(run).preprocessor.cut.overlap == 1
    assert type(load_classifier(tmp_path / "run-truncated")) is TextClassifier


def test_a_preset_that_cannot_be_truncated_is_named_first(two_block_preset, table, tmp_path):
    saved = tmp_path / "saved"
    DocumentClassifier.from_preset(two_block_preset, labels=["a", "b"], sequence_length=8).save_to_preset(saved)
    with pytest.raises(TransformerError, match="needs a preset without attention over chunks; .* has one"):
        train(options(saved, table, output_dir=str(tmp_path / "run"), against_truncation=True))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(max_chunks=0), "max_chunks must be at least 1; got 0"),
        (dict(overlap=-1), "overlap must be at least 0; got -1"),
        (dict(freeze_layers=9), "layers must be between 0 and 2"),
        (dict(text_columns=["review", "title"]), "must be single texts; the data hold pairs"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(two_block_preset, table, tmp_path, given, message):
    with pytest.raises(TransformerError, match=message):
        train(options(two_block_preset, table, output_dir=str(tmp_path / "run"), **given))
    assert not (tmp_path / "run").exists()
