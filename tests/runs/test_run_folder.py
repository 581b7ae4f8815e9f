"""Run folders: where they go, what may be overwritten, and what an interrupted run leaves."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tftransformer import files
from tftransformer.errors import TransformerError
from tftransformer.runs import RunFolder
from tftransformer.runs.run_folder import check_free

CONFIG = {"seed": 0, "learning_rate": 2e-5}


def finished(path, **config):
    with RunFolder.create(path, "tickets", config={**CONFIG, **config}) as run:
        files.write_text(run.report_path, "report")
        run.finish({"test": {"accuracy": 0.9, "loss": float("nan")}})
    return run


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_default_is_the_next_free_folder(tmp_path):
    runs = [RunFolder.create(name="tickets", root=tmp_path / "runs") for _ in range(2)]
    (tmp_path / "runs" / "tickets-7").mkdir()
    (tmp_path / "runs" / "tickets-9-old").mkdir()
    runs.append(RunFolder.create(None, "tickets", root=tmp_path / "runs"))
    assert [run.path.name for run in runs] == ["tickets-1", "tickets-2", "tickets-8"]
    for run in runs:
        run.close()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("tfds:glue/sst2", "tfds-glue-sst2-1"),
        ("../..", "run-1"),
        ("", "run-1"),
        ("票", "票-1"),
        ("a" * 300, "a" * 60 + "-1"),
    ],
)
def test_any_name_makes_one_folder_below_the_root(tmp_path, name, folder):
    with RunFolder.create(name=name, root=tmp_path) as run:
        assert run.path == tmp_path / folder and run.name == name


def test_folders_are_handed_out_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: RunFolder.create(name="x", root=tmp_path), range(40)))
    assert len({run.path for run in runs}) == 40


def test_the_layout(tmp_path):
    with RunFolder.create(tmp_path / "r") as run:
        assert {
            name: os.fspath(getattr(run, name).relative_to(run.path)) for name in dir(run) if name.endswith("_path")
        } == {
            "metrics_path": "metrics.json",
            "report_path": "report.txt",
            "history_path": "history.csv",
            "confusion_matrix_path": "confusion_matrix.png",
            "roc_path": "roc.png",
            "confidence_path": "confidence.png",
            "curves_path": "curves.png",
            "scatter_path": "predictions.png",
            "comparison_path": "comparison.png",
            "predictions_path": "predictions.csv",
            "label_errors_path": "label_errors.csv",
            "translations_path": "translations.tsv",
            "summaries_path": "summaries.tsv",
            "attention_path": "cross_attention.png",
            "model_path": "model",
            "saved_model_path": "saved_model/1",
            "tensorboard_path": "tensorboard",
            "checkpoint_path": "checkpoint",
        }


def test_a_finished_run_can_be_opened(tmp_path):
    finished(tmp_path / "a" / "r", rate=float("inf"))
    text = (tmp_path / "a" / "r" / "metrics.json").read_text()
    metrics = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert metrics == {"test": {"accuracy": 0.9, "loss": None}, "config": {**CONFIG, "rate": None}}
    run = RunFolder.open(tmp_path / "a" / "r")
    assert (run.status, run.name, run.config["seed"], run.metrics) == ("finished", "tickets", 0, metrics)


def test_a_finished_run_is_kept(tmp_path):
    finished(tmp_path / "r")
    with pytest.raises(TransformerError) as error:
        RunFolder.create(tmp_path / "r", config=CONFIG)
    assert "must not hold a finished run" in one_line(error) and str(tmp_path / "r") in one_line(error)
    assert RunFolder.open(tmp_path / "r").metrics["test"]["accuracy"] == 0.9


def test_overwriting_replaces_everything(tmp_path):
    finished(tmp_path / "r")
    with RunFolder.create(tmp_path / "r", overwrite=True, config={"seed": 1}) as run:
        assert not run.report_path.exists() and run.status == "running"
        run.finish({"test": {}})
    assert sorted(os.listdir(tmp_path / "r")) == ["metrics.json", "run.json"]
    assert RunFolder.open(tmp_path / "r").config == {"seed": 1}


def test_overwriting_that_fails_at_once_destroys_nothing(tmp_path):
    finished(tmp_path / "r")
    before = {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir()}
    with pytest.raises(KeyError), RunFolder.create(tmp_path / "r", overwrite=True, config={"seed": 1}):
        raise KeyError("bad input")
    assert {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir()} == before


def test_overwriting_on_a_full_disk_destroys_nothing(tmp_path, monkeypatch):
    finished(tmp_path / "r")
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(TransformerError, match="No space left"):
        RunFolder.create(tmp_path / "r", overwrite=True, config=CONFIG)
    with pytest.raises(TransformerError, match="No space left"):
        RunFolder.create(tmp_path / "new", config=CONFIG)
    monkeypatch.undo()
    assert RunFolder.open(tmp_path / "r").status == "finished" and os.listdir(tmp_path) == ["r"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("with_run", [False, True])
def test_foreign_files_are_never_deleted(tmp_path, overwrite, with_run):
    if with_run:
        finished(tmp_path / "r")
    else:
        (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.docx").write_text("years of work")
    with pytest.raises(TransformerError) as error:
        RunFolder.create(tmp_path / "r", overwrite=overwrite, config=CONFIG)
    assert "'thesis.docx'" in one_line(error)
    assert (tmp_path / "r" / "thesis.docx").read_text() == "years of work"
    assert (tmp_path / "r" / "report.txt").exists() == with_run


@pytest.mark.parametrize("content", ["{}", '{"format": "other"}'])
def test_a_run_json_of_somebody_else_is_foreign(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(TransformerError, match="no run of this project wrote"):
        RunFolder.create(tmp_path, overwrite=True)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "r").write_text("")
    with pytest.raises(TransformerError, match="output_dir must be a folder; .* is a file"):
        RunFolder.create(tmp_path / "r")


def test_an_empty_folder_is_taken(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.finish({})


def test_an_unfinished_run_may_be_started_again_by_the_same_settings_only(tmp_path):
    RunFolder.create(tmp_path / "r", config=CONFIG).close()
    assert RunFolder.open(tmp_path / "r", finished=False).status == "interrupted"
    with pytest.raises(TransformerError, match="must not hold another run"):
        RunFolder.create(tmp_path / "r", config={**CONFIG, "seed": 1})
    again = RunFolder.create(tmp_path / "r", config={**CONFIG, "output_dir": "r", "overwrite": False})
    again.finish({})
    assert RunFolder.open(tmp_path / "r").status == "finished"


@pytest.mark.parametrize("ended", ["killed", "failed", "interrupted"])
def test_what_an_unfinished_run_left_is_cleared_and_this_is_said(tmp_path, ended):
    run = RunFolder.create(tmp_path / "r", config=CONFIG)
    assert run.announcement() == f"writing to {tmp_path / 'r'}"
    for path in (run.model_path, run.saved_model_path):
        path.mkdir(parents=True)
        (path / "half").write_text("")
    run.close() if ended == "killed" else run.fail("no reason", ended)
    with RunFolder.create(tmp_path / "r", config=CONFIG) as again:
        assert again.begins_anew and "training begins anew" in again.announcement()
        assert not again.model_path.exists() and not again.saved_model_path.exists()
        with files.atomic_folder(again.saved_model_path):
            pass
        again.finish({})
    assert sorted(os.listdir(tmp_path / "r")) == ["metrics.json", "run.json", "saved_model"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_run_that_was_killed_at_once_had_set_aside_is_not_lost(tmp_path, overwrite):
    finished(tmp_path / "r")
    RunFolder.create(tmp_path / "r", overwrite=True, config=CONFIG).close()  # killed
    with pytest.raises((TransformerError, KeyError)):
        with RunFolder.create(tmp_path / "r", overwrite=overwrite, config=CONFIG):
            raise KeyError("bad input")
    assert RunFolder.open(tmp_path / "r").metrics["test"]["accuracy"] == 0.9


def test_an_unfinished_run_is_kept_where_the_new_one_fails_at_once(tmp_path):
    run = RunFolder.create(tmp_path / "r", config=CONFIG)
    files.write_text(run.history_path, "epoch\n")
    run.fail("full")
    with pytest.raises(KeyError), RunFolder.create(tmp_path / "r", config=CONFIG):
        raise KeyError("bad input")
    assert sorted(os.listdir(tmp_path / "r")) == ["history.csv", "run.json"]


def test_two_runs_never_share_a_folder(tmp_path):
    run = RunFolder.create(tmp_path / "r", config=CONFIG)
    for overwrite in (False, True):
        with pytest.raises(TransformerError, match="is in use by another process"):
            RunFolder.create(tmp_path / "r", config=CONFIG, overwrite=overwrite)
        with pytest.raises(TransformerError, match="output_dir must not hold a run that is under way"):
            check_free(tmp_path / "r", overwrite)
    assert RunFolder.open(tmp_path / "r", finished=False).status == "running"
    run.finish({})


def test_a_run_that_fails_before_it_wrote_anything_leaves_nothing(tmp_path):
    with pytest.raises(TransformerError, match="bad"), RunFolder.create(name="x", root=tmp_path) as run:
        run.tensorboard_path.mkdir()
        raise TransformerError("bad")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (TransformerError("the loss is not finite"), "failed: the loss is not finite"),
        (MemoryError(), "failed: MemoryError"),
        (KeyboardInterrupt(), "interrupted: KeyboardInterrupt"),
        (SystemExit("terminated"), "interrupted: terminated"),
    ],
)
def test_a_run_that_ends_early_says_why_and_keeps_its_weights(tmp_path, raised, status):
    with pytest.raises(type(raised)), RunFolder.create(tmp_path / "r") as run:
        files.write_text(run.history_path, "epoch\n")
        raise raised
    assert RunFolder.open(tmp_path / "r", finished=False).status == status.split(":")[0]
    with pytest.raises(TransformerError) as error:
        RunFolder.open(tmp_path / "r")
    assert one_line(error).endswith(f"must hold a finished run; this one is {status}")
    assert (tmp_path / "r" / "history.csv").exists()


def test_the_reason_of_a_failure_is_one_line(tmp_path):
    run = RunFolder.create(tmp_path / "r")
    files.write_text(run.history_path, "")
    run.fail("Graph execution error:\n\n  at step 12")
    with pytest.raises(TransformerError) as error:
        RunFolder.open(tmp_path / "r")
    assert one_line(error).endswith("failed: Graph execution error: at step 12")


def test_a_full_disk_at_the_end_leaves_an_unfinished_run(tmp_path, monkeypatch):
    write = files.write_json

    def full(path, value):
        if path.name == "metrics.json":
            raise TransformerError("cannot write metrics.json: No space left on device")
        return write(path, value)

    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(TransformerError, match="No space left"), RunFolder.create(tmp_path / "r") as run:
        files.write_text(run.report_path, "")
        run.finish({})
    assert RunFolder.open(tmp_path / "r", finished=False).status == "failed"


def test_a_killed_run_is_interrupted(tmp_path):
    code = (
        "import os, sys; from tftransformer.runs import RunFolder;"
        "run = RunFolder.create(sys.argv[1]); print(run.status, flush=True); os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "r"], capture_output=True, text=True)
    assert (killed.stdout, killed.returncode) == ("running\n", 9)
    assert RunFolder.open(tmp_path / "r", finished=False).status == "interrupted"
    with pytest.raises(TransformerError, match="this one is interrupted"):
        RunFolder.open(tmp_path / "r")


def test_open_says_what_is_wrong_with_a_path(tmp_path):
    finished(tmp_path / "tickets-1")
    finished(tmp_path / "tickets-1" / "model")
    os.remove(tmp_path / "tickets-1" / "model" / "run.json")
    (tmp_path / "file").write_text("")
    cases = {
        tmp_path / "tikets-1": "does not exist; did you mean 'tickets-1'?",
        tmp_path / "file": "is a file",
        tmp_path
        / "tickets-1"
        / "model": f"with a run.json of this project in it; did you mean '{tmp_path / 'tickets-1'}'?",
        tmp_path: f"with a run.json of this project in it; it holds {tmp_path / 'tickets-1'}",
    }
    for path, message in cases.items():
        with pytest.raises(TransformerError) as error:
            RunFolder.open(path)
        assert one_line(error).endswith(message)


@pytest.mark.parametrize("content", ["{", "\x00", "[]", '"a"'])
@pytest.mark.parametrize("name", ["run.json", "metrics.json"])
def test_a_damaged_file_is_one_line(tmp_path, name, content):
    finished(tmp_path / "r")
    (tmp_path / "r" / name).write_text(content)
    with pytest.raises(TransformerError) as error:
        _ = RunFolder.open(tmp_path / "r").metrics
    assert name in one_line(error)


def test_settings_that_json_cannot_hold_fail_before_anything_is_made(tmp_path):
    with pytest.raises(TransformerError, match="config.callback must be something that JSON can hold"):
        RunFolder.create(tmp_path / "r", config={"callback": object()})
    assert os.listdir(tmp_path) == []


def test_leftovers_of_a_killed_write_are_cleared(tmp_path):
    finished(tmp_path / "r")
    (tmp_path / "r" / ".metrics.json.1-ab.partial").write_text("")
    with RunFolder.create(tmp_path / "r", overwrite=True) as run:
        run.finish({})
    assert sorted(os.listdir(tmp_path / "r")) == ["metrics.json", "run.json"]
