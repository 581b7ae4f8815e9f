"""Search for a recipe: learning rate, epochs, strategy and so on, chosen by their score on validation data.

Trials are proposed by tree-structured Parzen estimators (Bergstra et al. 2011) and stopped early where others were
better at the same epoch, both by Optuna (Akiba et al. 2019, arXiv:1907.10902).
"""

import contextlib
import dataclasses
import functools
import gc
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from tftransformer import files
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError, check_choice, check_whole
from tftransformer.evaluation.figures import COLOURS, save, single_axes
from tftransformer.evaluation.reports import text_table
from tftransformer.finetuning.activation_cache import ActivationCache, choose_activation_cache
from tftransformer.runs.recipes import Build, check_stages, describe_recipe, prepare, train_recipe, with_epochs
from tftransformer.runs.resumable import digest_of, digest_of_model, finished_pieces, resumable_folder
from tftransformer.runs.search_space import PRUNERS, SearchSpace
from tftransformer.tasks.task import Task

MONITOR = "val_macro_f1"
_STEM = "trial"
# Trials drawn at random before the estimators have enough to go by; none is stopped early before half of them.
_STARTUP = 6
_MARKERS = {"complete": "o", "pruned": "x", "diverged": "v"}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One recipe and what came of it.

    Attributes:
        number: From 1, in the order of the search.
        state: "complete", "pruned" (given up early), or "diverged" (the loss was not finite).
        score: Validation macro-F1 after the last epoch; None unless complete.
        recipe: All settings.
        parameters: Settings that were searched over.
        scores: The score of each epoch.
        seconds: Seconds that it took.
        note: Reason why it diverged.
        rungs: State of the pruner "hyperband", for a search that goes on.
    """

    number: int
    state: str
    score: float | None
    recipe: Mapping[str, Any]
    parameters: Mapping[str, Any]
    scores: tuple[float, ...]
    seconds: float = 0.0
    note: str = ""
    rungs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Trial":
        """From the values of `to_dict`."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{**{n: v for n, v in values.items() if n in known}, "scores": tuple(values["scores"])})

    def __str__(self) -> str:
        if self.state == "complete":
            end = f"macro-F1 {self.score:.4f}"
        elif self.scores:
            end = f"{self.state} after {len(self.scores)} epochs at {self.scores[-1]:.4f}"
        else:
            end = f"{self.state} in its first epoch"
        return f"{end}, {describe_recipe(self.recipe)}, {self.seconds:.0f} s"


class SearchResult:
    """The trials of a search. `str()` of it is a table, the best first."""

    def __init__(self, folder: Path, trials: tuple[Trial, ...], kind: type) -> None:
        complete = [trial for trial in trials if trial.score is not None]
        if not complete:
            raise TransformerError(
                f"none of the {len(trials)} trials came to its end: make learning_rate smaller, or trials more"
            )
        self.folder, self.trials, self.kind = folder, trials, kind
        # The first of equals is the one whose model was kept.
        self.best = max(complete, key=lambda trial: (trial.score, -trial.number))

    @property
    def recipe(self) -> dict[str, Any]:
        """The best recipe, as `cross_validate(…, **result.recipe)` takes it."""
        return dict(self.best.recipe)

    @property
    def model_path(self) -> Path:
        """Folder of the best trial's model."""
        return model_folder(self.folder, self.best)

    def load_best(self) -> Any:
        """The best trial's model, as it was trained."""
        return self.kind.from_preset(self.model_path)

    def plot(self, path: str | os.PathLike) -> None:
        """Draw quality against learning rate, coloured by strategy; crosses and triangles did not come to an end."""
        figure, axes = single_axes(7.2, 4.2)
        by_rate = all("learning_rate" in trial.recipe for trial in self.trials)
        strategies = list(dict.fromkeys(_strategy(trial) for trial in self.trials))
        for trial in self.trials:
            x = trial.recipe["learning_rate"] if by_rate else trial.number
            colour = COLOURS[strategies.index(_strategy(trial)) % len(COLOURS)]
            look = dict(marker=_MARKERS[trial.state], color=colour, markersize=6, alpha=0.85)
            if trial.scores:
                axes.plot(x, trial.scores[-1], **look)
            else:
                # Without a score it stands on the axis, whatever the scale.
                axes.plot(x, 0.0, **look, transform=axes.get_xaxis_transform(), clip_on=False)
            if trial is self.best:
                axes.plot(x, trial.score, "o", markersize=13, markerfacecolor="none", markeredgecolor="black")
        for number, strategy in enumerate(strategies):
            axes.plot([], [], "o", color=COLOURS[number % len(COLOURS)], label=strategy)
        for state in ("pruned", "diverged"):
            if any(trial.state == state for trial in self.trials):
                axes.plot([], [], _MARKERS[state], color="black", label=state)
        axes.set_xlabel("learning rate" if by_rate else "trial")
        if by_rate:
            _as_rates(axes)
        axes.set_ylabel("validation macro-F1")
        figure.legend(loc="outside right upper", fontsize=9, frameon=False)
        save(figure, path)

    def __str__(self) -> str:
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.recipe))
        rows = [["trial", "macro-F1", "state", "epochs", "seconds", *(n for n in names if n != "epochs")]]
        ranked = sorted(self.trials, key=lambda t: (t.score is None, -(t.score or 0.0), t.number))
        for trial in ranked:
            last = trial.scores[-1] if trial.scores else None
            rows.append([
                str(trial.number), "-" if last is None else f"{last:.4f}", trial.state,
                f"{len(trial.scores)}/{trial.recipe.get('epochs', 1)}", f"{trial.seconds:.0f}",
                *(_shown(trial.recipe.get(n)) for n in names if n != "epochs"),
            ])  # fmt: skip
        return f"{text_table(rows, left=range(len(rows[0])))}\n\nbest: {self.best}"


def model_folder(folder: Path, trial: Trial) -> Path:
    """Return the folder of a trial's model, which is there if the trial was the best so far."""
    return folder / f"best-trial-{trial.number}"


def _as_rates(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5) if high < 1000 * low else (1,)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0e}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _strategy(trial: Trial) -> str:
    return str(trial.recipe.get("strategy", "full"))


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.2e}" if isinstance(value, float) else str(value)


def search(
    build: Build,
    train: Split,
    validation: Split,
    space: Mapping[str, Any],
    *,
    trials: int = 20,
    output_dir: str | os.PathLike,
    seed: int = 0,
    pruner: str = "median",
    activation_cache: str | os.PathLike | ActivationCache = "auto",
    say: Callable[[str], None] = print,
) -> SearchResult:
    """Fine-tune again and again, each time by another recipe, and keep the model that validates best.

    A trial's score is the macro-F1 on `validation` after its last epoch. Test data have no part in it. The outputs of
    frozen layers are computed once for all trials that freeze the same layers. An interrupted search goes on where it
    stopped, with the trials that it would have made, and a finished one with a larger `trials` goes further.

    Args:
        build: Makes a fresh, uncompiled classifier: `lambda: tt.TextClassifier.from_preset(…, labels=train.labels)`.
        train: Training rows.
        validation: Rows to choose by.
        space: See `SearchSpace`.
        trials: Number of recipes to try, all in all.
        output_dir: The folder: a JSON file a trial, the model of the best one, `report.txt`, `quality.png`.
        seed: Random seed of the proposals, of weights that start from random numbers, and of dropout.
        pruner: "median" stops a trial that is below the median of the others at the same epoch; "hyperband"
            (Li et al. 2016, arXiv:1603.06560) stops in brackets, for many trials of many epochs; "none" is fair to
            strategies that start slowly, such as gradual unfreezing.
        activation_cache: Argument of `fit`; the trials share it.
        say: Takes a line of progress a trial.

    Returns:
        The trials, the best of them and its recipe.

    Raises:
        TransformerError: Optuna is not installed; the space or the data do not fit the model; `output_dir` holds a
            search of other settings or something else; or no trial came to its end.

    Example:
        >>> space = {"strategy": ["full", "freeze:8", "lora:8"], "learning_rate": (1e-5, 1e-3), "epochs": (2, 5)}
        >>> result = search(build, train, validation, space, trials=20, output_dir="runs/search")  # doctest: +SKIP
        >>> print(result)  # doctest: +SKIP
    """
    optuna = _optuna()
    read = SearchSpace(space)
    _check(trials, pruner, train, validation)
    kind, digest = _try_out(build, read, seed, len(train))
    settings = {
        **{f"space[{name!r}]": kind for name, kind in read.describe().items()},
        "seed": seed,
        "pruner": pruner,
        "train": digest_of(train),
        "validation": digest_of(validation),
        "model": digest,
    }
    cache = choose_activation_cache(activation_cache) or "off"
    fit = functools.partial(train_recipe, build, train=train, validation=validation, seed=seed, activation_cache=cache)
    with resumable_folder(output_dir, "search", settings) as path, _quiet(optuna):
        known = _known(path)
        if known:
            say(f"{path} holds {len(known)} trials; going on from there")
        study = _study(optuna, read, pruner, known)
        while len(known) < trials:
            # Drawn by the trial's number: a search that goes on proposes what one without a break would have.
            drawn = int(np.random.SeedSequence([seed, len(known)]).generate_state(1)[0])
            study.sampler = optuna.samplers.TPESampler(seed=drawn, n_startup_trials=_STARTUP)
            asked = study.ask()
            trial, model = _run(optuna, asked, read.suggest(asked), fit)
            _keep(path, trial, model, known)
            # Models hold one another by way of Keras's graphs until they are collected.
            del model
            gc.collect()
            known.append(trial)
            study.tell(asked, trial.score, state=_state(optuna, trial))
            say(f"trial {trial.number} of {trials}: {trial}")
        result = SearchResult(path, tuple(known), kind)
        files.write_text(path / "report.txt", f"{result}\n")
        result.plot(path / "quality.png")
    return result


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise TransformerError('search needs the package optuna: pip install "tftransformer[search]"') from None
    return optuna


def _check(trials: Any, pruner: str, train: Split, validation: Split) -> None:
    check_whole("trials", trials, least=1)
    check_choice("pruner", pruner, PRUNERS)
    for name, split in (("train", train), ("validation", validation)):
        if not isinstance(split, Split) or split.targets is None or not len(split):
            raise TransformerError(f"{name} must be a Split with labels and at least one row")


def _try_out(build: Build, space: SearchSpace, seed: int, rows: int) -> tuple[type, str]:
    """Apply every strategy once, so that none fails after hours; class and digest of the model they start from.

    Where the space has no epochs, every trial has as many as the default says of so many rows in batches of its size.
    """
    keras.utils.set_random_seed(seed)
    model, _ = prepare(build, {})
    kind, digest = type(model), digest_of_model(model)
    space.complete = functools.partial(with_epochs, hparams=model.recommended_hparams, rows=rows)
    corners = space.corners()
    fewest = min(recipe["epochs"] for recipe in corners)
    seen = set()
    for recipe in reversed(corners):
        # Of a range of frozen layers the upper end is the one that may not fit.
        key = recipe.get("strategy"), recipe.get("freeze_layers")
        if key not in seen:
            seen.add(key)
            check_stages(prepare(build, recipe)[0], fewest)
    return kind, digest


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _known(path: Path) -> list[Trial]:
    """The finished trials, from the first to the last without a gap."""
    pieces = finished_pieces(path, _STEM, ("number", "state", "score", "recipe", "parameters", "scores"))
    known: list[Trial] = []
    while len(known) + 1 in pieces:
        known.append(Trial.from_dict(pieces[len(known) + 1]))
    return known


def _study(optuna: Any, space: SearchSpace, pruner: str, known: list[Trial]) -> Any:
    """A study that knows these trials: Optuna's own stores would keep half-made ones, too."""
    epochs = max(recipe["epochs"] for recipe in space.corners())
    pruners = {
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=_STARTUP // 2),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(1, epochs, reduction_factor=2),
        "none": optuna.pruners.NopPruner,
    }
    study = optuna.create_study(study_name="search", direction="maximize", pruner=pruners[pruner]())
    distributions = space.distributions()
    for trial in known:
        try:
            made = optuna.trial.create_trial(
                state=_state(optuna, trial),
                value=trial.score,
                params=dict(trial.parameters),
                distributions={name: distributions[name] for name in trial.parameters},
                intermediate_values=dict(enumerate(trial.scores, 1)),
                system_attrs=dict(trial.rungs),
            )
        except (KeyError, TypeError, ValueError):
            raise TransformerError(
                f"{_STEM}-{trial.number}.json holds no trial of this space; delete it to have that trial run again"
            ) from None
        study.add_trial(made)
    return study


def _state(optuna: Any, trial: Trial) -> Any:
    # To the estimators a trial that was stopped without a score is the worst there is.
    states = optuna.trial.TrialState
    return states.COMPLETE if trial.state == "complete" else states.PRUNED


def _run(optuna: Any, asked: Any, recipe: dict[str, Any], fit: Callable) -> tuple[Trial, Any]:
    watch = _watch(optuna, asked, recipe["epochs"])
    started = time.perf_counter()
    model, state, note = None, "complete", ""
    try:
        model, _ = fit(recipe, callbacks=[watch])
    except optuna.TrialPruned:
        state = "pruned"
    except TransformerError as error:
        # Before the first batch it is a mistake of the user's, and after it a rate that was too high.
        if not watch.batches:
            raise TransformerError(f"{error} (recipe: {describe_recipe(recipe)})") from error
        state, note = "diverged", str(error)
    attributes = asked.study.get_trials(deepcopy=False)[asked.number].system_attrs
    trial = Trial(
        number=asked.number + 1,
        state=state,
        score=watch.scores[-1] if state == "complete" else None,
        recipe=recipe,
        parameters=dict(asked.params),
        scores=tuple(watch.scores),
        seconds=time.perf_counter() - started,
        note=note,
        rungs={name: value for name, value in attributes.items() if name.startswith("completed_rung_")},
    )
    return trial, model


def _watch(optuna: Any, asked: Any, epochs: int) -> Any:
    """A callback that tells the study the score of each epoch, and stops a trial that the study gives up."""

    class Watch(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.batches = 0
            self.scores: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            self.batches += 1

        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            self.scores.append(float(logs[MONITOR]))
            asked.report(self.scores[-1], step=len(self.scores))
            # After the last epoch there is nothing left to save; hyperband is asked to have it take note.
            if asked.should_prune() and len(self.scores) < epochs:
                raise optuna.TrialPruned

    return Watch()


def _keep(path: Path, trial: Trial, model: Task, known: list[Trial]) -> None:
    """Write the model if it is the best so far, and then the trial: what is written last is what counts."""
    best = trial.score is not None and all(t.score is None or trial.score > t.score for t in known)
    if best:
        model.save_to_preset(model_folder(path, trial), overwrite=True)
    files.write_json(path / f"{_STEM}-{trial.number}.json", trial.to_dict())
    if best:
        for other in known:
            shutil.rmtree(model_folder(path, other), ignore_errors=True)
