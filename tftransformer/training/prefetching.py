"""Batches made on another thread, so that training does not wait for them."""

import queue
import threading
from collections.abc import Iterator
from typing import Any


class Prefetched(Iterator):
    """Items of an iterator, made in the background while the last one is worked on.

    Args:
        source: The items; what it raises is raised where they are used.
        ahead: Most items that wait.

    Example:
        >>> list(Prefetched(iter(range(3))))
        [0, 1, 2]
    """

    def __init__(self, source: Iterator[Any], ahead: int = 4) -> None:
        self._queue: queue.Queue = queue.Queue(ahead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(source,), daemon=True)
        self._thread.start()

    def _fill(self, source: Iterator[Any]) -> None:
        try:
            for item in source:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except Exception as error:  # raised again where the items are used
            self._put((None, error))

    def _put(self, entry: tuple[Any, BaseException | None]) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(entry, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def __next__(self) -> Any:
        item, error = self._queue.get()
        if error is not None:
            raise error
        return item

    def close(self) -> None:
        """Stop making items."""
        self._stopped.set()
        self._thread.join()
