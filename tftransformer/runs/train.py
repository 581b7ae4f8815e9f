"""One run of any task from data to a reported, saved and exported model; what is of one task is a subclass of `TrainingRun`."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from tftransformer import files
from tftransformer.data import checks
from tftransformer.data.examples import Examples
from tftransformer.data.pipeline import num_batches
from tftransformer.data.splitting import subset_rows
from tftransformer.distribution.strategies import build_strategy
from tftransformer.errors import TransformerError
from tftransformer.evaluation import plots
from tftransformer.finetuning.activation_cache import ActivationCache, check_activation_cache
from tftransformer.finetuning.freezing import summary as frozen_now
from tftransformer.finetuning.methods.probe import can_start
from tftransformer.finetuning.schedule_length import show_average
from tftransformer.progress import say
from tftransformer.runs.commands.running import Terminated
from tftransformer.runs.progress_lines import EpochFigures, ProgressLines
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.task_options import TaskOptions
from tftransformer.tasks.task import Task
from tftransformer.training.compilation import choose_xla
from tftransformer.training.planning import recipe_for, task_has_trained


class TrainingRun:
    """A run of one task. `train` takes its steps, each a method that a subclass may have of its own.

    Args:
        options: Everything that decides the run; its paths of data are not looked at.
        splits: The data, as `load` reads them.

    Attributes:
        options, splits: The arguments; `train` takes rows away that the options leave out.
        task: The task, once it is built.
        examples: By split, what the task makes of the rows.
        recipe: How it is trained.
        folder: Where everything is left.
        trained: Figures of the training, for metrics.json.
    """

    task_class: ClassVar[type[Task]]
    options_class: ClassVar[type[TaskOptions]]
    # What a row is called, several of them.
    rows: ClassVar[str] = "texts"

    def __init__(self, options: Any, splits: Any) -> None:
        self.options, self.splits = options, splits
        self.task: Any = None
        self.examples: dict[str, Examples] = {}
        self.recipe: Any = None
        self.folder: Any = None
        self.trained: dict[str, Any] = {}

    @classmethod
    def read(cls, options: Any) -> Any:
        """The splits that the options name; `load` reads them."""
        say(f"reading {options.train_path or options.dataset} …")
        return cls.load(options)

    # What a task has of its own.

    @classmethod
    def load(cls, options: Any, **fractions: float) -> Any:
        """The splits that the options name; `fractions` of the training rows become those that are missing, as the loader has it."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Arguments of the task's `from_preset` that follow from data and options, beside those that all tasks have."""
        return {}

    def check(self) -> None:
        """Refuse at the beginning data that lack what the end of a run needs."""
        if self.splits.test is None and self.splits.validation is None:
            raise TransformerError("a run needs a test split to report on; the data have none")
        if self.options.early_stopping and self.splits.validation is None:
            raise TransformerError("early_stopping needs a validation split; the data have none")

    def build(self) -> Task:
        """The task, untrained."""
        say(f"loading {self.options.preset} …")
        return build_task(self.task_class, self.options, self.settings())

    def prepare(self) -> None:
        """Do what comes before training, once there is a folder."""

    def tune(self) -> None:
        """Set what is chosen on validation rows after training."""

    def reported(self, report: Any, outputs: Any) -> tuple[list[str], dict[str, Any]]:
        """Draw the pictures of the test rows; text behind the report, and further sections of metrics.json."""
        return [], {}

    def watched(self, outputs: Any) -> dict[str, Any]:
        """Sections of metrics.json of whoever watches the run, once report.txt is there."""
        return {}

    def baselines(self) -> list[dict[str, Any]]:
        """Figures of what the model has to beat on the test rows."""
        say("training what the model has to beat …")
        return self.task.objective.baselines(self.splits.train, self.test, self.options.seed)

    # The run.

    @property
    def test(self) -> Any:
        """The rows that are reported on: the test split where there is one."""
        return getattr(self.splits, tested_split(self.splits))

    def train(self) -> Any:
        """Fine-tune, evaluate, save and export; everything is left in the run's folder.

        Returns:
            The report on the test split, which is also printed.
        """
        self.begun = time.monotonic()
        options = self.options
        self.check()
        keras.utils.set_random_seed(options.seed)
        self.cache = _activation_cache(options.activation_cache)
        with build_strategy(options.distribution).scope():
            self.task = task = self.build()
            frozen = task.apply(options.fine_tuning()) if options.has_strategy else frozen_now(task)
        self.data, self.examples = report_data(task, self.splits)
        data = {**self.data.to_dict(), "fingerprints": fingerprints(self.splits)}
        self._choose_rows()
        say(task.load_summary or "all weights start from random numbers")
        say(frozen)
        self._compile()
        with RunFolder.create(
            options.output_dir, options.data_name, overwrite=options.overwrite, config=self.config()
        ) as self.folder:
            say(self.folder.announcement())
            self.prepare()
            with self._saved_if_stopped():
                started = time.perf_counter()
                epochs = self.fit()
                seconds = time.perf_counter() - started
                rows = self.rows_an_epoch()
                self.trained |= {
                    "seconds": seconds,
                    "examples_per_second": rows * len(epochs) / seconds,
                    "epochs": epochs,
                    "trainable_parameters": frozen.trainable_parameters,
                }
                self.tune()
            # Before anything else can go wrong: the weights are what took the time.
            task.save_to_preset(self.folder.model_path, overwrite=True)
            plots.plot_curves(self.folder.curves_path, epochs, title=self._curves_title(epochs[-1]))
            report, outputs = self._evaluate()
            told, more = self.reported(report, outputs)
            text = "\n\n".join(filter(None, [str(report), *told]))
            files.write_text(self.folder.report_path, f"{text}\n")
            more |= self.watched(outputs)
            say("exporting saved_model/1/ …")
            task.export(self.folder.saved_model_path)
            self.folder.finish({"test": report.to_dict(), "train": self.trained, "data": data, **more})
            print(f"\n{text}\n\n{self._left()}")
        return report

    def _left(self) -> str:
        pictures = "plots, " if any(self.folder.path.glob("*.png")) else ""
        return (
            f"The run is in {self.folder.path}: report.txt, metrics.json, {pictures}predictions.csv, "
            f"model/ and saved_model/1/."
        )

    def _choose_rows(self) -> None:
        options = self.options
        # In this order, so that runs with and without leaked rows train on equally many.
        if options.drop_leaked:
            leaked = {"train": self.data.leaked_train_indices, "validation": self.data.leaked_validation_indices}
            for name in leaked.keys() & self.examples.keys():
                kept = np.delete(np.arange(len(getattr(self.splits, name))), leaked[name])
                self._take(name, kept)
            self.splits = checks.drop_leaked(self.splits, self.data)
            say(f"dropped what leaked: {len(self.splits.train)} rows are left to train on")
        if options.train_examples is not None:
            rows = subset_rows(self.splits.train, options.train_examples, options.seed)
            self._take("train", rows)
            self.splits = self.splits._replace(train=self.splits.train.take(rows))
            say(f"training on {len(self.splits.train)} of them, chosen by the seed")

    def _take(self, name: str, rows: Sequence[int] | np.ndarray) -> None:
        examples = self.examples[name]
        self.examples[name] = examples.take(self.task.preprocessor.rows_of(examples, rows))

    def rows_an_epoch(self) -> int:
        """Return the number of examples of an epoch, which may be windows of long texts, with their changed copies."""
        augmentation = self.options.build_augmentation()
        return len(self.examples["train"]) * (1 if augmentation is None else augmentation.rows_per_text)

    def _compile(self) -> None:
        """Choose the recipe, with what the options say in its place; a strategy that was asked for stays as it is."""
        options, task = self.options, self.task
        self.recipe = recipe_for(
            task,
            self.rows_an_epoch(),
            fresh_head=options.strategy is None and can_start(task),
            strategy=str(options.fine_tuning()),
            learning_rate=options.learning_rate,
            epochs=options.epochs,
            batch_size=options.batch_size,
            accumulated=options.gradient_accumulation,
            kept=options.about_updates,
        )
        with task.distribute_strategy.scope():
            task.compile(learning_rate=self.recipe.learning_rate, **options.compile_arguments())

    def config(self) -> dict[str, Any]:
        """Return the settings for run.json, and print the recipe."""
        say(self.recipe)
        chosen = {
            "learning_rate": self.recipe.learning_rate,
            "epochs": self.recipe.epochs,
            "recipe": str(self.recipe),
        }
        return {**self.options.as_config(), **chosen}

    def fit_arguments(self) -> dict[str, Any]:
        """Arguments of `fit` beside the data and the epochs."""
        return {**self.options.fit_arguments(), "activation_cache": self.cache}

    def fit(self) -> list[dict[str, float]]:
        """Train by the recipe; the figures of each epoch."""
        options, task, recipe = self.options, self.task, self.recipe
        rows = self.rows_an_epoch()
        if (augmentation := options.build_augmentation()) is not None:
            say(f"augmentation {augmentation}: {rows:,} rows an epoch, drawn anew in each")
        figures = EpochFigures()
        callbacks = [
            figures,
            keras.callbacks.CSVLogger(str(self.folder.history_path)),
            keras.callbacks.TensorBoard(str(self.folder.tensorboard_path), write_graph=False),
        ]
        if options.early_stopping:
            monitor, mode = task.objective.monitor
            callbacks.append(
                keras.callbacks.EarlyStopping(
                    monitor, mode=mode, patience=options.early_stopping, restore_best_weights=True
                )
            )
        if recipe.epochs:
            say(choose_xla(task, num_batches(rows, options.batch_size) * recipe.epochs))
            say("training; the first step takes longest, while TensorFlow traces the model …")
        terminal = sys.stdout.isatty()
        task.fit(
            self.examples["train"],
            validation_data=self.examples.get("validation"),
            epochs=recipe,
            callbacks=callbacks if terminal else [*callbacks, ProgressLines()],
            verbose=1 if terminal else 0,
            **self.fit_arguments(),
        )
        return figures.epochs

    @contextlib.contextmanager
    def _saved_if_stopped(self) -> Iterator[None]:
        """Save what a block has trained where a signal or an error ends it, unless a model of it stands there already."""
        task, path = self.task, self.folder.model_path
        before = [keras.ops.convert_to_numpy(weight) for weight in task.head.weights]
        try:
            yield
        except (KeyboardInterrupt, Terminated, TransformerError):
            # After an error `fit` has put back the last good weights. A head that is as it was answers for nobody yet; each
            # stage of a training counts its updates anew.
            now = [keras.ops.convert_to_numpy(weight) for weight in task.head.weights]
            learned = task_has_trained(task) or not all(map(np.array_equal, before, now))
            if not path.exists() and learned:
                show_average(task.optimizer)
                task.save_to_preset(path)
            if path.exists():
                say(
                    f"the model as it was trained until here is in {path}; --mode=predict --model={self.folder.path} uses it"
                )
            raise

    def _evaluate(self) -> tuple[Any, Any]:
        """The report, and what the task predicts for the test rows."""
        baselines = self.baselines()
        test, objective = self.test, self.task.objective
        say(f"evaluating on {len(test)} rows of {test.name} …")
        outputs = self.task.predict(self.examples[tested_split(self.splits)], verbose=0)
        objective.write_predictions(self.folder.predictions_path, test, outputs)
        return objective.report(test, outputs, baselines), outputs

    def _curves_title(self, last: Mapping[str, float]) -> str:
        title = f"{self.folder.name}: {len(self.splits.train):,} training {self.rows}"
        monitor = self.task.objective.monitor[0]
        for figure, shown in ((monitor, "validation"), (monitor.removeprefix("val_"), "training")):
            if figure in last:
                name = monitor.removeprefix("val_").replace("_", " ").replace(" f1", " F1")
                return f"{title}, {shown} {name} {last[figure]:.3f}"
        return title


def build_task(kind: type[Task], options: TaskOptions, settings: Mapping[str, Any]) -> Any:
    """The task of the options, untrained; None among the settings is what the preset or the class has."""
    given = {"sequence_length": options.sequence_length, **settings}
    return kind.from_preset(
        options.preset,
        load_weights=options.pretrained,
        extra_blocks=options.extra_blocks,
        seed=options.seed,
        dtype=options.dtype,
        **{name: value for name, value in given.items() if value is not None},
    )


def report_data(task: Any, splits: Any) -> tuple[checks.DataReport, dict[str, Examples]]:
    """The report on the data, also printed, and the examples that the rest of a run uses."""
    examples = {name: task.preprocess(split) for name, split in splits.present().items()}
    lengths = {name: task.preprocessor.full_lengths(part) for name, part in examples.items()}
    known = {name: found for name, found in lengths.items() if found is not None}
    report = checks.check(splits, known, task.preprocessor.pack.sequence_length)
    say(report)
    return report, examples


def train(kind: type[TrainingRun], options: TaskOptions) -> Any:
    """Run from the data that the options name: `TrainingRun.train`."""
    return kind(options, kind.read(options)).train()


def tested_split(splits: Any) -> str:
    """The name of the split that a run reports on: "test" where there is one."""
    return "validation" if splits.test is None else "test"


def fingerprints(splits: Any) -> dict[str, str]:
    """A hash of the rows of each split, in their order.

    Example:
        >>> from tftransformer.data import Split, Splits
        >>> once, again = (fingerprints(Splits(Split(["a", "b"], ["1", "0"]), None, None)) for _ in range(2))
        >>> once == again, list(once)
        (True, ['train'])
    """
    return {name: split.fingerprint() for name, split in splits.present().items()}


def _activation_cache(choice: str) -> ActivationCache | str:
    check_activation_cache(choice)
    if choice == "off":
        return choice
    # Its lines are printed even where `fit` has verbose=0.
    return ActivationCache(None if choice == "auto" else choice, say=say)
