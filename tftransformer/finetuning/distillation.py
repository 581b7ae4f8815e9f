"""Teach a classifier what a fine-tuned one knows: its soft labels, and the hidden states of its blocks.

Hinton et al. 2015 (arXiv 1503.02531); hidden states by layer mapping after TinyBERT (Jiao et al. 2019, arXiv 1909.10351)
and DistilBERT (Sanh et al. 2019, arXiv 1910.01108).
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tftransformer.errors import TransformerError
from tftransformer.finetuning.block_outputs import recorded_blocks
from tftransformer.finetuning.distillation_losses import hidden_state_loss, soft_label_loss
from tftransformer.finetuning.schedules import check_number
from tftransformer.finetuning.teacher_outputs import LOGITS, STATES, TeacherOutputs

# Of the projections between unlike widths: they start from random numbers and must outrun the blocks they judge.
_PROJECTION_RATE = 1e-3
# What a lesson puts in front of the methods of one student.
_METHODS = ("train_step", "compute_loss", "frozen_prefix", "_batches")


def distill(
    student: Any,
    teacher: Any,
    train: Any,
    *,
    temperature: float = 2.0,
    alpha: float = 0.5,
    blocks: Mapping[int, int] | None = None,
    hidden_weight: float = 1.0,
    seed: int = 0,
) -> "Lesson":
    """From now on `student.fit` learns from a teacher, too.

    The teacher runs here, once over every text; `fit` looks its outputs up. Its training loss becomes

        (1 - alpha) * the student's own loss + alpha * soft labels + hidden_weight * hidden states,

    penalties such as `l2` beside it. Validation, metrics, callbacks, saving and exporting stay what they were: the
    student is a classifier like any other.

    Args:
        student: A `TextClassifier`, compiled or not.
        teacher: A fine-tuned one of the same labels. Its vocabulary and sizes may be others.
        train: The texts that `fit` will get: a Split, texts, or pairs of texts. Texts without labels may be among them:
            `teacher.predicted_labels(teacher.predict(texts))` gives them some, which with `alpha` 1 are not looked at.
        temperature: By what the logits of both are divided before they are compared.
        alpha: The share of the teacher's soft labels (0 to 1); 0 trains as without a teacher.
        blocks: {block of the student: block of the teacher}, counted from 0: their outputs should agree, for every
            token. Needs one vocabulary and `max_length`. Unlike widths are bridged by a projection that learns along
            and belongs to the lesson, not to the student.
        hidden_weight: Of the hidden states; their loss is 1 where the student does no better than the teacher's mean.
        seed: Of the projections.

    Returns:
        The lesson; `lesson.remove()` ends it.

    Raises:
        TransformerError: A number out of its range, blocks that are not there, other labels, other tokens with `blocks`,
            or several replicas.

    Example:
        >>> distill(student, teacher, train, alpha=0.7, blocks={1: 5})  # doctest: +SKIP
        >>> student.compile(learning_rate=3e-4)  # doctest: +SKIP
        >>> student.fit(train, validation_data=validation, epochs=5)  # doctest: +SKIP
    """
    check_number("temperature", temperature, "positive", lambda value: value > 0)
    check_number("alpha", alpha, "from 0 to 1", lambda value: 0 <= value <= 1)
    check_number("hidden_weight", hidden_weight, "at least 0", lambda value: value >= 0)
    _check_tasks(student, teacher)
    pairs = _checked_blocks(blocks or {}, student.config.num_layers, teacher.config.num_layers)
    outputs = TeacherOutputs(teacher, student, train, tuple(pairs.values()))
    projections = _projections(student, teacher, pairs, seed)
    if isinstance(getattr(student, "lesson", None), Lesson):
        student.lesson.remove()
    lesson = Lesson(student, outputs, temperature, alpha, tuple(pairs), projections, hidden_weight)
    lesson.install()
    return lesson


class Lesson:
    """What `distill` puts into the training of one student. Made by `distill`.

    Attributes:
        outputs: The teacher's.
        temperature, alpha, hidden_weight: As given.
        blocks: Of the student, those that learn from hidden states.
        projections: For each of these a variable (D of the student, D of the teacher); none where widths are alike.
    """

    def __init__(
        self,
        student: Any,
        outputs: TeacherOutputs,
        temperature: float,
        alpha: float,
        blocks: tuple[int, ...],
        projections: list[Any],
        hidden_weight: float,
    ) -> None:
        self.outputs, self.blocks, self.projections = outputs, blocks, projections
        self.temperature, self.alpha, self.hidden_weight = temperature, alpha, hidden_weight
        self._student = student
        self._states: list[Any] = []
        self._optimizer = keras.optimizers.Adam(_PROJECTION_RATE)
        if projections:
            self._optimizer.build(projections)

    def install(self) -> None:
        """Put the lesson in front of the student's methods; a traced training step is forgotten."""
        student = self._student
        self._given = {name: getattr(student, name) for name in _METHODS}
        student.train_step = self._train_step
        student.compute_loss = self._compute_loss
        # Stored states would take the place of the tokens by which the teacher's outputs are found.
        student.frozen_prefix = lambda: None
        student._batches = self._batches
        student.lesson = self
        student.train_function = None

    def remove(self) -> None:
        """End the lesson: the student trains as before."""
        if getattr(self._student, "lesson", None) is not self:
            return
        for name in _METHODS:
            delattr(self._student, name)
        self._student.lesson = None
        self._student.train_function = None

    def _batches(
        self, examples: Any, batch_size: int, shuffle: bool, epoch: Any, *changes: Any
    ) -> tf.data.Dataset:
        if changes:
            raise TransformerError(
                "augmentation cannot go with distillation: the teacher ran once, over the texts as they are"
            )
        self.outputs.check(examples)
        return self.outputs.batches(self._given["_batches"](examples, batch_size, shuffle, epoch))

    def _train_step(self, data: Any) -> Any:
        if not self.blocks:
            return self._given["train_step"](data)
        with recorded_blocks(self._student.encoder, self._student.config) as self._states:
            logs = self._given["train_step"](data)
        self._states = []
        return logs

    def _compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        loss = self._given["compute_loss"](x, y, y_pred, sample_weight, training=training)
        if not training:
            return loss
        if LOGITS not in x:
            raise TransformerError(
                "fit must be given a Split or texts, without packing, while a student learns from a teacher"
            )
        penalties = sum(self._student.losses) if self._student.losses else 0.0
        soft = soft_label_loss(y_pred, x[LOGITS], self.temperature, self._student.multi_label)
        if sample_weight is not None:
            soft = soft * ops.cast(sample_weight, soft.dtype)
        total = (1.0 - self.alpha) * (loss - penalties) + penalties + self.alpha * ops.mean(soft)
        return total + self.hidden_weight * self._hidden_loss(x) if self.blocks else total

    def _hidden_loss(self, x: Any) -> Any:
        wanted = ops.split(x[STATES], len(self.blocks), axis=-1)
        states = [ops.cast(self._states[block], "float32") for block in self.blocks]
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
        raise TransformerError("distill is for one device; the student was built for several replicas")


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
