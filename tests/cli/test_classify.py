"""`python -m tftransformer classify` as users run it: a whole run, then predictions from it, and mistakes in one line."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tftransformer", "classify"]


def run(folder, *flags):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [*COMMAND, *flags], cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reviews):
    folder = tmp_path_factory.mktemp("cli")
    with open(folder / "reviews.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "label", "day"])
        writer.writerows((*row, "monday") for row in zip(*reviews))
    return folder


@pytest.fixture(scope="module")
def finished(folder, tiny_preset):
    done = run(
        folder, "--dataset=reviews.csv", f"--preset={tiny_preset}", "--freeze_layers=1", "--extra_blocks=1", "--epochs=2",
        "--learning_rate=1e-3", "--class_weight=balanced", "--early_stopping=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "runs" / "reviews-1", done


def test_a_run_says_which_columns_it_took(finished):
    path, done = finished
    assert "    columns  text: review, label: label, unused: day\n" in done.stdout
    columns = json.loads((path / "run.json").read_text())["config"]["columns"]
    assert columns == {"text": ["review"], "label": ["label"], "unused": ["day"]}


def test_a_run_leaves_what_the_readme_says(finished):
    path, _ = finished
    expected = {
        "run.json", "metrics.json", "report.txt", "history.csv", "confusion_matrix.png", "roc.png", "curves.png",
        "confidence.png", "predictions.csv", "model", "saved_model", "tensorboard",
    }  # fmt: skip
    assert {p.name for p in path.iterdir()} == expected
    assert (path / "saved_model" / "1" / "saved_model.pb").exists()
    metrics = json.loads((path / "metrics.json").read_text())
    assert set(metrics) >= {"test", "train", "data", "config", "confidence"}
    assert set(metrics["test"]) >= {
        "accuracy", "macro_f1", "weighted_f1", "auc", "loss", "per_class", "confidence_interval", "baseline",
    }  # fmt: skip
    assert set(metrics["train"]) >= {"seconds", "examples_per_second", "trainable_parameters", "epochs"}
    assert len(metrics["train"]["epochs"]) == 2
    assert metrics["config"]["freeze_layers"] == 1 and metrics["config"]["extra_blocks"] == 1
    rows = list(csv.DictReader(open(path / "predictions.csv", newline="")))
    assert list(rows[0]) == ["text", "label", "prediction", "probability"] and len(rows) == 12


def test_a_run_prints_progress_and_report_and_no_noise(finished):
    path, done = finished
    assert (path / "report.txt").read_text().strip() in done.stdout
    assert "activation cache: embeddings and block 0 run once over " in done.stdout
    assert "frozen: embeddings, encoder_block_0" in done.stdout and "epoch 2/2: done" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_predict_and_evaluate_use_the_finished_run(finished, folder):
    done = run(folder, "--mode=predict", "--model=runs/reviews-1", "--text=a good film", "--text=bad, very bad")
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.strip().splitlines()]
    assert [line[2] for line in lines] == ["a good film", "bad, very bad"]
    assert all(line[0] in ("negative", "positive") and 0.5 <= float(line[1]) <= 1 for line in lines)


@pytest.mark.slow
def test_evaluate_repeats_the_report_from_anywhere(finished, folder, tmp_path):
    accuracy = json.loads((finished[0] / "metrics.json").read_text())["test"]["accuracy"]
    for flags in ([], [f"--dataset={folder / 'reviews.csv'}"]):
        done = run(tmp_path, "--mode=evaluate", f"--model={folder / 'runs' / 'reviews-1'}", *flags)
        assert done.returncode == 0, done.stderr
        assert f"accuracy   {accuracy:.4f}" in done.stdout


@pytest.mark.slow
def test_a_file_of_texts_becomes_a_file_of_answers(finished, folder, reviews, tmp_path):
    (tmp_path / "new.csv").write_text('id,review\n1,a good film\n2,"bad, very bad"\n')
    flags = ["--mode=predict", f"--model={folder / 'runs' / 'reviews-1'}", "--texts=new.csv", "--output=answers.csv"]
    done = run(tmp_path, *flags)
    assert done.returncode == 0 and done.stdout == "2 answers are in answers.csv\n", done.stderr
    rows = list(csv.DictReader(open(tmp_path / "answers.csv", newline="")))
    assert [row["text"] for row in rows] == ["a good film", "bad, very bad"]
    for row in rows:
        numbers = {label: float(row[f"probability_{label}"]) for label in ("negative", "positive")}
        assert abs(sum(numbers.values()) - 1) < 1e-5 and row["label"] == max(numbers, key=numbers.get)
    again = run(tmp_path, *flags)
    assert again.returncode == 1 and "answers.csv exists: pass --overwrite to replace it" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_killed_while_exporting_the_same_command_finishes(folder, tiny_preset, tmp_path, ending, code):
    flags = [f"--dataset={folder / 'reviews.csv'}", f"--preset={tiny_preset}", "--epochs=1", "--output_dir=run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*COMMAND, *flags]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("exporting"):
                time.sleep(0.3)
                process.send_signal(ending)
        assert process.wait(60) == code, process.stderr.read()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == ("interrupted" if ending == signal.SIGTERM else "running")
    assert not (tmp_path / "run" / "metrics.json").exists()
    done = run(tmp_path, *flags)
    assert done.returncode == 0 and "training begins anew" in done.stdout, done.stderr[-2000:]
    assert (tmp_path / "run" / "saved_model" / "1" / "saved_model.pb").exists()
    assert not [path for path in (tmp_path / "run").rglob("*.partial")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "code", "flags"),
    [
        (signal.SIGINT, 130, ["--epochs=4000"]),
        (signal.SIGTERM, 143, ["--epochs=4000", "--strategy=unfreeze"]),
        (signal.SIGINT, 130, ["--minutes=30"]),
    ],
    ids=["ctrl_c", "sigterm_in_stages", "within_minutes"],
)
def test_a_training_that_is_stopped_leaves_its_model(folder, tiny_preset, tmp_path, ending, code, flags):
    flags = [f"--dataset={folder / 'reviews.csv'}", f"--preset={tiny_preset}", "--output_dir=run", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command, seen = [*COMMAND, *flags], []

    def hear_ctrl_c():
        # A shell has its background jobs ignore it, and what they start.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, preexec_fn=hear_ctrl_c, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        for line in process.stdout:
            if re.match(r"epoch 9|an update takes", line) and not seen:
                process.send_signal(ending)
            if seen or re.match(r"epoch 9|an update takes", line):
                seen.append(line)
        assert process.wait(60) == code, process.stderr.read()
    assert "the model as it was trained until here is in run/model; --mode=predict --model=run uses it\n" in seen[-1]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    done = run(tmp_path, "--mode=predict", "--model=run", "--text=a good film")
    assert done.returncode == 0 and "run is interrupted: its model is what was trained until then\n" in done.stdout
    assert done.stdout.splitlines()[-1].split("\t")[0] in ("negative", "positive"), done.stderr
    done = run(tmp_path, "--mode=evaluate", "--model=run")
    assert done.returncode == 0 and "accuracy " in done.stdout, done.stderr
    done = run(tmp_path, "--mode=predict", "--model=run", "--text=a good film", "--min_accuracy=0.9")
    assert done.returncode == 1 and "this one is interrupted" in done.stderr


@pytest.mark.slow
def test_another_encoding_of_the_output_is_no_error(finished, folder):
    done = subprocess.run(
        [*COMMAND, "--mode=evaluate", "--model=runs/reviews-1"], cwd=folder, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and b"..." in done.stdout and done.stderr == b"", done.stderr


@pytest.mark.slow
def test_label_sets_and_accuracies_are_those_of_the_report(finished, folder, tmp_path):
    confidence = json.loads((finished[0] / "metrics.json").read_text())["confidence"]
    sets = {key: row["threshold"] for key, row in confidence["sets"].items()}
    coverage = next(key for key, threshold in sets.items() if threshold)
    (tmp_path / "new.txt").write_text("a good film\nbad, very bad\nthe slow plot\n")
    done = run(
        tmp_path,
        "--mode=predict",
        f"--model={finished[0]}",
        "--texts=new.txt",
        f"--label_sets={coverage}",
        "--output=a.csv",
    )
    assert done.returncode == 0 and done.stdout == "3 answers are in a.csv\n", done.stderr
    for row in csv.DictReader(open(tmp_path / "a.csv", newline="")):
        numbers = {label: float(row[f"probability_{label}"]) for label in ("negative", "positive")}
        expected = {label for label, p in numbers.items() if p >= sets[coverage]} | {row["label"]}
        assert set(row["label_set"].split("|")) == expected and row["label_set"].split("|")[0] == row["label"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--label_sets=0.85",
            "--label_sets must be one of 0.8, 0.9, 0.95, 0.99, which .* has thresholds for; got 0.85",
        ),
        pytest.param(
            "--min_accuracy=0.99", "--min_accuracy=0.99 is more than the held-out rows", marks=pytest.mark.slow
        ),
        pytest.param("--min_accuracy=5", "--min_accuracy must be one of 0.9, 0.95, 0.99", marks=pytest.mark.slow),
    ],
)
def test_thresholds_that_a_run_does_not_have_are_one_line(finished, tmp_path, flags, message):
    done = run(tmp_path, "--mode=predict", f"--model={finished[0]}", "--text=a", "--output=answers.csv", flags)
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(f"error: {message}.*\n", done.stderr)
    assert not list(tmp_path.iterdir())


def test_a_mistake_is_one_line_and_nothing_is_written(folder):
    before = sorted(p.name for p in folder.iterdir())
    done = run(folder, "--dataset=review.csv", "--output_dir=new")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert "reviews.csv" in done.stderr and "Traceback" not in done.stderr
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--train_examples=12",),
        ("--train_examples=48",),
        ("--train_examples=100",),
        ("--train_examples=200",),
        ("--train_examples=48", "--strategy=probe"),
        ("--train_examples=48", "--strategy=contrastive:3", "--early_stopping=1"),
        ("--train_examples=48", "--strategy=unfreeze", "--epochs=2"),
    ],
    ids=" ".join,
)
def test_few_rows_of_the_sample_end_with_a_report(folder, tiny_preset, flags):
    """Whatever the recipe makes of them: with updates and without, every callback reads the rate."""
    name = "few" + "".join(re.findall(r"[\w:]+", "".join(flags)))
    done = run(folder, f"--preset={tiny_preset}", "--sequence_length=16", *flags, f"--output_dir={folder / name}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "this model" in (folder / name / "report.txt").read_text()
    assert (folder / name / "model").is_dir() and (folder / name / "saved_model" / "1").is_dir()
    with open(folder / name / "history.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) >= 1
    assert list((folder / name / "tensorboard").rglob("events*"))
