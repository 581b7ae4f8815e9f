"""The parent's hold on one contender's process: orders in, answers out, no wait without an end."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sidebyside.contenders import Contender


class ChildFailed(Exception):
    """A contender that gives no more answers; its text is the reason, in one line."""


class ChildLate(ChildFailed):
    """A contender that gave no answer in its time."""


class Child:
    """A contender's process.

    Args:
        contender: What to run.
        log: Where its standard error goes.

    Example:
        >>> child = Child(Contender("ours", "ours_finetune.py"), Path("ours.log"))  # doctest: +SKIP
    """

    def __init__(self, contender: Contender, log: Path) -> None:
        self._log = log
        here = str(Path(__file__).parents[1])
        paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "TOKENIZERS_PARALLELISM": "true",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            **contender.environment,
        }
        self._orders = {"settings": contender.settings, "started": time.monotonic()}
        with open(log, "wb") as errors:
            self._process = subprocess.Popen(
                [contender.interpreter or sys.executable, str(contender.script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                encoding="utf-8",
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
