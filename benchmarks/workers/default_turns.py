"""What a turn of `defaults.py` is, whoever trains: read the rows of a cell, train on them, answer on the test rows."""

import gc
import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sidebyside.worker import serve

# From texts, or pairs of them, to the number of each one's label.
Predict = Callable[[list], Sequence[int]]


def serve_defaults(
    load: Callable[[], Any], packages: Sequence[str], train: Callable[[dict[str, Any]], Predict]
) -> None:
    """Answer cell after cell.

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

    serve(prepare, turn)


def read_order(folder: str, number: int) -> dict[str, Any]:
    """The order of a turn; pairs of texts as tuples."""
    order = json.loads((Path(folder) / f"{number}.json").read_text("utf-8"))
    for name in ("texts", "test_texts"):
        order[name] = [text if isinstance(text, str) else tuple(text) for text in order[name]]
    return order
