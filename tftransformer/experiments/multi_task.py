"""Several tasks trained together on one encoder, against each alone, as `examples/multi_task.py` runs it."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tftransformer import files
from tftransformer.data.pipeline import num_batches
from tftransformer.data.split import Splits
from tftransformer.data.task_sampling import DEFAULT_SAMPLING, batch_shares, epoch_batches
from tftransformer.errors import TransformerError, near_miss
from tftransformer.evaluation import figures
from tftransformer.evaluation.intervals import wilson
from tftransformer.experiments.multi_task_data import load_tasks
from tftransformer.experiments.runs import RunFolder
from tftransformer.finetuning.freezing import freeze
from tftransformer.tasks.multi_task import MultiTaskClassifier
from tftransformer.tasks.text_classifier import TextClassifier
from tftransformer.training.progress_lines import ProgressLines


@dataclasses.dataclass(frozen=True)
class MultiTaskOptions:
    """Everything that decides a run. The fields are the flags of `examples/multi_task.py`, which explain them.

    Raises:
        TransformerError: A number out of range, before any data are read.
    """

    preset: str = "bert_12x192_en_uncased"
    data: str | None = None
    tasks: Sequence[str] | None = None
    alone: bool = True
    train_examples: int | None = None
    test_examples: int | None = None
    sampling: str = DEFAULT_SAMPLING
    loss_weights: Sequence[str] = ()
    freeze_layers: int = 0
    max_length: int | None = None
    epochs: int | None = None
    batch_size: int = 16
    learning_rate: float | None = None
    seed: int = 0
    output_dir: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, least in (("train_examples", 2), ("test_examples", 1), ("freeze_layers", 0), ("max_length", 3),
                            ("epochs", 1), ("batch_size", 1), ("seed", 0)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise TransformerError(f"{name} must be at least {least}; got {value}")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise TransformerError(f"learning_rate must be positive; got {self.learning_rate}")


def compare(options: MultiTaskOptions) -> list[dict[str, Any]]:
    """Train together and alone, and leave table, plot, model and SavedModel in the run's folder.

    Args:
        options: The run.

    Returns:
        A row for each task, as metrics.json has them.

    Raises:
        TransformerError: Anything wrong with the data, the preset or the options; or a loss that is not finite.
    """
    splits = load_tasks(
        options.data, options.tasks, train_examples=options.train_examples, test_examples=options.test_examples,
        seed=options.seed,
    )  # fmt: skip
    for name, found in splits.items():
        kind = "pairs" if found.train.is_pair else "texts"
        print(f"{name}: {len(found.train)} {kind} to train on, {len(found.test)} to test on", flush=True)
    sizes = {name: num_batches(len(found.train), options.batch_size) for name, found in splits.items()}
    weights = _parse_weights(options.loss_weights, splits)
    shares = batch_shares(options.sampling, sizes)
    settings = dataclasses.asdict(options)
    with RunFolder.create(
        options.output_dir, "multi_task", overwrite=options.overwrite, config=settings
    ) as run:
        print(f"writing to {run.path}", flush=True)
        model, epochs = _build(
            MultiTaskClassifier, options, {name: s.train for name, s in splits.items()}, weights
        )
        seconds = {"together": _fit_together(model, splits, options, epochs)}
        model.save_to_preset(run.model_path)
        found = {name: {"together": _test(model, name, s)} for name, s in splits.items()}
        for name, own in splits.items() if options.alone else ():
            found[name]["alone"], seconds[name] = _train_alone(name, own, options)
        batches = dict(zip(sizes, epoch_batches(list(shares.values()), sum(sizes.values()))))
        rows = [_row(n, splits[n], found[n], sizes[n] * epochs, batches[n] * epochs) for n in splits]
        table = format_table(rows)
        files.write_text(run.report_path, f"{table}\n")
        plot_tasks(run.path / "comparison.png", rows)
        print("exporting saved_model/1/, one signature a task …", flush=True)
        model.export(run.saved_model_path)
        run.finish({"test": {"tasks": rows}, "train": {"seconds": seconds, "epochs": epochs}})
    print(
        f"\n{table}\n\nThe run is in {run.path}: report.txt, metrics.json, comparison.png, model/ and saved_model/1/."
    )
    return rows


def _build(
    kind: type, options: MultiTaskOptions, data: Any, weights: Mapping[str, float] | None = None
) -> tuple:
    """A compiled classifier of one or several tasks on the same weights, and how long it trains."""
    keras.utils.set_random_seed(options.seed)
    given = {"max_length": options.max_length} if options.max_length else {}
    if kind is TextClassifier:
        given |= {"labels": data.labels, "multi_label": data.multi_label, "text_pairs": data.is_pair}
    else:
        given |= {"tasks": data}
    model = kind.from_preset(options.preset, seed=options.seed, **given)
    freeze(model, layers=options.freeze_layers, embeddings=options.freeze_layers > 0)
    rate = model.advice.get("learning_rate", 2e-5)
    if options.freeze_layers:
        rate = model.advice.get("frozen_learning_rate", rate)
    own = {"loss_weights": weights} if weights else {}
    model.compile(learning_rate=options.learning_rate or rate, **own)
    return model, options.epochs or model.advice.get("epochs", 3)


def _fit_together(
    model: MultiTaskClassifier, splits: Mapping[str, Splits], options: MultiTaskOptions, epochs: int
) -> float:
    print(f"training {', '.join(splits)} together …", flush=True)
    started = time.perf_counter()
    validation = {name: found.validation for name, found in splits.items() if found.validation is not None}
    model.fit(
        {name: found.train for name, found in splits.items()},
        sampling=options.sampling,
        validation_data=validation or None,
        batch_size=options.batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=[ProgressLines()],
    )
    return time.perf_counter() - started


def _train_alone(name: str, splits: Splits, options: MultiTaskOptions) -> tuple[dict[str, Any], float]:
    print(f"training {name} alone …", flush=True)
    model, epochs = _build(TextClassifier, options, splits.train)
    started = time.perf_counter()
    model.fit(
        splits.train,
        validation_data=splits.validation,
        batch_size=options.batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=[ProgressLines()],
    )
    seconds = time.perf_counter() - started
    return _figures(model, splits.test, model.predict(splits.test, verbose=0)), seconds


def _test(model: MultiTaskClassifier, name: str, splits: Splits) -> dict[str, Any]:
    return _figures(model.tasks[name], splits.test, model.predict(splits.test, task=name, verbose=0))


def _figures(labelled: Any, test: Any, probabilities: np.ndarray) -> dict[str, Any]:
    metrics = labelled.metrics_of(test.targets, probabilities)
    predicted = labelled.predicted_labels(probabilities)
    same = [set(p) == set(t) if test.multi_label else p == t for p, t in zip(predicted, test.targets)]
    return {"accuracy": float(np.mean(same)), "macro_f1": metrics["macro_f1"], "right": np.array(same)}


def _row(name: str, splits: Splits, found: Mapping[str, Any], alone: int, together: int) -> dict[str, Any]:
    row = {
        "task": name,
        "train": len(splits.train),
        "test": len(splits.test),
        "updates": {"alone": alone, "together": together},
    }
    for kind, figure in found.items():
        interval = wilson(int(figure["right"].sum()), len(figure["right"]))
        row[kind] = {key: figure[key] for key in ("accuracy", "macro_f1")} | {"interval": list(interval)}
    if "alone" in found:
        row["p_value"] = mcnemar(found["alone"]["right"], found["together"]["right"])
    return row


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """How likely a difference at least as large is by chance between two classifiers that are equally good.

    The exact, two-sided test on the texts that just one of them gets right (McNemar 1947). It knows the chance of the
    test texts, not that of the training: other seeds differ, too.

    Args:
        first, second: (B,) whether each text was classified rightly.

    Example:
        >>> mcnemar(np.array([True] * 8 + [False] * 2), np.array([True] * 2 + [False] * 8))
        0.03125
    """
    only = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    number = sum(only)
    tail = sum(math.comb(number, k) for k in range(min(only) + 1)) / 2**number
    return min(1.0, 2.0 * tail)


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `compare` for people: accuracy and macro-F1 on the test texts."""
    both = "alone" in rows[0]
    head = ["task", "train", "test", "updates", "accuracy", "macro F1"]
    if both:
        head = ["task", "train", "test", "updates alone", "together", "accuracy alone", "together", "p",
                "macro F1 alone", "together"]  # fmt: skip
    lines = [head]
    for row in rows:
        line = [row["task"], f"{row['train']:,}", f"{row['test']:,}"]
        kinds = ("alone", "together") if both else ("together",)
        line += [f"{row['updates'][kind]:,}" for kind in kinds]
        line += [f"{row[kind]['accuracy']:.4f}" for kind in kinds]
        line += [f"{row['p_value']:.3f}"] if both else []
        lines.append(line + [f"{row[kind]['macro_f1']:.4f}" for kind in kinds])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    shown = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))] for line in lines
    ]
    return "\n".join("  ".join(line) for line in shown)


def plot_tasks(path: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the test accuracy of each task, alone and together, with 95 % intervals (Wilson's)."""
    kinds = [kind for kind in ("alone", "together") if kind in rows[0]]
    figure = figures.new_figure(max(4.0, 1.6 * len(rows) + 1.0), 3.4)
    axes = figure.add_subplot()
    figures.plain_axes(axes)
    width = 0.8 / len(kinds)
    for place, kind in enumerate(kinds):
        at = np.arange(len(rows)) + (place - (len(kinds) - 1) / 2) * width
        heights = np.array([row[kind]["accuracy"] for row in rows])
        low, high = np.array([row[kind]["interval"] for row in rows]).T
        ends = np.maximum([heights - low, high - heights], 0.0)
        axes.bar(at, heights, width * 0.92, color=figures.COLOURS[place], label=kind)
        axes.errorbar(at, heights, ends, fmt="none", ecolor="#303030", elinewidth=1, capsize=3)
        for x, height, top in zip(at, heights, high):
            axes.annotate(
                f"{height:.3f}", (x, top), (0, 3), textcoords="offset points", ha="center", fontsize=8
            )
    names, fonts = figures.drawable([row["task"] for row in rows])
    axes.set_xticks(np.arange(len(rows)), names, fontfamily=fonts, fontsize=10)
    axes.set_ylim(0, 1.08)
    axes.set_ylabel("test accuracy")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figures.save(figure, path)


def _parse_weights(stated: Sequence[str], tasks: Mapping[str, Any]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for item in stated or ():
        name, _, number = item.partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if name not in tasks or name in weights or not 0 < weight < math.inf:
            raise TransformerError(
                f"loss_weights must be TASK=NUMBER, positive, once a task; got {item!r}{near_miss(name, tasks)}"
            )
        weights[name] = weight
    return weights
