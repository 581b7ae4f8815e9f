"""Pretraining of an encoder: masked language modelling, distillation, or both, against the clock.

The loop is written out instead of `fit` because it stops, and lets the rate decay, by time.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.data.masked_lm import IGNORED
from tftransformer.errors import TransformerError, near_miss
from tftransformer.progress import Progress
from tftransformer.training.distillation import Distillation

OBJECTIVES = ("masked_lm", "distillation", "both")
LINE_SECONDS = 30.0
# The last part of a run that the rate never falls below, as a share of the peak.
FINAL_RATE = 0.02


class MaskedLanguageHead(keras.layers.Layer):
    """Logits over the vocabulary: a dense layer, GELU and a norm, then the token table (Devlin et al. 2018).

    Args:
        token: The encoder's `TokenEmbedding`, whose table is tied.
        layer_norm_epsilon: Added to the variance.

    Shapes: (M, D) -> (M, V).
    """

    def __init__(self, token: Any, layer_norm_epsilon: float = 1e-12, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._token = [token]  # in a list, so that the table stays the encoder's and is not tracked twice
        self.dense = keras.layers.Dense(
            token.output_dim, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02), name="dense"
        )
        self.norm = keras.layers.LayerNormalization(epsilon=layer_norm_epsilon, name="norm")

    def build(self, hidden_shape: tuple) -> None:
        self.dense.build(hidden_shape)
        self.norm.build(hidden_shape)
        self.bias = self.add_weight(shape=(self._token[0].input_dim,), initializer="zeros", name="bias")

    def call(self, hidden: Any) -> Any:
        hidden = self.norm(ops.gelu(self.dense(hidden), approximate=False))
        return ops.cast(self._token[0].logits(hidden), "float32") + self.bias


class Pretrainer:
    """An encoder, its objective and its optimizer.

    Args:
        encoder: Of `build_encoder`; trained in place.
        config: Its config.
        objective: "masked_lm", "distillation" or "both" (the student then sees masked texts and the teacher
            the whole ones).
        distillation: The distillation loss; needed by the last two.
        learning_rate: Peak of AdamW's rate. 5e-4: deep post-norm encoders did not learn at 1e-3 here.
        warmup: Steps over which the rate rises from 0.
        weight_decay: On kernels and tables, not on biases and norms.
        clip: Largest global norm of the gradient.

    Raises:
        TransformerError: An unknown objective, a missing teacher, or a number out of range.
    """

    def __init__(
        self,
        encoder: keras.Model,
        config: TransformerConfig,
        objective: str = "masked_lm",
        distillation: Distillation | None = None,
        *,
        learning_rate: float = 5e-4,
        warmup: int = 200,
        weight_decay: float = 0.01,
        clip: float = 1.0,
    ) -> None:
        if objective not in OBJECTIVES:
            raise TransformerError(
                f"objective must be one of {', '.join(OBJECTIVES)}; got {objective!r}"
                f"{near_miss(objective, OBJECTIVES)}"
            )
        if objective != "masked_lm" and distillation is None:
            raise TransformerError(f"objective {objective!r} needs a teacher; got none")
        if not learning_rate > 0:
            raise TransformerError(f"learning_rate must be above 0; got {learning_rate}")
        if warmup < 0:
            raise TransformerError(f"warmup must be at least 0; got {warmup}")
        self.encoder, self.config = encoder, config
        self.distillation = distillation if objective != "masked_lm" else None
        self.learning_rate, self.warmup = learning_rate, warmup
        blocks = self.distillation.student_blocks if self.distillation else [config.num_layers - 1]
        outputs = [encoder.get_layer(f"encoder_block_{i}").output for i in blocks[:-1]]
        # The encoder's own end comes last: behind the final norm, where it has one.
        self.model = keras.Model(encoder.input, [*outputs, encoder.output])
        self.head = None
        self.variables = list(encoder.trainable_variables)
        if objective != "distillation":
            self.head = MaskedLanguageHead(encoder.get_layer("embeddings").token, config.layer_norm_epsilon)
            self.head.build((None, config.hidden_dim))
            self.variables += self.head.trainable_variables
        self.optimizer = keras.optimizers.AdamW(
            learning_rate, weight_decay=weight_decay, global_clipnorm=clip
        )
        self.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.optimizer.build(self.variables)
        self._step = tf.function(self._step_once, reduce_retracing=True)

    def losses(self, batch: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """`loss` and its terms on one batch."""
        hidden = self.model({name: batch[name] for name in self.encoder.input}, training=training)
        # Keras unpacks a model's only output.
        hidden = hidden if isinstance(hidden, (list, tuple)) else [hidden]
        total, terms = 0.0, {}
        if self.head is not None:
            terms["masked_lm"] = self._masked_loss(hidden[-1], batch["targets"])
            total = total + terms["masked_lm"]
        if self.distillation is not None:
            distilled, more = self.distillation.loss(hidden, batch)
            terms.update(more)
            total = total + distilled
        return {"loss": total, **terms}

    def _masked_loss(self, hidden: Any, targets: Any) -> Any:
        # Only the hidden words pay for the product with the whole vocabulary.
        places = tf.where(targets != IGNORED)
        logits = self.head(tf.gather_nd(hidden, places))
        picked = tf.gather_nd(targets, places)
        return ops.mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=picked, logits=logits))

    def _step_once(self, batch: dict[str, Any]) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            terms = self.losses(batch, training=True)
        variables = [variable.value for variable in self.variables]
        gradients = tape.gradient(terms["loss"], variables)
        used = [(g, v) for g, v in zip(gradients, self.variables, strict=True) if g is not None]
        self.optimizer.apply([g for g, _ in used], [v for _, v in used])
        return terms

    def train(
        self,
        batches: Iterable[Mapping[str, np.ndarray]],
        *,
        minutes: float | None = None,
        steps: int | None = None,
        snapshot: Callable[[dict[str, float]], None] | None = None,
        snapshot_minutes: float = 10.0,
    ) -> dict[str, float]:
        """Train until the time is up or the steps are done, whichever is given.

        Args:
            batches: Endless, see `PretrainingBatches`.
            minutes: Wall clock to spend.
            steps: Optimizer steps to make.
            snapshot: Called now and then, and at the end, with the figures so far.
            snapshot_minutes: Between two calls.

        Returns:
            The last figures: `step`, `tokens`, `seconds`, `loss` and its terms (means over the last steps).

        Raises:
            TransformerError: Neither or both of `minutes` and `steps`, one not above 0, or a loss that is
                not finite.
        """
        if (minutes is None) == (steps is None):
            raise TransformerError(f"give either minutes or steps; got minutes={minutes} and steps={steps}")
        length = steps if minutes is None else minutes
        if not length > 0:
            raise TransformerError(f"minutes and steps must be above 0; got {length}")
        started = last_snapshot = time.monotonic()
        figures: dict[str, float] = {"step": 0, "tokens": 0, "seconds": 0.0}
        with Progress(steps, "pretraining", line_seconds=LINE_SECONDS) as bar:
            for batch in _prefetched(batches):
                done = figures["step"] / steps if steps else (time.monotonic() - started) / (60.0 * minutes)
                if done >= 1.0:
                    break
                self.optimizer.learning_rate.assign(self._rate(int(figures["step"]), done))
                terms = {name: float(value) for name, value in self._step(batch).items()}
                self._note(figures, terms, batch, time.monotonic() - started)
                bar.update(note=_line(figures, done))
                now = time.monotonic()
                if snapshot and now - last_snapshot > 60.0 * snapshot_minutes:
                    snapshot(figures)
                    last_snapshot = now
        if snapshot:
            snapshot(figures)
        return figures

    def _rate(self, step: int, done: float) -> float:
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return self.learning_rate * warm * max(FINAL_RATE, 1.0 - done)

    @staticmethod
    def _note(
        figures: dict[str, float], terms: dict[str, float], batch: Mapping[str, Any], seconds: float
    ) -> None:
        step = int(figures["step"]) + 1
        if not np.isfinite(terms["loss"]):
            raise TransformerError(
                f"the loss is {terms['loss']} at step {step}; lower learning_rate, or warm up for longer"
            )
        figures["step"], figures["seconds"] = step, seconds
        figures["tokens"] += int(np.sum(batch["padding_mask"]))
        keep = min(0.98, 1.0 - 1.0 / step)
        for name, value in terms.items():
            figures[name] = keep * figures.get(name, value) + (1.0 - keep) * value


def _prefetched(batches: Iterable[Mapping[str, np.ndarray]]) -> Iterable[dict[str, Any]]:
    """Batches made in the background while a step runs."""
    source = iter(batches)
    first = next(source)

    def all_batches():
        yield first
        yield from source

    signature = {name: tf.TensorSpec([None] * array.ndim, array.dtype) for name, array in first.items()}
    return tf.data.Dataset.from_generator(all_batches, output_signature=signature).prefetch(4)


def _line(figures: Mapping[str, float], done: float) -> str:
    terms = [
        f"{name} {value:.3f}" for name, value in figures.items() if name not in ("step", "tokens", "seconds")
    ]
    seconds = max(figures["seconds"], 1e-6)
    left = seconds * (1.0 - done) / done / 60.0 if done > 0 else float("nan")
    return (
        f"{', '.join(terms)}  {figures['tokens'] / 1e6:.2f} M tokens, "
        f"{figures['tokens'] / seconds:,.0f}/s  {left:.1f} min left"
    )
