"""Pretraining as a Keras model: an encoder and its objectives, trained by `fit` on batches of shards."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tftransformer import patterns
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import check_number
from tftransformer.finetuning.schedules import Schedule
from tftransformer.models.masked_language_head import MaskedLanguageHead
from tftransformer.models.walk import hidden_states, stack_of

BACKENDS = ("tensorflow", "jax")
# Training shows means over about so many of the last steps.
WINDOW = 50


class MaskedLanguageModelling(keras.layers.Layer):
    """The cross-entropy of masked words (Devlin et al. 2018, arXiv 1810.04805), with the head that predicts them.

    Only masked places are projected to the vocabulary.

    Args:
        encoder: A model of `build_encoder`; its token table is tied.
        config: Its config.
        dtype: Dtype policy of the head; None for the global one.
    """

    terms = ("masked_lm",)

    def __init__(self, encoder: keras.Model, config: TransformerConfig, dtype: Any = None) -> None:
        super().__init__(name="masked_language_modelling")
        token = encoder.get_layer("embeddings").token
        self.head = MaskedLanguageHead(token, config.activation, config.layer_norm_epsilon, dtype=dtype, name="lm_head")
        self.head.build((None, config.hidden_dim))
        self.built = True

    def loss_terms(self, states: Sequence[Any], batch: Mapping[str, Any]) -> dict[str, Any]:
        """Mean cross-entropy over the masked places, in nats.

        Args:
            states: (B, T, D) for each layer of the encoder.
            batch: `mask_places`, `mask_targets` and `mask_weights` (M,), see `ShardBatches`.
        """
        rows = ops.reshape(states[-1], (-1, states[-1].shape[-1]))
        logits = self.head(ops.take(rows, batch["mask_places"], axis=0))
        losses = keras.losses.sparse_categorical_crossentropy(batch["mask_targets"], logits, from_logits=True)
        weights = batch["mask_weights"]
        return {"masked_lm": ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)}


class TermMean(keras.metrics.Metric):
    """A weighted mean in evaluation; in training one over about the last `WINDOW` steps."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, dtype="float32")
        self.mean = self.add_variable((), "zeros", name="mean")
        self.weight = self.add_variable((), "zeros", name="weight")

    def update_state(self, value: Any, weight: Any, training: bool) -> None:
        weight = ops.cast(1.0 if training else weight, "float32")
        total = self.weight + weight
        total = ops.minimum(total, float(WINDOW)) if training else ops.maximum(total, 1.0)
        self.mean.assign(self.mean + (ops.cast(value, "float32") - self.mean) * weight / total)
        self.weight.assign(total)

    def result(self) -> Any:
        return ops.convert_to_tensor(self.mean)


class Pretrainer(keras.Model):
    """An encoder under pretraining; the loss is the sum of its objectives' terms.

    Calling it gives the outputs (B, T, D) of all layers of the encoder. Logs of `fit` and `evaluate` hold `loss` and
    each term.

    Args:
        encoder: A model of `build_encoder`; trained in place.
        config: Its config.
        objectives: One or several of `MaskedLanguageModelling` and `HiddenStateMatching`.

    Raises:
        TransformerError: Keras runs on a backend on which this was never tried, or there is no objective.

    Example:
        >>> pretrainer = Pretrainer(encoder, config, [MaskedLanguageModelling(encoder, config)])  # doctest: +SKIP
        >>> pretrainer.compile()  # doctest: +SKIP
        >>> pretrainer.fit(TrainingBatches(ShardBatches(shards, packed=True, mask_rate=0.15)).for_fit(),
        ...     steps_per_epoch=1000)  # doctest: +SKIP
    """

    def __init__(
        self, encoder: keras.Model, config: TransformerConfig, objectives: Sequence[Any], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if keras.backend.backend() not in BACKENDS:
            raise TransformerError(
                f"pretraining runs on Keras's backends {' and '.join(BACKENDS)}; KERAS_BACKEND is "
                f"{keras.backend.backend()!r}"
            )
        if not objectives:
            raise TransformerError("objectives must hold at least one; got none")
        self.encoder, self.config, self.objectives = encoder, config, list(objectives)
        names = ["loss", *(term for objective in objectives for term in objective.terms)]
        self.term_means = [TermMean(name) for name in names]
        self.built = True

    def compile(self, optimizer: Any = None, **kwargs: Any) -> None:
        """As Keras's; without an optimizer it is `build_optimizer()`, and on TensorFlow XLA stays off.

        XLA compiles again for each length of rows, which costs more than it gains on CPUs.
        """
        kwargs.setdefault("jit_compile", keras.backend.backend() == "jax")
        super().compile(build_optimizer() if optimizer is None else optimizer, **kwargs)
        self.optimizer.build(self.trainable_variables)

    def call(self, batch: Mapping[str, Any], training: bool = False) -> tuple[Any, ...]:
        return hidden_states(stack_of(self.encoder, self.config), batch, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        terms: dict[str, Any] = {}
        for objective in self.objectives:
            terms.update(objective.loss_terms(y_pred, x))
        terms = {"loss": sum(terms.values()), **terms}
        weight = ops.sum(x["mask_weights"] if "mask_weights" in x else x["padding_mask"])
        for mean in self.term_means:
            mean.update_state(terms[mean.name], weight, training)
        return terms["loss"]

    def get_metrics_result(self) -> dict[str, Any]:
        # Keras's own mean of the loss counts rows, of which a batch has more or fewer by their lengths.
        return {mean.name: mean.result() for mean in self.term_means}

    def addresses(self) -> dict[str, Any]:
        """The weights of the encoder and, under `lm_head/`, of the masked-LM head, as checkpoints name them."""
        heads = [objective.head for objective in self.objectives if hasattr(objective, "head")]
        named = {patterns.address(v, head): v for head in heads for v in head.weights}
        return patterns.addresses(self.encoder) | named

    def state(self) -> dict[str, Any]:
        """Return the variables of a continued run by name: weights, the optimizer's, the objectives' measurements."""
        measured = [v for objective in self.objectives for v in getattr(objective, "measured", ())]
        groups = {"weight": self.trainable_variables, "slot": self.optimizer.variables, "loss": measured}
        return {f"{group}/{i}": v for group, variables in groups.items() for i, v in enumerate(variables)}


def build_optimizer(
    learning_rate: float | Schedule = 5e-4, weight_decay: float = 0.01, global_clipnorm: float = 1.0
) -> keras.optimizers.Optimizer:
    """Keras's AdamW without decay on biases and norms. (The optimizers of `finetuning` are for TensorFlow alone.)

    Args:
        learning_rate: A number or a schedule. Deep post-norm encoders did not learn at 1e-3 here.
        weight_decay: Weight decay of kernels and tables.
        global_clipnorm: Largest norm of the whole gradient.

    Raises:
        TransformerError: A rate that is not above 0.
    """
    if not isinstance(learning_rate, Schedule):
        learning_rate = check_number("learning_rate", learning_rate, "above 0", lambda value: value > 0)
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay, global_clipnorm=global_clipnorm)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
