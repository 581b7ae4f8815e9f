"""Texts for `--mode=predict`, and the file of answers."""

import csv
import io
import json
import os

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation.calibration import ACCURACIES, COVERAGES, Confidence
from tftransformer.objectives.classification import Prediction
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.predictions import check_output, pair_up, texts_to_predict, thresholds_of, write_answers
from tftransformer.runs.run_folder import RunFolder


def test_second_texts_go_with_first_texts():
    assert pair_up(["a"], None) == ["a"]
    assert pair_up(["a"], ["b"]) == [("a", "b")]
    with pytest.raises(TransformerError, match="text_pair must be given once for each text"):
        pair_up(["a"], ["b", "c"])


TEXTS = ["good, very\ngood", 'a "bad" film', "plain"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_texts_of_every_kind_of_file(tmp_path, kind):
    path = tmp_path / f"new.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps({"id": i, "body": t}) + "\n" for i, t in enumerate(TEXTS)))
    else:
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if kind == "tsv" else ",")
            writer.writerows([("id", "body"), *enumerate(TEXTS)])
    assert texts_to_predict([], path, ["body"]) == TEXTS
    assert texts_to_predict([], path) == TEXTS


def test_texts_of_plain_lines(tmp_path):
    (tmp_path / "new.txt").write_text("one\n\ntwo\n")
    assert texts_to_predict([], tmp_path / "new.txt") == ["one", "two"]


def test_texts_are_given_in_one_way(tmp_path):
    (tmp_path / "blank.csv").write_text("text\n")
    with pytest.raises(TransformerError, match="predict needs a text"):
        texts_to_predict([], None)
    with pytest.raises(TransformerError, match="text cannot go with texts"):
        texts_to_predict(["a"], tmp_path / "blank.csv")
    with pytest.raises(TransformerError, match="blank.csv has a header row but no rows"):
        texts_to_predict([], tmp_path / "blank.csv")


def test_answers_are_a_row_a_text_with_all_probabilities(tmp_path):
    answers = [
        Prediction("b", 0.75, {"a": 0.25, "b": 0.75}),
        Prediction(("a", "b"), (0.9, 0.8), {"a": 0.9, "b": 0.8}),
        Prediction((), (), {"a": 0.1, "b": 0.2}),
    ]
    write_answers(tmp_path / "out.csv", TEXTS, answers, ["a", "b"])
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["text", "label", "probability_a", "probability_b"],
        [TEXTS[0], "b", "0.250000", "0.750000"],
        [TEXTS[1], "a|b", "0.900000", "0.800000"],
        [TEXTS[2], "", "0.100000", "0.200000"],
    ]
    write_answers(tmp_path / "out.csv", [("x", "y")], answers[:1], ["a", "b"])
    assert (tmp_path / "out.csv").read_text() == (
        "text,text_pair,label,probability_a,probability_b\nx,y,b,0.250000,0.750000\n"
    )


def test_sets_of_labels_have_a_column_that_gives_any_names_back(tmp_path):
    labels = ("yes|no", 'the "rest"', "two\nlines", "plain")
    sets = [labels, labels[2:], ("plain",)]
    answers = [Prediction(labels[0], 0.25, dict.fromkeys(labels, 0.25), found) for found in sets]
    write_answers(tmp_path / "out.csv", TEXTS, answers, labels)
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["text", "label", "label_set", "probability_yes|no"]
    assert [row["label"] for row in rows] == ["yes|no"] * 3
    cells = (io.StringIO(row["label_set"], newline="") for row in rows)
    assert [tuple(next(csv.reader(cell, delimiter="|"))) for cell in cells] == sets
    assert rows[2]["label_set"] == "plain"


def test_half_a_surrogate_pair_is_no_traceback(tmp_path):
    # What a shell's bytes that are no UTF-8 become in sys.argv.
    write_answers(tmp_path / "out.csv", ["caf\udce9"], [Prediction("a", 1.0, {"a": 1.0})], ["a"])
    assert (tmp_path / "out.csv").read_bytes().splitlines()[1] == b"caf\\udce9,a,1.000000"


def test_half_a_file_is_never_left(tmp_path):
    def answers():
        yield Prediction("a", 1.0, {"a": 1.0})
        raise MemoryError

    with pytest.raises(MemoryError):
        write_answers(tmp_path / "out.csv", TEXTS, answers(), ["a"])
    assert os.listdir(tmp_path) == []


def test_a_file_that_could_not_be_written_is_refused_beforehand(tmp_path):
    (tmp_path / "old.csv").write_text("")
    (tmp_path / "folder.csv").mkdir()
    check_output(tmp_path / "new.csv")
    check_output(tmp_path / "old.csv", overwrite=True)
    for name, message in (
        ("new.txt", "output must end in .csv; got"),
        ("old.csv", "output must be a new file; .*old.csv exists: pass overwrite=True"),
        ("folder.csv", "output must be a new file; .* is a folder"),
        ("no/new.csv", "output must be in a folder that can be written; .*no does not exist"),
    ):
        with pytest.raises(TransformerError, match=message):
            check_output(tmp_path / name)


# Thresholds of a run.


def noted(answers, sets):
    """What a run of 60 held-out rows notes beside other figures."""
    parts = ((ACCURACIES, answers), (COVERAGES, sets))
    answers, sets = ({str(key): {"threshold": t} for key, t in zip(*part, strict=True)} for part in parts)
    return {"held_out": 60, "answers": answers, "sets": sets}


def finished(folder, metrics=None, options=None, **more):
    """A run that notes what is given, beside a model that nobody looks at."""
    config = (options or ClassificationOptions()).as_config() if options is None else options
    with RunFolder.create(folder, config=config) as run:
        run.finish({"test": {}, "train": {"temperature": 1.0}, **({"confidence": metrics} if metrics else {}), **more})
    return folder


def test_the_thresholds_are_those_of_the_report(tmp_path):
    draw = np.random.default_rng(0)
    said = draw.dirichlet([0.1] * 3, 2000)
    targets = (said.cumsum(-1) < draw.random((2000, 1))).sum(-1)
    found = Confidence((targets, said), (targets, said)).metrics
    run = finished(tmp_path / "run", found)
    for coverage in COVERAGES:
        assert thresholds_of(run, label_sets=coverage) == (0.0, found["sets"][str(coverage)]["threshold"])
        assert thresholds_of(run, 0.7, label_sets=coverage).min_probability == 0.7
    for accuracy in ACCURACIES:
        assert thresholds_of(run, min_accuracy=accuracy) == (found["answers"][str(accuracy)]["threshold"], None)
    assert thresholds_of(None, 0.7) == (0.7, None)  # no run is read


def test_thresholds_that_a_run_does_not_have(tmp_path):
    run = finished(tmp_path / "run", noted([0.9, 0.97, None], [0.5, 0.3, 0.1, 0.0]))
    hopeless = finished(tmp_path / "hopeless", noted([None] * 3, [0.0] * 4))
    several = finished(tmp_path / "several", {"held_out": 9}, test={"subset_accuracy": 0.5})
    without = finished(tmp_path / "without", train={"temperature": None})
    untested = finished(tmp_path / "untested")
    old = finished(tmp_path / "old", train={})
    tasks = finished(tmp_path / "tasks", test={"tasks": []}, options={"data": None})
    for place, given, message in (
        (run, {"label_sets": 0.85}, "label_sets must be one of 0.8, 0.9, 0.95, 0.99, which .*run has .*; got 0.85$"),
        (run, {"min_accuracy": 95.0}, "min_accuracy must be one of 0.9, 0.95, 0.99, which .*run has .*; got 95.0$"),
        (run, {"min_accuracy": float("nan")}, "min_accuracy must be one of .*; got nan$"),
        (run, {"min_accuracy": 0.99}, r"min_accuracy=0.99 is more than .*run \(60\) can promise; they have thresholds for 0.9, 0.95$"),
        (run, {"label_sets": 0.99}, r"label_sets=0.99 is more than .*; they have thresholds for 0.8, 0.9, 0.95$"),
        (hopeless, {"min_accuracy": 0.9}, r"min_accuracy=0.9 is more than .*; they have a threshold for none$"),
        (several, {"label_sets": 0.9}, "label_sets is for one label a text; those of .*several have several$"),
        (without, {"label_sets": 0.9}, "label_sets needs a run with thresholds .*without, which had no validation rows"),
        (untested, {"min_accuracy": 0.9}, "min_accuracy needs a run .*untested, which had no test rows beside"),
        (old, {"min_accuracy": 0.9}, "min_accuracy needs a run .*old, which was saved before .*: train it again$"),
        (tasks, {"label_sets": 0.9}, "tasks must hold a run of classify"),
        (run, {"min_accuracy": 0.9, "min_probability": 0.5}, "min_accuracy cannot go with min_probability"),
        (run, {"min_probability": 1.5}, "min_probability must be between 0 and 1; got 1.5"),
        (None, {"label_sets": 0.9}, "model must be given"),
    ):  # fmt: skip
        with pytest.raises(TransformerError, match=message) as error:
            thresholds_of(place, **given)
        assert "\n" not in str(error.value)
