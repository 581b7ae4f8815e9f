"""Tasks together against each alone: its data, its figures, a whole run, and mistakes in one line."""

import csv
import json

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.runs.multi_task import MultiTaskOptions, compare, format_table, load_tasks
from tftransformer.runs.run_folder import RunFolder
from tftransformer.tasks.multi_task import MultiTaskClassifier
from tftransformer.tasks.text_classifier import TextClassifier


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reviews):
    """A file of reviews, a folder of pairs; and a file without rows, and one of three labels."""
    folder = tmp_path_factory.mktemp("tasks")
    texts, labels = reviews
    with open(folder / "mood.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, labels)])
    (folder / "pairs").mkdir()
    rows = [(a, b, "same" if x == y else "other") for a, b, x, y in zip(texts, texts[::-1], labels, labels[1:])]
    rows = [*rows, *((a, a, "same") for a in texts[:20])]
    with open(folder / "pairs" / "train.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text_a", "text_b", "label"), *rows])
    (folder / "empty.csv").write_text("text,label\n")
    lines = [f"{text} {row},{'xyz'[row % 3]}" for row, text in enumerate(texts)]
    (folder / "three.csv").write_text("\n".join(["text,label", *lines]))
    return folder


def test_the_sample_becomes_two_tasks_that_share_no_label():
    tasks = load_tasks(None, train_examples=30, test_examples=9)
    assert [len(splits.train) for splits in tasks.values()] == [30, 30]
    assert [len(splits.test) for splits in tasks.values()] == [9, 9]
    inner, other = (set(splits.train.labels) for splits in tasks.values())
    assert len(inner) == len(other) == 3 and not inner & other


def test_tasks_of_a_folder(folder):
    tasks = load_tasks(folder, ["pairs", "mood"])
    assert list(tasks) == ["pairs", "mood"] and tasks["pairs"].train.is_pair
    assert all(len(split) for splits in tasks.values() for split in splits)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (dict(tasks=["mood", "moods"]), "holds no task 'moods'; did you mean 'mood'"),
        (dict(tasks=["mood", "mood"]), "different names"),
        (dict(tasks=["Mood", "mood"]), "different names"),
        (dict(tasks=["mood"], data="missing"), "data must be a folder"),
        (dict(tasks=["mood"], data=None), "tasks goes with data"),
        (dict(tasks=["mood"], sampling="propotional"), "sampling must be"),
        (dict(tasks=["val_x"]), "must not be called val"),
        (dict(tasks=["empty"]), "empty.csv"),
        (dict(tasks=["three"], train_examples=2), "task 'three', test rows: .*'z'"),
        (dict(strategy="freze:1"), "did you mean 'freeze'"),
        (dict(sequence_length=2), "sequence_length must be at least 3; got 2"),
        (dict(sequence_length=33, tasks=["mood"]), "sequence_length must be between 3 and 32"),
        (dict(batch_size=0), "batch_size must be at least 1; got 0"),
        (dict(learning_rate=-1.0), "learning_rate must be above 0"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(options, part, folder, two_block_preset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TransformerError, match=part) as error:
        compare(MultiTaskOptions(**{"data": str(folder), "preset": str(two_block_preset), **options}))
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_tasks_together_and_alone_have_figures(folder, tiny_preset, tmp_path, monkeypatch):
    for kind in (TextClassifier, MultiTaskClassifier):
        monkeypatch.setattr(kind, "run_eagerly", property(lambda _: True, lambda *_: None))
        monkeypatch.setattr(kind, "export", lambda _, path: path.mkdir(parents=True))
    options = MultiTaskOptions(
        preset=str(tiny_preset), data=str(folder), tasks=["mood", "pairs"], epochs=1, batch_size=32,
        strategy="head", train_examples=20, test_examples=10, output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    for row in compare(options):
        assert all(0 <= row[kind][key] <= 1 for kind in ("together", "alone") for key in ("accuracy", "macro_f1"))


@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False])
def test_a_run_leaves_table_plot_model_and_signatures(alone, folder, two_block_preset, tmp_path, capsys):
    import tensorflow as tf

    options = MultiTaskOptions(
        preset=str(two_block_preset), data=str(folder), tasks=["mood", "pairs"], epochs=2, batch_size=8,
        learning_rate=1e-3, strategy="freeze:1", alone=alone, output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    rows = compare(options)
    run = RunFolder.open(tmp_path / "run")
    told = capsys.readouterr().out
    assert format_table(rows) in told and "mood: text: text, label: label\n" in told
    assert run.config["columns"]["mood"] == {"text": ["text"], "label": ["label"], "unused": []}
    assert (run.path / "comparison.png").stat().st_size > 5000
    stored = json.loads(run.metrics_path.read_text())["test"]["tasks"]
    assert stored == rows and [("alone" in row) for row in rows] == [alone] * 2
    assert sum(row["updates"]["alone"] for row in rows) == sum(row["updates"]["together"] for row in rows)
    model = MultiTaskClassifier.from_preset(run.model_path)
    served = tf.saved_model.load(str(run.saved_model_path)).signatures["mood"]
    np.testing.assert_allclose(
        served(text=tf.constant(["a good film"]))["probabilities"],
        model.predict(["a good film"], task="mood", verbose=0),
        atol=1e-6,
    )
