"""Interleaved rounds: A B C A B C, one contender working at a time in a process of its own, so that a slow minute hits all alike."""

import contextlib
import dataclasses
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tftransformer.errors import TransformerError

BENCHMARKS = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Contender:
    """One row of a table: a worker and what it is told.

    Args:
        name: The row's name, unique in its comparison.
        worker: "FILE:JOB", a file in `benchmarks/workers/` (or an absolute path) and one of its jobs, such as "ours.py:finetune".
        settings: What the worker's `prepare` receives; JSON types.
        environment: Variables set for its process alone.
        rounds: Turns at most, for one that takes much longer than the others; None: as many as they.
        interpreter: The Python of another environment, for a library that does not go with the others; None: this one.
    """

    name: str
    worker: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    rounds: int | None = None
    interpreter: str | None = None

    @property
    def script(self) -> Path:
        """The file that its process runs."""
        return BENCHMARKS / "workers" / self.worker.partition(":")[0]

    @property
    def command(self) -> list[str]:
        """Its process."""
        job = self.worker.partition(":")[2]
        return [self.interpreter or sys.executable, str(self.script), *([job] if job else [])]


@dataclasses.dataclass
class Outcome:
    """The figures of a contender: of its preparation, of each round that it finished, the most memory that its process held.

    `failure` says in one line why it stopped, if it did.
    """

    contender: Contender
    ready: dict[str, Any] = dataclasses.field(default_factory=dict)
    turns: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    peak_bytes: int | None = None
    failure: str | None = None


class ChildFailed(Exception):
    """A contender that gives no more answers; its text is the reason, in one line."""


class ChildLate(ChildFailed):
    """A contender that gave no answer in its time."""


class Child:
    """The parent's hold on a contender's process: orders in, answers out, standard error into a log, no wait without an end."""

    def __init__(self, contender: Contender, log: Path) -> None:
        self._log = log
        paths = [str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "TOKENIZERS_PARALLELISM": "true",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            **contender.environment,
        }
        self._orders = {"settings": contender.settings, "started": time.monotonic()}
        pipe = subprocess.PIPE
        with open(log, "wb") as errors:
            self._process = subprocess.Popen(
                contender.command, stdin=pipe, stdout=pipe, stderr=errors, env=environment, text=True, encoding="utf-8"
            )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def prepare(self, timeout: float) -> dict[str, Any]:
        """Hand over the settings; the figures of the preparation."""
        return self._ask(self._orders, "ready", timeout)

    def turn(self, number: int, timeout: float) -> dict[str, Any]:
        """One round; its figures."""
        return self._ask({"round": number}, "turn", timeout)

    def stop(self, timeout: float) -> int:
        """End it; the most memory it held, in bytes."""
        return self._ask({"stop": True}, "peak_bytes", timeout)

    def end(self) -> None:
        """Make sure that the process is gone."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # orders that a process that is gone never read
                pipe.close()

    def _read(self) -> None:
        with contextlib.suppress(ValueError):  # closed while reading
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def _ask(self, order: dict[str, Any], expected: str, timeout: float) -> Any:
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=timeout)
        except BrokenPipeError:
            line = None
        except queue.Empty:
            raise ChildLate(f"gave no answer within {timeout:g} s") from None
        if line is None:
            raise ChildFailed(f"ended {self._ending()}")
        try:
            answer = json.loads(line)
        except ValueError:
            raise ChildFailed(f"answered with something else than JSON: {line.strip()[:80]!r}") from None
        if "failure" in answer:
            raise ChildFailed(answer["failure"])
        return answer[expected]

    def _ending(self) -> str:
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "its output"
        words = [line.strip() for line in self._log.read_text("utf-8", "replace").splitlines() if line.strip()]
        last = f": {words[-1][:200]}" if words else ""
        return (f"by signal {-status}" if status < 0 else f"with status {status}") + last


def run_rounds(
    contenders: Sequence[Contender],
    rounds: int,
    *,
    say: Callable[[str], None] = print,
    timeout: float = 900.0,
    together: bool = True,
    preparing: int = 1,
    logs: Path | None = None,
) -> dict[str, Outcome]:
    """Let each contender prepare itself, then hand out turns one at a time.

    A contender that fails keeps the turns it has, gets a reason in one line, and the others go on.

    Args:
        contenders: Who takes part, in the order of the turns; no two of one name.
        rounds: Turns for each.
        say: Receives a line of progress at a time.
        timeout: Seconds that a preparation or a turn may take.
        together: False for models too large to be in memory at once: one contender after the other takes all its turns.
        preparing: Number of contenders that prepare themselves at a time. With more than one, the time that takes says little.
        logs: A folder that keeps what the workers print; None keeps nothing.

    Returns:
        An `Outcome` for each name, in the order of the contenders.
    """
    names = [contender.name for contender in contenders]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise TransformerError(f"contenders must have different names; got {sorted(doubles)[0]!r} twice")
    if rounds < 1:
        raise TransformerError(f"rounds must be at least 1; got {rounds}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if logs is None else Path(logs)
        folder.mkdir(parents=True, exist_ok=True)
        groups = [contenders] if together else [[contender] for contender in contenders]
        found: dict[str, Outcome] = {}
        for group in groups:
            found.update(_interleave(group, rounds, say, timeout, preparing, folder))
    return found


def _interleave(
    contenders: Sequence[Contender], rounds: int, say: Any, timeout: float, preparing: int, folder: Path
) -> dict[str, Outcome]:
    outcomes = {contender.name: Outcome(contender) for contender in contenders}
    children: dict[str, Child] = {}

    def attempt(name: str, step: Callable[[], None]) -> None:
        try:
            step()
        except ChildFailed as failure:
            outcomes[name].failure = str(failure)
            say(f"{name}: {failure}")
            children.pop(name).end()

    speaking = threading.Lock()

    def prepare(name: str) -> None:
        with speaking:
            say(f"preparing {name}")
        contender = outcomes[name].contender
        children[name] = Child(contender, folder / f"{_file_name(name)}.log")
        outcomes[name].ready = children[name].prepare(timeout)

    def takes_turn(name: str, number: int) -> bool:
        return name in children and number < (outcomes[name].contender.rounds or rounds)

    def turn(name: str, number: int) -> None:
        outcomes[name].turns.append(children[name].turn(number, timeout))

    def stop(name: str) -> None:
        outcomes[name].peak_bytes = children[name].stop(min(timeout, 60.0))

    try:
        with ThreadPoolExecutor(preparing) as pool:
            list(pool.map(lambda name: attempt(name, lambda: prepare(name)), outcomes))
        for number in range(rounds):
            for name in [name for name in outcomes if takes_turn(name, number)]:
                say(f"round {number + 1} of {rounds}: {name}")
                attempt(name, lambda: turn(name, number))
        for name in list(children):
            attempt(name, lambda: stop(name))
    finally:
        for child in children.values():
            child.end()
    return outcomes


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
