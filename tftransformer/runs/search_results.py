"""What a search found: its trials as a table and a picture, the best recipe and its model."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from tftransformer.errors import TransformerError
from tftransformer.evaluation.figures import COLOURS, new_figure, plain_axes, save
from tftransformer.runs.recipes import describe_recipe

_MARKERS = {"complete": "o", "pruned": "x", "diverged": "v"}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One recipe and what came of it.

    Attributes:
        number: From 1, in the order of the search.
        state: "complete", "pruned" (given up early), or "diverged" (the loss was not finite).
        score: Validation macro-F1 after the last epoch; None unless complete.
        recipe: All settings.
        parameters: Those that were searched over.
        scores: The score of each epoch.
        seconds: How long it took.
        note: Why it diverged.
        rungs: What the pruner "hyperband" has to know of it when a search goes on.
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
    """The trials of a search. `str()` of it is a table, the best first.

    Args:
        folder: The search's folder.
        trials: In their order.
        kind: The class of the models, such as `TextClassifier`.

    Raises:
        TransformerError: None of them came to its end.
    """

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
        """Where the best trial's model is."""
        return model_folder(self.folder, self.best)

    def load_best(self) -> Any:
        """The best trial's model, as it was trained.

        Raises:
            TransformerError: Its folder is gone or damaged.
        """
        return self.kind.from_preset(self.model_path)

    def plot(self, path: str | os.PathLike) -> None:
        """Draw quality against learning rate, coloured by strategy; crosses and triangles did not come to an end.

        Args:
            path: The PNG.

        Raises:
            TransformerError: The disk refused.
        """
        figure = new_figure(7.2, 4.2)
        axes = figure.add_subplot()
        plain_axes(axes)
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
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([*table, "", f"best: {self.best}"])


def model_folder(folder: Path, trial: Trial) -> Path:
    """Where the model of a trial is, if it was the best so far."""
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
