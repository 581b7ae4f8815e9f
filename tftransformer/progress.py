"""Progress of long work: lines, and, where it is not `fit`, tqdm's bar in a terminal or a line now and then elsewhere."""

import sys
from typing import Any, TextIO

from tqdm import tqdm

_LINE = "{desc}  {n_fmt}/{total_fmt} {percentage:3.0f} %  {elapsed}  {rate_noinv_fmt}  {remaining} left{postfix}"
_LINE_WITHOUT_TOTAL = "{desc}  {n_fmt}  {elapsed}  {rate_noinv_fmt}{postfix}"


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


class Progress(tqdm):
    """Counts steps and shows them on stderr.

    Args:
        total: Number of steps; None where nobody knows, which shows the count alone.
        description: Name of the work, in a few words.
        stream: Stream to write to; stderr by default, so that results on stdout stay clean.
        line_seconds: Seconds between lines where `stream` is no terminal. Work shorter than this is
            silent there.

    Example:
        >>> with Progress(total=3, description="counting words") as bar:
        ...     for _ in range(3):
        ...         bar.update(note="12 MB")
    """

    monitor_interval = 0  # no thread beside the work

    def __init__(
        self,
        total: int | None = None,
        description: str = "",
        *,
        stream: TextIO | None = None,
        line_seconds: float = 10.0,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        terminal = not stream.closed and stream.isatty()
        look: dict[str, Any] = {"dynamic_ncols": True, "mininterval": 0.1}
        if not terminal:
            line = _LINE_WITHOUT_TOTAL if total is None else _LINE
            look = {"bar_format": line, "mininterval": line_seconds, "delay": line_seconds}
        super().__init__(
            total=total, desc=description, file=_Stream(stream, terminal), miniters=1, smoothing=0, unit="", **look
        )

    def update(self, n: float | None = 1, note: str | None = None) -> bool | None:
        """Count `n` steps more; `note` (a loss, a size) stands at the end of the line until the next one."""
        if note is not None:
            self.set_postfix_str(note, refresh=False)
        return super().update(n)


class _Stream:
    """Stream for tqdm: a closed or broken one does not end hours of work; without a terminal it gets whole lines."""

    def __init__(self, stream: TextIO, terminal: bool) -> None:
        self._stream, self._terminal = stream, terminal

    def write(self, text: str) -> None:
        if not self._terminal:
            text = text.strip()
            text = text and text + "\n"
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass

    def flush(self) -> None:
        """Every line is flushed as it is written."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
