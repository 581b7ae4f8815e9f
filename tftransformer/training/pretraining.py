"""Pretraining of an encoder: masked language modelling, distillation, or both."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer import patterns
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.training.distillation import Distillation
from tftransformer.training.encoder_states import encoder_states
from tftransformer.training.masked_language import MaskedLanguageHead, masked_loss
from tftransformer.training.pretraining_plan import check_objective
from tftransformer.training.steps import Steps


class Pretrainer:
    """An encoder, its objective and its optimizer.

    Args:
        encoder: Of `build_encoder`; trained in place.
        config: Its config.
        objective: "masked_lm", "distillation" or "both" (the student then sees masked texts and the teacher
            the whole ones).
        distillation: The distillation loss; needed by the last two.
        learning_rate: Peak of AdamW's rate. 5e-4: deep post-norm encoders did not learn at 1e-3 here.
        weight_decay: On kernels and tables, not on biases and norms.
        clip: Largest global norm of the gradient.
        dtype: Policy of the masked-LM head; None: the global one.

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
        weight_decay: float = 0.01,
        clip: float = 1.0,
        dtype: str | None = None,
    ) -> None:
        check_objective(objective)
        if objective != "masked_lm" and distillation is None:
            raise TransformerError(f"objective {objective!r} needs a teacher; got none")
        if not learning_rate > 0:
            raise TransformerError(f"learning_rate must be above 0; got {learning_rate}")
        self.encoder, self.config = encoder, config
        self.distillation = distillation if objective != "masked_lm" else None
        self.learning_rate = learning_rate
        self.head = None
        self.variables = list(encoder.trainable_variables)
        if objective != "distillation":
            token = encoder.get_layer("embeddings").token
            self.head = MaskedLanguageHead(
                token, config.activation, config.layer_norm_epsilon, dtype=dtype, name="lm_head"
            )
            self.head.build((None, config.hidden_dim))
            self.variables += self.head.trainable_variables
        self.optimizer = keras.optimizers.AdamW(
            learning_rate, weight_decay=weight_decay, global_clipnorm=clip
        )
        self.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.optimizer.build(self.variables)
        trained = {id(variable) for variable in self.variables}
        models = [encoder, self.head, self.distillation.teacher if self.distillation else None]
        fixed = [v for model in models if model is not None for v in model.variables if id(v) not in trained]
        self._steps = Steps(self._targets, self._losses, self.variables, fixed, self.optimizer)

    def addresses(self) -> dict[str, Any]:
        """The weights of the encoder and, under `lm_head/`, of the masked-LM head, as checkpoints name them."""
        head = {} if self.head is None else {patterns.address(v, self.head): v for v in self.head.weights}
        return patterns.addresses(self.encoder) | head

    def step(self, batch: Mapping[str, np.ndarray], learning_rate: float | None = None) -> dict[str, float]:
        """One optimizer step; returns `loss` and its terms as they were before it."""
        if learning_rate is not None:
            self.optimizer.learning_rate.assign(learning_rate)
        return self._steps.train(batch)

    def evaluate(self, batches: Iterable[Mapping[str, np.ndarray]]) -> dict[str, float]:
        """`loss` and its terms over several batches, each weighted by what it asks for."""
        sums: dict[str, float] = {}
        total = 0.0
        for batch in batches:
            weight = float(
                batch["mask_weights"].sum() if "mask_weights" in batch else batch["padding_mask"].sum()
            )
            total += weight
            for name, value in self._steps.evaluate(batch).items():
                sums[name] = sums.get(name, 0.0) + weight * value
        return {name: value / max(total, 1.0) for name, value in sums.items()}

    def get_state(self) -> dict[str, np.ndarray]:
        """Weights, moments of the optimizer and what the loss has measured, as arrays by name."""
        state = {f"weight/{i}": ops.convert_to_numpy(v) for i, v in enumerate(self.variables)}
        state.update({f"slot/{i}": ops.convert_to_numpy(v) for i, v in enumerate(self.optimizer.variables)})
        if self.distillation is not None:
            state.update({f"loss/{name}": value for name, value in self.distillation.get_state().items()})
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `get_state`; before the first step.

        Raises:
            TransformerError: The state is another model's.
        """
        groups = {"weight": self.variables, "slot": self.optimizer.variables}
        for prefix, variables in groups.items():
            arrays = [state.get(f"{prefix}/{i}") for i in range(len(variables))]
            fits = all(
                a is not None and a.shape == tuple(v.shape) for a, v in zip(arrays, variables, strict=True)
            )
            if not fits or f"{prefix}/{len(variables)}" in state:
                raise TransformerError(
                    "the checkpoint to resume from is of a model with other sizes or objective"
                )
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
        if self.distillation is not None:
            self.distillation.set_state(
                {
                    name: state[f"loss/{name}"]
                    for name in self.distillation.get_state()
                    if f"loss/{name}" in state
                }
            )

    def _targets(self, batch: Mapping[str, Any]) -> Any:
        return self.distillation.targets(batch) if self.distillation is not None else {}

    def _losses(self, batch: Mapping[str, Any], targets: Any) -> dict[str, Any]:
        states = encoder_states(self.encoder, self.config, batch, training=True)
        total, terms = 0.0, {}
        if self.head is not None:
            terms["masked_lm"] = masked_loss(self.head, states[-1], batch)
            total = total + terms["masked_lm"]
        if self.distillation is not None:
            hidden = [states[block] for block in self.distillation.student_blocks]
            distilled, more = self.distillation.loss(hidden, batch, targets)
            terms.update(more)
            total = total + distilled
        return {"loss": total, **terms}
