"""A teacher's outputs for the rows of a training set, computed once and found again by a row's tokens."""

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tftransformer.data.autotuning import BATCHES_AHEAD
from tftransformer.data.dataset_functions import DatasetFunction
from tftransformer.data.examples import ROW_NUMBERS, Examples
from tftransformer.errors import TransformerError
from tftransformer.finetuning.activation_store import ActivationStore, readable
from tftransformer.layers.taps import tapped
from tftransformer.progress import Progress

# What a batch holds beside a student's own inputs.
LOGITS, STATES = "teacher_logits", "teacher_states"
_ROWS = 64
# Tracing takes longer than running so many batches eagerly.
_EAGER_BATCHES = 8


class TeacherOutputs:
    """What a teacher makes of texts, by the student's tokens of them.

    Two texts of which the student sees the same tokens are one row: the first one's outputs count.

    Args:
        teacher: A task with logits, `labels`, `encoder` and `config`.
        labels: The student's, which are the teacher's in any order.
        examples: The student's, of texts that they know.
        layers: Applications of the teacher's blocks whose outputs are kept, one vector a token; they need both to make
            the same tokens of every text.

    Attributes:
        variances: Of each layer's vectors, the mean over their D numbers.

    Raises:
        TransformerError: `layers` are given and tokens differ, or the disk has no room for the vectors.
    """

    def __init__(
        self, teacher: Any, labels: Sequence[str], examples: Examples, layers: Sequence[int] = ()
    ) -> None:
        taught = teacher.examples_like(examples)
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
        columns = [teacher.labels.index(label) for label in labels]
        self._logits = self._logits[:, columns]

    def __len__(self) -> int:
        return len(self._rows)

    def covers(self, examples: Examples) -> bool:
        """Whether every row is known."""
        return all(digest in self._rows for digest in examples.digests)

    def batches(self, dataset: tf.data.Dataset, examples: Examples) -> tf.data.Dataset:
        """Batches of x, (x, y) or (x, y, weight) with `teacher_logits` (B, C), and where there are layers
        `teacher_states` (B, T, number of layers * D), in x.

        Args:
            dataset: Of batches of the examples, with the numbers of their rows.
            examples: Some that are covered.
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

    def _keep_states(
        self, teacher: Any, examples: Examples, first: np.ndarray, digests: Sequence[bytes]
    ) -> None:
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
        self, teacher: Any, examples: Examples, rows: np.ndarray
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
            "take one vocabulary and max_length, or leave blocks out"
        )
