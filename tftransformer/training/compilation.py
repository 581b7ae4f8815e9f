"""Defaults of a task's `compile()` for arguments that are left out."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tftransformer import patterns
from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.adapter_config import inserted_patterns
from tftransformer.finetuning.arguments import check_number
from tftransformer.finetuning.losses import regularize
from tftransformer.finetuning.methods import Method
from tftransformer.finetuning.optimizers import build_optimizer, inner_optimizer
from tftransformer.finetuning.tracing import TracedForm, is_for

if TYPE_CHECKING:
    from tftransformer.models.task import Task

_OPTIMIZER_OPTIONS = (
    "learning_rate", "schedule", "warmup", "weight_decay", "global_clipnorm", "gradient_accumulation_steps",
    "carry_accumulation", "fresh_multiplier",
)  # fmt: skip
# Compiling a step takes seconds for each of up to six lengths; shorter runs would be over before it is earned back.
XLA_UPDATES = 300
_OWN_OPTIONS = ("label_smoothing", "l1", "l2")
# What decides how weights are trained: a recipe leaves it as it was given.
TRAINING_ARGUMENTS = ("optimizer", "loss", *_OPTIMIZER_OPTIONS, *_OWN_OPTIONS)


class Compilation:
    """Arguments that `compile` was given, and the form of the model that it was for.

    Args:
        task: Task as it is compiled.
        again: Function that compiles a task with the same arguments, and others by name.
        given: Names of the given arguments that decide how weights are trained.
    """

    def __init__(self, task: "Task", again: Callable[..., None], given: Iterable[str] = ()) -> None:
        self._form, self._again, self._methods = TracedForm(task), again, task.methods
        self.given = tuple(given)

    def use_rate(self, task: "Task", rate: float | None) -> None:
        """Compile again with a learning rate where `compile` was given none, and no optimizer."""
        if rate is not None and not {"optimizer", "learning_rate"} & set(self.given) and not task.optimizer.built:
            self._again(task, learning_rate=rate)

    def check(self, task: "Task") -> None:
        """Compile again where the task was changed since and nothing is lost by it.

        Raises:
            TransformerError: The optimizer was built for other weights than train now.
        """
        if not is_for(task.optimizer, task.trainable_variables):
            raise TransformerError(
                "compile() must be called again before fit(): since the last one other weights train, by what was put "
                "in, taken out, frozen or unfrozen, and the optimizer holds the progress of those before"
            )
        if task.optimizer is None:
            return
        changed = [method for method in task.methods if method not in self._methods] or [
            method for method in self._methods if method not in task.methods
        ]
        if not task.optimizer.built and (changed or self._form != TracedForm(task)):
            self._again(task)
        elif any(type(method).optimizer_options is not Method.optimizer_options for method in changed):
            raise TransformerError(
                f"compile() must be called again before fit(): {changed[0]} was applied or taken back since, and the "
                "optimizer has trained without knowing of it"
            )


def remembered(compile: Callable) -> Callable:
    """A task's `compile`, of which `check_compilation` knows afterwards what it was asked for."""

    @functools.wraps(compile)
    def compile_and_remember(self: Any, *arguments: Any, **options: Any) -> None:
        compile(self, *arguments, **options)
        given = inspect.signature(compile).bind(self, *arguments, **options).arguments
        given = {name for name, value in given.items() if value is not None} | options.keys()
        if options.get("learning_rate", 0) is None:
            given -= {"learning_rate"}  # the usual one
        self._compilation = Compilation(
            self,
            lambda task, **more: task.compile(*arguments, **{**options, **more}),
            [name for name in TRAINING_ARGUMENTS if name in given],
        )

    return compile_and_remember


def training_defaults(
    task: "Task", optimizer: Any, loss: Any, options: dict[str, Any], **defaults: Any
) -> tuple[dict[str, Any], float]:
    """The arguments of Keras's `compile` that are no matter of the task's targets.

    Args:
        task: The task, with `newly_initialized`, `recommended_hparams` and `methods`.
        optimizer, loss: As given, or None.
        options: Everything else that was given by name; what is read is taken out.
        defaults: Options of the optimizer that hold where they are not given.

    Returns:
        Arguments for `keras.Model.compile` but loss and metrics; and the label smoothing.

    Raises:
        TransformerError: An option is unknown or out of range, or is for the optimizer beside one.
    """
    own = {name: options.pop(name) for name in _OWN_OPTIONS if name in options}
    rates = {name: options.pop(name) for name in _OPTIMIZER_OPTIONS if name in options}
    if rates.get("learning_rate", 0) is None:
        del rates["learning_rate"]  # the usual one
    keras_options = [name for name in inspect.signature(keras.Model.compile).parameters if name != "self"]
    for name in options:
        if name not in keras_options:
            known = (*keras_options, *_OPTIMIZER_OPTIONS, *_OWN_OPTIONS)
            raise TransformerError(f"compile has no argument {name!r}{near_miss(name, known)}")
    if optimizer is not None and rates:
        raise TransformerError(f"{', '.join(rates)} cannot go with an optimizer: give it to the optimizer itself")
    for method in task.methods if optimizer is not None else ():
        settings = method.optimizer_options(task)
        if "rate_multipliers" in settings:
            raise TransformerError(
                f"{method} cannot go with an optimizer: give the optimizer "
                f"rate_multipliers=tt.{method!r}.multipliers(model) itself"
            )
        if "average" in settings:
            raise TransformerError(
                f"{method} cannot go with an optimizer: give tftransformer's AdamW or SGD "
                f"average={settings['average']} itself"
            )
    smoothing = check_number(
        "label_smoothing", own.get("label_smoothing", 0.0), "at least 0 and below 1", lambda value: 0 <= value < 1
    )
    if loss is not None and smoothing:
        raise TransformerError("label_smoothing cannot go with a loss: give it to the loss itself")
    regularize(task, own.get("l1", 0.0), own.get("l2", 0.0))
    compiled = options.pop("jit_compile", "auto")
    task.xla_is_automatic = compiled == "auto"
    compiled = _has_accelerator() if compiled == "auto" else bool(compiled)
    if optimizer is None:
        rates = {**defaults, **rates, "sparse_updates": not compiled}
        usual = task.recommended_hparams.get("learning_rate") if task.method_rate is None else task.method_rate
        if usual is not None:
            rates.setdefault("learning_rate", usual)
        for method in task.methods:
            rates = {**method.optimizer_options(task), **rates}
        optimizer = build_optimizer(**rates, fresh=_fresh_that_train(task))
    return {"optimizer": optimizer, "jit_compile": compiled, **options}, smoothing


def compile_arguments(
    task: "Task", optimizer: Any, loss: Any, metrics: Any, options: dict[str, Any], **defaults: Any
) -> dict[str, Any]:
    """Return the arguments of Keras's `compile` for a task.

    Args:
        task: The task.
        optimizer, loss, metrics: As given, or None.
        options: Everything else that was given by name.
        defaults: Options of the optimizer that hold where they are not given.

    Raises:
        TransformerError: An option is unknown or out of range, is for the optimizer beside one, or loss or metrics are
            for another objective.
    """
    arguments, smoothing = training_defaults(task, optimizer, loss, options, **defaults)
    weighted = arguments.pop("weighted_metrics", None)
    return {**arguments, **task.objective.compiled(loss, metrics, weighted, smoothing)}


def choose_xla(task: "Task", updates: int) -> str:
    """Decide whether the steps of a run of so many updates are compiled by XLA, where `compile` left it open.

    Args:
        task: A compiled task; its `jit_compile` is set.
        updates: Batches in all epochs.

    Returns:
        A line that says what was chosen, and why.

    Example:
        >>> classifier.compile()
        >>> choose_xla(classifier, updates=200)
        'steps run without XLA, each batch as long as its longest text: no accelerator, and slower on CPUs with it'
    """
    apart = "steps run without XLA, each batch as long as its longest text"
    whole = "steps are compiled by XLA, batches have a few lengths"
    if not task.xla_is_automatic:
        return f"{whole if task.jit_compile else apart}: as compile() was told"
    chosen = _has_accelerator() and updates >= XLA_UPDATES
    if chosen != task.jit_compile:
        task.jit_compile = chosen
        task.train_function = task.test_function = task.predict_function = None
    if chosen:
        return whole
    if _has_accelerator():
        return f"{apart}: {updates} updates are too few to earn back the compilation of each length"
    return f"{apart}: no accelerator, and slower on CPUs with it"


def _has_accelerator() -> bool:
    return bool(tf.config.list_physical_devices("GPU") + tf.config.list_physical_devices("TPU"))


def restore_compilation(task: "Task") -> None:
    """Finish loading after `compile`: give the optimizer its variables, so that their saved values fit."""
    task._compilation = Compilation(task, lambda task, **more: None, TRAINING_ARGUMENTS[:1])
    if task.optimizer is None:
        return
    inner = inner_optimizer(task.optimizer)
    if hasattr(inner, "later_paths"):
        # Saved between two stages of gradual unfreezing, it has rates for weights that were frozen then.
        inner.later_paths = tuple(variable.path for variable in task.weights)
    task.optimizer.build(task.trainable_variables)


def _fresh_that_train(task: "Task") -> list[str]:
    weights = {name: weight for name, weight in patterns.addresses(task).items() if weight.trainable}
    fresh = re.compile("|".join([*task.newly_initialized, *inserted_patterns()]))
    return [name for name in weights if fresh.fullmatch(name)]
