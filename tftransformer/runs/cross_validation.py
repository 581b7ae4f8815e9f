"""Stratified k-fold cross-validation of a recipe, with a mean and a deviation to compare recipes by."""

import dataclasses
import gc
import os
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from tftransformer import files
from tftransformer.data.dedup import dedup_key
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError, check_whole
from tftransformer.evaluation.reports import text_table
from tftransformer.finetuning.activation_cache import ActivationCache, choose_activation_cache
from tftransformer.runs.recipes import (
    Build,
    check_recipe,
    describe_recipe,
    prepare,
    train_recipe,
    with_epochs,
    with_learning_rate,
)
from tftransformer.runs.resumable import all_pieces, digest_of, digest_of_model, resumable_folder
from tftransformer.tasks.task import Task

FIGURES = ("accuracy", "macro_f1", "weighted_f1", "micro_f1", "auc", "loss")


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """Figures of the folds; `str()` gives a table.

    Attributes:
        recipe: Recipe of the training.
        folds: Figures of each fold, `rows` (how many were held out) and `seconds`.
    """

    recipe: Mapping[str, Any]
    folds: tuple[Mapping[str, Any], ...]

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the figures that every fold has."""
        return tuple(name for name in FIGURES if all(fold.get(name) is not None for fold in self.folds))

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each figure over the folds."""
        return {name: statistics.fmean(fold[name] for fold in self.folds) for name in self.figures}

    @property
    def deviation(self) -> dict[str, float]:
        """The standard deviation of each figure between folds (with n - 1)."""
        return {name: statistics.stdev(fold[name] for fold in self.folds) for name in self.figures}

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "recipe": dict(self.recipe),
            "mean": self.mean,
            "deviation": self.deviation,
            "folds": [dict(fold) for fold in self.folds],
        }

    def __str__(self) -> str:
        def shown(values: Mapping[str, Any]) -> list[str]:
            return [f"{values[name]:.4f}" for name in self.figures]

        rows = [["fold", "rows", *self.figures]]
        rows += [[str(i), str(fold["rows"]), *shown(fold)] for i, fold in enumerate(self.folds, 1)]
        rows += [["mean", "", *shown(self.mean)], ["deviation", "", *shown(self.deviation)]]
        return f"recipe: {describe_recipe(self.recipe)}\n\n{text_table(rows)}"


def cross_validate(
    build: Build,
    data: Split,
    folds: int = 5,
    seed: int = 0,
    *,
    groups: Sequence[Hashable] | None = None,
    output_dir: str | os.PathLike | None = None,
    activation_cache: str | os.PathLike | ActivationCache = "auto",
    say: Callable[[str], None] = print,
    **recipe: Any,
) -> CrossValidation:
    """Train once for each fold on all other rows, and measure on the rows held out.

    Training never sees the rows that are held out, not even to validate on. The outputs of frozen layers are
    computed once for all folds.

    Args:
        build: Makes a fresh, uncompiled classifier: `lambda: tt.TextClassifier.from_preset(…, labels=data.labels)`.
            The labels have to be those of all data, because a fold may lack one.
        data: Labelled rows, without those of the test.
        folds: Number of folds.
        seed: Random seed of the folds, of weights that start from random numbers, and of dropout.
        groups: For each row what it belongs to; see `stratified_folds`.
        output_dir: A folder for one JSON file a finished fold, from which an interrupted cross-validation goes on,
            and for `report.txt` and `metrics.json`. None: nothing is kept.
        activation_cache: Argument of `fit`; the folds share it.
        say: Takes a line of progress a fold.
        recipe: `strategy`, `learning_rate`, `epochs` and so on; see `check_recipe`.

    Returns:
        The figures of each fold, their mean and their deviation.

    Raises:
        TransformerError: The recipe or the data do not fit, or `output_dir` holds something else.

    Example:
        >>> result = cross_validate(build, train, folds=5, strategy="lora:8", epochs=3)  # doctest: +SKIP
        >>> result.mean["macro_f1"], result.deviation["macro_f1"]  # doctest: +SKIP
        (0.861, 0.012)
    """
    check_recipe(recipe)
    held_out = stratified_folds(data, folds, seed, groups)
    keras.utils.set_random_seed(seed)
    model, _ = prepare(build, recipe)
    recipe = with_epochs(
        with_learning_rate(recipe, model.recommended_hparams), model.recommended_hparams, len(data) - len(held_out[0])
    )
    cache = choose_activation_cache(activation_cache) or "off"

    settings = {
        "folds": folds,
        "seed": seed,
        **recipe,
        "data": digest_of(data),
        "groups": None if groups is None else digest_of([str(group) for group in groups]),
        "model": digest_of_model(model),
    }
    del model
    with resumable_folder(output_dir, "cross-validation", settings) as path:
        found = all_pieces(
            path,
            {f"fold-{number}": rows for number, rows in enumerate(held_out, 1)},
            lambda rows: _run_fold(build, recipe, data, rows, seed, cache),
            lambda fold: f"fold of {fold['rows']} rows: macro-F1 {fold['macro_f1']:.4f}, {fold['seconds']:.0f} s",
            what="fold",
            needs=("rows", "macro_f1", "seconds"),
            say=say,
        )
        result = CrossValidation(recipe, tuple(found))
        if path is not None:
            files.write_json(path / "metrics.json", result.to_dict())
            files.write_text(path / "report.txt", f"{result}\n")
    return result


def _run_fold(
    build: Build, recipe: Mapping[str, Any], data: Split, held_out: np.ndarray, seed: int, cache: ActivationCache | str
) -> dict[str, Any]:
    started = time.perf_counter()
    mask = np.ones(len(data), bool)
    mask[held_out] = False
    train, test = data.take(np.flatnonzero(mask)), data.take(held_out)
    classifier, _ = train_recipe(build, recipe, train, seed=seed, activation_cache=cache)
    found = figures_on(test, classifier)
    # Models hold one another by way of Keras's graphs until they are collected.
    del classifier
    gc.collect()
    return {**found, "rows": len(test), "seconds": time.perf_counter() - started}


def figures_on(split: Split, model: Task) -> dict[str, float]:
    """Those of `FIGURES` that a trained model has on some rows."""
    metrics = model.objective.metrics_of(split.targets, model.predict(split, verbose=0))
    return {name: metrics[name] for name in FIGURES if metrics.get(name) is not None}


# Stratified folds: every row is held out once, labels in like fractions, and equal texts never on both sides.


def stratified_folds(
    data: Split, folds: int = 5, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> list[np.ndarray]:
    """The rows to hold out in each fold.

    Folds are disjoint and cover all rows. Rows with the same text (after folding of case and white space) share a
    fold, and so do rows of one group. Several labels a text: it counts for the rarest of them.

    Args:
        data: Labelled rows.
        folds: Number of folds.
        seed: Random seed of the folds.
        groups: For each row what it belongs to, such as an author or a patient.

    Returns:
        `folds` arrays of row numbers, each in order.

    Example:
        >>> data = Split(list("abcdef"), ["x", "y"] * 3)
        >>> [len(rows) for rows in stratified_folds(data, folds=3)]
        [2, 2, 2]
    """
    if data.targets is None:
        raise TransformerError("data must have labels to be stratified by; got a split without any")
    check_whole("folds", folds, least=2)
    if groups is not None and len(groups) != len(data):
        raise TransformerError(f"groups must be as many as rows, {len(data)}; got {len(groups)}")
    joined = _joined(data, groups)
    distinct = len(set(joined))
    if distinct < folds:
        what = "texts" if groups is None else "groups"
        raise TransformerError(f"folds must be at most the number of distinct {what}, {distinct}; got {folds}")
    strata = _strata(data)
    most = max(Counter(strata).values())
    if most < folds:
        raise TransformerError(f"folds must be at most the rows of the commonest label, {most}; got {folds}")
    alone = distinct == len(data)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A label with fewer rows than folds is missing from some of them, which is no reason to stop.
        warnings.filterwarnings("ignore", message="The least populated class")
        held_out = [rows for _, rows in splitter.split(strata, strata, None if alone else joined)]
    for number, rows in enumerate(held_out, 1):
        if not len(rows):
            raise TransformerError(
                f"folds must be few enough for every fold to get rows; fold {number} of {folds} gets none, because "
                "groups are too unequal"
            )
    return [np.sort(rows) for rows in held_out]


def _joined(data: Split, groups: Sequence[Hashable] | None) -> list[int]:
    """A number for each row, equal where rows share a text or a group, also by way of others."""
    parent = list(range(len(data)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    keys = [[dedup_key(text) for text in data.texts]]
    if groups is not None:
        keys.append(list(groups))
    for column in keys:
        first: dict[Hashable, int] = {}
        for row, key in enumerate(column):
            parent[root(row)] = root(first.setdefault(key, row))
    return [root(row) for row in range(len(data))]


def _strata(data: Split) -> list[str]:
    if not data.multi_label:
        return list(data.targets)
    counts = Counter(label for target in data.targets for label in target)
    return [min(target, key=lambda label: (counts[label], label), default="") for target in data.targets]
