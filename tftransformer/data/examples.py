"""Examples: rows of named fields, kept flat, which is as much memory as there are tokens, and no padding."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TextIO, cast

import numpy as np

from tftransformer.data.fields import TARGET_WEIGHTS, TARGETS, Field, Tokens, digest
from tftransformer.data.ragged import row_splits
from tftransformer.data.row_packing import FlatRows, Packer
from tftransformer.data.texts import Texts
from tftransformer.errors import TransformerError
from tftransformer.progress import Progress

# With fewer texts at a time, starting the operations takes longer than they do.
CHUNK_TEXTS = 4096
CHUNK_CHARACTERS = 1 << 20
ROW_NUMBERS = "row_numbers"
# Name of the field of texts, or of pairs of them.
TEXT = "text"


@dataclass(frozen=True)
class Examples:
    """B rows of named fields: what a network is given, what it is to answer, and how much each row counts.

    Args:
        inputs: Fields by name; `TEXT` is that of texts.
        targets: Field of what is to be answered; None without.
        weights: float32 (B,), or None.
        maker: Settings they were made with, equal for two tasks that can share them.
        all_texts: The texts that they and the rows beside them were made of; None where nobody kept them.
        numbers: int64 (B,): which of `all_texts` each is; None: all, in order.
        numbered: Batches hold `row_numbers` (B,) beside a model's inputs: which of these examples each row is. For steps
            that look something up, and take the numbers out again.

    Raises:
        TransformerError: Targets or weights do not go with the inputs.
    """

    inputs: Mapping[str, Field]
    targets: Field | None = None
    weights: np.ndarray | None = None
    maker: Any = None
    all_texts: Texts | None = None
    numbers: np.ndarray | None = None
    numbered: bool = False

    def __post_init__(self) -> None:
        if self.targets is not None:
            self.targets.check(self.lengths)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def tokens(self) -> Tokens:
        """The field of texts."""
        return cast(Tokens, self.inputs[TEXT])

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64 (B,): what batches are padded for: tokens of each row; 0 where no field of the inputs has lengths."""
        of_fields = (field.lengths for field in self.inputs.values())
        return next((lengths for lengths in of_fields if lengths is not None), np.zeros(len(self), "int64"))

    @property
    def order(self) -> np.ndarray:
        """int64 (B,): by which rows are sorted that are to stand in batches with little padding: the length, or where
        targets are sequences of their own first theirs, whose every item costs a row of logits."""
        lengths, own = self.lengths, None if self.targets is None else self.targets.lengths
        return lengths if own is None else own * (int(lengths.max(initial=0)) + 1) + lengths

    def features(self, rows: np.ndarray, length: int) -> dict[str, Any]:
        """Return the inputs of a model for these rows, padded to so many tokens."""
        return {name: array for field in self.inputs.values() for name, array in field.batch(rows, length).items()}

    def batch(self, rows: np.ndarray, length: int) -> Any:
        """Return what Keras takes for these rows: x, (x, y), or (x, y, weight)."""
        rows = np.asarray(rows)
        x = self.features(rows, length)
        if self.numbered:
            x[ROW_NUMBERS] = rows.astype("int64")
        target = None if self.targets is None else self.targets.batch(rows, length)
        weights = None if self.weights is None else self.weights[rows]
        return _as_keras(x, target, weights, lambda items, rows: items * rows.astype("float32")[:, None])

    def spec(self) -> Any:
        """Return (shape, dtype) of each array of `batch`, without the axis of the rows, arranged as there."""
        x: dict[str, Any] = {name: leaf for field in self.inputs.values() for name, leaf in field.spec().items()}
        if self.numbered:
            x[ROW_NUMBERS] = ((), "int64")
        target = None if self.targets is None else self.targets.spec()
        weights = None if self.weights is None else ((), self.weights.dtype.name)
        return _as_keras(x, target, weights, lambda items, rows: items)

    def take(self, indices: Sequence[int] | np.ndarray) -> Examples:
        """Return the rows at these positions."""
        rows = np.asarray(indices, "int64")
        return Examples(
            {name: field.take(rows) for name, field in self.inputs.items()},
            None if self.targets is None else self.targets.take(rows),
            None if self.weights is None else self.weights[rows],
            self.maker,
            self.all_texts,
            rows if self.numbers is None else self.numbers[rows],
        )

    def keep(self, weights: np.ndarray | None) -> Examples:
        """Return the rows whose weight (B,) is not 0; all for None."""
        return self if weights is None or weights.all() else self.take(np.flatnonzero(weights))

    def num_batches(self, batch_size: int, copies: int = 1) -> int:
        """Batches of an epoch in which each row comes `copies` times; the last one may be smaller."""
        return num_batches(len(self) * copies, batch_size)

    def first(self, count: int) -> Examples:
        """Return the first rows, as many or all."""
        return self.take(range(min(len(self), count)))

    def labelled_as(self, other: Examples, indices: np.ndarray) -> Examples:
        """Return the same inputs with the targets and weights of these rows of other examples."""
        rows = other.take(indices)
        return replace(self, targets=rows.targets, weights=rows.weights)

    def texts(self) -> Texts:
        """Return the texts of these rows.

        Raises:
            TransformerError: Nobody kept them.
        """
        if self.all_texts is None:
            raise TransformerError("these examples have no texts; make them with a task's preprocess")
        return self.all_texts if self.numbers is None else self.all_texts.take(self.numbers)

    @cached_property
    def digests(self) -> list[bytes]:
        """Key of each row in a store: a hash of its inputs."""
        # A field without arrays tells the network nothing.
        of_fields = [field.digests() for field in self.inputs.values() if field.spec()]
        return of_fields[0] if len(of_fields) == 1 else [digest(b"".join(row)) for row in zip(*of_fields, strict=True)]


def _as_keras(x: dict[str, Any], target: dict[str, Any] | None, weights: Any, weigh: Callable) -> Any:
    """Arrange arrays, or what is said of them, as Keras takes a batch; `weigh` puts weights of items and rows together."""
    if target is None:
        return x
    rest = dict(target)
    y, items = rest.pop(TARGETS), rest.pop(TARGET_WEIGHTS, None)
    if items is not None:
        weights = items if weights is None else weigh(items, weights)
    x = {**x, **rest}
    return (x, y) if weights is None else (x, y, weights)


def num_batches(num_examples: int, batch_size: int) -> int:
    """Batches in an epoch; the last one may be smaller.

    Raises:
        TransformerError: if batch_size is below 1.
    """
    if batch_size < 1:
        raise TransformerError(f"batch_size must be at least 1; got {batch_size}")
    return -(-num_examples // batch_size)


def joined(parts: Sequence[Examples]) -> Examples:
    """Put examples one after another; all or none have targets, and weights."""

    def together(fields: Sequence[Any]) -> Any:
        return None if fields[0] is None else type(fields[0]).concat(fields)

    return Examples(
        {name: together([part.inputs[name] for part in parts]) for name in parts[0].inputs},
        together([part.targets for part in parts]),
        None if parts[0].weights is None else np.concatenate([part.weights for part in parts]),
    )


def build_examples(
    texts: Texts,
    targets: Field | None = None,
    *,
    tokenize: Callable,
    pack: Packer,
    pad_id: int = 0,
    maker: Any = None,
    stream: TextIO | None = None,
) -> Examples:
    """Tokenise every text once, some thousand at a time on every core.

    Besides the result it holds a few chunks in memory; the tokens of a large corpus are in a temporary file
    (`TokenStore`).

    Args:
        texts: The texts, and the weights that go with them.
        targets: Field of what is to be answered, or None.
        tokenize: Callable from texts (B,) string to a `RaggedTensor` int32 (B, None).
        pack: `Packer`, which adds special tokens and trims to sequence_length.
        pad_id: Id that pads.
        maker: Settings that the examples are made with, as in `Examples`.
        stream: Stream that shows the progress; stderr by default.

    Raises:
        TransformerError: if targets are not as many as texts, or sequence_length is too short for the special tokens.

    Example:
        >>> examples = build_examples(
        ...     Texts(["good", "a bad film"]), tokenize=tokenizer.tokenize, pack=packer(tokenizer, 128)
        ... )
        >>> examples.lengths.tolist()
        [3, 5]
    """
    if targets is not None and len(targets) != len(texts):
        raise TransformerError(f"targets must be as many as texts, {len(texts)}; got {len(targets)}")
    sides = texts.sides

    def encode(chunk: slice) -> FlatRows:
        import tensorflow as tf

        # Small operations without end: copying them to an accelerator would take longer than they do.
        with tf.device("CPU"):
            return pack.flat(*(tokenize(tf.constant(side[chunk], tf.string)) for side in sides))

    tokens = TokenStore()
    rows: dict[str, list[np.ndarray]] = {"lengths": [], "boundaries": [], "full_lengths": []}
    with Progress(len(texts), "tokenising", stream=stream) as bar:
        for part in _encoded(_chunks(sides), encode):
            tokens.append(part.token_ids)
            for name, parts in rows.items():
                parts.append(getattr(part, name))
            bar.update(len(part.lengths))

    def column(name: str) -> np.ndarray:
        return np.concatenate([np.zeros(0, "int32"), *rows.pop(name)])

    field = Tokens(
        tokens.finish(), row_splits(column("lengths")), column("boundaries"), column("full_lengths"), pad_id
    )  # fmt: skip
    return Examples({TEXT: field}, targets, texts.weights, maker, texts)


def _chunks(sides: list[list[str]]) -> list[slice]:
    """Consecutive rows, few enough that tokenising them takes little memory even where texts are long."""
    rows = len(sides[0])
    before = row_splits(sum(np.fromiter(map(len, side), "int64", rows) for side in sides))
    chunks, start = [], 0
    while start < rows:
        full = int(np.searchsorted(before, before[start] + CHUNK_CHARACTERS, "right")) - 1
        stop = min(max(full, start + 1), start + CHUNK_TEXTS, rows)
        chunks.append(slice(start, stop))
        start = stop
    return chunks


def _encoded(chunks: list[slice], encode: Callable[[slice], FlatRows]) -> Iterator[FlatRows]:
    """The chunks in order, two ahead of each core at most, so that the results do not pile up."""
    if len(chunks) < 2:
        yield from map(encode, chunks)
        return
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(encode, chunk) for chunk in chunks[: 2 * workers])
        for following in [*chunks[2 * workers :], *[None] * len(waiting)]:
            yield waiting.popleft().result()
            if following is not None:
                waiting.append(pool.submit(encode, following))


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
