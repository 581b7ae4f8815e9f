"""A progress bar for long work that is not `fit`: pretraining, filling a cache, counting words."""

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")

# Seconds between two pictures of the bar, and between two lines where there is no terminal.
_TERMINAL_SECONDS = 0.1
_LINE_SECONDS = 10.0


class Progress:
    """Counts steps and shows them on stderr: a bar in a terminal, a plain line now and then elsewhere.

    Args:
        total: Number of steps; None where nobody knows, which shows the count alone.
        description: What is going on, in a few words.
        stream: Where to write; stderr by default, so that results on stdout stay clean.
        line_seconds: Seconds between lines where `stream` is no terminal. Work shorter than this is
            silent there.

    Example:
        >>> with Progress(total=3, description="counting words") as bar:
        ...     for _ in range(3):
        ...         bar.update(note="12 MB")
    """

    def __init__(
        self,
        total: int | None = None,
        description: str = "",
        *,
        stream: TextIO | None = None,
        line_seconds: float = _LINE_SECONDS,
    ) -> None:
        self.total, self.description, self.done, self.note = total, description, 0, ""
        self._stream = sys.stderr if stream is None else stream
        self._terminal = bool(getattr(self._stream, "isatty", lambda: False)())
        self._interval = _TERMINAL_SECONDS if self._terminal else line_seconds
        self._started = self._shown = time.monotonic()
        self._pictures = 0

    def update(self, steps: int = 1, note: str | None = None) -> None:
        """Count `steps` more; `note` (a loss, a size) stands at the end of the line until the next one."""
        self.done += steps
        if note is not None:
            self.note = note
        now = time.monotonic()
        if now - self._shown >= self._interval:
            self._show(now)

    def close(self) -> None:
        """Show where the work ended; a second call does nothing."""
        if self._stream is None:
            return
        now = time.monotonic()
        if self._terminal or self._pictures or now - self._started >= self._interval:
            self._show(now, last=True)
        self._stream = None

    def _show(self, now: float, last: bool = False) -> None:
        self._shown = now
        self._pictures += 1
        text = self._text(now - self._started, last)
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            text = "\r" + text[:width].ljust(width) + ("\n" if last else "")
        else:
            text += "\n"
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # A closed or broken stderr must not end hours of work.
            pass

    def _text(self, seconds: float, last: bool) -> str:
        parts = [self.description] if self.description else []
        if self.total:
            share = min(1.0, self.done / self.total)
            if self._terminal:
                parts.append("[" + ("=" * round(24 * share)).ljust(24) + "]")
            parts.append(f"{self.done:,}/{self.total:,} {100 * share:3.0f} %")
        else:
            parts.append(f"{self.done:,}")
        parts.append(_clock(seconds))
        if self.done and seconds > 0:
            parts.append(f"{_rate(self.done / seconds)}/s")
            if self.total and not last and self.done < self.total:
                parts.append(f"{_clock(seconds * (self.total - self.done) / self.done)} left")
        return "  ".join([*parts, self.note] if self.note else parts)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def progress(
    iterable: Iterable[Item], total: int | None = None, description: str = "", *, stream: TextIO | None = None
) -> Iterator[Item]:
    """Yield the items of `iterable` and show how far it is (see `Progress`).

    Args:
        iterable: Anything to loop over.
        total: Number of items; None asks `len(iterable)` where it has one.
        description: What is going on.
        stream: Where to write; stderr by default.

    Example:
        >>> sum(progress([1, 2, 3], description="adding"))
        6
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    with Progress(total, description, stream=stream) as bar:
        for item in iterable:
            yield item
            bar.update()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
