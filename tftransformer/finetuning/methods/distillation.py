"""Train a classifier from a fine-tuned one: from its soft labels, and from the hidden states of its blocks.

Hinton et al. 2015 (arXiv 1503.02531); hidden states by layer mapping after TinyBERT (Jiao et al. 2019, arXiv 1909.10351)
and DistilBERT (Sanh et al. 2019, arXiv 1910.01108).
"""

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tftransformer.data.dataset_functions import BATCHES_AHEAD, DatasetFunction
from tftransformer.data.examples import ROW_NUMBERS, Examples
from tftransformer.errors import TransformerError
from tftransformer.finetuning.activation_store import ActivationStore, readable
from tftransformer.finetuning.arguments import Model, check_number
from tftransformer.finetuning.methods.base import Method
from tftransformer.layers.taps import Taps, tapped
from tftransformer.models.task import Task
from tftransformer.progress import Progress

# Learning rate of the projections between unlike widths: they start from random numbers and must learn faster than the
# blocks whose outputs they project.
_PROJECTION_RATE = 1e-3


@dataclass(frozen=True)
class Distillation(Method):
    """Learn from a teacher, too: `student.apply(tt.Distillation(teacher))`.

    `fit` runs the teacher once over every text and looks its outputs up. The training loss becomes

        (1 - alpha) * the student's own loss + alpha * soft labels + hidden_weight * hidden states,

    penalties such as `l2` beside it. Validation, metrics, callbacks, saving and exporting stay what they were: the
    student is a classifier like any other. `apply("full")` ends it.

    Args:
        teacher: A fine-tuned classifier of the same labels. Its vocabulary and sizes may be others. Texts without
            labels may be learned from: `teacher.predicted_labels(teacher.predict(texts))` gives them some, which with
            `alpha` 1 are not looked at.
        temperature: Divisor of the logits of both before they are compared.
        alpha: Fraction of the teacher's soft labels in the loss (0 to 1); 0 trains as without a teacher.
        blocks: Mapping {block of the student: block of the teacher}, counted from 0, whose outputs should agree for
            every token. Needs one vocabulary and `sequence_length`. Unlike widths are bridged by a projection that
            learns along and belongs to the method, not to the student.
        hidden_weight: Weight of the hidden states in the loss; theirs is 1 where the student does no better than the
            teacher's mean.
        seed: Random seed of the projections.

    Raises:
        TransformerError: A number out of its range. On `apply`: blocks that are not there, other labels, several
            replicas. In `fit`: other tokens with `blocks`, a dataset, packing or augmentation.

    Example:
        >>> student.apply(Distillation(teacher, alpha=0.7, blocks={1: 5}))  # doctest: +SKIP
        >>> student.compile(learning_rate=3e-4)  # doctest: +SKIP
        >>> student.fit(train, validation_data=validation, epochs=5)  # doctest: +SKIP
    """

    teacher: Task
    temperature: float = 2.0
    alpha: float = 0.5
    blocks: Mapping[int, int] | None = None
    hidden_weight: float = 1.0
    seed: int = 0
    # For each student what `fit` made: later ones with the same texts use it again.
    _taught: Any = field(default_factory=weakref.WeakKeyDictionary, init=False, repr=False, compare=False)

    name = "distillation"
    about = "a teacher's soft labels and hidden states are learned, too"
    hooks = ("loss_step",)
    once = True

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, "positive", lambda value: value > 0)
        check_number("alpha", self.alpha, "from 0 to 1", lambda value: 0 <= value <= 1)
        check_number("hidden_weight", self.hidden_weight, "at least 0", lambda value: value >= 0)

    def __str__(self) -> str:
        return self.name

    def check(self, model: Model) -> None:
        _check_tasks(model, self.teacher)
        _checked_blocks(self.blocks or {}, model.config.num_layers, self.teacher.config.num_layers)

    def loss_step(self, task: Task, examples: Any) -> "TeacherStep":
        """Return the object that adds the teacher's loss to a `fit` of these examples."""
        step = self._taught.get(task)
        if step is None or not step.outputs.covers(examples):
            blocks = _checked_blocks(self.blocks or {}, task.config.num_layers, self.teacher.config.num_layers)
            outputs = TeacherOutputs(self.teacher, task.objective.labels, examples, tuple(blocks.values()))
            if step is None:
                step = self._taught[task] = TeacherStep(self, task, blocks, outputs)
            step.outputs = outputs
        return step


class TeacherStep:
    """A teacher's part in the training of one student. Made by `Distillation`.

    Attributes:
        outputs: The teacher's outputs.
        blocks: Mapping {block of the student: block of the teacher} that learn from hidden states.
        projections: A variable (D of the student, D of the teacher) for each of these; none where widths are alike.
    """

    def __init__(
        self, method: Distillation, student: Task, blocks: Mapping[int, int], outputs: "TeacherOutputs"
    ) -> None:
        self.outputs, self.blocks = outputs, blocks
        self.projections = _projections(student, method.teacher, blocks, method.seed)
        self._method = method
        self._multi_label = student.objective.multi_label
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
            loss: The student's own loss, a scalar with `penalties`.
            penalties: Sum of the regularisers, a part of `loss` that keeps its weight.
            x: A batch of `batches`.
            y_pred: Logits (B, C).
            sample_weight: Weights (B,), or None.
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


def _projections(student: Task, teacher: Task, pairs: Mapping[int, int], seed: int) -> list[Any]:
    own, taught = student.config.hidden_dim, teacher.config.hidden_dim
    if own == taught:
        return []
    return [
        keras.Variable(keras.initializers.GlorotUniform(seed=seed + block)((own, taught)), name=f"projection_{block}")
        for block in pairs
    ]


def _check_tasks(student: Task, teacher: Task) -> None:
    for role, task in (("student", student), ("teacher", teacher)):
        if not isinstance(task, Task) or not task.objective.labels or task.in_chunks:
            raise TransformerError(f"{role} must be a text classifier; got {type(task).__name__}")
    if student is teacher:
        raise TransformerError("teacher must be another model than the student; got the same one")
    if (
        set(student.objective.labels) != set(teacher.objective.labels)
        or student.objective.multi_label != teacher.objective.multi_label
    ):
        kinds = {False: "one label a text", True: "several labels a text"}
        raise TransformerError(
            f"teacher must have the student's labels, {', '.join(student.objective.labels)[:80]} ({kinds[student.objective.multi_label]}); "
            f"got {', '.join(teacher.objective.labels)[:80]} ({kinds[teacher.objective.multi_label]})"
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


def soft_label_loss(logits: Any, teacher_logits: Any, temperature: float, multi_label: bool = False) -> Any:
    """Compute the divergence of a student's probabilities from the teacher's, both softened.

    The Kullback-Leibler divergence: the cross-entropy of the soft labels minus the teacher's own entropy, so that it
    has the same gradient and is 0 where the two agree. It is multiplied by temperature², so that gradients do not
    shrink as the temperature grows.

    Args:
        logits: Logits (B, C) of the student.
        teacher_logits: Logits (B, C) of the teacher.
        temperature: Divisor of the logits; above 1 the teacher's small probabilities count for more.
        multi_label: Whether each label is a decision of its own; the mean over labels is taken then.

    Returns:
        (B,) float32, at least 0 up to rounding.

    Example:
        >>> loss = soft_label_loss(ops.array([[2.0, 0.0]]), ops.array([[2.0, 0.0]]), temperature=3.0)
        >>> float(loss[0])
        0.0
    """
    own = ops.cast(logits, "float32") / temperature
    taught = ops.cast(teacher_logits, "float32") / temperature
    if multi_label:
        yes = ops.sigmoid(taught) * (ops.log_sigmoid(taught) - ops.log_sigmoid(own))
        no = ops.sigmoid(-taught) * (ops.log_sigmoid(-taught) - ops.log_sigmoid(-own))
        divergence = ops.mean(yes + no, axis=-1)
    else:
        difference = ops.log_softmax(taught, axis=-1) - ops.log_softmax(own, axis=-1)
        divergence = ops.sum(ops.softmax(taught, axis=-1) * difference, axis=-1)
    return temperature**2 * divergence


def hidden_state_loss(states: Any, wanted: Any, padding_mask: Any, variance: float = 1.0) -> Any:
    """Mean squared difference of hidden vectors over real tokens, relative to how much the teacher's vary.

    Args:
        states: Vectors (B, T, D) of the student, projected where the widths differ.
        wanted: Vectors (B, T, D) of the teacher.
        padding_mask: Mask (B, T), 1 at real tokens.
        variance: Variance of the teacher's vectors: a loss of 1 is no better than their mean.

    Returns:
        A scalar, float32.
    """
    real = ops.cast(padding_mask, "float32")
    squares = ops.mean(ops.square(ops.cast(states, "float32") - ops.cast(wanted, "float32")), axis=-1)
    return ops.sum(squares * real) / ops.maximum(ops.sum(real), 1.0) / variance


# What a batch holds beside a student's own inputs.
LOGITS, STATES = "teacher_logits", "teacher_states"
_ROWS = 64
# Tracing takes longer than running so many batches eagerly.
_EAGER_BATCHES = 8


class TeacherOutputs:
    """A teacher's outputs for texts, stored under the hash of the student's tokens.

    Two texts with the same tokens for the student are one row, with the outputs of the first one.

    Args:
        teacher: Task with logits, `labels`, `encoder` and `config`.
        labels: The student's labels, which are the teacher's in any order.
        examples: The student's examples, which know their texts.
        layers: Numbers of the applications of the teacher's blocks whose outputs are kept, one vector a token; they
            need both to make the same tokens of every text.

    Attributes:
        variances: Variance of each layer's vectors, the mean over their D numbers.

    Raises:
        TransformerError: `layers` are given and tokens differ, or the disk has no room for the vectors.
    """

    def __init__(self, teacher: Task, labels: Sequence[str], examples: Examples, layers: Sequence[int] = ()) -> None:
        taught = teacher.preprocessor.tokenized_again(examples)
        self._layers = tuple(layers)
        self._width = len(layers) * teacher.config.hidden_dim
        digests = examples.digests
        if layers:
            _check_same_tokens(digests, taught.digests)
        self._rows: dict[bytes, int] = {}
        for index, digest in enumerate(digests):
            self._rows.setdefault(digest, index)
        first = np.fromiter(self._rows.values(), "int64", len(self._rows))
        self._logits = np.zeros((len(examples), len(labels)), "float32")
        self.variances: list[float] = []
        if not layers:
            for indices, logits, _ in self._outputs(teacher, taught, first):
                self._logits[indices] = logits
        else:
            self._keep_states(teacher, taught, first, digests)
        columns = [teacher.objective.labels.index(label) for label in labels]
        self._logits = self._logits[:, columns]

    def __len__(self) -> int:
        return len(self._rows)

    def covers(self, examples: Examples) -> bool:
        """Return whether the outputs of every row are known."""
        return all(digest in self._rows for digest in examples.digests)

    def batches(self, dataset: tf.data.Dataset, examples: Examples) -> tf.data.Dataset:
        """Batches of x, (x, y) or (x, y, weight) with `teacher_logits` (B, C), and where there are layers
        `teacher_states` (B, T, number of layers * D), in x.

        Args:
            dataset: Batches of the examples, with the numbers of their rows.
            examples: Examples that are covered.
        """
        types = [tf.float32, tf.as_dtype(self._store.dtype)] if self._layers else [tf.float32]

        digests = examples.digests
        places = np.array([self._rows[digest] for digest in digests], "int64")

        def look_up(numbers: np.ndarray, length: np.ndarray) -> list:
            outputs = [self._logits[places[numbers]]]
            if self._layers:
                outputs.append(self._store.padded([digests[number] for number in numbers], int(length)))
            return outputs

        answers = DatasetFunction(look_up)

        def add(x: dict, *rest: Any) -> Any:
            x = dict(x)
            given = [x.pop(ROW_NUMBERS), tf.shape(x["token_ids"])[1]]
            outputs = tf.numpy_function(answers, given, types, stateful=False)
            rows, length = x["token_ids"].shape
            outputs[0].set_shape([rows, self._logits.shape[1]])
            x[LOGITS] = outputs[0]
            if self._layers:
                outputs[1].set_shape([rows, length, self._width])
                x[STATES] = outputs[1]
            return (x, *rest) if rest else x

        added = dataset.map(add, num_parallel_calls=tf.data.AUTOTUNE)
        return answers.until_end_of(added).prefetch(BATCHES_AHEAD)

    def _keep_states(self, teacher: Task, examples: Examples, first: np.ndarray, digests: Sequence[bytes]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="tftransformer-teacher-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        dtype = teacher.encoder.get_layer("embeddings").compute_dtype
        self._store = ActivationStore(folder, self._width, dtype)
        size = int(examples.lengths[first].sum()) * self._width * self._store.numpy_dtype.itemsize
        free = shutil.disk_usage(folder).free
        if size > free // 2:
            raise TransformerError(
                f"blocks need {readable(size)} of disk for the teacher's hidden states, and {readable(free // 2)} may be "
                "used: take fewer rows or fewer blocks"
            )
        sums = np.zeros((3, self._width))

        def rows() -> Iterator[tuple[list[bytes], np.ndarray, np.ndarray]]:
            for indices, logits, states in self._outputs(teacher, examples, first):
                self._logits[indices] = logits
                lengths = examples.lengths[indices]
                vectors = states[np.arange(states.shape[1]) < lengths[:, None]]
                exact = vectors.astype("float64")
                sums[:] += [np.full(self._width, len(exact)), exact.sum(axis=0), np.square(exact).sum(axis=0)]
                yield [digests[i] for i in indices], lengths, vectors

        self._store.add(rows())
        count, total, squares = sums
        varying = squares / count - np.square(total / count)
        per_layer = varying.reshape(len(self._layers), -1).mean(axis=1)
        self.variances = [max(float(variance), 1e-6) for variance in per_layer]

    def _outputs(
        self, teacher: Task, examples: Examples, rows: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Any]]:
        """Rows of a batch, their logits (n, C), and their hidden states (n, T, width) where they are kept."""

        def run(inputs: dict) -> tuple:
            with tapped(*(f"encoder_block_{layer}" for layer in self._layers)) as taps:
                logits = tf.cast(teacher(inputs, training=False), tf.float32)
            states = [taps[f"encoder_block_{layer}"] for layer in self._layers]
            return logits, tf.concat(states, -1) if states else None

        order = rows[np.argsort(-examples.lengths[rows], kind="stable")]
        if len(order) > _EAGER_BATCHES * _ROWS:
            run = tf.function(run, reduce_retracing=True, autograph=False)
        with Progress(len(order), "teacher, texts") as bar:
            for start in range(0, len(order), _ROWS):
                indices = order[start : start + _ROWS]
                inputs = examples.features(indices, int(examples.lengths[indices].max()))
                logits, states = run({name: tf.constant(value) for name, value in inputs.items()})
                yield indices, logits.numpy(), None if states is None else states.numpy()
                bar.update(len(indices))


def _check_same_tokens(own: Sequence[bytes], taught: Sequence[bytes]) -> None:
    other = next((i for i, (a, b) in enumerate(zip(own, taught)) if a != b), None)
    if other is not None:
        raise TransformerError(
            f"blocks need a teacher that makes the same tokens as the student; of row {other} (from 0) they make others: "
            "take one vocabulary and sequence_length, or leave blocks out"
        )
