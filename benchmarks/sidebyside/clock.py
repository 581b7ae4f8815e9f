"""The time of a training run, with evaluations taken out."""

import time
from collections.abc import Callable


class Clock:
    """Counts seconds of training, step by step and epoch by epoch.

    Args:
        every: Evaluate after each so many steps; 0 never.
        evaluate: Returns an accuracy.
        target: The accuracy at which the run may stop.

    Example:
        >>> clock = Clock()
        >>> clock.step()
        False
    """

    def __init__(self, every: int = 0, evaluate: Callable[[], float] | None = None, target: float = 1.0) -> None:
        self.steps = 0
        self.epochs: list[float] = []
        self.curve: list[tuple[int, float, float]] = []
        self._every, self._evaluate, self._target = every, evaluate, target
        self._paused = 0.0
        self._start = time.perf_counter()
        self._processor = time.process_time()

    @property
    def seconds(self) -> float:
        """Seconds since the start, evaluations excluded."""
        return time.perf_counter() - self._start - self._paused

    @property
    def processor_seconds(self) -> float:
        """Seconds of all cores together since the start, evaluations included; waiting for a core does not count."""
        return time.process_time() - self._processor

    @property
    def reached(self) -> float | None:
        """Seconds until the target was first reached; None if it was not."""
        return next((seconds for _, seconds, accuracy in self.curve if accuracy >= self._target), None)

    def step(self) -> bool:
        """Note the end of a step; whether the run may stop."""
        self.steps += 1
        if not self._every or self.steps % self._every:
            return False
        trained = self.seconds
        begin = time.perf_counter()
        accuracy = self._evaluate()
        self.curve.append((self.steps, trained, accuracy))
        self._paused += time.perf_counter() - begin
        return accuracy >= self._target

    def epoch(self) -> None:
        """Note the end of an epoch."""
        self.epochs.append(self.seconds - sum(self.epochs))
