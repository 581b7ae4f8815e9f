"""What is done with a finished run from any working directory: its own test rows, other rows, files of texts."""

import csv
import json
import os
import shutil

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.runs import classification, documents, finished_runs
from tftransformer.runs.options import (
    ClassificationOptions,
    CustomOptions,
    DocumentOptions,
    options_of,
)
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.train import fingerprints
from tftransformer.tasks import DocumentClassifier, TextClassifier


def evaluation_options(run, given):
    return options_of(RunFolder.open_model(run)).to_evaluate(given)


LABELS = ("negative", "positive")
# Not found on any rows; every set of the first holds both labels.
CONFIDENCE = {"answers": {"0.9": {"threshold": 1.0}}, "sets": {"0.9": {"threshold": 1e-9}, "0.8": {"threshold": 0.5}}}


def write(path, texts, labels):
    with open(path, "w", newline="") as file:
        rows = ((i, text, label) for i, (text, label) in enumerate(zip(texts, labels)))
        csv.writer(file).writerows([("id", "words", "mood"), *rows])


@pytest.fixture(scope="module")
def place(tmp_path_factory, reviews, tiny_preset):
    """A folder with data and a finished run of them as `train` leaves one from inside it, without the training."""
    folder = tmp_path_factory.mktemp("finished")
    write(folder / "old.csv", *reviews)
    write(folder / "new.csv", *(column[:20] for column in reviews))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, kind, model in (
            ("run", ClassificationOptions, TextClassifier),
            ("documents", DocumentOptions, DocumentClassifier),
        ):
            more = {} if kind is ClassificationOptions else {"test_examples": 5, "max_chunks": 2}
            options = kind(
                preset=str(tiny_preset), dataset="old.csv", text_columns=["words"], label_column="mood", seed=3, **more
            )
            keras.utils.set_random_seed(0)
            classifier = model.from_preset(tiny_preset, labels=LABELS, sequence_length=24)
            splits = classification.load_splits(options)
            if more:
                splits = documents.with_test_examples(splits, options)
            with RunFolder.create(name, "old", config=options.as_config()) as run:
                classifier.save_to_preset(run.model_path)
                data = {"fingerprints": fingerprints(splits)}
                run.finish({"test": {}, "train": {}, "data": data, "confidence": CONFIDENCE})
    return folder


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def eager(monkeypatch):
    """Without graphs there is less to wait for."""
    load = finished_runs.load_classifier

    def load_eager(run):
        classifier = load(run)
        classifier.run_eagerly = True
        return classifier

    monkeypatch.setattr(finished_runs, "load_classifier", load_eager)


def test_a_run_is_evaluated_on_its_own_test_rows_from_anywhere(place, elsewhere, eager, capsys):
    shutil.copytree(place / "run", elsewhere / "moved")
    for run in (place / "run", "moved"):
        assert evaluation_options(run, {"epochs": 3}) is None
        report = finished_runs.evaluate(run)
        assert report["examples"] == 12 and f"{report}" in capsys.readouterr().out
    assert finished_runs.evaluate(place / "documents")["examples"] == 5


def test_other_rows_have_the_columns_of_the_run(place, elsewhere, eager):
    given = evaluation_options(place / "run", {"dataset": str(place / "new.csv"), "epochs": 9})
    assert (given.text_columns, given.label_column, given.seed) == (["words"], "mood", 3)
    assert finished_runs.evaluate(place / "run", given)["examples"] == 4
    whole = evaluation_options(place / "run", {"test_path": str(place / "new.csv")})
    assert finished_runs.evaluate(place / "run", whole)["examples"] == 20
    other = evaluation_options(place / "run", {"label_columns": ["a", "b"]})
    assert other.dataset == str(place / "old.csv") and other.label_column is None
    with pytest.raises(TransformerError, match="none.csv does not exist"):
        evaluation_options(place / "run", {"dataset": "none.csv"})
    with pytest.raises(TransformerError, match="model must be given"):
        evaluation_options(None, {})


def test_rows_that_have_changed_are_no_test(place, elsewhere, reviews):
    shutil.copytree(place / "run", elsewhere / "run")
    write(elsewhere / "old.csv", reviews[0][:30], reviews[1][:30])
    record = json.loads((elsewhere / "run" / "run.json").read_text())
    record["config"]["dataset"] = str(elsewhere / "old.csv")
    (elsewhere / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(TransformerError, match="have changed since"):
        finished_runs.evaluate("run")


def test_a_run_without_test_rows_says_so(place, elsewhere, monkeypatch):
    splits = classification.load_splits(options_of(RunFolder.open(place / "run")))
    monkeypatch.setattr(classification.ClassificationRun, "read", lambda _: splits._replace(test=None))
    with pytest.raises(TransformerError, match="evaluate needs a test split"):
        finished_runs.evaluate(place / "run", evaluation_options(place / "run", {"dataset": str(place / "new.csv")}))


def test_answers_go_to_a_file_or_to_the_screen(place, elsewhere, eager, reviews, capsys):
    texts = reviews[0][:5]
    answers = finished_runs.predict(place / "run", texts, "answers.csv")
    assert capsys.readouterr().out == "5 answers are in answers.csv\n" and os.listdir() == ["answers.csv"]
    with open("answers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == texts
    assert [row["label"] for row in rows] == [answer.label for answer in answers]
    numbers = [[float(row[f"probability_{label}"]) for label in LABELS] for row in rows]
    np.testing.assert_allclose(numbers, [list(a.probabilities.values()) for a in answers], atol=1e-6)
    finished_runs.predict(place / "run", texts[:2])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[2] for line in lines] == texts[:2]


@pytest.mark.by_default("run")
@pytest.mark.parametrize("name", ["run", "documents"])
def test_answers_by_the_thresholds_of_the_run(place, elsewhere, eager, reviews, capsys, name):
    texts = reviews[0][:4]
    plain = finished_runs.predict(place / name, texts)
    shown = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    answers = finished_runs.predict(place / name, texts, min_accuracy=0.9, label_sets=0.9)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines] == ["|".join(answer.label_set) for answer in answers]
    assert [("-", line[1], line[3]) for line in lines] == [("-", line[1], line[2]) for line in shown]
    assert [line[0] for line in lines] == ["-"] * 4 and [answer.label for answer in answers] == [None] * 4
    for answer, before in zip(answers, plain, strict=True):
        assert before.label_set is None and before.label == answer.label_set[0]
        assert set(answer.label_set) == set(LABELS)


def test_a_file_of_answers_has_the_sets_of_the_run(place, elsewhere, eager, reviews):
    plain = finished_runs.predict(place / "run", reviews[0][:3], "plain.csv")
    finished_runs.predict(place / "run", reviews[0][:3], "sets.csv", label_sets=0.8)
    plain_rows, rows = (list(csv.DictReader(open(name, newline=""))) for name in ("plain.csv", "sets.csv"))
    assert [row.pop("label_set") for row in rows] == [answer.label for answer in plain]
    assert rows == plain_rows


# What a record holds.


def test_what_lies_on_the_disk_is_named_by_absolute_paths(place, elsewhere, tiny_preset):
    (elsewhere / "data").mkdir()
    for name in ("data/a.csv", "b.csv", "bert_12x192_en_uncased"):
        (elsewhere / name).write_text("")
    options = ClassificationOptions(
        preset="bert_12x192_en_uncased", dataset="data", train_path="a.csv", test_path="b.csv", activation_cache="cache",
        output_dir="runs/x", init_from=os.path.relpath(place / "run"),
    )  # fmt: skip
    config = options.as_config()
    assert config["dataset"] == str(elsewhere / "data") and config["train_path"] == "a.csv"
    assert config["test_path"] == str(elsewhere / "b.csv") and config["activation_cache"] == str(elsewhere / "cache")
    assert config["init_from"] == str(place / "run")
    assert config["preset"] == "bert_12x192_en_uncased"  # the embedded one, which goes before a file of that name
    for name in ("sample", "tfds:glue/sst2"):
        assert ClassificationOptions(dataset=name, preset="hf://a/b").as_config()["dataset"] == name
    (elsewhere / "c.json").write_text("{}")
    assert CustomOptions(config="c.json").as_config()["config"] == str(elsewhere / "c.json")


def test_files_that_do_not_exist_are_refused_before_anything_is_read(elsewhere):
    (elsewhere / "data").mkdir()
    (elsewhere / "data" / "a.csv").write_text("")
    ClassificationOptions(dataset="data", train_path="a.csv").check()
    ClassificationOptions(dataset="tfds:glue/sst2").check()
    with pytest.raises(TransformerError, match="dat does not exist; did you mean 'data'"):
        ClassificationOptions(dataset="dat").check()
    with pytest.raises(TransformerError, match="b.csv does not exist"):
        ClassificationOptions(dataset="data", test_path="b.csv").check()
    with pytest.raises(TransformerError, match="c.json does not exist"):
        CustomOptions(config="c.json").check()
