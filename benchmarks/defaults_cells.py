"""The trainings that `defaults.py` compares, a cell each: contenders, the choices of its flags, and the finished cells on disk."""

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from defaults_sets import HALVES, PER_CLASS, SETS, rows_of

from tftransformer.data.pipeline import num_batches
from tftransformer.errors import TransformerError, check_choice
from tftransformer.files import disk_errors, plain
from tftransformer.finetuning.recipe import BATCH_SIZE
from tftransformer.finetuning.strategy import parse_strategy

# A contender's worker, by the word before the first colon of its name.
WORKERS = {
    "ours": "ours.py:defaults",
    "grid": "ours.py:defaults",
    "strategy": "ours.py:defaults",
    "huggingface": "huggingface.py:defaults",
    "keras_hub": "kerashub.py:defaults",
    "setfit": "huggingface.py:setfit",
    "words": "ours.py:words",
}
ENCODERS = {"minilm": "a Hugging Face folder", "embedded": "bert_12x192_en_uncased"}
# The encoder of a contender that has none.
NO_ENCODER = "none"
GRID_RATES = ("3e-5", "1e-4", "3e-4")
GRID_UPDATES = (100, 300, 1000)
# A cell of the grid stops here, unless that were before its second number of updates: on few rows the default of
# 250 updates is more epochs than these, and a ceiling must not lie below what it is the ceiling of.
GRID_EPOCHS = 30
_KEY = ("set", "size", "seed", "encoder", "contender")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training: a contender on the rows of a set, a size and a seed."""

    set: str
    size: int
    seed: int
    encoder: str
    contender: str

    @property
    def half(self) -> str:
        """The half that its set belongs to."""
        return SETS[self.set].half

    @property
    def worker(self) -> str:
        """Its worker, as `Contender` names it."""
        return WORKERS[self.kind]

    @property
    def kind(self) -> str:
        """The key of its contender in `WORKERS`."""
        return self.contender.partition(":")[0]

    def describe(self) -> str:
        """In words."""
        return f"{self.set}, {size_name(self.size)}, seed {self.seed}, {self.encoder}, {self.contender}"


def size_name(size: int) -> str:
    """Write a size in words: "8 a class", "1,000 rows"."""
    return f"{size} a class" if size == PER_CLASS else f"{size:,} rows"


def grid_setting(contender: str) -> tuple[float, int]:
    """Return the rate and the updates of a contender such as `grid:1e-4:300`."""
    rate, updates = contender.split(":")[1:]
    return float(rate), int(updates)


def grid_epochs(rows: int, updates: int) -> int:
    """Return the epochs of a cell of the grid: so many updates, but at most 30 epochs or 300 updates, whichever is more.

    Example:
        >>> [grid_epochs(200, updates) for updates in (100, 300, 1000)], grid_epochs(16, 1000)
        ([8, 24, 30], 300)
    """
    batches = num_batches(rows, BATCH_SIZE)
    most = max(GRID_EPOCHS, math.ceil(GRID_UPDATES[1] / batches))
    return min(math.ceil(updates / batches), most)


def choose_contenders(names: Sequence[str]) -> list[str]:
    """Return the contenders in full, in the order they were named; a `TransformerError` for one that is unknown or there twice.

    Example:
        >>> choose_contenders(["ours", "strategy:head", "grid"])[:3]
        ['ours', 'strategy:head', 'grid:3e-5:100']
    """
    chosen: list[str] = []
    for name in names:
        kind, colon, rest = name.partition(":")
        check_choice("contenders", kind, WORKERS)
        if kind == "strategy":
            if not rest:
                raise TransformerError(f"contenders must name a strategy, such as strategy:head; got {name!r}")
            parse_strategy(rest)
        elif kind == "grid" and rest:
            check_choice("contenders", name, _grid())
        elif colon:
            raise TransformerError(f"contenders must be {kind} without a colon; got {name!r}")
        for full in _grid() if name == "grid" else [name]:
            if full in chosen:
                raise TransformerError(f"contenders must be different; got {full!r} twice")
            chosen.append(full)
    if not chosen:
        raise TransformerError("contenders must name at least one; got none")
    return chosen


def _grid() -> list[str]:
    return [f"grid:{rate}:{updates}" for rate in GRID_RATES for updates in GRID_UPDATES]


def choose_sets(half: str, names: Sequence[str] | None) -> list[str]:
    """Return the sets of a half ("rules", "judged" or "both"), or those of them that are named."""
    check_choice("half", half, [*HALVES, "both"])
    known = list(SETS) if half == "both" else list(HALVES[half])
    for name in names or ():
        check_choice("sets", name, SETS)
        if name not in known:
            raise TransformerError(f"sets must be of the half {half!r}, {', '.join(known)}; got {name!r}")
    return [name for name in known if not names or name in names]


def choose_sizes(name: str, spelled: Sequence[str]) -> list[int]:
    """Return the numbers of rows that a flag names, each at least 2, the least first."""
    if not spelled or any(not text.strip().isdecimal() or int(text) < 2 for text in spelled):
        raise TransformerError(f"{name} must be whole numbers of at least 2; got {', '.join(spelled) or 'none'}")
    return sorted({int(text) for text in spelled})


def choose_encoders(names: Sequence[str]) -> list[str]:
    """Return the keys of `ENCODERS` that are named."""
    if not names:
        raise TransformerError("encoders must name at least one; got none")
    for name in names:
        check_choice("encoders", name, ENCODERS)
    return [name for name in ENCODERS if name in names]


def check_folders(cells: Iterable[Cell], data: str | None, minilm: str | None, setfit_python: str | None) -> None:
    """Raise a `TransformerError` where cells need a folder or a Python that is not there."""
    cells = list(cells)
    if data is None or not Path(data).is_dir():
        raise TransformerError(f"data must be a folder; got {data!r}")
    for name in dict.fromkeys(cell.set for cell in cells):
        if not (Path(data) / name).is_dir():
            raise TransformerError(f"data must be a folder with {name} in it; got {data!r}")
    if any(cell.encoder == "minilm" for cell in cells):
        for file in ("config.json", "model.safetensors"):
            if minilm is None or not (Path(minilm) / file).is_file():
                raise TransformerError(f"minilm must be a folder with {file}; got {minilm!r}")
    if any(cell.contender == "setfit" for cell in cells) and setfit_python is not None:
        if not Path(setfit_python).is_file():
            raise TransformerError(f"setfit_python must be a Python interpreter; got {setfit_python!r}")


def all_cells(
    contenders: Sequence[str],
    encoders: Sequence[str],
    sets: Sequence[str],
    sizes: Sequence[int],
    seeds: int,
    setfit_sizes: Sequence[int] = (PER_CLASS, 50),
) -> list[Cell]:
    """List every training of a plan: contender after contender, few rows first.

    Left out are pairs and larger sizes for SetFit, encoders for the words, and what of the grid would be the same training twice.
    """
    found = []
    for contender in contenders:
        for size, encoder in itertools.product(sizes, encoders if contender != "words" else [NO_ENCODER]):
            for name in sets:
                if contender == "setfit" and (SETS[name].pairs or size not in setfit_sizes):
                    continue
                if contender.startswith("grid:") and _repeated(contender, rows_of(name, size)):
                    continue
                found += [Cell(name, size, seed, encoder, contender) for seed in range(seeds)]
    return found


def _repeated(contender: str, rows: int) -> bool:
    """Say if fewer updates of the grid are as many epochs already."""
    _, updates = grid_setting(contender)
    fewer = [grid_epochs(rows, other) for other in GRID_UPDATES if other < updates]
    return grid_epochs(rows, updates) in fewer


def without(cells: Sequence[Cell], finished: Mapping[Cell, Mapping], again: bool) -> list[Cell]:
    """Return the cells that are missing; `again` counts those that failed as missing."""
    return [cell for cell in cells if cell not in finished or (again and "failure" in finished[cell])]


def read_cells(folder: Path) -> dict[Cell, dict[str, Any]]:
    """Read what is finished: a line of JSON a cell, in a file for each half, encoder and contender.

    The last line of a cell counts, and a line that was cut off does not. To have a contender again, delete its files.
    """
    found: dict[Cell, dict[str, Any]] = {}
    for path in sorted((Path(folder) / "cells").glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            try:
                piece = json.loads(line)
            except ValueError:
                continue
            if not isinstance(piece, dict) or any(name not in piece for name in _KEY) or piece["set"] not in SETS:
                raise TransformerError(f"{path} must hold cells with {', '.join(_KEY)}; got {line[:80]!r}")
            found[Cell(*(piece[name] for name in _KEY))] = piece
    return found


def add_cell(folder: Path, cell: Cell, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Add the line of a cell, whether it went well or has a `failure`; what was written."""
    piece = plain({"half": cell.half, **dataclasses.asdict(cell), **figures}, "cell")
    name = "".join(c if c.isalnum() or c in "-+." else "_" for c in f"{cell.half}-{cell.encoder}-{cell.contender}")
    path = Path(folder) / "cells" / f"{name}.jsonl"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(piece, ensure_ascii=False) + "\n"
        # What a full disk cut off stays a line of its own.
        if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            line = "\n" + line
        # One call of the system: either the whole line is there or nothing of it.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    return piece


def check_same(finished: Mapping[Cell, Mapping[str, Any]], cell: Cell, name: str, value: Any) -> None:
    """Raise a `TransformerError` unless finished cells of the same rows (`rows_digest`) or encoder (`weights`) agree."""
    keys = ("set", "size", "seed") if name == "rows_digest" else ("encoder",)
    for other, piece in finished.items():
        alike = all(getattr(other, key) == getattr(cell, key) for key in keys)
        if alike and piece.get(name) not in (None, value):
            what = "data must hold the rows" if name == "rows_digest" else f"{cell.encoder} must have the weights"
            raise TransformerError(f"{what} of the finished cells; {other.describe()}, has others")
