"""What every example has in common: quiet starts, signals, and output of any encoding."""

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

from tftransformer import files
from tftransformer.experiments import commands, startup
from tftransformer.experiments.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(monkeypatch):
    """`run_command` in this process, without absl's and Keras's own start; gives the exit status."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(commands, "start_quietly", lambda: None)
    monkeypatch.setattr(commands, "speak_any_encoding", lambda: None)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr("absl.app.run", lambda main, flags_parser: main(["script"]))

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            commands.run_command(*arguments)
        return ended.value.code

    yield run
    signal.signal(signal.SIGTERM, handler)


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
    startup.start_quietly()
    assert os.environ.pop("TF_ENABLE_ONEDNN_OPTS") == expected


def test_ctrl_c_is_an_interruption_too(command, capsys):
    def main(_):
        raise KeyboardInterrupt

    assert command(main) == 130 and capsys.readouterr().err == "error: interrupted\n"


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


def test_what_is_read_from_the_flags_is_handed_on_and_read_first(monkeypatch, command):
    order = []
    monkeypatch.setattr(commands, "start_quietly", lambda: order.append("start"))

    def main(given):
        order.append(given)
        raise SystemExit(0)

    def read():
        order.append("read")
        return {"a": 1}

    assert command(main, read) == 0 and order == ["read", "start", {"a": 1}]


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"reading ... 1.0 +- 0.1 caf\\xe9 \\u6f22..."),
        ("utf-8", "reading … 1.0 ± 0.1 café 漢…".encode()),
    ],
)
def test_output_of_any_encoding(encoding, expected):
    code = (
        "from tftransformer.experiments.startup import speak_any_encoding; speak_any_encoding();"
        "print('reading \\u2026 1.0 \\u00b1 0.1 caf\\u00e9 \\u6f22\\u2026', end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == expected, done.stderr
