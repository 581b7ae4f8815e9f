"""A run of summarize: what it leaves, goes on with and refuses; small sizes throughout."""

import json
import sys

import pytest
import tensorflow as tf

import tftransformer as tt
from tftransformer.errors import TransformerError
from tftransformer.runs import summarization, translation
from tftransformer.runs.progress_lines import EpochFigures
from tftransformer.runs.summarization_options import SummarizationOptions
from tftransformer.runs.translation_options import TranslationOptions

pytest.importorskip("rouge_score")

ANIMALS, PLACES = ("dog", "cat", "fox", "owl"), ("house", "tree", "road", "barn")
ROWS = [
    {
        "article": [f"A {animal} was seen.", f"It sat by the {place} all day.", "Nobody knows why it came."],
        "summary": [f"A {animal} sat by a {place}.", f"The {animal} stayed."],
    }
    for animal in ANIMALS
    for place in PLACES
]
SMALL = dict(
    vocabulary_size=320, num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32, sequence_length=48, target_length=6,
    dropout=0.0, batch_size=8, warmup=4, num_beams=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def articles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("articles")
    for name, rows in (("train", ROWS), ("val", ROWS[:4]), ("test", ROWS[4:9])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def options(articles, folder, **changes):
    return SummarizationOptions(
        **{"dataset": str(articles), "output_dir": str(folder), **SMALL, "epochs": 2, **changes}
    )


@pytest.fixture(scope="module")
def finished(articles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, summarization.train(options(articles, folder))


@pytest.mark.slow  # test_translation.py has a run of the same kind
def test_it_leaves_a_report_a_model_and_summaries(finished, capsys):
    folder, report = finished
    metrics = json.loads((folder / "metrics.json").read_text())
    systems = ["this model", "lead: 2 sentences", "lead: 4 words", "one summary for all", "best sentence (oracle)"]
    assert list(metrics["test"]["scores"]) == systems == list(report.scores)
    assert metrics["test"]["scores"]["this model"]["ROUGE-1"]["value"] == report.scores["this model"]["ROUGE-1"].value
    assert metrics["test"]["count"] == 5 and metrics["perplexity"] > 1 and len(metrics["train"]["epochs"]) == 2
    # Each of two summaries is a pair to train on; what they lose to the cut is told.
    assert metrics["data"]["rows"] == {"train": 32, "validation": 4, "test": 5}
    assert metrics["data"]["cut"]["train"][1] > 0 and metrics["data"]["lost"]["train"][1] > 0
    told = (folder / "report.txt").read_text()
    assert str(report) in told and "  A cat sat by a house.\n  The cat stayed.\n  > " in told
    assert f"{metrics['data']['cut']['test'][1]} targets longer than the model takes, cut: " in told
    rows = [row.split("\t") for row in (folder / "summaries.tsv").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 6 and rows[0] == ["source", "reference", "written", "reference_2"]
    assert rows[1][:2] == [" ".join(ROWS[4]["article"]), ROWS[4]["summary"][0]] and rows[1][3] == ROWS[4]["summary"][1]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG") and not (folder / "cross_attention.png").exists()
    written, sources = [row[2] for row in rows[1:]], [row[0] for row in rows[1:]]
    served = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures["serving_default"]
    found = [" ".join(text.decode().split()) for text in served(text=tf.constant(sources))["text"].numpy()]
    assert found == written
    summarization.summarize(folder, sources, str(folder.parent / "written.txt"))
    assert (folder.parent / "written.txt").read_text().splitlines() == written


@pytest.mark.slow
def test_what_cannot_be_is_said_in_a_line(articles, tmp_path, finished):
    (tmp_path / "one.csv").write_text("text,label\na,b\n")
    for changes, told in (
        ({"dataset": str(tmp_path / "nothing")}, "does not exist"),
        ({"target_column": "sumary"}, "target: .* has no column 'sumary'.*did you mean 'summary'"),
        (
            {"dataset": str(tmp_path / "one.csv")},
            "target must be named: .*no column such as 'summary'; it has text, label",
        ),
        ({"init_from": str(tmp_path)}, "run's folder"),
        ({"preset": str(tmp_path / "none")}, "none"),
        ({"preset": "bert_12x192_en_uncased"}, "needs a preset with a decoder"),
        ({"output_dir": str(finished[0])}, "must not hold a finished run"),
    ):
        with pytest.raises(TransformerError, match=told) as raised:
            summarization.train(options(articles, tmp_path / "run", **changes))
        assert "\n" not in str(raised.value)
        assert changes.get("output_dir") or not (tmp_path / "run").exists()


@pytest.mark.slow
def test_it_goes_on_with_a_run_or_a_preset(finished, articles, tmp_path):
    folder, _ = finished
    shorter = {"epochs": 1, "sequence_length": 24, "target_length": None}
    more = summarization.train(options(articles, tmp_path / "more", init_from=str(folder), **shorter))
    preset = summarization.train(options(articles, tmp_path / "preset", preset=str(folder / "model"), **shorter))
    assert list(more.scores)[:2] == ["this model", "before this run"] == list(preset.scores)[:2]
    assert more.scores == preset.scores
    task = tt.load(tmp_path / "more" / "model")
    assert (task.sequence_length, task.target_length) == (24, 6)
    metrics = json.loads((tmp_path / "more" / "metrics.json").read_text())
    assert list(metrics["former_test"]["scores"]) == ["this model", "before this run"]
    assert "former_test" not in json.loads((tmp_path / "preset" / "metrics.json").read_text())


@pytest.mark.slow
def test_runs_of_another_command_are_told_apart(finished, articles, tmp_path):
    with pytest.raises(
        TransformerError, match="init_from must be the folder of a run of translate; .* of another command"
    ):
        translation.train(TranslationOptions(dataset=str(articles), source="a", target="b", init_from=str(finished[0])))
    with pytest.raises(TransformerError, match="model must be the folder of a run of translate"):
        translation.translate(finished[0], ["x"])


@pytest.mark.slow
def test_an_interrupted_run_goes_on_behind_its_last_epoch(articles, tmp_path, monkeypatch, capsys):
    whole = summarization.train(options(articles, tmp_path / "whole", epochs=3))
    ends = EpochFigures.on_epoch_end

    def interrupted(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt
        ends(self, epoch, logs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EpochFigures, "on_epoch_end", interrupted)
        summarization.train(options(articles, tmp_path / "torn", epochs=3))
    capsys.readouterr()
    report = summarization.train(options(articles, tmp_path / "torn", epochs=3))
    said = capsys.readouterr().out
    assert "behind its last finished epoch" in said and "epoch 3/3" in said and "epoch 2/3" not in said
    assert report.scores == whole.scores
    same = [tt.load(tmp_path / name / "model") for name in ("whole", "torn")]
    for one, other in zip(*(tt.patterns.addresses(task).items() for task in same), strict=True):
        assert one[0] == other[0] and (one[1].numpy() == other[1].numpy()).all()


def test_what_scores_need_is_missed_before_the_training(articles, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(TransformerError, match="need rouge-score"):
        summarization.train(options(articles, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_lengths_and_rates_are_of_the_command_only_from_nothing():
    nothing = SummarizationOptions(dataset="d")
    assert nothing.longest == {"sequence_length": 320, "target_length": 64} and nothing.highest_rate == 2e-3
    assert TranslationOptions(dataset="d").highest_rate is None
    for origin in ({"preset": "p"}, {"init_from": "r"}):
        assert SummarizationOptions(dataset="d", **origin).longest == {}
        assert SummarizationOptions(dataset="d", **origin).highest_rate is None
        given = SummarizationOptions(dataset="d", target_length=9, learning_rate=1e-4, **origin)
        assert given.longest == {"target_length": 9} and given.highest_rate == 1e-4
