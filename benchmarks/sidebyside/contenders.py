"""Who takes part in a comparison, and what became of each."""

import dataclasses
from pathlib import Path
from typing import Any

WORKERS = Path(__file__).parents[1] / "workers"


@dataclasses.dataclass(frozen=True)
class Contender:
    """One row of a table: a worker and what it is told.

    Args:
        name: The row's name, unique in its comparison.
        worker: A file in `benchmarks/workers/`, such as "ours_finetune.py", or an absolute path.
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
        return WORKERS / self.worker


@dataclasses.dataclass
class Outcome:
    """What a contender measured, and in one line why it stopped if it did.

    Args:
        contender: Who.
        ready: The figures of its preparation, such as `seconds_to_first_step`.
        turns: The figures of each round it finished.
        peak_bytes: The most memory its process held; None where it died.
        failure: Why there are no, or fewer, turns; None where all went well.
    """

    contender: Contender
    ready: dict[str, Any] = dataclasses.field(default_factory=dict)
    turns: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    peak_bytes: int | None = None
    failure: str | None = None
