"""Token ids of a corpus: in memory while they are few, in a temporary file once they are many."""

import tempfile
from typing import Any

import numpy as np

# 256 MB; a text classification corpus of a million short rows is a fifth of it.
TOKENS_IN_MEMORY = 1 << 26


class TokenStore:
    """Collects int32 arrays and gives them back as one.

    The file has no name that outlives the process, and the system may drop its pages from memory at any
    time: the memory in use does not grow with the corpus.

    Args:
        in_memory: Tokens that are kept in memory at most.

    Example:
        >>> store = TokenStore()
        >>> store.append([1, 2])
        >>> store.append([3])
        >>> store.finish().tolist()
        [1, 2, 3]
    """

    def __init__(self, in_memory: int = TOKENS_IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._parts: list[np.ndarray] = []
        self._held = 0
        self._file: Any = None

    def append(self, token_ids: Any) -> None:
        """Add tokens at the end."""
        part = np.ascontiguousarray(token_ids, "int32")
        self._parts.append(part)
        self._held += len(part)
        if self._held > self._in_memory:
            self._spill()

    def finish(self) -> np.ndarray:
        """All tokens, int32, in the order they came; nothing may be added after it."""
        if self._file is None:
            parts, self._parts = self._parts, []
            return np.concatenate(parts) if parts else np.zeros(0, "int32")
        self._spill()
        with self._file:
            return np.memmap(self._file, "int32", mode="r").view(np.ndarray)

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()
        for part in self._parts:
            self._file.write(part.data)
        self._file.flush()
        self._parts, self._held = [], 0
