"""The task, a Keras model over raw text: texts become integer batches, then Keras's own loops run."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from tftransformer import patterns
from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.data.buckets import length_buckets
from tftransformer.data.examples import Examples
from tftransformer.data.pipeline import ordered_batches
from tftransformer.data.split import Split
from tftransformer.data.stream_labels import plain_refusals
from tftransformer.data.tagged import TaggedSplit
from tftransformer.errors import TransformerError
from tftransformer.export.serving import Serving, export
from tftransformer.finetuning.activation_cache import ActivationCache
from tftransformer.finetuning.adapter_config import finetuning_config
from tftransformer.finetuning.freezing import FreezeSummary
from tftransformer.finetuning.frozen_part import FrozenPart
from tftransformer.finetuning.methods import Method
from tftransformer.finetuning.recipe import INFERENCE_BATCH_SIZE, Recipe, complete_hparams
from tftransformer.finetuning.strategy import Strategy, as_strategy
from tftransformer.finetuning.tracing import TracedForm, TracedForms
from tftransformer.models.task import Task as TaskInterface
from tftransformer.objectives.objective import Objective
from tftransformer.preprocessing.datasets import is_dataset, is_tokenized, texts_alone, with_known_size
from tftransformer.preprocessing.text import TextPreprocessor
from tftransformer.tasks.network import EncoderNetwork, Network, vectors_below_head
from tftransformer.tasks.saved import (
    built_config,
    built_tokenizer,
    check_fit,
    save_task,
    task_from_config,
    task_on_preset,
)
from tftransformer.text.base import Tokenizer
from tftransformer.training.batches import training_batches
from tftransformer.training.compilation import Compilation, compile_arguments, remembered, restore_compilation
from tftransformer.training.fit import fit
from tftransformer.training.keras_arguments import checked_batch_size, first_batches
from tftransformer.training.replicas import first_batch, weigh_replicas


@dataclasses.dataclass
class _Tuning:
    """Fine-tuning of a task, in an object of its own: Keras and TensorFlow take a model's attributes for its parts."""

    methods: tuple[Method, ...] = ()
    rate: float | None = None
    # Addresses of the weights that train at that rate.
    training: frozenset[str] = frozenset()
    loss_step: Any = None


class Task(TaskInterface):
    """A Keras model of four parts: a preprocessor, a network, its head and an objective; `fit`, `evaluate` and `predict` take texts.

    Texts are tokenised once, in `tf.data`; the compiled step sees integers only. Subclasses choose the parts, and say what
    else a folder is to hold of them. Another computation is a `Network` of its own and not a `call`: the network says
    which of its outputs may be stored while it is frozen, and what a server runs.

    Args:
        config: Sizes and choices of the encoder.
        tokenizer: Text to ids; its vocabulary fits `config.vocabulary_size`.
        objective: Meaning of the output; the task saves its settings. None: an `Objective`, with which only texts
            without targets can be given.
        preprocessor: Makes of the tokenizer and the sequence length the object that turns texts into network inputs.
        network: Makes the network below the head, of the config and `options`.
        sequence_length: Longest sequence in tokens. None: the config's `max_sequence_length`.
        seed: Random seed of the order of the training examples.
        dtype: Keras dtype policy. None: the global one.
        name: Name of the Keras model.
        options: For the network; those of an `EncoderNetwork` are `pooling`, `pooler`, `extra_blocks` and `head_dropout`.

    Raises:
        TransformerError: A length that the encoder cannot take, a vocabulary of another size, or what the network refuses.

    Example:
        >>> class Grades(tt.objectives.Objective):
        ...     def encode(self, targets):
        ...         return tt.data.Values(np.asarray(targets, "float32"))
        >>> class Rater(tt.tasks.Task):
        ...     def __init__(self, config, tokenizer, **options):
        ...         super().__init__(config, tokenizer, objective=Grades(), **options)
        ...         self.add_head(keras.layers.Dense(1, name="head"))
        >>> rater = Rater.from_preset("bert_12x192_en_uncased")
        >>> rater.compile("adam", "mse")
        >>> history = rater.fit(["no refund", "quick and kind"], [1.0, 5.0], verbose=0)
        >>> rater.predict(["too late"], verbose=0).shape
        (1, 1)
    """

    # Settings of a preset that a new task on its encoder takes over.
    kept_settings: ClassVar[tuple[str, ...]] = (
        "pooling", "pooler", "extra_blocks", "sequence_length", "head_dropout"
    )  # fmt: skip
    # Addresses that may start from random numbers when a preset's weights are loaded: they belong to the task.
    own_weights: ClassVar[tuple[str, ...]] = EncoderNetwork.own_weights
    # Whether `compile` left it open if steps are compiled by XLA.
    xla_is_automatic = False

    def __init__(
        self,
        config: TransformerConfig | dict,
        tokenizer: Tokenizer | dict,
        *,
        objective: Objective | None = None,
        preprocessor: Callable[[Tokenizer, int], TextPreprocessor] = TextPreprocessor,
        network: Callable[..., Network] = EncoderNetwork,
        sequence_length: int | None = None,
        seed: int = 0,
        dtype: Any = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(dtype=dtype, name=name)
        config, tokenizer = built_config(config), built_tokenizer(tokenizer)
        check_fit(config, tokenizer, sequence_length)
        self.config = config
        self.objective = Objective() if objective is None else objective
        self.preprocessor = preprocessor(tokenizer, sequence_length or config.max_sequence_length)
        self.seed = seed
        self.load_summary = None
        # What the makers of the preset found to work: `learning_rate`, `frozen_learning_rate`, `epochs`.
        self.recommended_hparams: dict[str, Any] = complete_hparams({}, config.hidden_dim)
        # Addresses of weights that no checkpoint filled: they train at a higher rate.
        self.newly_initialized: tuple[str, ...] = (".*",)
        self._traces = TracedForms()
        self._compilation: Compilation | None = None
        self._tuning = _Tuning()
        self.network = network(config, dtype=self.dtype_policy, **options)
        for attribute, layers in self.network.layers.items():
            setattr(self, attribute, layers)

    def add_head(self, head: keras.layers.Layer) -> None:
        """Put in the head, from what the network gives to the output, with which the model is complete."""
        head.build((None, *([None] if self.network.pooling is None else []), self.network.width))
        self.head = head
        # Layers of another network may wait for a first call, which Keras then makes.
        self.built = all(layer.built for layer in self._flatten_layers(include_self=False))

    # The network.

    def call(self, inputs: dict, training: bool | None = None) -> Any:
        x = self.pooled(inputs, training)
        return x if self.head is None else self.head(x, training=training)

    def pooled(self, inputs: dict, training: bool | None = None) -> Any:
        """The vectors (B, D) that the head sees, of integer inputs; (B, T, D) without pooling."""
        return self.network(inputs, training)

    def frozen_part(self) -> FrozenPart | None:
        """The part whose outputs stay the same in every epoch; None where there is none."""
        return self.network.frozen_part()

    # How it is served.

    def serving(self, computed: "Task | None" = None) -> Serving:
        """Return what it takes and answers where it is served, for any format of export.

        Args:
            computed: The copy in another precision that the served network is made of; None: this model itself.
        """
        signature = self.objective.signature(
            inputs=self.preprocessor.names,
            sequence_length=self.preprocessor.pack.sequence_length,
            prepare=self.preprocessor.graph,
            network=(self if computed is None else computed).served_network(),
            layers=lambda inputs: self(inputs, training=False),
        )
        return Serving({"serving_default": signature}, self.objective.served_labels)

    def served_network(self) -> Callable[[Mapping[str, tf.Tensor]], tf.Tensor]:
        """From integer inputs to the output, in the form that a server runs fastest."""
        pooled = self.network.served(bool(self.text_pairs))
        return pooled if self.head is None else lambda inputs: self.head(pooled(inputs))

    def export(self, folder: str | os.PathLike, format: str = "tf_saved_model", **options: Any) -> None:
        """Write it for servers, strings in and answers out.

        Args:
            folder: Where to; appears whole or not at all.
            format: One of `export.FORMATS`.
            options: `overwrite` and `dtype`; see `export.export`.

        Raises:
            TransformerError: The format is unknown, the folder holds files, or what was written does not answer as
                this model does.
        """
        export(self, folder, format, **options)

    # keras-hub's names of the parts.

    @property
    def backbone(self) -> keras.Model:
        """The encoder."""
        return self.encoder

    # What is asked of the preprocessor most.

    @property
    def tokenizer(self) -> Tokenizer:
        """From texts to ids."""
        return self.preprocessor.tokenizer

    @property
    def sequence_length(self) -> int:
        """Longest sequence in tokens, special tokens included."""
        return self.preprocessor.sequence_length

    @property
    def text_pairs(self) -> bool | None:
        """True if it takes pairs of texts; None until `fit` is given pairs or single texts."""
        return self.preprocessor.pairs

    def preprocess(self, texts: Any, targets: Any = None, sample_weight: Any = None) -> Examples:
        """Tokenised examples of texts in any form that `fit` takes.

        `fit`, `evaluate`, `predict` and `report` take them in place of the texts, so that what is used several times is
        tokenised once.

        Args:
            texts: A Split, texts, pairs or a finite dataset, see `data.texts.as_texts`; or `Examples`, which are
                returned as they are.
            targets: Labels, where the texts come without.
            sample_weight: A weight for each text.

        Returns:
            `Examples`, which `data.pipeline` makes batches of.

        Raises:
            TransformerError: The texts or labels are not what the task takes, or the examples are another task's.
        """
        return self.preprocessor.examples(texts, targets, sample_weight, self.objective)

    # How it is fine-tuned.

    def apply(self, methods: Strategy | Method | str | Sequence[Method | str]) -> FreezeSummary:
        """Choose how this model is fine-tuned; before `compile`, which reads it, as `fit` does.

        Args:
            methods: A method such as `tt.LoRA(rank=8)`, a string for one such as "lora:8", or several in a list
                ("lora:8+layerwise:0.9") where they combine. `finetuning.methods` has them all.

        Returns:
            A summary of what is frozen now.

        Raises:
            TransformerError: A method does not fit the model, or two want the same place; the model is left as it was.

        Example:
            >>> print(classifier.apply("freeze:1"))
            frozen: embeddings, encoder_block_0
            training: ... of ... parameters (... %)
        """
        return as_strategy(methods).apply(self)

    @property
    def methods(self) -> tuple[Method, ...]:
        """Of the methods applied, those that `compile` and `fit` have to know of."""
        return self._tuning.methods

    @methods.setter
    def methods(self, methods: Sequence[Method]) -> None:
        self._tuning.methods = tuple(methods)

    @property
    def method_rate(self) -> float | None:
        """Highest learning rate that the methods applied want, as long as no other weights train than they left; else None."""
        if self._tuning.rate is None or not self._training() <= self._tuning.training:
            return None
        return self._tuning.rate

    @method_rate.setter
    def method_rate(self, rate: float | None) -> None:
        self._tuning.rate, self._tuning.training = rate, self._training()

    def _training(self) -> frozenset[str]:
        return frozenset(name for name, weight in patterns.addresses(self).items() if weight.trainable)

    # Keras's loops.

    @remembered
    def compile(self, optimizer: Any = None, loss: Any = None, metrics: Any = None, **options: Any) -> None:
        """`keras.Model.compile`, with the usual recipe for whatever is not given.

        Args:
            optimizer: A Keras optimizer. None: AdamW as `finetuning.build_optimizer` makes it, with linear warmup and
                decay: at the rate that the methods applied want (`Method.rate`), such as 1e-3 for LoRA; else, for pretrained weights,
                at the one that the preset advises, 1e-4 for encoders narrower than 512 and 2e-5 for others. More for fresh ones.
            loss, metrics: None: those of the objective. For classes that is cross-entropy, over all labels or, multi-label,
                for each, with accuracy and macro-F1; multi-label, micro- and macro-F1. Of classes Keras's losses and metrics
                by name, function or object mean what they say of `predict`'s probabilities, cross-entropies without
                `from_logits` included; a loss of the user's own is given logits (B, C).
            options: `learning_rate`, `schedule`, `warmup`, `weight_decay`, `global_clipnorm`,
                `gradient_accumulation_steps`, `carry_accumulation`, `fresh_multiplier` (for the optimizer;
                see `finetuning.build_optimizer`), `label_smoothing`, `l1`, `l2`, and all other arguments of Keras's compile.

        Raises:
            TransformerError: An option is unknown or out of range, or is for the optimizer beside one; or a loss or
                a metric is unknown, or for another kind of output.
        """
        super().compile(**compile_arguments(self, optimizer, loss, metrics, options))

    @plain_refusals
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int | Recipe | None = None,
        verbose: str | int = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        activation_cache: str | os.PathLike | ActivationCache = "auto",
        packing: bool = False,
        augmentation: Augmentation | str | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """`keras.Model.fit` over raw text.

        Args:
            x: A `Split`, or `Examples` that `preprocess` made of one; texts in a list, string array or column; pairs as tuples in a list; a table with the column
                `text` and, for pairs, `text_pair` (see `data.texts.as_texts`); a `tf.data.Dataset` of (text,
                label) or (text, label, weight), batched or not, whose order is kept; or a dataset of integer batches,
                as a task makes them. A dataset of unknown size is read once to count it.
            y: Labels, by name or id as `data.labels` says for all forms of data, where `x` comes without.
            batch_size: Rows a batch, over all replicas; 16 by default.
            epochs: Number of the last epoch. None: what the recipe says for this encoder and so many rows
                (`finetuning.recipe`), which it prints: updates enough for few rows, from a head that is solved for where only
                that is new; validation that costs a quarter of the training at most; and a new beginning at a lower rate
                where a classifier is no better than guessing after a hundred updates. Or a `Recipe` of your own.
            verbose: As in Keras.
            callbacks: Keras callbacks. A stop at the first loss that is not finite comes on its own.
            validation_split: Fraction of the rows, taken from the end as Keras does, to validate on.
            validation_data: A Split, (texts, labels), (texts, labels, weights) or a dataset.
            shuffle: A new order in each epoch, by `seed`.
            class_weight: "balanced", or weights by label name or id, of at least 0.
            sample_weight: A weight for each text, at least 0. A text whose weight is 0 is left out, as if it were not there; those of
                a `tf.data.Dataset` count as rows of a batch all the same.
            activation_cache: Where the embeddings and the first blocks are frozen, "auto" runs them once and trains
                from what they gave, if the rows are seen more than once; the result is the same. A folder
                keeps it for later runs, a `ActivationCache` has more to choose, and "off" refuses.
            packing: Put the texts of each batch into as few rows of `sequence_length` tokens as hold them, where none
                sees another: the same result from fewer, larger shapes, for accelerators and long epochs.
                On CPUs batches of like lengths are faster, and with frozen blocks so are stored vectors, which texts in
                shared rows cannot be taken from.
            augmentation: Changed copies of the training texts, drawn anew in each epoch: an `Augmentation`, or a
                string such as "swap:0.1,delete:0.1". Without an activation cache: the texts are never the same.
            initial_epoch, steps_per_epoch, kwargs: As in Keras.

        Returns:
            Keras's History.

        Raises:
            TransformerError: The data do not fit the task, a weight is negative or not finite, no row has a weight above 0, a
                callback sets the rate beside a schedule, or the loss is not finite.
        """
        try:
            return fit(
                self,
                super().fit,
                x,
                y,
                sample_weight,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                validation_steps=kwargs.pop("validation_steps", None),
                shuffle=shuffle,
                class_weight=class_weight,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                activation_cache=activation_cache,
                packing=packing,
                augmentation=augmentation,
                options=kwargs,
            )
        finally:
            # What a method adds to the loss is over with its `fit`, also after an error.
            self.loss_step = None

    @plain_refusals
    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, sample_weight: Any = None, **kwargs: Any
    ) -> Any:
        """`keras.Model.evaluate` over raw text, in all the forms that `fit` takes.

        Raises:
            TransformerError: There are no rows, or no labels.
        """
        batches, _ = self.inference_batches(x, y, sample_weight, batch_size, kwargs)
        if batches is None or not isinstance(batches.element_spec, tuple):
            missing = "at least one row" if batches is None else "labels: give a Split with targets, or y"
            raise TransformerError(f"evaluate needs {missing}")
        return super().evaluate(batches, **kwargs)

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> np.ndarray:
        """Return the task's output for each text, in the order of the texts.

        Args:
            x: Texts or pairs in any form that `fit` takes; one string is a list of one. Labels are not looked at.
            batch_size: Rows a batch; 64 by default, which changes nothing but the time it takes.
            kwargs: As in Keras; `steps` takes only so many batches of the first texts.

        Returns:
            One row a text; an array without rows for no texts.
        """
        batches, inverse = self.inference_batches(texts_alone(x), None, None, batch_size, kwargs)
        if batches is None:
            return self._no_predictions()
        outputs = super().predict(batches, **kwargs)
        return outputs if inverse is None else outputs[inverse]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if training and self.loss_step is not None:
            penalties = sum(self.losses) if self.losses else 0.0
            loss = self.loss_step.loss(loss, penalties, x, y_pred, sample_weight)
        if not training or self.distribute_strategy.num_replicas_in_sync == 1:
            return loss
        by_weight = getattr(self.loss, "reduction", None) == "mean_with_sample_weight" and sample_weight is not None
        return weigh_replicas(loss, tf.reduce_sum(sample_weight) if by_weight else tf.shape(y_pred)[0])

    def train_step(self, data: Any) -> Any:
        if self.loss_step is None:
            return super().train_step(data)
        with self.loss_step.listening():
            return super().train_step(data)

    def predict_step(self, data: Any) -> Any:
        return self.objective.activate(super().predict_step(data))

    # What the head sees.

    def encode(self, texts: Any, batch_size: int | None = None) -> np.ndarray:
        """A vector for each text, where there is pooling: what the pooling gives and the head sees; for search, clusters and plots.

        Before any training on sentences these are the encoder's pooled vectors; fine-tuned, they are bent to the task.

        Args:
            texts: In any form that `predict` takes; labels are not looked at.
            batch_size: Rows a batch; None: as `predict`.

        Returns:
            (B, D) float32, D the encoder's `hidden_dim`, in the order of the texts; (0, D) for no texts.

        Example:
            >>> classifier.encode(["no refund", "late again"]).shape
            (2, ...)
        """
        if self.network.pooling is None:
            raise TransformerError(f"encode gives a vector for each text, which a {type(self).__name__} has not")
        return self.encode_batches(*self.inference_batches(texts_alone(texts), None, None, batch_size, {}))

    def encode_batches(self, batches: tf.data.Dataset | None, inverse: np.ndarray | None = None) -> np.ndarray:
        """`encode` of batches of what the network is given; `inverse` puts their rows in order."""
        vectors = vectors_below_head(self, batches)
        return vectors if inverse is None else vectors[inverse]

    # From a preset, to a folder, and in Keras's own files.

    @classmethod
    def from_preset(cls, preset: str | os.PathLike | Preset, *, load_weights: bool = True, **options: Any) -> Self:
        """The task on the encoder of a preset, with its head where the preset was saved from this class.

        Args:
            preset: As for `TextClassifier.from_preset`.
            load_weights: False builds the same network from random numbers.
            options: Arguments of the constructor, which take the place of the preset's, and `dropout`, the rate inside
                the encoder.

        Raises:
            TransformerError: The preset is unknown, broken or of another family.
        """
        found = preset if isinstance(preset, Preset) else load_preset(preset)
        same = found.class_name == keras.saving.get_registered_name(cls)
        fresh = () if same else ("head/.*",)
        return task_on_preset(cls, found, options, kept=cls.kept_settings, fresh=fresh, load_weights=load_weights)

    def save_to_preset(
        self,
        folder: str | os.PathLike,
        *,
        format: str = "tftransformer",
        head: bool = True,
        dtype: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write a folder that `from_preset` and `tt.load` read: weights, tokenizer and settings.

        Args:
            folder: Where to; appears whole or not at all.
            format: "tftransformer", or "huggingface" for a folder that transformers loads.
            head: False leaves the head, and what is known of it, out, so that an encoder remains.
            dtype: Dtype of the stored weights, such as "float16". None: as they are, bit by bit.
            overwrite: Replace a folder that holds files.

        Raises:
            TransformerError: The folder holds files, or the format is unknown or cannot express this task.

        Example:
            >>> classifier.save_to_preset("models/tickets")
        """
        save_task(self, folder, format=format, head=head, dtype=dtype, overwrite=overwrite)

    def preset_contents(self) -> dict[str, Any]:
        """Return what a folder of any format holds of it: arguments of the functions that write one."""
        return {
            "config": self.config,
            "tokenizer": self.tokenizer,
            "variables": patterns.addresses(self),
            **({} if self.network.pooling is None else {"pooling": self.network.pooling}),
        }

    def head_contents(self) -> dict[str, Any]:
        """Return what a folder holds of the head, beside its weights: arguments of the functions that write one."""
        return {}

    def huggingface_contents(self, contents: dict[str, Any]) -> dict[str, Any]:
        """Return the contents of a folder as another project's format has them."""
        return contents

    def task_settings(self) -> dict:
        """Return the settings of the network and its inputs that a preset stores."""
        return {**self.network.settings(), "sequence_length": self.sequence_length}

    def get_config(self) -> dict:
        return {
            "config": self.config.to_dict(),
            "tokenizer": self.tokenizer.spec().to_config(),
            **self.network.get_config(),
            **self.task_settings(),
            "seed": self.seed,
            **finetuning_config(self),
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "name": self.name,
        }

    @classmethod
    def check_preset(cls, preset: Preset) -> None:
        """Raise a `TransformerError` unless the task can be built on a preset."""
        if not preset.has_encoder:
            raise TransformerError(f"a {cls.__name__} needs a preset with an encoder; {preset.name} holds a decoder")

    @classmethod
    def from_config(cls, config: dict) -> Self:
        return task_from_config(cls, config)

    def get_compile_config(self) -> dict | None:
        return self._compile_config.serialize() if self.compiled and self._compile_config else None

    def compile_from_config(self, config: dict) -> None:
        self.compile_as_saved(keras.saving.deserialize_keras_object(config))
        restore_compilation(self)

    def compile_as_saved(self, settings: dict) -> None:
        """`compile` with what `get_compile_config` wrote."""
        for argument in ("loss", "metrics", "weighted_metrics"):
            self.objective.follow(settings.get(argument))
        keras.Model.compile(self, **settings)

    # What was changed after `compile`, or after a first `fit`, `evaluate` or `predict`.

    def check_compilation(self) -> None:
        """Make sure that the optimizer is for the weights that train now; called before every training.

        If layers are put in or weights frozen between `compile` and the first training, the task is compiled again with
        the arguments that `compile` was given, so that each weight has the rate that these mean.

        Raises:
            TransformerError: The optimizer has trained, or was loaded, with other weights: they would be lost.
        """
        # What `compile` makes belongs to the replicas that the model was built for.
        with self.distribute_strategy.scope():
            if not self.compiled:
                self.compile()
            elif self._compilation is not None:
                self._compilation.check(self)

    def use_rate(self, rate: float | None) -> None:
        """Compile again with a learning rate, where `compile` was given none and no optimizer."""
        if self._compilation is not None:
            self._compilation.use_rate(self, rate)

    @property
    def compiled_with(self) -> tuple[str, ...]:
        """Names of the arguments that `compile` was given, of those that decide how weights are trained."""
        return () if self._compilation is None else self._compilation.given

    def _outdated(self, function: str) -> bool:
        return self._traces.outdated(function, TracedForm(self, (*self.objective.traced(), self.loss_step)))

    def make_train_function(self, force: bool = False) -> Any:
        self.check_compilation()
        return super().make_train_function(force=self._outdated("train") or force)

    def make_test_function(self, force: bool = False) -> Any:
        return super().make_test_function(force=self._outdated("test") or force)

    def make_predict_function(self, force: bool = False) -> Any:
        return super().make_predict_function(force=self._outdated("predict") or force)

    @property
    def loss_step(self) -> Any:
        """Object by which a method, such as a teacher, adds to the loss of the `fit` that runs; None outside of one."""
        return self._tuning.loss_step

    @loss_step.setter
    def loss_step(self, step: Any) -> None:
        self._tuning.loss_step = step

    def _no_predictions(self) -> np.ndarray:
        return np.zeros((0, *self.objective.output_shape), "float32")

    # Datasets.

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None and self.distribute_strategy.num_replicas_in_sync > 1:
            iterator, data_batch = None, first_batch(self.distribute_strategy, iterator)
        super()._maybe_symbolic_build(iterator, data_batch)

    @property
    def inference_batch_size(self) -> int:
        """Rows a batch of `evaluate` and `predict`, where none is asked for: the fewer the more the encoder reads of each."""
        return max(1, INFERENCE_BATCH_SIZE // self.preprocessor.rows_per_example)

    def training_batches(self, examples: Examples, *arguments: Any) -> tf.data.Dataset:
        """Return batches of examples for `fit`; arguments as of `training.batches.training_batches`."""
        return self.preprocessor.network_batches(training_batches(self, examples, *arguments), bool(self.jit_compile))

    def ordered_batches(self, examples: Examples, batch_size: int) -> tuple[Any, np.ndarray | None]:
        """Return batches of examples sorted by length, and what puts their rows in order again; None and None for no rows."""
        if not len(examples):
            return None, None
        batches, inverse = ordered_batches(examples, batch_size, boundaries=self.boundaries(examples))
        return self.preprocessor.network_batches(batches, bool(self.jit_compile)), inverse

    def boundaries(self, examples: Examples) -> tuple[int, ...] | None:
        """Return the lengths that batches are padded to; None: as long as their longest rows."""
        # XLA compiles anew for each shape.
        return length_buckets(examples.lengths, self.preprocessor.pack.sequence_length) if self.jit_compile else None

    def stream_batches(self, dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """Return a dataset of texts as batches of what the network and the loss are given."""
        return self.preprocessor.stream(dataset, batch_size, self.objective, bool(self.jit_compile))

    def inference_batches(
        self, x: Any, y: Any, sample_weight: Any, batch_size: int | None, options: dict[str, Any]
    ) -> tuple[Any, np.ndarray | None]:
        """Return batches for `evaluate` or `predict`, and what puts their rows in order again, where they are sorted."""
        batch_size = checked_batch_size(batch_size, self.inference_batch_size)
        if is_dataset(x):
            return x if is_tokenized(x) else self.stream_batches(x, batch_size), None
        # Batches are sorted by length: Keras would count other texts than the first.
        steps = options.pop("steps", None)
        examples = first_batches(self.preprocess(x, y, sample_weight), "steps", steps, batch_size)
        return self.ordered_batches(examples, batch_size)

    def validation_data(self, data: Any, batch_size: int, steps: int | None = None) -> Any:
        """Return the `validation_data` of `fit` as examples, or as batches where it is a dataset; None for None."""
        data = with_known_size("validation_data", data, steps)
        if data is None or is_tokenized(data):
            return data
        if isinstance(data, (Split, TaggedSplit, Examples)) or is_dataset(data):
            data = (data,)
        if not isinstance(data, tuple) or not 1 <= len(data) <= 3:
            raise TransformerError(
                "validation_data must be a Split, a dataset, (texts, labels) or (texts, labels, weights); got "
                f"{type(data).__name__}"
            )
        if is_dataset(data[0]):
            return self.stream_batches(data[0], batch_size)
        return self.preprocess(*data)
