"""Mistakes in a classification run: one line that says what is wrong, and nothing written."""

import csv
import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tftransformer import files
from tftransformer.data import Split, Splits
from tftransformer.data.examples import build_examples
from tftransformer.errors import TransformerError
from tftransformer.evaluation import classification_metrics
from tftransformer.evaluation.reports import Report
from tftransformer.preprocessing import text
from tftransformer.runs import classification, finished_runs, report_budget
from tftransformer.runs.advice import below_baseline
from tftransformer.runs.classification import ClassificationRun
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.time_limit import TextSpeed
from tftransformer.tasks import TextClassifier


@pytest.fixture
def data(tmp_path, reviews):
    texts, labels = reviews

    def write(name, rows, header=("text", "label")):
        with open(tmp_path / name, "w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return str(tmp_path / name)

    write("ok.csv", list(zip(texts, labels)))
    write("one_class.csv", [(text, "same") for text in texts])
    write("no_label.csv", [*zip(texts, labels), ("a text", "")])
    write("unseen.csv", [("a text", "never seen")])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "latin.csv").write_bytes("text,label\na,b\ncaf\u00e9,b\n".encode("latin-1"))
    return tmp_path


MISTAKES = [
    (dict(dataset="{data}/missing.csv"), "missing.csv"),
    (dict(dataset="{data}/ok.csv", text_columns=["txt"]), "did you mean 'text'"),
    (dict(dataset="{data}/ok.csv", label_column="lable"), "did you mean 'label'"),
    (dict(dataset="{data}/no_label.csv"), "no_label.csv.*62"),
    (dict(dataset="{data}/one_class.csv"), "same"),
    (dict(train_path="{data}/ok.csv", test_path="{data}/unseen.csv"), "never seen"),
    (dict(dataset="{data}/latin.csv"), "latin.csv.*3"),
    (dict(dataset="{data}/empty.csv"), "empty"),
    (dict(dataset="{data}/ok.csv", preset="bert_bse_en_uncased"), "did you mean 'bert_base_en_uncased'"),
    (dict(dataset="{data}/ok.csv", freeze_layers=13), "layers must be between 0 and 2.*13"),
    (dict(dataset="{data}/ok.csv", sequence_length=4000), "sequence_length must be between 3 and 32.*4000"),
    (dict(dataset="{data}/ok.csv", schedule="linaer"), "did you mean 'linear'"),
    (dict(dataset="{data}/ok.csv", distribution="mirored"), "did you mean 'mirrored'"),
    (dict(dataset="{data}/ok.csv", strategy="freeze:3"), "layers must be between 0 and 2"),
    (dict(dataset="{data}/ok.csv", class_weight="balancd"), "did you mean 'balanced'"),
    (dict(dataset="{data}/ok.csv", output_dir="{data}"), "output_dir"),
    (dict(dataset="{data}/ok.csv", activation_cache="of"), "activation_cache must be.*'of'; did you mean 'off'"),
    (dict(dataset="{data}/ok.csv", activation_cache="{data}"), "activation_cache.*holds 'empty.csv'"),
    (dict(dataset="{data}/ok.csv", activation_cache="{data}/ok.csv"), "activation_cache must be a folder.*is a file"),
    (dict(dataset="{data}/ok.csv", activation_cache="{data}/ok.csv/x"), "cannot write .*Not a directory"),
    (dict(dataset="{data}/missing.csv", activation_cache="{data}/new"), "missing.csv"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_mistakes_in_one_line(data, two_block_preset, options, message):
    given = {key: value.format(data=data) if isinstance(value, str) else value for key, value in options.items()}
    given = {"preset": str(two_block_preset), "output_dir": str(data / "run"), **given}
    before = sorted(p.name for p in data.iterdir())
    with pytest.raises(TransformerError, match=message) as error:
        classification.train(ClassificationOptions(**given))
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in data.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=0), "batch_size must be at least 1; got 0"),
        (dict(epochs=-1), "epochs must be at least 1"),
        (dict(freeze_layers=-1), "freeze_layers must be at least 0"),
        (dict(strategy="lara:8"), "strategy must be one of .*; got 'lara:8'; did you mean 'lora'"),
        (dict(strategy="lora:8", freeze_layers=2), "freeze_layers goes with the strategy 'freeze'"),
        (dict(learning_rate=0.0), "learning_rate"),
        (dict(learning_rate=float("nan")), "learning_rate"),
        (dict(mixed_precision="bf16"), "did you mean 'bfloat16'"),
        (dict(sequence_length=2), "sequence_length must be at least 3"),
        (dict(add_labels=True), "add_labels goes with init_from"),
        (dict(train_examples=1), "train_examples must be at least 2"),
        (dict(augmentation=["swp:0.1"]), "operation must be one of .*; got 'swp:0.1'; did you mean 'swap'"),
        (dict(augmentation="swap:2"), "the fraction of swap must be above 0 and at most 1; got 2.0"),
        (dict(augmentation_copies=-1), "augmentation_copies must be at least 0; got -1"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_read(options, message):
    with pytest.raises(TransformerError, match=message):
        ClassificationOptions(**options)


def test_freeze_layers_is_a_short_form_of_the_strategy():
    assert str(ClassificationOptions().fine_tuning()) == "full"
    assert str(ClassificationOptions(freeze_layers=3).fine_tuning()) == "freeze:3"
    assert str(ClassificationOptions(strategy="freeze", freeze_layers=3).fine_tuning()) == "freeze:3"
    assert str(ClassificationOptions(strategy="lora").fine_tuning()) == "lora:8"


def test_a_finished_run_is_needed_to_predict(tmp_path):
    with pytest.raises(TransformerError, match="model must be given"):
        finished_runs.predict("", ["a"])
    with pytest.raises(TransformerError, match="does not exist"):
        finished_runs.predict(tmp_path / "nothing", ["a"])
    with pytest.raises(TransformerError, match="needs a text"):
        finished_runs.predict(tmp_path, [])


# Runs that end early.


@pytest.fixture
def quick(data, two_block_preset, monkeypatch):
    """Options of a run that takes no graphs, and a list of its exports."""
    monkeypatch.setattr(TextClassifier, "run_eagerly", property(lambda _: True, lambda *_: None))
    exported = []
    monkeypatch.setattr(
        TextClassifier, "export", lambda _, folder: exported.append(folder) or folder.mkdir(parents=True)
    )
    options = ClassificationOptions(
        preset=str(two_block_preset),
        dataset=str(data / "ok.csv"),
        epochs=1,
        output_dir=str(data / "run"),
        batch_size=32,
    )
    return options, exported


def test_a_run_that_was_ended_behind_its_training_begins_anew_and_finishes(quick, capsys, monkeypatch):
    options, exported = quick

    def ended(classifier, folder, overwrite=False):
        save(classifier, folder)
        half = RunFolder.open(folder.parent, finished=False).saved_model_path
        half.mkdir(parents=True)
        files.write_text(half / "half", "")
        raise KeyboardInterrupt

    save = TextClassifier.save_to_preset
    with monkeypatch.context() as patch:
        patch.setattr(ClassificationRun, "fit", lambda _: [{}])
        patch.setattr(ClassificationRun, "tune", lambda _: None)
        patch.setattr(TextClassifier, "save_to_preset", ended)
        with pytest.raises(KeyboardInterrupt):
            classification.train(options)
    path = Path(options.output_dir)
    assert RunFolder.open(path, finished=False).status == "interrupted"
    assert (path / "model" / "preset.json").exists() and "begins anew" not in capsys.readouterr().out
    report = classification.train(options)
    said = capsys.readouterr().out
    assert "run: an unfinished run of the same settings is cleared, training begins anew\n" in said
    run = RunFolder.open(path)
    assert run.status == "finished" and exported == [run.saved_model_path]
    assert not (run.saved_model_path / "half").exists()
    assert TextClassifier.from_preset(path).labels == ("negative", "positive")
    text = run.report_path.read_text()
    assert text.startswith(str(report)) and text.strip() in said
    assert ("The model is below TF-IDF" in text) == (report["macro_f1"] < report.baseline["macro_f1"])


@pytest.mark.parametrize(
    ("missing", "options", "message"),
    [
        (("validation", "test"), {}, "a run needs a test split to report on"),
        (("validation",), {"early_stopping": 2}, "early_stopping needs a validation split"),
    ],
)
def test_what_the_end_needs_is_asked_for_at_the_beginning(quick, missing, options, message):
    options = dataclasses.replace(quick[0], **options)
    splits = classification.load_splits(options)._replace(**dict.fromkeys(missing))

    def build(*_):
        pytest.fail("nothing is built")

    with pytest.raises(TransformerError, match=message):
        ClassificationRun(options, splits, build).train()
    assert not Path(options.output_dir).exists()


RIGHT, WRONG = [[0.9, 0.1], [0.1, 0.9]], [[0.1, 0.9], [0.1, 0.9]]
DATA = {"rows": 400, "truncated": 0.4, "tokens": {"95": 60}}


def report(own, baseline):
    figures = [classification_metrics([0, 1], rows, ["no", "yes"]) for rows in (own, baseline)]
    return Report(figures[0], baseline={"name": "word counting", **figures[1]})


def told(rows=200, epochs=3, rate=2e-5, data=DATA, run=None, longest=None, **options):
    course = {"learning_rate": rate, "epochs": epochs, "epochs_run": run or epochs, "rows": rows}
    options = ClassificationOptions(**{"sequence_length": 20, **options})
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
        "--epochs=20", "--learning_rate=6e-5", "--strategy=full", "--sequence_length=60", "without --train_examples",
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
        (dict(longest=40), "--sequence_length=40 ", True),
        (dict(longest=100), "--sequence_length=60 ", True),
        (dict(longest=20), "--sequence_length", False),
        (dict(sequence_length=None, longest=512), "--sequence_length", False),
        (dict(data={"rows": 9, "truncated": 0.0, "tokens": {"95": 9}}), "--sequence_length", False),
        (dict(data={"rows": 9, "truncated": None, "tokens": None}), "--sequence_length", False),
    ],
)
def test_only_what_may_help_is_named(given, flag, there):
    assert (flag in told(**given)) is there


def test_a_run_tells_how_it_was_trained(two_block_preset, reviews, monkeypatch, tmp_path):
    heard = []
    split = Split(*reviews)
    monkeypatch.setattr(ClassificationRun, "fit", lambda _: [{"loss": 1.0}, {"loss": 1.0}])
    monkeypatch.setattr(ClassificationRun, "tune", lambda run: run.trained.update(temperature=None))
    monkeypatch.setattr(ClassificationRun, "_evaluate", lambda run: (report(WRONG, RIGHT), np.array(60 * RIGHT[:1])))
    monkeypatch.setattr(classification, "below_baseline", lambda *given: heard.extend(given) or "")
    monkeypatch.setattr(TextClassifier, "export", lambda *_: None)
    options = ClassificationOptions(
        preset=str(two_block_preset), epochs=5, augmentation="swap:0.1", output_dir=str(tmp_path / "run")
    )
    ClassificationRun(options, Splits(split, split, split)).train()
    course, longest = heard[2], heard[5]
    assert (course["rows"], course["epochs"], course["epochs_run"], longest) == (120, 5, 2, 32)


def test_a_run_tokenises_each_text_once_and_reports_what_its_model_reports(quick, monkeypatch):
    options, _ = quick
    counts = []
    monkeypatch.setattr(
        text,
        "build_examples",
        lambda texts, **given: counts.append(len(texts)) or build_examples(texts, **given),
    )
    options = dataclasses.replace(options, train_examples=20, drop_leaked=True)
    report = classification.train(options)
    splits = classification.load_splits(options)
    # And the names of the two labels, by which the head is started.
    assert counts == [*(len(split) for split in splits.present().values()), 2]
    monkeypatch.undo()
    classifier = TextClassifier.from_preset(Path(options.output_dir) / "model")
    assert str(classifier.report(splits.test)).splitlines()[-1] in str(report)
    assert classifier.report(splits.test)["accuracy"] == report["accuracy"]


@pytest.fixture(scope="module")
def budget(two_block_preset, reviews):
    """Makes the budget of a run within some minutes, whose 60 test rows and 60 training rows are the reviews."""
    split = Split(*reviews)
    splits = Splits(split, split, split)
    classifier = TextClassifier.from_preset(two_block_preset, labels=split.labels, sequence_length=12)
    classifier.compile(run_eagerly=True)
    examples = {name: classifier.preprocess(part) for name, part in splits.present().items()}

    def make(minutes, **given):
        options = ClassificationOptions(minutes=minutes, **given)
        return report_budget.ReportBudget(classifier, splits, examples, options, begun=1000.0)

    return make


def test_a_short_run_is_tested_on_as_many_rows_as_it_has_time_for(budget, monkeypatch):
    monkeypatch.setattr(report_budget, "_LEAST_ROWS", 20)
    monkeypatch.setattr(report_budget, "_COUNTED_FIRST", 30)
    monkeypatch.setattr(report_budget, "measure_speed", lambda *_: TextSpeed(0.1, 1.0))
    run = SimpleNamespace(path="runs/x")
    short = budget(0.01)
    assert short.end == 1000.6 and len(short.splits.test) == len(short.examples["test"]) == 20
    assert set(short.splits.test.targets) == {"negative", "positive"} and short.baseline["accuracy"] > 0.3
    assert short.notes(run).splitlines() == [
        "20 of 60 validation rows were looked at, chosen by the seed.",
        "20 of 60 test rows were looked at, chosen by the seed; --test_all, or --mode=evaluate --model=runs/x afterwards, takes "
        "all of them.",
        "Words were counted in 30 of 60 training rows.",
    ]
    longer = budget(0.5)  # a tenth of thirty seconds
    assert len(longer.splits.test) == 30 and len(longer.splits.validation) == 20
    for whole in (budget(0.01, test_all=True), budget(60.0)):
        assert len(whole.splits.test) == len(whole.examples["test"]) == 60
    assert budget(60.0).notes(run) == ""


def test_where_time_was_missing_more_minutes_are_advised_first():
    course = {"learning_rate": 1e-4, "epochs": 1, "epochs_run": 1, "rows": 1000, "updates_run": 60, "minutes": 7}
    text = below_baseline(report(WRONG, RIGHT), ClassificationOptions(minutes=2.0), course, {"rows": 1000}, 1e-4)
    assert text.splitlines()[1].split() == (
        "--minutes=7 there was time for 60 updates in this run; so many rows want more".split()
    )
    enough = below_baseline(
        report(WRONG, RIGHT), ClassificationOptions(minutes=2.0), {**course, "minutes": None}, {"rows": 1000}, 1e-4
    )
    assert "--minutes" not in enough and "--epochs" not in enough
