"""What `defaults.py` compares: contenders, cells, and whether its flags make sense."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from defaults_sets import HALVES, PER_CLASS, SETS, rows_of

from tftransformer.data.pipeline import num_batches
from tftransformer.errors import TransformerError, check_choice
from tftransformer.finetuning.recipe import BATCH_SIZE
from tftransformer.finetuning.strategy import parse_strategy

# A contender's worker, by the word before the first colon of its name.
WORKERS = {
    "ours": "ours_defaults.py",
    "grid": "ours_defaults.py",
    "strategy": "ours_defaults.py",
    "huggingface": "torch_defaults.py",
    "keras_hub": "keras_hub_defaults.py",
    "setfit": "setfit_defaults.py",
    "words": "word_counts_defaults.py",
}
ENCODERS = {"minilm": "a Hugging Face folder", "embedded": "bert_12x192_en_uncased"}
# The encoder of a contender that has none.
NO_ENCODER = "none"
GRID_RATES = ("3e-5", "1e-4", "3e-4")
GRID_UPDATES = (100, 300, 1000)
# A cell of the grid stops here, unless that were before its second number of updates: on few rows the default of
# 250 updates is more epochs than these, and a ceiling must not lie below what it is the ceiling of.
GRID_EPOCHS = 30


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
        """The file of its worker."""
        return WORKERS[self.contender.partition(":")[0]]

    def describe(self) -> str:
        """In words."""
        return f"{self.set}, {size_name(self.size)}, seed {self.seed}, {self.encoder}, {self.contender}"


def size_name(size: int) -> str:
    """A size in words.

    Example:
        >>> size_name(8), size_name(1000)
        ('8 a class', '1,000 rows')
    """
    return f"{size} a class" if size == PER_CLASS else f"{size:,} rows"


def grid_setting(contender: str) -> tuple[float, int]:
    """The rate and the updates of a contender such as `grid:1e-4:300`."""
    rate, updates = contender.split(":")[1:]
    return float(rate), int(updates)


def grid_epochs(rows: int, updates: int) -> int:
    """The epochs of a cell of the grid: so many updates, but at most 30 epochs or 300 updates, whichever is more.

    Example:
        >>> [grid_epochs(200, updates) for updates in (100, 300, 1000)], grid_epochs(16, 1000)
        ([8, 24, 30], 300)
    """
    batches = num_batches(rows, BATCH_SIZE)
    most = max(GRID_EPOCHS, math.ceil(GRID_UPDATES[1] / batches))
    return min(math.ceil(updates / batches), most)


def choose_contenders(names: Sequence[str]) -> list[str]:
    """The contenders in full, in the order they were named.

    Args:
        names: Keys of `WORKERS`; `grid` alone is the whole grid; `strategy:NAME` is what `parse_strategy` reads.

    Raises:
        TransformerError: A name is unknown, incomplete or there twice.

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
    """The sets of a half ("rules", "judged" or "both"), or those of them that are named.

    Example:
        >>> choose_sets("rules", ["mrpc", "sst2"])
        ['sst2', 'mrpc']
    """
    check_choice("half", half, [*HALVES, "both"])
    known = list(SETS) if half == "both" else list(HALVES[half])
    for name in names or ():
        check_choice("sets", name, SETS)
        if name not in known:
            raise TransformerError(f"sets must be of the half {half!r}, {', '.join(known)}; got {name!r}")
    return [name for name in known if not names or name in names]


def choose_sizes(name: str, spelled: Sequence[str]) -> list[int]:
    """Numbers of rows, each at least 2.

    Example:
        >>> choose_sizes("sizes", ["50", "8"])
        [8, 50]
    """
    if not spelled or any(not text.strip().isdecimal() or int(text) < 2 for text in spelled):
        raise TransformerError(f"{name} must be whole numbers of at least 2; got {', '.join(spelled) or 'none'}")
    return sorted({int(text) for text in spelled})


def choose_encoders(names: Sequence[str]) -> list[str]:
    """Keys of `ENCODERS`."""
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
    """Every training of a plan: contender after contender, few rows first.

    Left out are pairs and larger sizes for SetFit, encoders for the words, and what of the grid would be the same
    training twice.

    Example:
        >>> len(all_cells(["ours", "words"], ["minilm", "embedded"], ["sst2"], [8, 50], seeds=3))
        18
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
    """Whether fewer updates of the grid are as many epochs already."""
    _, updates = grid_setting(contender)
    fewer = [grid_epochs(rows, other) for other in GRID_UPDATES if other < updates]
    return grid_epochs(rows, updates) in fewer


def without(cells: Sequence[Cell], finished: Mapping[Cell, Mapping], again: bool) -> list[Cell]:
    """The cells that are missing; `again` counts those that failed as missing."""
    return [cell for cell in cells if cell not in finished or (again and "failure" in finished[cell])]
