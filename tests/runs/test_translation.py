"""A run of translate: what it leaves, goes on with and refuses; small sizes throughout."""

import json
import sys

import pytest
import tensorflow as tf

import tftransformer as tt
from tftransformer.errors import TransformerError
from tftransformer.runs import translation
from tftransformer.runs.progress_lines import EpochFigures
from tftransformer.runs.translation_options import TranslationOptions

pytest.importorskip("sacrebleu")

COLOURS = {"red": "rot", "blue": "blau", "green": "grün", "black": "schwarz"}
THINGS = {"house": "Haus", "dog": "Hund", "tree": "Baum", "cat": "Tier"}
PAIRS = [(f"A {c} {t}.", f"Ein {t2} ist {c2}.") for c, c2 in COLOURS.items() for t, t2 in THINGS.items()]
SMALL = dict(
    vocabulary_size=320, num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32, sequence_length=16, dropout=0.0,
    batch_size=8, warmup=4, num_beams=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for name, rows in (("train", PAIRS * 3), ("val", PAIRS[:4]), ("test", PAIRS[4:9])):
        for language, side in zip(("en", "de"), zip(*rows, strict=True), strict=True):
            (folder / f"{name}.{language}").write_text("\n".join(side) + "\n", encoding="utf-8")
    return folder


def options(pairs, folder, **changes):
    return TranslationOptions(**{"dataset": str(pairs), "output_dir": str(folder), **SMALL, "epochs": 2, **changes})


@pytest.fixture(scope="module")
def finished(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, translation.train(options(pairs, folder))


def test_it_leaves_a_report_a_model_and_pictures(finished, capsys):
    folder, report = finished
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test"]["scores"]["this model"]["BLEU"]["value"] == report.scores["this model"]["BLEU"].value
    assert metrics["test"]["count"] == 5 and metrics["perplexity"] > 1 and len(metrics["train"]["epochs"]) == 2
    assert str(report) in (folder / "report.txt").read_text() and "word by word" in str(report)
    rows = (folder / "translations.tsv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 6 and rows[0] == "source\treference\twritten" and all(row.count("\t") == 2 for row in rows)
    for picture in ("curves.png", "cross_attention.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    written = [row.split("\t")[2] for row in rows[1:]]
    sources = [row.split("\t")[0] for row in rows[1:]]
    served = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures["serving_default"]
    found = [" ".join(text.decode().split()) for text in served(text=tf.constant(sources))["text"].numpy()]
    assert found == written
    translation.translate(folder, sources)
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == written


@pytest.mark.slow
def test_a_run_goes_on_with_other_pairs_and_both_tests_are_scored(finished, pairs, tmp_path):
    folder, _ = finished
    report = translation.train(
        options(pairs, tmp_path / "more", init_from=str(folder), source="de", target="en", epochs=1)
    )
    assert list(report.scores) == ["this model", "before this run", "word by word", "copy of the source"]
    metrics = json.loads((tmp_path / "more" / "metrics.json").read_text())
    assert list(metrics["former_test"]["scores"]) == ["this model", "before this run"]
    assert "former run's test" in (tmp_path / "more" / "report.txt").read_text()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_behind_its_last_epoch(pairs, tmp_path, monkeypatch, capsys):
    whole = translation.train(options(pairs, tmp_path / "whole", epochs=3))
    ends = EpochFigures.on_epoch_end

    def interrupted(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt
        ends(self, epoch, logs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EpochFigures, "on_epoch_end", interrupted)
        translation.train(options(pairs, tmp_path / "torn", epochs=3))
    capsys.readouterr()
    report = translation.train(options(pairs, tmp_path / "torn", epochs=3))
    said = capsys.readouterr().out
    assert "behind its last finished epoch" in said and "epoch 3/3" in said and "epoch 2/3" not in said
    assert report.scores == whole.scores
    same = [tt.load(tmp_path / name / "model") for name in ("whole", "torn")]
    for one, other in zip(*(tt.patterns.addresses(task).items() for task in same), strict=True):
        assert one[0] == other[0] and (one[1].numpy() == other[1].numpy()).all()


@pytest.mark.slow
def test_a_clock_ends_it(pairs, tmp_path):
    translation.train(options(pairs, tmp_path / "run", epochs=None, minutes=0.001))
    assert len(json.loads((tmp_path / "run" / "metrics.json").read_text())["train"]["epochs"]) == 1


def test_what_cannot_be_is_said_in_a_line(pairs, tmp_path, finished):
    for changes, told in (
        ({"dataset": str(tmp_path / "nothing")}, "does not exist"),
        ({"target": "fr"}, "no file of 'fr'"),
        ({"init_from": str(tmp_path)}, "run's folder"),
        ({"strategy": "loar:3"}, "did you mean 'lora'"),
        ({"output_dir": str(finished[0])}, "must not hold a finished run"),
    ):
        with pytest.raises(TransformerError, match=told) as raised:
            translation.train(options(pairs, tmp_path / "run", **changes))
        assert "\n" not in str(raised.value)


def test_what_scores_need_is_missed_before_the_training(pairs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(TransformerError, match="need sacrebleu"):
        translation.train(options(pairs, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
