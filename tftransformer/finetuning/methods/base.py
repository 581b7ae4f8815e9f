"""The base class of fine-tuning methods; the rest of the package asks it and knows no method by name."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import Model
from tftransformer.patterns import addresses, exactly, select

if TYPE_CHECKING:
    from tftransformer.finetuning.freezing import FreezeSummary
    from tftransformer.models.task import Task

# The highest rate where nobody says another: the middle of what BERT is fine-tuned with (Devlin et al. 2018, A.3).
LEARNING_RATE = 2e-5


class Number(NamedTuple):
    """The one setting that a method's string has room for, as the 8 of `lora:8`.

    Attributes:
        field: Name of the method's field.
        kind: Type that the typed text is converted to.
        rule: The requirement in words, for messages.
        holds: The requirement as a function.
        default: Value where none is typed. None: the field's own default.
    """

    field: str
    kind: type = int
    rule: str = "a positive integer"
    holds: Callable[[Any], bool] = lambda value: value >= 1
    default: Any = None


@dataclass(frozen=True)
class Stage:
    """Some epochs in which the same weights train.

    Attributes:
        first: The first epoch, counted from 0.
        last: The epoch after the last one.
        names: The addresses of what trains.
        about: Description of what joins in this stage, for people.
    """

    first: int
    last: int
    names: tuple[str, ...]
    about: str

    def __str__(self) -> str:
        return f"{self.about} from epoch {self.first + 1}"


@dataclass(frozen=True)
class Method:
    """A way to fine-tune: its settings as a frozen dataclass, and all that the rest of the package needs to know.

    A subclass states what differs from full fine-tuning and leaves the rest as it is here.

    Attributes:
        name: Name that a user types, the key of `methods.METHODS`; also the kind of its modifications in a saved
            folder.
        about: Description for people, in a few words.
        number: The setting behind the colon; None where there is none.
        rate: The highest learning rate where none is given; None where pretrained weights train, which have the rate
            that their preset advises. Chosen on validation rows of SST-2 (benchmarks/results/README.md), except
            where the method says otherwise.
        inserted: Full-match patterns of the addresses of weights that it puts in: they start from random numbers and
            train at the rate of such.
        once: Whether a list of methods may hold one of the class at the most.
        alone: Whether it goes with no other method.
        takes_updates: Whether `fit` takes updates; False where `before_training` does all there is to do.
        hooks: Names of the methods that `compile` and `fit` are to call, of `optimizer_options`, `stages`, `before_training` and
            `loss_step`; with any, a task keeps the method.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    number: ClassVar[Number | None] = None
    rate: ClassVar[float | None] = None
    inserted: ClassVar[tuple[str, ...]] = ()
    once: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    takes_updates: ClassVar[bool] = True
    hooks: ClassVar[tuple[str, ...]] = ()

    # How it changes a model.

    def check(self, model: Model) -> None:
        """Raise a `TransformerError` where the model cannot be changed so; change nothing."""

    def places(self, model: Model) -> set[str]:
        """Return the places that it takes in the model; two methods of one list must not take the same."""
        return set()

    def insert(self, model: Model) -> None:
        """Put new layers in; `check` has passed."""

    # What trains.

    def trains(self, model: Model) -> list[str] | None:
        """Patterns of what alone trains, beside what other methods of the list say; None: no say in it."""
        return None

    def freezes(self, model: Model) -> list[str]:
        """Patterns of what does not train, whatever others say."""
        return []

    # How it trains.

    def learning_rate(self, hparams: Mapping[str, Any]) -> float | None:
        """The highest rate where a user names none; None: what full fine-tuning has.

        Args:
            hparams: Task's `recommended_hparams`: `learning_rate`, and what else its preset says.
        """
        return self.rate

    def optimizer_options(self, model: Model) -> dict[str, Any]:
        """Return arguments that `compile` passes to `build_optimizer` beside its own."""
        return {}

    def stages(self, model: Model, epochs: int, initial_epoch: int = 0) -> Sequence[Stage]:
        """The stages in which `fit` trains; none: in one go."""
        return ()

    def before_training(self, task: "Task", examples: Any, weights: Any, vectors: Callable[[], Any]) -> str:
        """Set weights by the training examples before the first update of an optimizer.

        Args:
            task: Task that the method is applied to.
            examples: Training examples, with targets.
            weights: (B,) factors on the rows' losses; None for 1.
            vectors: Returns the (B, D) vectors of the examples that the head sees, from stored states if there are
                some.

        Returns:
            A line that describes what was done.
        """
        return ""

    def loss_step(self, task: "Task", examples: Any) -> Any:
        """Return the object by which `fit` adds to the training loss, or None.

        Args:
            task: Task that the method is applied to.
            examples: Training examples.

        Returns:
            An object like `distillation.TeacherStep`, with `batches`, `listening` and `loss`.
        """
        return None

    # What a saved folder says of it, read off the model itself, so that no list can go stale.

    @classmethod
    def modifications(cls, model: Model) -> list[dict[str, Any]]:
        """Return the model's modifications of this kind, as JSON values with `kind` for `restore`."""
        return []

    @classmethod
    def restore(cls, model: Model, modification: Mapping[str, Any]) -> None:
        """Put in again what a modification describes; weights and what trains are left to others."""

    # For users.

    def apply(self, model: Model) -> "FreezeSummary":
        """Change any Keras model that is built of this package's blocks; a task's own `apply` does the same.

        Returns:
            A summary of what is frozen now.

        Raises:
            TransformerError: The model cannot be changed this way; it is left as it was.
        """
        return apply_methods((self,), model)

    def __str__(self) -> str:
        """As a user types it, where that says all of it; else with its settings."""
        value = None if self.number is None else getattr(self, self.number.field)
        if value is None or self.number is None:
            usual = all(getattr(self, field.name) == field.default for field in fields(self) if field.init)
            return self.name if usual else repr(self)
        said = self == type(self)(**{self.number.field: value})
        return f"{self.name}:{value}" if said else repr(self)

    def to_config(self) -> dict[str, Any]:
        """Its settings as JSON values, for a model's `get_config`."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"name": self.name, **settings}


# Between two methods of one string.
AND = "+"


def joined_names(methods: Iterable[Method]) -> str:
    """Methods as a user types them together."""
    return AND.join(map(str, methods))


def apply_methods(methods: Sequence[Method], model: Model) -> "FreezeSummary":
    """See `Strategy.apply`."""
    from tftransformer.finetuning.freezing import freeze, train_only
    from tftransformer.finetuning.freezing import summary as frozen_now
    from tftransformer.models.task import Task

    try:
        _check(methods, model, isinstance(model, Task))
    except TransformerError as error:
        raise TransformerError(f"strategy {joined_names(methods)} cannot be applied: {error}") from error
    for method in methods:
        method.insert(model)
    # Of the model as it is now: what was put into a frozen block is frozen with it.
    freezes = [name for method in methods for name in method.freezes(model)]
    trains = [patterns for method in methods if (patterns := method.trains(model)) is not None]
    if trains:
        train_only(model, [pattern for patterns in trains for pattern in patterns])
    if freezes:
        freeze(model, patterns=exactly(freezes))
    if isinstance(model, Task):
        lasting = tuple(method for method in methods if method.hooks)
        rates = [rate for method in methods if (rate := method.learning_rate(model.recommended_hparams)) is not None]
        anew = any(method.name == "full" for method in methods)
        if lasting or anew:
            model.methods = lasting
        if rates or anew:
            model.method_rate = max(rates, default=None)
    return frozen_now(model)


def _check(methods: Iterable[Method], model: Model, is_task: bool) -> None:
    taken: dict[str, Method] = {}
    for method in methods:
        if method.hooks and not is_task:
            raise TransformerError(
                f"model must be a task, whose compile and fit read {method.name}; got a {type(model).__name__}"
            )
        method.check(model)
        for place in sorted(method.places(model)):
            if place in taken:
                raise TransformerError(f"{taken[place]} and {method} want the same place, {place}")
            taken[place] = method


def hold_patterns(method: Method, *fields: str) -> None:
    """Keep patterns in any form as a frozen dataclass can: what is read twice must not be an iterator."""
    for name in fields:
        patterns = getattr(method, name)
        if patterns is not None and not isinstance(patterns, str):
            object.__setattr__(method, name, tuple(patterns))


def selected_parts(model: Model, kind: type, patterns: str | Iterable[str], argument: str) -> dict[str, Any]:
    """The built parts of a class by address, of those that patterns match from end to end.

    Raises:
        TransformerError: A pattern is malformed or matches nothing.
    """
    from tftransformer.layers.sublayers import sublayers_of

    parts = sublayers_of(model, kind)
    if not parts:
        raise TransformerError(f"model must be built, with a {kind.__name__} in it; got one without any")
    return {name: parts[name] for name in select(parts, patterns, argument)}


def fresh_patterns(model: Model, train: str | Iterable[str] | None) -> list[str]:
    """Return patterns of what trains beside inserted parts: `train`; if None, what is not pretrained, and the head."""
    from tftransformer.finetuning.freezing import check_patterns
    from tftransformer.models.task import Task

    if train is not None:
        check_patterns(model, train)
        return [train] if isinstance(train, str) else list(train)
    names = addresses(model)
    fresh = dict.fromkeys([*(model.newly_initialized if isinstance(model, Task) else ()), "head/.*"])
    # A model that starts from random numbers says so of everything, which is not what is asked for here.
    return [p for p in fresh if p != ".*" and any(re.fullmatch(p, name) for name in names)]
