"""`--check_labels` finds flipped labels by an encoder's vectors, names their rows and writes them."""

import csv
import dataclasses

import numpy as np
import pytest

from tftransformer.data import Split
from tftransformer.errors import TransformerError
from tftransformer.runs.label_check import check_labels
from tftransformer.tasks import TextClassifier

WORDS = {"negative": ["bad", "awful", "dull"], "positive": ["good", "great", "bright"]}


@pytest.fixture(scope="module")
def rows(tiny_preset):
    draw = np.random.default_rng(0)
    targets = [("negative", "positive")[i % 2] for i in range(160)]
    texts = [" ".join(draw.choice(WORDS[target], 4)) for target in targets]
    flipped = [7, 20, 41, 66, 90, 99, 120, 141]
    for row in flipped:
        targets[row] = "positive" if targets[row] == "negative" else "negative"
    split = Split(texts, targets, rows=list(range(2, 162)))
    classifier = TextClassifier.from_preset(tiny_preset, labels=split.labels, pooling="mean")
    return classifier, split, flipped


def test_flipped_rows_are_named_and_written(rows, tmp_path):
    classifier, split, flipped = rows
    found = check_labels(classifier, split, classifier.preprocess(split))
    # A class is sure of the better half of its rows, and so finds about half of what is wrong.
    assert len(set(found.rows) & set(flipped)) >= 4 and set(found.rows[:3]) <= set(flipped)
    lines = str(found).splitlines()
    assert lines[0].startswith(f"labels: {len(found.rows)} of 160 look wrong")
    first = found.rows[0]
    assert lines[1].startswith(f"  {first + 2}: {split.targets[first]}, likelier ") and split.texts[first] in lines[1]
    found.write(tmp_path / "errors.csv")
    written = list(csv.DictReader(open(tmp_path / "errors.csv", newline="")))
    assert [int(row["row"]) - 2 for row in written] == list(found.rows)
    assert all(row["label"] != row["likelier_label"] for row in written)
    assert all(float(row["probability"]) < float(row["likelier_probability"]) for row in written)


def test_nothing_to_say(rows):
    classifier, split, _ = rows
    found = check_labels(classifier, split, classifier.preprocess(split))
    assert str(dataclasses.replace(found, rows=found.rows[:0])) == "labels: none of 160 looks wrong"


def test_labels_with_a_single_row_are_named_and_the_rest_is_checked(tiny_preset, rows):
    _, split, flipped = rows
    more = Split(["so so", *split.texts, "hm"], ["mixed", *split.targets, "unclear"])
    classifier = TextClassifier.from_preset(tiny_preset, labels=[*more.labels, "unused"], pooling="mean")
    found = check_labels(classifier, more, classifier.preprocess(more))
    assert len({row - 1 for row in found.rows} & set(flipped)) >= 4 and not {0, 161} & set(found.rows)
    lines = str(found).splitlines()
    assert lines[0].startswith(f"labels: {len(found.rows)} of 160 look wrong")
    assert lines[-1] == "labels: not checked, as there is a single row of each: mixed, unclear"
    few = more.take([0, 161, 1, 3])
    text = str(check_labels(classifier, few, classifier.preprocess(few)))
    assert text.startswith("labels: none could be checked") and "mixed, unclear" in text


def test_what_cannot_be_checked(rows, tiny_preset):
    _, split, _ = rows
    several = TextClassifier.from_preset(tiny_preset, labels=split.labels, multi_label=True)
    with pytest.raises(TransformerError, match="one label a text"):
        check_labels(several, split, several.preprocess(split.texts))
