"""Run the frozen part of a model once, and train from its stored outputs in every epoch.

After AutoFreeze (Liu et al. 2021, arXiv 2102.01386) and Embedding Recycling (Saad-Falcon et al. 2022, arXiv
2207.04993). Rows are stored by the hash of their tokens, in a folder of the hash of all weights below the cut
(`activation_store`): epochs, folds, trials and runs share what is equal, and nothing that differs is ever taken for it.
"""

import functools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer.data.dataset_functions import BATCHES_AHEAD, DatasetFunction
from tftransformer.data.examples import ROW_NUMBERS, Examples
from tftransformer.errors import TransformerError, check_choice
from tftransformer.finetuning.activation_store import (
    ActivationStore,
    check_activation_cache,
    check_folder,
    claim,
    folder_size,
    readable,
    temporary_folder,
)
from tftransformer.finetuning.frozen_part import FrozenPart
from tftransformer.progress import Progress

DTYPES = ("float32", "bfloat16", "float16")
MAX_BYTES = 8 << 30
# Padded tokens in a batch of the frozen part, and rows at most: enough for its matrix products to be large.
_TOKENS, _ROWS = 8192, 128
# Tracing the frozen part takes longer than running so many batches eagerly.
_EAGER_BATCHES = 24


_OF_THE_ENCODER = {"token_ids", "segment_ids", "padding_mask", ROW_NUMBERS}


class StoredStates:
    """Turns batches of numbered rows into batches of what the frozen part makes of them.

    Args:
        store: Store that holds every row that will come.
        frozen: The frozen part.
    """

    def __init__(self, store: ActivationStore, frozen: FrozenPart) -> None:
        self._store, self._entry, self._output, self._dtype = store, frozen.entry, frozen.output, frozen.dtype

    def batches(self, dataset: Any, examples: Examples) -> Any:
        """A `tf.data.Dataset` of x, (x, y) or (x, y, weight) with other x and everything else, order too, as it was.

        Args:
            dataset: Batches of the examples, with the numbers of their rows.
            examples: The examples, all of them in the store.

        x holds `pooled` (B, D), or `states_after_{n}` (B, T, D) and `padding_mask`, of which T is 1 where only
        the first token's vectors are looked at.
        """
        import tensorflow as tf

        digests = examples.digests

        def look_up(numbers: np.ndarray, length: np.ndarray) -> np.ndarray:
            return self._store.padded([digests[number] for number in numbers], int(length))

        stored = DatasetFunction(look_up)

        def swap(x: dict, *rest: Any) -> Any:
            rows, length = x["token_ids"].shape
            given = [x[ROW_NUMBERS], tf.shape(x["token_ids"])[1] if self._output == "tokens" else 1]
            states = tf.numpy_function(stored, given, tf.as_dtype(self._store.dtype), stateful=False)
            states.set_shape([rows, length if self._output == "tokens" else 1, self._store.width])
            states = tf.cast(states, self._dtype)
            mask = x["padding_mask"] if self._output == "tokens" else x["padding_mask"][:, :1]
            # What is another network's, such as a decoder's, passes as it is.
            others = {name: value for name, value in x.items() if name not in _OF_THE_ENCODER}
            x = {**others, self._entry: states, "padding_mask": mask}
            if self._output == "pooled":
                x = {self._entry: states[:, 0]}
            return (x, *rest) if rest else x

        swapped = dataset.map(swap, num_parallel_calls=tf.data.AUTOTUNE)
        return stored.until_end_of(swapped).prefetch(BATCHES_AHEAD)


class ActivationCache:
    """A place for the outputs of frozen layers, and the rule when to use it.

    Args:
        folder: Folder to keep them in. It has to be new, empty, or of an earlier cache. None: a temporary folder that
            goes with the process.
        max_bytes: Largest size of the folder. None: 8 GiB, and no more than half of what is free.
        dtype: Dtype to store in. None: what the frozen layers compute in, which is exact. "bfloat16": half the space
            of float32, with its rounding.
        say: Function that is given the one line about what happens. None: `print`.

    Attributes:
        computed_rows: Number of rows that were run through frozen layers so far.

    Raises:
        TransformerError: The folder cannot be written, or holds something else; the limit or the type cannot be.

    Example:
        >>> classifier.fit(train, epochs=5, activation_cache=ActivationCache("cache", dtype="bfloat16"))  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | os.PathLike | None = None,
        *,
        max_bytes: int | None = None,
        dtype: str | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        if max_bytes is not None and (isinstance(max_bytes, bool) or max_bytes < 0):
            raise TransformerError(f"max_bytes must be at least 0; got {max_bytes!r}")
        if dtype is not None:
            check_choice("dtype", dtype, DTYPES)
        self.persistent = folder is not None
        self._folder = None if folder is None else Path(folder).expanduser().absolute()
        if self._folder is not None:
            check_folder(self._folder)
        self.max_bytes, self.dtype = max_bytes, dtype
        self.computed_rows = 0
        self.say = say
        self._stores: dict[tuple[str, str], ActivationStore] = {}

    @property
    def folder(self) -> Path:
        """Folder of the stored outputs; a temporary one is made when it is first asked for."""
        return temporary_folder() if self._folder is None else self._folder

    def states(
        self,
        frozen: FrozenPart,
        parts: Sequence[Examples],
        passes: int,
        say: Callable[[str], None] | None = None,
        lower: FrozenPart | None = None,
    ) -> StoredStates | None:
        """Return the frozen part's outputs for some examples: found, or computed and stored.

        Args:
            frozen: The frozen part.
            parts: Training examples, validation examples.
            passes: Number of times they will be seen.
            say: Function that is given the line, unless the constructor was given one.
            lower: Part that ends below this one, with the outputs of all examples stored, to continue from there.

        Returns:
            `StoredStates`, which turn batches of token ids into batches of states; None if storing them would not pay
            off or they would not fit.
        """
        say = self.say or say or print
        if self.persistent:
            claim(self.folder)
        store = self._store(frozen)
        missing = _missing(store, parts, frozen)
        rows = sum(len(part) for part in parts)
        count = sum(len(indices) for indices, _ in missing)
        if passes < 2 and not self.persistent and 2 * count > rows:
            return None
        vectors = sum(
            int(part.lengths[indices].sum()) if frozen.output == "tokens" else len(indices)
            for part, (indices, _) in zip(parts, missing)
        )
        size = vectors * store.width * store.numpy_dtype.itemsize
        refusal = self._refusal(size, store.folder, may_delete=lower is None)
        if refusal:
            say(f"activation cache: off, {refusal}")
            return None
        over = " + ".join(f"{len(part):,}" for part in parts)
        if count:
            which = f"over {count:,} rows that are new" if len(store) else f"once over {over} rows"
            say(f"activation cache: {frozen} run {which} ({readable(size)}, {store.dtype}); epochs train from there")
            try:
                self._fill(store, frozen, parts, missing, vectors, lower)
            except TransformerError as error:
                say(f"activation cache: off, {error}")
                return None
        else:
            say(f"activation cache: {frozen} ran before over all {over} rows; epochs train from there")
        return StoredStates(store, frozen)

    def _store(self, frozen: FrozenPart) -> ActivationStore:
        key = frozen.digest()[:32], self.dtype or frozen.dtype
        folder, known = self.folder / "-".join(key), self._stores.get(key)
        # A temporary folder that was cleared away has another name now.
        if known is None or known.folder != folder:
            self._stores[key] = ActivationStore(folder, frozen.width, key[1])
        else:
            known.refresh()
        return self._stores[key]

    def _refusal(self, size: int, own: Path, may_delete: bool) -> str:
        """Why so many bytes more cannot be stored; empty where they can."""
        used = folder_size(self.folder)
        if may_delete and not self.persistent and size > self._room(used):
            # Nobody else knows of this folder: what other frozen parts left in it makes room.
            for other in self.folder.iterdir():
                if other.is_dir() and other != own:
                    shutil.rmtree(other, ignore_errors=True)
            used = folder_size(self.folder)
        room = self._room(used)
        if size <= room:
            return ""
        place = f"in {self.folder}" if self.persistent else "on the disk of temporary files"
        return f"{readable(size)} are needed and {readable(max(room, 0))} may be used {place}"

    def _room(self, used: int) -> int:
        free = shutil.disk_usage(self.folder).free
        if self.max_bytes is not None:
            return min(self.max_bytes - used, free)
        return min(MAX_BYTES - used, free // 2)

    def _fill(
        self,
        store: ActivationStore,
        frozen: FrozenPart,
        parts: Sequence[Examples],
        missing: Sequence[tuple[np.ndarray, list[bytes]]],
        vectors: int,
        lower: FrozenPart | None,
    ) -> None:
        below = None
        # What was rounded to be stored would be rounded twice.
        if lower is not None and lower.output == "tokens" and (self.dtype or lower.dtype) == lower.dtype:
            below = self._store(lower)
            if not all(digest in below for _, digests in missing for digest in digests):
                below = None  # another process has deleted it
        plans = [_plan(part.lengths, *some) for part, some in zip(parts, missing)]
        run: Callable = frozen.__call__
        # In half precision a graph rounds less often than single operations do, and training runs in one.
        if sum(map(len, plans)) > _EAGER_BATCHES or frozen.dtype != "float32":
            import tensorflow as tf

            run = tf.function(run, reduce_retracing=True)
        with Progress(vectors, "activation cache, vectors") as bar:

            def batches() -> Iterator[tuple[list[bytes], np.ndarray, np.ndarray]]:
                for part, plan in zip(parts, plans):
                    for indices, digests in plan:
                        lengths = part.lengths[indices]
                        inputs = part.features(indices, int(lengths.max()))
                        if below is not None:
                            given = below.padded(digests, int(lengths.max()))
                            inputs = {lower.entry: given, "padding_mask": inputs["padding_mask"]}
                        states = np.asarray(run(inputs))
                        if frozen.output != "tokens":
                            lengths = np.ones_like(lengths)
                        self.computed_rows += len(indices)
                        yield digests, lengths, states[np.arange(states.shape[1]) < lengths[:, None]]
                        bar.update(int(lengths.sum()))

            store.add(batches())


def choose_activation_cache(choice: Any) -> ActivationCache | None:
    """The cache that `fit(activation_cache=...)` means.

    Args:
        choice: "auto" (a cache in the temporary folder of this process), "off", a folder, or an `ActivationCache`.

    Returns:
        The cache; None for "off".

    Raises:
        TransformerError: It is none of these, or a folder that cannot be used.

    Example:
        >>> choose_activation_cache("off") is None
        True
    """
    if isinstance(choice, ActivationCache):
        return choice
    check_activation_cache(choice)
    if choice == "off":
        return None
    return _cache_in(None if choice == "auto" else os.path.abspath(os.path.expanduser(choice)))


@functools.cache
def _cache_in(folder: str | None) -> ActivationCache:
    # One a folder and process: what it has read and checked it need not read again.
    return ActivationCache(folder)


def _missing(
    store: ActivationStore, parts: Sequence[Examples], frozen: FrozenPart
) -> list[tuple[np.ndarray, list[bytes]]]:
    """For each part the rows that are not stored, each once, with their digests."""
    seen: set[bytes] = set()
    result = []
    for part in parts:
        indices, digests = [], []
        for i, digest in enumerate(part.digests):
            if digest not in store and digest not in seen:
                seen.add(digest)
                indices.append(i)
                digests.append(digest)
        result.append((np.array(indices, "int64"), digests))
    return result


def _plan(lengths: np.ndarray, indices: np.ndarray, digests: list[bytes]) -> list[tuple[np.ndarray, list[bytes]]]:
    """Batches of rows of like lengths, the longest first, of at most so many padded tokens."""
    order = np.argsort(-lengths[indices], kind="stable")
    plan, start = [], 0
    while start < len(order):
        longest = int(lengths[indices[order[start]]])
        chosen = order[start : start + min(_ROWS, max(1, _TOKENS // longest))]
        plan.append((indices[chosen], [digests[i] for i in chosen]))
        start += len(chosen)
    return plan
