"""Several tasks trained together on one encoder, against each alone, as the command `multi_task` runs it."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tftransformer import files
from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.data import loading
from tftransformer.data.data_report import describe_columns
from tftransformer.data.pipeline import num_batches
from tftransformer.data.split import Split, Splits
from tftransformer.data.splitting import subset
from tftransformer.data.task_sampling import batch_fractions, epoch_batches
from tftransformer.errors import TransformerError, near_miss
from tftransformer.evaluation import figures
from tftransformer.evaluation.intervals import mcnemar, right_answers, wilson
from tftransformer.evaluation.reports import text_table
from tftransformer.finetuning.recipe import complete_hparams, default_epochs
from tftransformer.objectives.classification import Classification
from tftransformer.objectives.several import check_task_names
from tftransformer.progress import say
from tftransformer.runs.options import MultiTaskOptions
from tftransformer.runs.progress_lines import ProgressLines
from tftransformer.runs.recipes import prepare
from tftransformer.runs.run_folder import RunFolder
from tftransformer.tasks.multi_task import MultiTaskClassifier
from tftransformer.tasks.task import Task
from tftransformer.tasks.text_classifier import TextClassifier


def compare(options: MultiTaskOptions) -> list[dict[str, Any]]:
    """Train together and alone, and leave table, plot, model and SavedModel in the run's folder.

    Returns:
        A row for each task, as metrics.json has them.
    """
    splits = load_tasks(
        options.data,
        options.tasks,
        train_examples=options.train_examples,
        test_examples=options.test_examples,
        seed=options.seed,
    )
    passes = {name: num_batches(len(own.train), options.batch_size) for name, own in splits.items()}
    shares = batch_fractions(options.sampling, passes)
    drawn = dict(zip(passes, epoch_batches(list(shares.values()), sum(passes.values()))))
    for name, own in splits.items():
        say(f"{name}: {describe_columns(own.train.columns)}")
    preset = load_preset(options.preset)
    hparams = complete_hparams(preset.task.get("advice", {}), preset.config.hidden_dim)
    recipe = options.recipe({**hparams, "epochs": default_epochs(hparams, sum(passes.values()))})
    # What cannot be trained on fails before anything is written.
    train = {name: own.train for name, own in splits.items()}
    model, fit = _prepare(MultiTaskClassifier, preset, train, recipe, options)
    for name, own in splits.items():
        _check_test(model.tasks[name], name, own.test)
    with RunFolder.create(
        options.output_dir,
        "multi_task",
        overwrite=options.overwrite,
        config={**options.as_config(), **recipe, "columns": {name: rows.columns for name, rows in train.items()}},
    ) as run:
        say(f"{run.announcement()}\ntraining {', '.join(splits)} together …")
        seconds = {"together": _fit(model, train, {**fit, "sampling": options.sampling})}
        # Before anything else can go wrong: the weights are what took the time.
        model.save_to_preset(run.model_path)
        found = {}
        for name, own in splits.items():
            probabilities = model.predict(own.test, task=name, verbose=0)
            found[name] = {"together": _figures(model.tasks[name], own.test, probabilities)}
        for name, own in splits.items() if options.alone else ():
            say(f"training {name} alone …")
            seconds[name], found[name]["alone"] = _train_alone(preset, own, recipe, options)
        epochs = recipe["epochs"]
        updates = {n: {"alone": passes[n] * epochs, "together": drawn[n] * epochs} for n in splits}
        rows = [_row(name, own, found[name], updates[name]) for name, own in splits.items()]
        table = format_table(rows)
        files.write_text(run.report_path, f"{table}\n")
        plot_tasks(run.comparison_path, rows)
        say("exporting saved_model/1/, one signature a task …")
        model.export(run.saved_model_path)
        run.finish({"test": {"tasks": rows}, "train": {"seconds": seconds}})
    print(
        f"\n{table}\n\nThe run is in {run.path}: report.txt, metrics.json, comparison.png, model/ and saved_model/1/."
    )
    return rows


def _prepare(
    kind: type, preset: Preset, labels: Any, recipe: Mapping[str, Any], options: MultiTaskOptions, **more: Any
) -> tuple[Any, dict[str, Any]]:
    """A model ready to be trained, from the same random numbers as the others, and what its `fit` is given."""
    keras.utils.set_random_seed(options.seed)
    if options.sequence_length is not None:
        more["sequence_length"] = options.sequence_length
    return prepare(lambda: kind.from_preset(preset, labels, seed=options.seed, **more), recipe)


def _check_test(labelled: Classification, name: str, test: Split) -> None:
    """Labels that few training rows may have left out would be noticed only when the training is over."""
    try:
        labelled.encode(test.targets)
    except TransformerError as error:
        raise TransformerError(f"task {name!r}, test rows: {error}") from None


def _train_alone(
    preset: Preset, splits: Splits, recipe: Mapping[str, Any], options: MultiTaskOptions
) -> tuple[float, dict[str, Any]]:
    train = splits.train
    more = {"multi_label": train.multi_label, "text_pairs": train.is_pair}
    model, fit = _prepare(TextClassifier, preset, train.labels, recipe, options, **more)
    seconds = _fit(model, train, fit)
    return seconds, _figures(model.objective, splits.test, model.predict(splits.test, verbose=0))


def _fit(model: Task, train: Any, options: Mapping[str, Any]) -> float:
    """Train, and say how many seconds it took; the epochs are fixed, so there is nothing to validate for."""
    started = time.perf_counter()
    model.fit(train, verbose=0, callbacks=[ProgressLines()], **options)
    return time.perf_counter() - started


def _figures(labelled: Classification, test: Any, probabilities: np.ndarray) -> dict[str, Any]:
    right = right_answers(labelled.predicted_labels(probabilities), test.targets)
    macro_f1 = labelled.metrics_of(test.targets, probabilities)["macro_f1"]
    return {"accuracy": float(right.mean()), "macro_f1": macro_f1, "right": right}


def _row(name: str, splits: Splits, found: Mapping[str, Any], updates: Mapping[str, int]) -> dict[str, Any]:
    row: dict[str, Any] = {"task": name, "train": len(splits.train), "test": len(splits.test), "updates": updates}
    for kind, figure in found.items():
        interval = wilson(int(figure["right"].sum()), len(figure["right"]))
        row[kind] = {key: figure[key] for key in ("accuracy", "macro_f1")} | {"interval": list(interval)}
    if "alone" in found:
        row["p_value"] = mcnemar(found["alone"]["right"], found["together"]["right"])
    return row


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `compare` for people: accuracy and macro-F1 on the test texts."""
    kinds = [kind for kind in ("alone", "together") if kind in rows[0]]
    head = ["task", "train", "test"]
    for what in ("updates", "accuracy", "macro F1"):
        head += [f"{what} {kinds[0]}", *kinds[1:]]
    lines = [head]
    for row in rows:
        line = [row["task"], f"{row['train']:,}", f"{row['test']:,}"]
        line += [f"{row['updates'][kind]:,}" for kind in kinds]
        line += [f"{row[kind][key]:.4f}" for key in ("accuracy", "macro_f1") for kind in kinds]
        lines.append(line)
    if "p_value" in rows[0]:
        for line, last in zip(lines, ["p", *(f"{row['p_value']:.3f}" for row in rows)], strict=True):
            line.append(last)
    text = text_table(lines)
    if "p_value" not in rows[0]:
        return text
    return f"{text}\np: that accuracies differ so much by the chance of the test texts alone (McNemar)."


def plot_tasks(path: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the test accuracy of each task, alone and together, with 95 % intervals (Wilson's)."""
    kinds = [kind for kind in ("alone", "together") if kind in rows[0]]
    figure, axes = figures.single_axes(max(4.0, 1.6 * len(rows) + 1.0), 3.4)
    width = 0.8 / len(kinds)
    for place, kind in enumerate(kinds):
        at = np.arange(len(rows)) + (place - (len(kinds) - 1) / 2) * width
        heights = np.array([row[kind]["accuracy"] for row in rows])
        low, high = np.array([row[kind]["interval"] for row in rows]).T
        ends = np.maximum([heights - low, high - heights], 0.0)
        axes.bar(at, heights, width * 0.92, color=figures.COLOURS[place], label=kind)
        axes.errorbar(at, heights, ends, fmt="none", ecolor="#303030", elinewidth=1, capsize=3)
        for x, height, top in zip(at, heights, high):
            axes.annotate(f"{height:.3f}", (x, top), (0, 3), textcoords="offset points", ha="center", fontsize=8)
    names, fonts = figures.drawable([row["task"] for row in rows])
    axes.set_xticks(np.arange(len(rows)), names, fontfamily=fonts, fontsize=10)
    axes.set_ylim(0, 1.08)
    axes.set_ylabel("test accuracy")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figures.save(figure, path)


# The data of several tasks: folders beside each other, or the embedded sample in two parts.

DEFAULT_TASKS = ("sst2", "ag_news", "mrpc")
# Where the columns cannot be told from the files themselves: AG News has no header row. The text is the description;
# titles, in the second column, are missing from copies of it.
_COLUMNS: dict[str, dict[str, Any]] = {"ag_news": {"label_column": 1, "text_columns": 3}}


def load_tasks(
    folder: str | None,
    tasks: Sequence[str] | None = None,
    *,
    train_examples: int | None = None,
    test_examples: int | None = None,
    seed: int = 0,
) -> dict[str, Splits]:
    """The splits of each task.

    Args:
        folder: Holds a folder, or a CSV, TSV or JSONL file, for each task. None: the embedded sample, of which two
            tasks are made, each with half of the departments.
        tasks: Names of folders or files (without their ending) in `folder`. None: SST-2, AG News and MRPC.
        train_examples: Most training rows of a task, chosen by the seed.
        test_examples: Most test rows of a task, likewise.
        seed: Random seed of the choice, and of the splits that files lack.

    Example:
        >>> [(name, splits.train.labels) for name, splits in load_tasks(None).items()]
        [('inner', ('cardiology', 'dermatology', 'gastroenterology')), ('other', ('neurology', 'orthopaedics', 'psychiatry'))]
    """
    if folder is None:
        if tasks:
            raise TransformerError(f"tasks goes with data, a folder that holds them; got {', '.join(tasks)} without it")
        found = _sample_in_two(seed)
    else:
        names = check_task_names(tasks or DEFAULT_TASKS)
        found = {name: _load(Path(folder), name, seed) for name in names}
    return {name: _cut(name, splits, train_examples, test_examples, seed) for name, splits in found.items()}


def _load(folder: Path, name: str, seed: int) -> Splits:
    if not folder.is_dir():
        raise TransformerError(f"data must be a folder that holds the tasks; {folder} is none")
    entries = {path.stem if path.is_file() else path.name: path for path in sorted(folder.iterdir())}
    if name not in entries:
        raise TransformerError(f"{folder} holds no task {name!r}{near_miss(name, entries)}")
    return loading.load(entries[name], **_COLUMNS.get(name, {}), seed=seed)


def _sample_in_two(seed: int) -> dict[str, Splits]:
    splits = loading.load(loading.SAMPLE, seed=seed)
    labels = splits.train.labels
    half = len(labels) // 2
    return {
        "inner": Splits(*(_only(split, labels[:half]) for split in splits)),
        "other": Splits(*(_only(split, labels[half:]) for split in splits)),
    }


def _only(split: Split | None, labels: Sequence[str]) -> Split | None:
    if split is None:
        return None
    return split.take(row for row, target in enumerate(split.targets) if target in labels)


def _cut(name: str, splits: Splits, train: int | None, test: int | None, seed: int) -> Splits:
    if splits.test is None or not len(splits.test):
        raise TransformerError(f"task {name!r} needs test rows; its data have none")

    splits = splits if train is None else splits._replace(train=subset(splits.train, train, seed))
    return splits if test is None else splits._replace(test=subset(splits.test, test, seed))
