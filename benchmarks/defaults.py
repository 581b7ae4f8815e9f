"""The defaults of toolkits on the same rows: the accuracy of a user who turns no knob.

    python benchmarks/defaults.py --data=DATA --minilm=FOLDER --half=rules --contenders=ours,words,huggingface

Contenders: `ours`; `huggingface` (its Trainer); `keras_hub`; `setfit`; `words` (TF-IDF and logistic regression);
`strategy:NAME`, ours with that method; and `grid`, ours at nine settings, of which the best on the test rows is the
ceiling in the table. `--data` is a folder with a folder for each set, `--minilm` one of all-MiniLM-L6-v2. The peers come
with `pip install tftransformer[bench] accelerate`; SetFit may live in an environment of its own, whose Python is
`--setfit_python`.

Each training is a cell, and what is finished is not done again: kill it anywhere and start it once more. Rules for
defaults are made on the sets of one half (`--half=rules`) and judged on the other (`--half=judged`).
"""

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from defaults_cells import (
    ENCODERS,
    NO_ENCODER,
    WORKERS,
    Cell,
    add_cell,
    all_cells,
    check_folders,
    check_same,
    choose_contenders,
    choose_encoders,
    choose_sets,
    choose_sizes,
    read_cells,
    without,
)
from defaults_sets import SETS, Rows, draw_rows
from sidebyside.flag_rules import check_flags
from sidebyside.rounds import Child, ChildFailed, ChildLate, Contender

from tftransformer.data.labels import sort_labels
from tftransformer.errors import TransformerError
from tftransformer.files import sha256, write_json
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS


class Orders:
    """The files in `scratch` that tell a worker of each cell, its rows and its encoder; the embedded one is there as others read it."""

    def __init__(self, data: str, minilm: str | None, scratch: Path) -> None:
        self._data, self._scratch = data, scratch
        self._minilm = minilm and str(Path(minilm).resolve())

    def write(self, number: int, cell: Cell) -> Rows:
        """Write the order of a cell as the worker's turn `number`; return its rows."""
        rows = draw_rows(self._data, cell.set, cell.size, cell.seed)
        labels = rows.train.labels
        if cell.encoder == NO_ENCODER:
            # The baseline of words scores the test rows itself, so it takes their labels, too.
            labels = tuple(sort_labels({*labels, *rows.test.targets}))
        told = {"contender": cell.contender, "encoder": self._encoder(cell), "length": SETS[cell.set].length}
        targets = [labels.index(target) for target in rows.train.targets]
        order = {**told, "seed": cell.seed, "labels": labels, "texts": rows.train.texts, "targets": targets}
        order["test_texts"] = rows.test.texts
        if cell.encoder == NO_ENCODER:
            order["test_targets"] = [labels.index(target) for target in rows.test.targets]
        write_json(self._scratch / f"{number}.json", order)
        return rows

    @functools.cached_property
    def weights(self) -> str:
        """A hash of MiniLM's weights."""
        return sha256(Path(self._minilm) / "model.safetensors")[:16]

    def _encoder(self, cell: Cell) -> str | None:
        if cell.encoder == NO_ENCODER:
            return None
        if cell.encoder == "minilm":
            return self._minilm
        if cell.worker == WORKERS["ours"]:
            return ENCODERS["embedded"]
        from sidebyside.weights import encoder_folder

        pooler = cell.contender == "keras_hub"
        folder = self._scratch / f"embedded-{'pooler' if pooler else 'mean'}"
        return str(folder if folder.exists() else encoder_folder(ENCODERS["embedded"], folder, pooler=pooler))


class Workers:
    """One process at a time, which serves cell after cell of the orders in `scratch` until another worker's turn, or a failure."""

    def __init__(self, scratch: Path, logs: Path, setfit_python: str | None) -> None:
        self._scratch, self._logs, self._setfit_python = scratch, logs, setfit_python
        self._child: Child | None = None
        self._worker = ""

    def start(self, cell: Cell) -> None:
        """Make sure that the process for a cell is there; `ChildFailed` where it cannot be."""
        if self._child is not None and self._worker == cell.worker:
            return
        self.end()
        self._logs.mkdir(parents=True, exist_ok=True)
        interpreter = self._setfit_python if cell.kind == "setfit" else None
        settings = {"orders": str(self._scratch)}
        environment = {"HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        contender = Contender(cell.kind, cell.worker, settings, environment, interpreter=interpreter)
        self._child, self._worker = Child(contender, self._logs / f"{cell.kind}.log"), cell.worker
        try:
            self._child.prepare(600.0)
        except ChildFailed:
            self.end()
            raise

    def train(self, number: int, minutes: float) -> dict[str, Any]:
        """Return what the process answers to an order."""
        try:
            return self._child.turn(number, 60 * minutes)
        except ChildFailed as failure:
            self.end()
            late = isinstance(failure, ChildLate)
            return {"failure": f"out of time ({minutes:g} min)" if late else str(failure)}

    def end(self) -> None:
        """Stop the process."""
        if self._child is not None:
            self._child.end()
            self._child = None


def figures_of(rows: Rows, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a cell keeps of a worker's answer: accuracy and macro F1 in place of the answers to the test rows.

    Macro F1 is the mean over the classes that stand in the test rows or in the predictions, as in our reports.
    """
    from sklearn.metrics import f1_score

    figures = {name: value for name, value in answer.items() if name != "predicted"}
    if "predicted" in answer:
        predicted = [rows.train.labels[label] for label in answer["predicted"]]
        agreeing = sum(one == other for one, other in zip(predicted, rows.test.targets, strict=True))
        figures["accuracy"] = agreeing / len(predicted)
        figures["macro_f1"] = float(f1_score(rows.test.targets, predicted, average="macro", zero_division=0))
    return figures


def make_cells(
    cells: Sequence[Cell],
    folder: Path,
    data: str,
    minilm: str | None = None,
    *,
    minutes: Mapping[str, float],
    setfit_python: str | None = None,
    say: Callable[[str], None] = functools.partial(print, flush=True),
) -> None:
    """Do the work of the missing cells and write each into the folder; one that fails says why, and the others go on.

    A worker that cannot even start, because its library is missing, leaves its cells undone. `minutes` are those that a training may
    take, of "setfit" and of "others"; `say` takes a line for each cell.
    """
    from tftransformer.runs.resumable import digest_of

    finished = read_cells(folder)
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        orders = Orders(data, minilm, Path(scratch))
        workers = Workers(Path(scratch), folder / "logs", setfit_python)
        try:
            for number, cell in enumerate(cells):
                if cell.worker in absent:
                    continue
                rows = orders.write(number, cell)
                seen = {"rows_digest": digest_of([digest_of(rows.train), digest_of(rows.test)])}
                # None where the weights come with the package, or there are none.
                seen["weights"] = orders.weights if cell.encoder == "minilm" else None
                for name, value in seen.items():
                    check_same(finished, cell, name, value)
                try:
                    workers.start(cell)
                except ChildFailed as failure:
                    absent[cell.worker] = str(failure)
                    left = sum(other.worker == cell.worker for other in cells[number:])
                    say(f"{cell.contender}: {failure}; {left} cells left out")
                    continue
                allowed = minutes["setfit" if cell.kind == "setfit" else "others"]
                figures = figures_of(rows, workers.train(number, allowed))
                (Path(scratch) / f"{number}.json").unlink()
                facts = {"rows": len(rows.train), "classes": SETS[cell.set].classes, "test_rows": len(rows.test)}
                finished[cell] = add_cell(folder, cell, {**facts, **seen, **figures})
                say(f"{line_of(cell, figures)}; {len(cells) - number - 1} to go")
        finally:
            workers.end()


def line_of(cell: Cell, figures: Mapping[str, Any]) -> str:
    """Write a finished cell in one line."""
    if "failure" in figures:
        return f"{cell.describe()}: {figures['failure']}"
    accuracy, f1, seconds = (figures[name] for name in ("accuracy", "macro_f1", "seconds"))
    return f"{cell.describe()}: accuracy {accuracy:.4f}, macro F1 {f1:.4f}, {seconds:.1f} s"


def read_flags() -> list[Cell]:
    """Return the cells that the flags ask for, none with `--table_only`."""
    if FLAGS.table_only:
        return []
    check_flags({"at least 1": ["seeds"], "above 0": ["minutes", "setfit_minutes"]}, FLAGS.flag_values_dict())
    cells = all_cells(
        choose_contenders(FLAGS.contenders),
        choose_encoders(FLAGS.encoders),
        choose_sets(FLAGS.half, FLAGS.sets),
        choose_sizes("sizes", FLAGS.sizes),
        FLAGS.seeds,
        choose_sizes("setfit_sizes", FLAGS.setfit_sizes),
    )
    check_folders(cells, FLAGS.data, FLAGS.minilm, FLAGS.setfit_python)
    return cells


def main(cells: Sequence[Cell]) -> None:
    from defaults_table import plot_cells, write_table

    folder = Path(FLAGS.out)
    missing = without(cells, read_cells(folder), FLAGS.again)
    if cells:
        print(f"{len(cells) - len(missing)} of {len(cells)} cells are there", flush=True)
    minutes = {"setfit": FLAGS.setfit_minutes, "others": FLAGS.minutes}
    make_cells(missing, folder, FLAGS.data, FLAGS.minilm, minutes=minutes, setfit_python=FLAGS.setfit_python)
    finished = read_cells(folder)
    if not finished:
        raise TransformerError(f"out must hold finished cells; {folder} has none")
    print("\n" + write_table(folder, finished))
    plot_cells(folder / "defaults.png", finished)
    print(f"saved {folder}")


def define_flags() -> None:
    flags.DEFINE_string("data", None, "A folder with a folder for each data set.")
    flags.DEFINE_string("minilm", None, "A Hugging Face folder of all-MiniLM-L6-v2, for the encoder minilm.")
    flags.DEFINE_string(
        "half", "rules", "Sets that rules are made on (rules), those that judge them (judged), or both."
    )
    flags.DEFINE_list("sets", None, "Some sets of the half; default: all.")
    flags.DEFINE_list("sizes", ["8", "50", "200", "1000"], "Training rows; 8 means 8 of each class.")
    flags.DEFINE_integer("seeds", 3, "Draws of the rows, each with its own seed of the training.")
    flags.DEFINE_list("contenders", ["ours", "words"], "Who, in the order of the work.")
    flags.DEFINE_list("encoders", ["minilm"], "Some of minilm and embedded (bert_12x192_en_uncased).")
    flags.DEFINE_string("out", "benchmarks/results/defaults", "Folder of the cells, the table and the plot.")
    flags.DEFINE_string("setfit_python", None, "Python of the environment that has SetFit; default: this one.")
    flags.DEFINE_list("setfit_sizes", ["8", "50"], "Sizes for SetFit, whose pairs of texts grow with their square.")
    flags.DEFINE_float("setfit_minutes", 30.0, "Minutes after which a training of SetFit is out of time.")
    flags.DEFINE_float("minutes", 120.0, "The same for everybody else.")
    flags.DEFINE_boolean("again", False, "Do the cells again that failed.")
    flags.DEFINE_boolean("table_only", False, "Train nothing; table and plot of what is finished.")


if __name__ == "__main__":
    define_flags()
    run_command(main, read_flags)
