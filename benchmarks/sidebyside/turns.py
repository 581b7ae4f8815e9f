"""The turns of `defaults.py` and of `data.py`, whatever the library: what is timed, and what is answered."""

import gc
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sidebyside.worker import Job

# From texts, or pairs of them, to the number of each one's label.
Predict = Callable[[list], Sequence[int]]
# A function that runs one epoch: it yields rows, padded length and real tokens of each batch.
Epoch = Callable[[], Iterable[tuple[int, int, int]]]
Reader = Callable[[list[str], list[int]], Epoch]


def cells(load: Callable[[], Any], packages: Sequence[str], train: Callable[[dict[str, Any]], Predict]) -> Job:
    """Return the job that reads the rows of a cell, trains on them and answers on the test rows.

    Args:
        load: Imports what takes long, which is no part of a turn.
        packages: Their versions are noted.
        train: From an order (`contender`, `encoder`, `length`, `seed`, `labels`, `texts`, `targets`) to a `Predict`.
    """

    def prepare(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        load()
        versions = {package: importlib.metadata.version(package) for package in packages}
        return (settings["orders"], versions), {}

    def turn(state: Any, number: int) -> dict[str, Any]:
        folder, versions = state
        order = read_order(folder, number)
        started = time.perf_counter()
        predict = train(order)
        trained = time.perf_counter()
        predicted = [int(label) for label in predict(order["test_texts"])]
        seconds = {"seconds": trained - started, "test_seconds": time.perf_counter() - trained}
        del predict
        gc.collect()
        return {"predicted": predicted, **seconds, "versions": versions}

    return prepare, turn


def read_order(folder: str, number: int) -> dict[str, Any]:
    """Read the order of a turn; pairs of texts as tuples."""
    order = json.loads((Path(folder) / f"{number}.json").read_text("utf-8"))
    for name in ("texts", "test_texts"):
        order[name] = [text if isinstance(text, str) else tuple(text) for text in order[name]]
    return order


def reading(build: Callable[[dict[str, Any]], Reader]) -> Job:
    """Return the job that measures a reader: `speed` on some texts or `memory` over a file, as the settings ask.

    Args:
        build: From the settings (`vocabulary`, `length`, `batch_size`) to a `Reader`.
    """

    def prepare(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        reader = build(settings)
        # The first use of everything is not what is compared.
        sum(rows for rows, _, _ in reader(["a few words", "é"] * 4000, [0, 1] * 4000)())
        if settings["measure"] == "memory":
            return lambda: _memory(reader, settings["file"]), {}
        texts, labels = _read_rows(settings["file"])
        return lambda: _speed(reader, texts, labels), {}

    return prepare, lambda measure, number: measure()


def _speed(reader: Reader, texts: list[str], labels: list[int]) -> dict[str, Any]:
    """Measure texts a second from strings to the last batch of an epoch, of a further epoch, and what is padding."""
    start = time.perf_counter()
    epoch = reader(texts, labels)
    rows, real, computed = _consume(epoch)
    first = time.perf_counter()
    _consume(epoch)
    second = time.perf_counter()
    if rows != len(texts):
        raise ValueError(f"{rows} rows came of {len(texts)} texts")
    return {
        "first_epoch": rows / (first - start),
        "later_epochs": rows / (second - first),
        "tokens": real,
        "padding": 1 - real / computed,
    }


def _memory(reader: Reader, path: str) -> dict[str, Any]:
    """Measure the bytes a row that texts take, and the most that is held beyond them while an epoch is made."""
    before = _held("VmRSS")
    texts, labels = _read_rows(path)
    read = _held("VmRSS")
    # From here on the peak counts anew; what was imported is no part of it.
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    start = time.perf_counter()
    rows, _, _ = _consume(reader(texts, labels))
    more = _held("VmHWM") - read
    return {
        "rows": rows,
        "texts_bytes": (read - before) / rows,
        "more_bytes": more / rows,
        "more_total": more,
        "first_epoch": rows / (time.perf_counter() - start),
    }


def _read_rows(path: str) -> tuple[list[str], list[int]]:
    """Read texts and labels of a file with one `label<TAB>text` a line."""
    texts, labels = [], []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            label, _, text = line.rstrip("\n").partition("\t")
            texts.append(text)
            labels.append(int(label))
    return texts, labels


def _held(name: str) -> int:
    """Bytes of memory of this process: `VmRSS` now, `VmHWM` at most; Linux alone tells."""
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _consume(epoch: Epoch) -> tuple[int, int, int]:
    """Rows, real tokens and computed tokens of an epoch."""
    rows = real = computed = 0
    for count, length, tokens in epoch():
        rows, real, computed = rows + count, real + tokens, computed + count * length
    return rows, real, computed
