"""Teach a classifier what a fine-tuned one knows: its soft labels, and the hidden states of its blocks.

Hinton et al. 2015 (arXiv 1503.02531); hidden states by layer mapping after TinyBERT (Jiao et al. 2019, arXiv 1909.10351)
and DistilBERT (Sanh et al. 2019, arXiv 1910.01108).
"""

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import check_number
from tftransformer.finetuning.distillation_losses import hidden_state_loss, soft_label_loss
from tftransformer.finetuning.methods.base import Method
from tftransformer.finetuning.teacher_outputs import LOGITS, STATES, TeacherOutputs
from tftransformer.layers.taps import Taps, tapped

# Of the projections between unlike widths: they start from random numbers and must outrun the blocks they judge.
_PROJECTION_RATE = 1e-3


@dataclass(frozen=True)
class Distillation(Method):
    """Learn from a teacher, too: `student.apply(tt.Distillation(teacher))`.

    `fit` runs the teacher once over every text and looks its outputs up. The training loss becomes

        (1 - alpha) * the student's own loss + alpha * soft labels + hidden_weight * hidden states,

    penalties such as `l2` beside it. Validation, metrics, callbacks, saving and exporting stay what they were: the
    student is a classifier like any other. `apply("full")` ends it.

    Args:
        teacher: A fine-tuned classifier of the same labels. Its vocabulary and sizes may be others. Texts without labels
            may be learned from: `teacher.predicted_labels(teacher.predict(texts))` gives them some, which with `alpha` 1
            are not looked at.
        temperature: By what the logits of both are divided before they are compared.
        alpha: The fraction of the teacher's soft labels (0 to 1); 0 trains as without a teacher.
        blocks: {block of the student: block of the teacher}, counted from 0: their outputs should agree, for every
            token. Needs one vocabulary and `max_length`. Unlike widths are bridged by a projection that learns along
            and belongs to the method, not to the student.
        hidden_weight: Of the hidden states; their loss is 1 where the student does no better than the teacher's mean.
        seed: Random seed of the projections.

    Raises:
        TransformerError: A number out of its range. On `apply`: blocks that are not there, other labels, several
            replicas. In `fit`: other tokens with `blocks`, a dataset, packing or augmentation.

    Example:
        >>> student.apply(Distillation(teacher, alpha=0.7, blocks={1: 5}))  # doctest: +SKIP
        >>> student.compile(learning_rate=3e-4)  # doctest: +SKIP
        >>> student.fit(train, validation_data=validation, epochs=5)  # doctest: +SKIP
    """

    teacher: Any
    temperature: float = 2.0
    alpha: float = 0.5
    blocks: Mapping[int, int] | None = None
    hidden_weight: float = 1.0
    seed: int = 0
    # For each student what `fit` made: later ones with the same texts use it again.
    _taught: Any = field(default_factory=weakref.WeakKeyDictionary, init=False, repr=False, compare=False)

    name = "distillation"
    about = "a teacher's soft labels and hidden states are learned, too"
    once = True

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, "positive", lambda value: value > 0)
        check_number("alpha", self.alpha, "from 0 to 1", lambda value: 0 <= value <= 1)
        check_number("hidden_weight", self.hidden_weight, "at least 0", lambda value: value >= 0)

    def __str__(self) -> str:
        return self.name

    def check(self, model: Any) -> None:
        _check_tasks(model, self.teacher)
        _checked_blocks(self.blocks or {}, model.config.num_layers, self.teacher.config.num_layers)

    def loss_step(self, task: Any, examples: Any) -> "TeacherStep":
        """What adds the teacher to a `fit` of these examples."""
        step = self._taught.get(task)
        if step is None or not step.outputs.covers(examples):
            blocks = _checked_blocks(
                self.blocks or {}, task.config.num_layers, self.teacher.config.num_layers
            )
            outputs = TeacherOutputs(self.teacher, task.labels, examples, tuple(blocks.values()))
            if step is None:
                step = self._taught[task] = TeacherStep(self, task, blocks, outputs)
            step.outputs = outputs
        return step


class TeacherStep:
    """What a teacher adds to the training of one student. Made by `Distillation`.

    Attributes:
        outputs: The teacher's.
        blocks: {block of the student: block of the teacher} that learn from hidden states.
        projections: For each of these a variable (D of the student, D of the teacher); none where widths are alike.
    """

    def __init__(
        self, method: Distillation, student: Any, blocks: Mapping[int, int], outputs: TeacherOutputs
    ) -> None:
        self.outputs, self.blocks = outputs, blocks
        self.projections = _projections(student, method.teacher, blocks, method.seed)
        self._method = method
        self._multi_label = student.multi_label
        self._taps = Taps((), {})
        self._optimizer = keras.optimizers.Adam(_PROJECTION_RATE)
        if self.projections:
            self._optimizer.build(self.projections)

    def batches(self, dataset: tf.data.Dataset, examples: Any) -> tf.data.Dataset:
        """Numbered batches of the examples with the teacher's outputs in x."""
        return self.outputs.batches(dataset, examples)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Keep the hidden states of a forward pass for the loss."""
        with tapped(*(f"encoder_block_{block}" for block in self.blocks)) as self._taps:
            yield

    def loss(self, loss: Any, penalties: Any, x: Any, y_pred: Any, sample_weight: Any) -> Any:
        """The training loss.

        Args:
            loss: The student's own, a scalar with `penalties`.
            penalties: Of regularisers, a part of `loss` that keeps its weight.
            x: A batch of `batches`.
            y_pred: (B, C) logits.
            sample_weight: (B,), or None.
        """
        method = self._method
        soft = soft_label_loss(y_pred, x[LOGITS], method.temperature, self._multi_label)
        if sample_weight is not None:
            soft = soft * ops.cast(sample_weight, soft.dtype)
        total = (1.0 - method.alpha) * (loss - penalties) + penalties + method.alpha * ops.mean(soft)
        return total + method.hidden_weight * self._hidden_loss(x) if self.blocks else total

    def _hidden_loss(self, x: Any) -> Any:
        wanted = ops.split(x[STATES], len(self.blocks), axis=-1)
        states = [ops.cast(self._taps[f"encoder_block_{block}"], "float32") for block in self.blocks]
        if self.projections:
            self._teach_projections([tf.stop_gradient(state) for state in states], wanted, x["padding_mask"])
        return self._mean_hidden_loss(states, wanted, x["padding_mask"])

    def _mean_hidden_loss(self, states: list, wanted: list, mask: Any) -> Any:
        if self.projections:
            states = [ops.matmul(state, matrix) for state, matrix in zip(states, self.projections)]
        terms = [
            hidden_state_loss(state, target, mask, variance)
            for state, target, variance in zip(states, wanted, self.outputs.variances)
        ]
        return sum(terms) / len(terms)

    def _teach_projections(self, states: list, wanted: list, mask: Any) -> None:
        with tf.GradientTape() as tape:
            loss = self._mean_hidden_loss(states, wanted, mask)
        variables = [matrix.value for matrix in self.projections]
        self._optimizer.apply(tape.gradient(loss, variables), self.projections)


def _projections(student: Any, teacher: Any, pairs: Mapping[int, int], seed: int) -> list[Any]:
    own, taught = student.config.hidden_dim, teacher.config.hidden_dim
    if own == taught:
        return []
    return [
        keras.Variable(
            keras.initializers.GlorotUniform(seed=seed + block)((own, taught)), name=f"projection_{block}"
        )
        for block in pairs
    ]


def _check_tasks(student: Any, teacher: Any) -> None:
    for role, task in (("student", student), ("teacher", teacher)):
        known = all(hasattr(task, name) for name in ("labels", "encoder", "config", "preprocess"))
        # What cuts its texts into chunks has several rows of tokens a text.
        if not known or hasattr(task, "cut"):
            raise TransformerError(f"{role} must be a text classifier; got {type(task).__name__}")
    if student is teacher:
        raise TransformerError("teacher must be another model than the student; got the same one")
    if set(student.labels) != set(teacher.labels) or student.multi_label != teacher.multi_label:
        kinds = {False: "one label a text", True: "several labels a text"}
        raise TransformerError(
            f"teacher must have the student's labels, {', '.join(student.labels)[:80]} ({kinds[student.multi_label]}); "
            f"got {', '.join(teacher.labels)[:80]} ({kinds[teacher.multi_label]})"
        )
    if student.distribute_strategy.num_replicas_in_sync > 1:
        raise TransformerError("distillation is for one device; the student was built for several replicas")


def _checked_blocks(blocks: Any, own: int, taught: int) -> dict[int, int]:
    if not isinstance(blocks, Mapping):
        raise TransformerError(
            f"blocks must map blocks of the student to blocks of the teacher, such as {{1: 5}}; got {blocks!r}"
        )
    for side, count, numbers in (("student", own, blocks.keys()), ("teacher", taught, blocks.values())):
        for number in numbers:
            whole = isinstance(number, int) and not isinstance(number, bool)
            if not whole or not 0 <= number < count:
                raise TransformerError(
                    f"blocks of the {side} must be from 0 to {count - 1}, it has {count}; got {number!r}"
                )
    return dict(sorted(blocks.items()))
