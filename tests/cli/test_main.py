"""`python -m tftransformer`: the commands, beside the examples."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tftransformer.runs.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip


def test_every_example_has_a_command_with_all_flags():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} < {*COMMANDS}


def test_alone_it_lists_the_commands(tmp_path):
    done = run(tmp_path, "-m", "tftransformer")
    assert done.returncode == 0 and done.stderr == ""
    listed = dict(re.findall(r"^  (\w+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert tuple(listed) == COMMANDS and all(line.endswith(".") for line in listed.values())


def test_an_unknown_command_is_one_line(tmp_path):
    done = run(tmp_path, "-m", "tftransformer", "clasify", "--epochs=1")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: there is no command 'clasify'; did you mean 'classify'")
    assert len(done.stderr.splitlines()) == 1


def test_a_wrong_flag_is_one_line(tmp_path):
    done = run(tmp_path, "-m", "tftransformer", "classify", "--freeze_layers=-1")
    assert done.returncode == 1 and done.stderr == "error: --freeze_layers must be at least 0; got -1\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["generate", "summarize"])
def test_command_and_example_have_the_same_flags(tmp_path, command):
    def flags(*words):
        shown = run(tmp_path, *words, "--help").stdout
        return shown.partition("\nflags:\n")[2].splitlines()[2:]  # behind the program's name

    one, other = flags("-m", "tftransformer", command), flags(str(ROOT / "examples" / f"{command}.py"))
    assert one == other and len(one) > 3


@pytest.mark.slow
def test_a_command_predicts_what_the_program_of_the_example_does(tmp_path, reviews, two_block_preset):
    with open(tmp_path / "reviews.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(*reviews)])
    flags = ("--dataset=reviews.csv", f"--preset={two_block_preset}", "--strategy=probe")
    commands = (("-m", "tftransformer", "classify"), (str(ROOT / "examples" / "classify.py"),))
    for words in commands:
        done = run(tmp_path, *words, *flags)
        assert done.returncode == 0 and done.stderr == "", done.stderr[-3000:]
    one, other = (tmp_path / "runs" / f"reviews-{number}" / "predictions.csv" for number in (1, 2))
    assert one.read_text() == other.read_text() != ""
