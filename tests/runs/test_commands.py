"""What every command has in common: quiet starts, signals, and output of any encoding."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from tftransformer import files
from tftransformer.errors import TransformerError
from tftransformer.runs.commands import cross_validate, running, search
from tftransformer.runs.options import ClassificationOptions, DocumentOptions
from tftransformer.runs.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(monkeypatch):
    """`run_command` in this process, without absl's and Keras's own start; gives the exit status."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    # A shell's background jobs start with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(running, "start_quietly", lambda: None)
    monkeypatch.setattr(running, "replace_unencodable", lambda: None)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr("absl.app.run", lambda main, flags_parser: main(["script"]))

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            running.run_command(*arguments)
        return ended.value.code

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_sigterm_marks_the_run_as_interrupted(tmp_path, command, capsys):
    def main(_):
        with RunFolder.create(tmp_path / "r") as run:
            files.write_text(run.history_path, "epoch\n")
            with files.atomic_folder(run.saved_model_path) as half:
                files.write_text(half / "half", "")
                os.kill(os.getpid(), signal.SIGTERM)

    assert command(main) == 143
    assert capsys.readouterr().err == "error: terminated\n"
    run = RunFolder.open(tmp_path / "r", finished=False)
    assert run.status == "interrupted"
    assert sorted(os.listdir(run.path)) == ["history.csv", "run.json", "saved_model"]
    assert os.listdir(run.path / "saved_model") == []


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0")])
def test_tensorflow_multiplies_with_onednn_unless_told_otherwise(monkeypatch, given, expected):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if given is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given)
    monkeypatch.setattr("keras.backend.backend", lambda: "numpy")
    monkeypatch.setattr("absl.logging.set_verbosity", lambda level: None)
    running.start_quietly()
    assert os.environ.pop("TF_ENABLE_ONEDNN_OPTS") == expected


def test_ctrl_c_is_an_interruption_too(command, capsys):
    def main(_):
        raise KeyboardInterrupt

    assert command(main) == 130 and capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.slow  # signals within a time
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_python_drops_is_not_lost(command, number, code, capsys):
    class Thing:
        pass

    def dies(_):
        os.kill(os.getpid(), number)
        for _ in range(1000):
            pass

    def main(_):
        thing = Thing()
        watch = weakref.ref(thing, dies)
        del thing
        time.sleep(5)
        raise AssertionError(f"{watch} was dropped with its signal")

    assert command(main) == code
    assert "ignored" not in capsys.readouterr().err


@pytest.mark.slow  # signals within a time
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_comes_while_it_is_asked_for_again_is_not_lost(command, number, code, monkeypatch, capsys):
    """A thread that is slow to start, as on a busy machine, outlasts the wait of the one before."""
    start, started = threading.Thread.start, []

    def slowly(thread):
        start(thread)
        started.append(thread)
        if len(started) == 1:
            time.sleep(1)

    monkeypatch.setattr(running, "_ASK_SECONDS", 0.1)
    monkeypatch.setattr(threading.Timer, "start", slowly)

    def main(_):
        class Thing:
            pass

        thing = Thing()
        watch = weakref.ref(thing, lambda _: os.kill(os.getpid(), number) or [None for _ in range(1000)])
        del thing
        time.sleep(5)
        raise AssertionError(f"{watch} was dropped with its signal")

    assert command(main) == code and len(started) == 2
    assert "ignored" not in capsys.readouterr().err


def test_what_is_read_from_the_flags_is_handed_on_and_read_first(monkeypatch, command):
    order = []
    monkeypatch.setattr(running, "start_quietly", lambda: order.append("start"))

    def main(given):
        order.append(given)
        raise SystemExit(0)

    def read():
        order.append("read")
        return {"a": 1}

    assert command(main, read) == 0 and order == ["read", "start", {"a": 1}]


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", b"reading ... 1.0 +- 0.1 caf\\xe9 \\u6f22..."), ("utf-8", "reading … 1.0 ± 0.1 café 漢…".encode())],
)
def test_output_of_any_encoding(encoding, expected):
    code = (
        "from tftransformer.runs.commands.running import replace_unencodable; replace_unencodable();"
        "print('reading \\u2026 1.0 \\u00b1 0.1 caf\\u00e9 \\u6f22\\u2026', end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == expected, done.stderr


def test_the_folder_of_a_second_run_is_looked_at_before_any_work(tmp_path):
    (tmp_path / "run-truncated").mkdir()
    (tmp_path / "run-truncated" / "mine.txt").write_text("")
    options = DocumentOptions(output_dir=str(tmp_path / "run"), against_truncation=True)
    with pytest.raises(TransformerError, match="run-truncated holds 'mine.txt'"):
        options.check()  # which reading the flags does


def test_a_cross_validation_leaves_the_epochs_to_the_default():
    told = cross_validate.recipe_of(ClassificationOptions())
    assert told == {"strategy": "full", "batch_size": 16}
    told = cross_validate.recipe_of(ClassificationOptions(strategy="lora", epochs=2, learning_rate=1e-3))
    assert told == {"strategy": "lora:8", "batch_size": 16, "epochs": 2, "learning_rate": 1e-3}
    with pytest.raises(TransformerError, match="folds must be at least 2; got 1"):
        cross_validate.FoldOptions(folds=1)


def test_a_search_has_the_space_that_its_flags_state():
    assert search.SearchOptions(strategies=["full", "freeze"], freeze_layers=(0, 2)).space() == {
        "strategy": ["full", "freeze"], "learning_rate": (1e-5, 1e-3), "epochs": (2, 5), "batch_size": 16,
        "freeze_layers": (0, 2),
    }  # fmt: skip
    with pytest.raises(TransformerError, match="a search needs something to choose from"):
        search.SearchOptions(strategies=["full", "full"], learning_rate=1e-4, epochs=2)
