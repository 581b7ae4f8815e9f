"""What a turn of the data benchmark measures, whoever tokenises: speed on some texts, or memory over a file."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sidebyside.worker import serve

# From texts and labels to a function that runs one epoch: it yields rows, padded length and real tokens of
# each batch.
Epoch = Callable[[], Iterable[tuple[int, int, int]]]
Reader = Callable[[list[str], list[int]], Epoch]


def read_rows(path: str) -> tuple[list[str], list[int]]:
    """Texts and labels of a file with one `label<TAB>text` a line."""
    texts, labels = [], []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            label, _, text = line.rstrip("\n").partition("\t")
            texts.append(text)
            labels.append(int(label))
    return texts, labels


def serve_data(build: Callable[[dict[str, Any]], Reader]) -> None:
    """Answer with the figures of `speed` or of `memory`, as the settings ask.

    Args:
        build: From the settings (`vocabulary`, `length`, `batch_size`) to a `Reader`.
    """

    def prepare(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        reader = build(settings)
        # The first use of everything is not what is compared.
        sum(rows for rows, _, _ in reader(["a few words", "é"] * 4000, [0, 1] * 4000)())
        if settings["measure"] == "memory":
            return lambda: memory(reader, settings["file"]), {}
        texts, labels = read_rows(settings["file"])
        return lambda: speed(reader, texts, labels), {}

    serve(prepare, lambda measure, _: measure())


def speed(reader: Reader, texts: list[str], labels: list[int]) -> dict[str, Any]:
    """Texts a second from strings to the last batch of an epoch, of a further epoch, and what is padding."""
    start = time.perf_counter()
    epoch = reader(texts, labels)
    rows, real, computed = consume(epoch)
    first = time.perf_counter()
    consume(epoch)
    second = time.perf_counter()
    if rows != len(texts):
        raise ValueError(f"{rows} rows came of {len(texts)} texts")
    return {
        "first_epoch": rows / (first - start),
        "later_epochs": rows / (second - first),
        "tokens": real,
        "padding": 1 - real / computed,
    }


def memory(reader: Reader, path: str) -> dict[str, Any]:
    """Bytes a row that texts take, and the most that is held beyond them while an epoch is made."""
    before = held("VmRSS")
    texts, labels = read_rows(path)
    read = held("VmRSS")
    # From here on the peak counts anew; what was imported is no part of it.
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    start = time.perf_counter()
    rows, _, _ = consume(reader(texts, labels))
    more = held("VmHWM") - read
    return {
        "rows": rows,
        "texts_bytes": (read - before) / rows,
        "more_bytes": more / rows,
        "more_total": more,
        "first_epoch": rows / (time.perf_counter() - start),
    }


def held(name: str) -> int:
    """Bytes of memory of this process: `VmRSS` now, `VmHWM` at most; Linux alone tells."""
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def consume(epoch: Epoch) -> tuple[int, int, int]:
    """Rows, real tokens and computed tokens of an epoch."""
    rows = real = computed = 0
    for count, length, tokens in epoch():
        rows, real, computed = rows + count, real + tokens, computed + count * length
    return rows, real, computed
