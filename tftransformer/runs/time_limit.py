"""The best result within some minutes: `--minutes=5`.

First comes the head alone, solved for on the encoder's vectors as they are, so that there is a model whatever happens. Then
methods and rates compete by successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943): each trains for a few updates, the
best third for three times as many, until one is left, with updates for half of the time or more. All start from the
same weights, and frozen blocks run once for all of them. The trial that validates best is kept. Few validation rows
cannot judge: where there is time for it, folds of the training rows do, and the winner trains on all of them.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tftransformer.data.examples import Examples
from tftransformer.data.pipeline import num_batches
from tftransformer.data.split import Split
from tftransformer.data.splitting import fold_rows
from tftransformer.errors import TransformerError
from tftransformer.evaluation.calibration import decisions, fit_temperature, with_temperature
from tftransformer.evaluation.metrics import row_losses
from tftransformer.finetuning.freezing import unfreeze
from tftransformer.finetuning.methods.probe import LinearProbe
from tftransformer.finetuning.recipe import Recipe, default_epochs
from tftransformer.finetuning.solved_head import solve_head
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.runs.halving import (
    HALVING,
    Candidate,
    TimedResult,
    Trial,
    candidates_for,
    last_updates,
    rungs_of,
    select_candidates,
)
from tftransformer.runs.progress_lines import EpochFigures
from tftransformer.runs.recipes import check_minutes
from tftransformer.tasks.text_classifier import TextClassifier
from tftransformer.training.collapse import row_weights
from tftransformer.training.planning import sample

# A run never makes more updates than so many times the recipe's.
MOST = 4
# With fewer updates of all weights than these, as many of fewer weights are better.
ENOUGH = 500
# Fewer updates say nothing about a rate, and change little.
LEAST_UPDATES = 20
# Updates that show what one costs; and texts that show what running the encoder does.
_PILOT, _TIMED_TEXTS = 6, 128
# Texts that a trial is judged by at least, and the fraction of the time that goes into one judgement at most.
_LEAST_TEXTS, _JUDGING = 100, 0.02
# What an update costs at least, as a fraction of one of everything; and what it may come to cost more than was measured, so that a
# schedule reaches its end.
_LEAST_COST, _MARGIN = 0.2, 1.1
# Folds of the training rows, where the validation rows are fewer.
_FOLDS = 3
# Fraction of the time that may go into solving for the head, which is where everything starts.
_SOLVING = 0.15
# Tracing a training step takes about so many times what tracing the encoder takes.
_TRACING = 3.5
# The head alone.
HEAD = LinearProbe.name


class TimeLimit(keras.callbacks.Callback):
    """Stops `fit` at a point in time.

    Args:
        end: In seconds of `time.monotonic`.

    Attributes:
        stopped: Whether it did.
        first: When the first batch was done, which waits for the tracing; None before.
        last: When the last batch of an epoch was done.
    """

    def __init__(self, end: float = math.inf) -> None:
        super().__init__()
        self.end, self.stopped = end, False
        self.first: float | None = None
        self.last: float | None = None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        now = time.monotonic()
        self.first = self.first or now
        if now > self.end:
            self.stopped = self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.last = time.monotonic()


class TextSpeed(NamedTuple):
    """Time that running a task's network takes on this machine.

    Attributes:
        text: Seconds for a text, once the graph is traced.
        tracing: Seconds to trace it.
    """

    text: float
    tracing: float


def measure_speed(task: TextClassifier, examples: Examples) -> TextSpeed:
    """Run a task on some examples, twice."""
    some, seconds = sample(examples, _TIMED_TEXTS), []
    for _ in range(2):
        started = time.monotonic()
        task.predict(some, verbose=0)
        seconds.append(time.monotonic() - started)
    return TextSpeed(max(seconds[1] / len(some), 1e-6), max(seconds[0] - seconds[1], 0.0))


def train_within(
    task: TextClassifier,
    train: Split | Examples,
    validation: Split | Examples,
    minutes: float,
    recipe: Recipe,
    *,
    methods: bool = True,
    rates: bool = True,
    compile_options: Mapping[str, Any] | None = None,
    fit_options: Mapping[str, Any] | None = None,
    callbacks: Callable[[], Sequence[keras.callbacks.Callback]] = tuple,
    rows_after: int = 0,
    seconds_after: float = 0.0,
    speed: TextSpeed | None = None,
    keep: Callable[[], None] | None = None,
    say: Callable[[str], None] = print,
) -> TimedResult:
    """Train a task as well as some minutes allow; see the module. It is left with the best weights, compiled.

    Results depend on how fast the machine is, so that two runs need not be equal.

    Args:
        task: A built task; all trials start from its weights.
        train: Training rows with labels.
        validation: Rows to choose by, on a fixed sample where judging by all of them would take too long. If fewer than
            100, three folds of the training rows choose, where there is time for it.
        minutes: Minutes for all of it. A step that has begun is finished: tracing cannot be stopped.
        recipe: Recipe for the rows (`recipe_for`): its start, highest rate and updates are where the search begins.
        methods: Whether methods compete, beside the recipe's; else the task trains as it is.
        rates: Whether rates compete.
        compile_options: Further arguments of `compile`.
        fit_options: Further arguments of `fit`, such as `activation_cache`.
        callbacks: Gives the callbacks of a trial.
        rows_after, seconds_after: Texts to be predicted, and other seconds to be spent, within the minutes after
            training.
        speed: Result of `measure_speed`; None: it is measured within the minutes.
        keep: Called when the task has weights that are better than those before.
        say: Takes the lines about what happens.

    Raises:
        TransformerError: `minutes` is not above 0, a method of the task takes no updates or has stages of epochs, or no trial
            came to an end without diverging.

    Example:
        >>> from tftransformer.training.planning import recipe_for
        >>> recipe = recipe_for(classifier, len(train), fresh_head=True)
        >>> result = train_within(classifier, train, validation, 0.001, recipe, say=lambda line: None)
        >>> print(result.best.strategy)  # there was time for the head alone
        probe
    """
    check_minutes(minutes, task.methods)
    timed = _Timed(task, train, validation, minutes, recipe, say, keep or (lambda: None))
    timed.compile_options = {**({"fresh_multiplier": 1.0} if recipe.start else {}), **(compile_options or {})}
    timed.fit_options, timed.callbacks = dict(fit_options or {}), callbacks
    timed.methods, timed.rates = methods, rates
    return timed.run(rows_after, seconds_after, speed)


class _Timed:
    """The work of `train_within`."""

    methods: bool
    rates: bool
    compile_options: dict[str, Any]
    fit_options: dict[str, Any]
    callbacks: Callable[[], Sequence[keras.callbacks.Callback]]

    def __init__(
        self,
        task: TextClassifier,
        train: Any,
        validation: Any,
        minutes: float,
        recipe: Recipe,
        say: Callable,
        keep: Callable,
    ) -> None:
        self._end = time.monotonic() + 60.0 * minutes
        self._task, self._recipe, self._say, self._keep = task, recipe, say, keep
        self._train = train if isinstance(train, Examples) else task.preprocess(train)
        self._validation = validation if isinstance(validation, Examples) else task.preprocess(validation)
        self._trials: list[Trial] = []
        self._best: tuple[Trial, Candidate, list[np.ndarray], list[dict[str, float]]] | None = None
        self._begin = self._weights()
        # What the head sees of the training rows.
        self._vectors = np.zeros((0, 0))
        # What the task is compiled for, and the state of its optimizer at the beginning.
        self._prepared: tuple[Candidate, list[tuple[keras.Variable, np.ndarray]]] | None = None

    @property
    def _left(self) -> float:
        return self._end - time.monotonic()

    def run(self, rows_after: int, seconds_after: float, speed: TextSpeed | None) -> TimedResult:
        task, started = self._task, time.monotonic()
        predict_function = task.predict_function
        task.compile(learning_rate=self._recipe.learning_rate, **self.compile_options)
        # It does not depend on how weights train.
        task.predict_function = predict_function
        text, tracing = measure_speed(task, self._validation) if speed is None else speed
        self._end -= rows_after * text + seconds_after
        self._held_out = sample(self._validation, max(_LEAST_TEXTS, int(_JUDGING * max(self._left, 0.0) / text)))
        self._say(
            f"{1000 * text:.1f} ms a text; {max(self._left, 0.0):.0f} s for training, judged by {len(self._held_out):,} validation texts"
        )
        if self._recipe.start is not None:
            self._solve(text)
        layers = task.config.num_layers
        candidates = candidates_for(
            self._recipe, task.recommended_hparams, layers, methods=self.methods, rates=self.rates
        )
        update, setup = self._pilot(candidates[0], text, tracing)
        if update and not self._compete_by_folds(candidates, update, setup):
            self._compete(self._affordable(candidates, text, update, setup), update, setup)
        if self._best is None:
            raise TransformerError(
                f"minutes must be enough for a training that does not diverge; none of {len(self._trials)} did it"
            )
        trial, candidate, weights, epochs = self._best
        self._prepare(candidate, 0)
        self._restore(weights)
        return TimedResult(tuple(self._trials), trial, epochs, self._missing(started, update, setup))

    def _missing(self, started: float, update: float, setup: float) -> float:
        """Further seconds that the recipe's updates of everything would have taken; 0 where there was time for so many."""
        if max((trial.updates for trial in self._trials), default=0) >= self._wanted:
            return 0.0
        available = self._end - started
        # Where there was no time to find out what an update takes, twice as long is a guess.
        return max(0.0, 2 * setup + self._wanted * update - available) if update else available

    def _solve(self, text: float) -> None:
        """The head alone: what all others start from."""
        task, started = self._task, time.monotonic()
        # Where even this is long, on as many of the rows as there is time for.
        part = sample(self._train, max(_LEAST_TEXTS, int(_SOLVING * max(self._left, 0.0) / text)), task.seed)
        self._vectors = task.encode(part)
        self._say(self._solve_on(part, self._vectors))
        self._begin = self._weights()
        self._judge(Candidate(HEAD, None), 0, started, [])

    def _solve_on(self, rows: Examples, vectors: np.ndarray) -> str:
        task = self._task
        weights = row_weights(rows, task.objective.class_weights(self.fit_options.get("class_weight"), rows.targets))
        return solve_head(task, vectors, rows.targets.values, weights, names=True)

    def _pilot(self, candidate: Candidate, text: float, tracing: float) -> tuple[float, float]:
        """Seconds of an update and of a trial beside its updates; 0 where there is no time to find out."""
        guessed = _TRACING * tracing + 3 * text * self._recipe.batch_size * (_PILOT + LEAST_UPDATES)
        if self._best is not None and self._left < 2 * guessed:
            return 0.0, 0.0
        started, limit = time.monotonic(), TimeLimit()
        full = Candidate("full" if self.methods else "", self._recipe.learning_rate)
        self._fit(full, _PILOT, limit)
        self._task.predict(self._held_out, verbose=0)
        made = max(self._updates_made(), 2)
        update = (limit.last - limit.first) / (made - 1)
        setup = time.monotonic() - started - made * update
        self._say(f"an update takes {update:.2f} s, and {setup:.0f} s go into a trial beside them")
        return max(update, 1e-6), setup

    def _compete_by_folds(self, candidates: Sequence[Candidate], update: float, setup: float) -> bool:
        """Have folds of the training rows judge, where validation rows are too few to and there is time for it.

        Returns:
            Whether they did; the winner has been trained on all rows then.
        """
        if len(self._validation) >= _LEAST_TEXTS or not self._divisible():
            return False
        if self._recipe.start is not None and len(self._vectors) < len(self._train):
            return False
        here = max(LEAST_UPDATES, self._wanted // HALVING)
        spare = self._left - setup - self._wanted * update
        field: list[Candidate] = []
        for candidate in candidates:
            spare -= setup + _FOLDS * here * update * candidate.cost
            if spare < 0:
                break
            field.append(candidate)
        # One candidate has nobody to win against but the head, which every trained model has to beat on the validation rows.
        if len(field) < 2:
            return False
        self._say(f"judged by {_FOLDS} folds of the {len(self._train):,} training texts: {len(field)} ways to train")
        losses = [(self._loss_of_folds(candidate, here), number) for number, candidate in enumerate(field)]
        best = field[min((math.inf if loss is None else loss, number) for loss, number in losses)[1]]
        updates = min(last_updates(1, self._left / _MARGIN, update * best.cost, setup), MOST * self._wanted)
        self._say(f"{best}: {updates:,} updates on all rows, about {setup + updates * update * best.cost:.0f} s …")
        self._try(best, max(updates, LEAST_UPDATES), self._end)
        return True

    def _divisible(self) -> bool:
        """Return whether every fold has rows of two labels to train on."""
        targets = self._train.targets.values
        rows = np.sort(np.bincount(targets)) if targets.ndim == 1 else np.array([len(targets)] * 2)
        return len(rows) > 1 and int(rows[-2]) >= _FOLDS

    def _loss_of_folds(self, candidate: Candidate, updates: int) -> float | None:
        """Loss on the rows that each fold leaves out; None where training diverged."""
        task, targets, started = self._task, self._train.targets.values, time.monotonic()
        probabilities = np.zeros((len(targets), len(task.objective.labels)), "float32")
        name, rate = candidate.strategy or "as it is", candidate.learning_rate
        for rows, rest in fold_rows(targets, _FOLDS, task.seed):
            try:
                self._fit(candidate, updates, fold=rows)
            except TransformerError as error:
                if not self._updates_made():
                    raise
                self._say(f"diverged: {error}")
                self._trials.append(Trial(name, rate, updates, None, None, time.monotonic() - started, folds=_FOLDS))
                return None
            probabilities[rest] = task.predict(self._train.take(rest), verbose=0)
        loss, accuracy = self._figures(targets, probabilities)
        self._trials.append(Trial(name, rate, updates, loss, accuracy, time.monotonic() - started, folds=_FOLDS))
        self._say(
            f"{candidate}, {updates:,} updates: loss {loss:.4f} in folds, {accuracy:.4f} right; {self._left:.0f} s left"
        )
        return loss

    def _affordable(self, candidates: Sequence[Candidate], text: float, update: float, setup: float) -> list[Candidate]:
        """The candidates; where training everything would take too long, one with as many frozen blocks as it needs."""
        layers = self._task.config.num_layers
        wanted = min(self._wanted, ENOUGH)
        if not self.methods or last_updates(1, self._left, update, setup) >= wanted or layers < 2:
            return list(candidates)
        for frozen in dict.fromkeys((layers // 2, layers * 3 // 4, layers - 1)):
            fraction = max(1 - frozen / layers, _LEAST_COST)
            # Where rows come several times, frozen blocks run once, over all of them; else with each update.
            once = text * len(self._train) * frozen / layers
            stored = last_updates(1, self._left - once, update * fraction, setup)
            if stored >= 2 * self._recipe.updates_an_epoch:
                cost = fraction
            else:
                cost, once = (1 + 2 * fraction) / 3, 0.0
                stored = last_updates(1, self._left, update * cost, setup)
            if stored >= wanted:
                break
        strategy = f"freeze:{frozen}"
        hparams = self._task.recommended_hparams
        rate = parse_strategy(strategy).learning_rate(hparams) if self.rates else self._recipe.learning_rate
        return [Candidate(strategy, rate, cost, once)]

    @property
    def _wanted(self) -> int:
        """Updates of the recipe; where it has none, those of a training."""
        if self._recipe.epochs:
            return self._recipe.updates
        batches = num_batches(len(self._train), self._recipe.batch_size)
        return default_epochs(self._task.recommended_hparams, batches) * batches

    def _compete(self, candidates: Sequence[Candidate], update: float, setup: float) -> None:
        field = list(candidates)[: select_candidates(candidates, self._left, update, setup, self._wanted)]
        while field:
            rungs = rungs_of(len(field))
            cost = update * max(candidate.cost for candidate in field)
            left = self._left / _MARGIN - sum(candidate.once for candidate in field)
            updates = min(last_updates(len(field), left, cost, setup), MOST * self._wanted)
            here = max(LEAST_UPDATES, updates // HALVING ** (len(rungs) - 1))
            results = []
            for candidate in field:
                expected = setup + here * update * candidate.cost
                if self._best is not None and self._left < setup + LEAST_UPDATES * update * candidate.cost:
                    self._say("no time is left for more")
                    return
                self._say(f"{candidate}: {here:,} updates, about {expected:.0f} s …")
                end = self._end if len(field) == 1 else min(self._end, time.monotonic() + 1.5 * expected)
                results.append((self._try(candidate, here, end), candidate))
            if len(field) == 1:
                return
            results = [(loss, candidate) for loss, candidate in results if loss is not None]
            results.sort(key=lambda result: result[0])
            field = [candidate for _, candidate in results[: rungs[1]]]

    def _try(self, candidate: Candidate, updates: int, end: float) -> float | None:
        """One trial from the beginning; its loss."""
        started, figures = time.monotonic(), EpochFigures()
        try:
            self._fit(candidate, updates, TimeLimit(end), figures)
        except TransformerError as error:
            if not self._updates_made():
                raise
            self._say(f"diverged: {error}")
            made = self._updates_made()
            name = candidate.strategy or "as it is"
            trial = Trial(name, candidate.learning_rate, made, None, None, time.monotonic() - started)
            self._trials.append(trial)
            return None
        made = updates if candidate.contrastive else self._updates_made()
        return self._judge(candidate, made, started, figures.epochs).loss

    def _fit(
        self, candidate: Candidate, updates: int, *callbacks: keras.callbacks.Callback, fold: np.ndarray | None = None
    ) -> None:
        self._restore(self._begin)
        self._prepare(candidate, updates)
        train, an_epoch = self._train, self._recipe.updates_an_epoch
        accumulated = self.compile_options.get("gradient_accumulation_steps") or 1
        if fold is not None:
            train = train.take(fold)
            an_epoch = math.ceil(num_batches(len(train), self._recipe.batch_size) / accumulated)
            if self._recipe.start is not None:
                # The head that all others start from has seen every row.
                self._solve_on(train, self._vectors[fold])
        epochs, steps = 1, None
        if updates >= an_epoch:
            epochs = round(updates / an_epoch)
        else:
            steps = updates * accumulated
        self._task.fit(
            train, epochs=epochs, steps_per_epoch=steps, verbose=0,
            callbacks=[*callbacks, *self.callbacks()], **self.fit_options,
        )  # fmt: skip

    def _prepare(self, candidate: Candidate, updates: int) -> None:
        """Apply the methods, and compile; what was prepared before begins anew with the graphs that it has."""
        task = self._task
        if self._prepared is not None and self._prepared[0] == candidate:
            for variable, value in self._prepared[1]:
                variable.assign(value)
            return
        # It does not depend on what trains, or how.
        predict_function = task.predict_function
        if self.methods:
            unfreeze(task)
            if candidate.contrastive:
                task.apply(f"{candidate.strategy}:{updates}" if updates else "full")
            else:
                task.apply("full" if candidate.strategy == HEAD else candidate.strategy)
        with task.distribute_strategy.scope():
            rate = candidate.learning_rate or self._recipe.learning_rate
            task.compile(learning_rate=rate, **self.compile_options)
            task.optimizer.build(task.trainable_variables)
        task.predict_function = predict_function
        self._prepared = None
        if not candidate.contrastive:
            state = task.optimizer.variables
            self._prepared = candidate, [(variable, keras.ops.convert_to_numpy(variable)) for variable in state]

    def _judge(self, candidate: Candidate, updates: int, started: float, epochs: list[dict[str, float]]) -> Trial:
        """Note a trial, and keep its weights where they are the best."""
        task = self._task
        loss, accuracy = self._figures(self._held_out.targets.values, task.predict(self._held_out, verbose=0))
        trial = Trial(
            candidate.strategy or "as it is",
            candidate.learning_rate,
            updates,
            loss,
            accuracy,
            time.monotonic() - started,
        )
        self._trials.append(trial)
        better = self._best is None or loss < self._best[0].loss
        self._say(
            f"trial {len(self._trials)}: {candidate}, {updates:,} updates: validation loss {loss:.4f}, {accuracy:.4f} right"
            f"{', the best so far' if better and len(self._trials) > 1 else ''}; {max(self._left, 0.0):.0f} s left"
        )
        if better:
            figures = {"val_loss": loss, "val_accuracy": accuracy}
            epochs = [*epochs[:-1], {**(epochs[-1] if epochs else {}), **figures}]
            self._best = (trial, candidate, self._weights(), epochs)
            self._keep()
        return trial

    def _figures(self, targets: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
        """Loss at the best temperature, and the fraction of right decisions."""
        temperature = fit_temperature(targets, probabilities)
        loss = row_losses(
            targets, with_temperature(probabilities, temperature, self._task.objective.multi_label)
        ).mean()
        return float(loss), float(decisions(targets, probabilities)[1].mean())

    def _updates_made(self) -> int:
        return int(keras.ops.convert_to_numpy(self._task.optimizer.iterations))

    def _weights(self) -> list[np.ndarray]:
        return [keras.ops.convert_to_numpy(weight) for weight in self._task.weights]

    def _restore(self, values: Sequence[np.ndarray]) -> None:
        for weight, value in zip(self._task.weights, values, strict=True):
            weight.assign(value)
