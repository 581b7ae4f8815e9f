"""Shared code of tasks that write texts: training, writing, serving and saving."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, check_whole
from tftransformer.export.serving import Serving, Signature
from tftransformer.finetuning.tracing import TracedForm
from tftransformer.models import generation
from tftransformer.models.families import FAMILIES
from tftransformer.models.generation.searches import search_from_config, search_to_config
from tftransformer.progress import Progress
from tftransformer.tasks.network import Network
from tftransformer.tasks.saved import task_on_preset
from tftransformer.tasks.task import Task
from tftransformer.text.base import Tokenizer
from tftransformer.training.compilation import compile_arguments, remembered

# Of `compile` and `fit` for weights that start from random numbers, tried on Multi30k (docs/measurements.md).
FROM_NOTHING = {"learning_rate": 4e-3, "epochs": 30}
# The same for weights that others pretrained, as transformers' run_clm.py has them.
PRETRAINED = {"learning_rate": 5e-5, "epochs": 3}


class WritingNetwork(Network):
    """A network that gives the logits (B, T, V) of tokens; subclasses say how.

    Args:
        config: Sizes and choices of the network.
        build: Function that makes the model that holds the layers.
        dtype: Keras dtype policy of the layers. None: the global one.
    """

    def __init__(self, config: TransformerConfig, build: Callable[..., keras.Model], dtype: Any = None) -> None:
        self.config = config
        self.model = build(config, dtype=dtype)

    @property
    def layers(self) -> dict[str, Any]:
        return {"encoder": self.model}


class TextWriter(Task):
    """A task whose network gives the logits of tokens, and that writes texts with them.

    Subclasses say how integer inputs become texts (`written`) and which settings are theirs.

    Args:
        config, tokenizer: As for `Task`.
        search: How texts are found, or its config.
        parts: The other arguments of `Task`.
    """

    # Builder that makes the network (`models.families.Family.architecture`).
    architecture: ClassVar[str]
    # Settings of a folder that the constructor takes.
    kept_settings: ClassVar[tuple[str, ...]] = ("sequence_length", "search")
    own_weights: ClassVar[tuple[str, ...]] = ()
    label_smoothing: ClassVar[float] = 0.0

    def __init__(self, config: TransformerConfig, tokenizer: Tokenizer, *, search: Any, **parts: Any) -> None:
        super().__init__(config, tokenizer, **parts)
        self.search = search_from_config(search) if isinstance(search, dict) else search
        search_to_config(self.search)  # which refuses what could not be saved
        self.recommended_hparams = dict(FROM_NOTHING)
        self.newly_initialized = ()
        self._writers: dict[Any, Callable] = {}
        self.built = True

    # What subclasses say.

    def written(
        self, inputs: Mapping[str, Any], search: Any, max_new_tokens: int, constraints: Sequence[Callable] = ()
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Texts (B, K) and their scores (B, K) for integer inputs, in TensorFlow operations."""
        raise NotImplementedError

    @property
    def writing_tokenizer(self) -> Tokenizer:
        """The tokenizer of what is written."""
        return self.tokenizer

    @property
    def longest_written(self) -> int:
        """Number of tokens at which a written text ends at the latest, where nobody says."""
        return self.sequence_length

    # Training.

    def validation_data(self, data: Any, batch_size: int, steps: int | None = None) -> Any:
        # Pairs, or texts to learn whole, are complete as they are.
        return super().validation_data((data,) if isinstance(data, list) else data, batch_size, steps)

    @remembered
    def compile(
        self,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **options: Any,
    ) -> None:
        """`keras.Model.compile`, with the usual recipe for whatever is not given.

        Args:
            optimizer: A Keras optimizer. None: AdamW; from nothing its second moment decays with 0.98 and its rate with the
                inverse square root of the update behind the warmup (Vaswani et al. 2017).
            loss: Takes ids (B, T) and logits (B, T, V). None: cross-entropy, a mean over the real tokens of the batch, with
                label smoothing 0.1 where texts become others (`Seq2Seq`).
            metrics: As in Keras.
            weighted_metrics: Metrics that are given the weights (B, T) of the tokens. None: the perplexity, without
                smoothing.
            options: As for `TextClassifier.compile`: those of the optimizer, `label_smoothing`, `l1`, `l2`, and all other
                arguments of Keras's compile.

        Raises:
            TransformerError: An option is unknown or out of range, or is for the optimizer beside one.
        """
        if loss is None:
            options.setdefault("label_smoothing", self.label_smoothing)
        defaults = {} if self.load_summary else {"schedule": "inverse_sqrt", "beta_2": 0.98}
        options["weighted_metrics"] = weighted_metrics
        keras.Model.compile(self, **compile_arguments(self, optimizer, loss, metrics, options, **defaults))

    def test_step(self, data: Any) -> dict[str, Any]:
        # As Keras's, but batches count by their tokens, as in the loss, and not by their rows.
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        loss = self._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weights, training=False)
        # Keras's losses are divided by the number of replicas.
        loss = loss * self.distribute_strategy.num_replicas_in_sync
        tokens = tf.size(y) if weights is None else tf.reduce_sum(weights)
        self._loss_tracker.update_state(loss, sample_weight=tokens)
        return self.compute_metrics(x, y, y_pred, sample_weight=weights)

    # Writing.

    def write(
        self,
        batches: Iterable[Mapping[str, Any]] | None,
        inverse: np.ndarray | None,
        search: Any,
        max_new_tokens: int | None,
        constraints: Sequence[Callable],
        verbose: bool,
    ) -> list:
        """The texts for batches of integers: what `generate` of subclasses returns.

        Args:
            batches: Batches of inputs; None for no rows.
            inverse: Places of the rows in their first order, where batches are sorted.
            search, max_new_tokens, constraints, verbose: As for `generate`.
        """
        search = self.search if search is None else search
        max_new_tokens = self.longest_written if max_new_tokens is None else max_new_tokens
        check_whole("max_new_tokens", max_new_tokens)
        if getattr(search, "num_beams", 1) > (most := self.writing_tokenizer.vocabulary_size):
            raise TransformerError(f"num_beams must be at most {most}, the vocabulary's tokens; got {search.num_beams}")
        if batches is None:
            return []
        write = self._writer(search, max_new_tokens, tuple(constraints))
        found: list[np.ndarray] = []
        rows = len(inverse) if inverse is not None else 0
        with Progress(rows, "writing") if verbose and rows else _Silent() as bar:
            for inputs in batches:
                written, _ = write(inputs)
                found.append(written.numpy())
                bar.update(len(found[-1]))
        strings = np.concatenate(found)
        strings = strings if inverse is None else strings[inverse]
        decoded = [[text.decode() for text in row] for row in strings]
        return decoded if getattr(search, "num_texts", 1) > 1 else [row[0] for row in decoded]

    def predict(self, x: Any, batch_size: int | None = None, **_: Any) -> np.ndarray:
        """Return what `generate` writes for each text with the task's own search, (B,) strings."""
        found = self.generate(x, batch_size=batch_size)
        return np.array([text if isinstance(text, str) else text[0] for text in found])

    def _writer(self, search: Any, max_new_tokens: int, constraints: tuple) -> Callable:
        """A compiled `written`, kept for the next call."""
        if self._traces.outdated("generate", TracedForm(self)):
            self._writers.clear()
        key = (search, max_new_tokens, constraints)
        # A search that draws other numbers each time has them in its graph.
        if key in self._writers and getattr(search, "seed", 0) is not None:
            return self._writers[key]
        write = tf.function(
            lambda inputs: self.written(inputs, search, max_new_tokens, constraints),
            autograph=False,
            reduce_retracing=True,
        )
        self._writers[key] = write
        return write

    def never_written(self) -> tuple[generation.Banned, ...]:
        """Return the ban of special tokens that are no part of a text, except its end; empty where there are none."""
        tokenizer = self.writing_tokenizer
        special = {tokenizer.pad_id, tokenizer.start_id, tokenizer.mask_id} - {tokenizer.separator_id}
        return (generation.Banned(sorted(special)),) if special else ()

    # Serving and saving.

    def serving(self, computed: "TextWriter | None" = None) -> Serving:
        """Strings in, strings out: `text` (B,) to `text` and its `score` (B,), by the task's own search."""
        computed = self if computed is None else computed

        def write(task: "TextWriter", inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            texts, scores = task.written(inputs, self.search, self.longest_written)
            return {"text": texts[:, 0], "score": scores[:, 0]}

        return Serving({
            "serving_default": Signature(
                inputs=("text",),
                sequence_length=self.sequence_length,
                prepare=self.preprocessor.graph,
                network=lambda inputs: write(computed, inputs),
                layers=lambda inputs: write(self, inputs),
                answers=lambda written: written,
                compared="score",
                shape=(),
            )
        })  # fmt: skip

    @classmethod
    def from_preset(cls, preset: str | os.PathLike | Preset, *, load_weights: bool = True, **options: Any) -> Self:
        """The task that a folder was saved from, or one on a pretrained network.

        Args:
            preset: A folder of `save_to_preset`, or a checkpoint of a family with such a network (`tt.models.families`)
                in any form that `tt.checkpoints.load_preset` takes; or what `load_preset` made of it.
            load_weights: False builds the same network from random numbers.
            options: Arguments of the constructor, which take the place of the saved ones, and `dropout`.

        Raises:
            TransformerError: The preset is unknown or broken, or has no decoder.
        """
        found = preset if isinstance(preset, Preset) else load_preset(preset)
        task = task_on_preset(cls, found, options, kept=cls.kept_settings, fresh=(), load_weights=load_weights)
        again = {**FROM_NOTHING, "learning_rate": FROM_NOTHING["learning_rate"] / 10}
        learned = dict(PRETRAINED) if found.class_name is None else again
        task.recommended_hparams = learned if load_weights else dict(FROM_NOTHING)
        task.newly_initialized = ()
        return task

    @classmethod
    def check_preset(cls, preset: Preset) -> None:
        saved_task = preset.class_name == keras.saving.get_registered_name(cls)
        pretrained = preset.class_name is None and FAMILIES[preset.config.family].architecture == cls.architecture
        if not (saved_task or pretrained):
            raise TransformerError(
                f"a {cls.__name__} needs a preset with a decoder of its kind; {preset.name} has none"
            )  # fmt: skip

    def task_settings(self) -> dict:
        return {**super().task_settings(), "search": search_to_config(self.search)}


class _Silent:
    """A progress that shows nothing."""

    def __enter__(self) -> "_Silent":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def update(self, _: int) -> None:
        pass
