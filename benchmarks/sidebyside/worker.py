"""The child's side of a comparison: prepare once, then answer turn after turn.

Standard output carries one JSON object a line and nothing else, so whatever the libraries print is sent to
standard error, which the parent keeps in a log.
"""

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

# From the contender's settings to (state, figures), which imports, builds and warms up; and from the state and the number of the
# round to its figures.
Job = tuple[Callable[[dict[str, Any]], tuple[Any, dict[str, Any]]], Callable[[Any, int], dict[str, Any]]]

_started = time.monotonic()


def serve_one(jobs: Mapping[str, Job]) -> None:
    """Do the job that the command line names."""
    serve(*jobs[sys.argv[1]])


def serve(
    prepare: Callable[[dict[str, Any]], tuple[Any, dict[str, Any]]], turn: Callable[[Any, int], dict[str, Any]]
) -> None:
    """Prepare, then answer the parent until it says stop; see `Job`."""
    answers = _claim_stdout()
    try:
        # What is imported inside `prepare` counts as preparation, so workers import there.
        first = json.loads(sys.stdin.readline())
        global _started
        _started = first["started"]
        state, figures = prepare(first["settings"])
        _answer(answers, {"ready": figures})
        for line in sys.stdin:
            order = json.loads(line)
            if "stop" in order:
                break
            _answer(answers, {"turn": turn(state, order["round"])})
        _answer(answers, {"peak_bytes": peak_bytes()})
    except Exception as error:
        traceback.print_exc()
        _answer(answers, {"failure": reason(error)})
    answers.flush()
    sys.stderr.flush()
    # Libraries with threads of their own may hang or print while the interpreter is taken down.
    os._exit(0)


def seconds_since_start() -> float:
    """Seconds since the parent started this process."""
    return time.monotonic() - _started


def peak_bytes() -> int:
    """The most memory this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands `ru_maxrss` on from the parent to what it starts; this line is the process's own.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def reason(error: BaseException) -> str:
    """An exception in one line."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error.name.split('.')[0]} is not installed"
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200]}" if words else type(error).__name__


def _claim_stdout() -> TextIO:
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return own


def _answer(answers: TextIO, message: dict[str, Any]) -> None:
    print(json.dumps(message), file=answers, flush=True)
