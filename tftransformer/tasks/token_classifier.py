"""Token classification: an encoder and a linear head that gives each word of a text a tag; names, places, parts of speech."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.checkpoints.preset import TAGGING, Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.tagged import TaggedSplit
from tftransformer.errors import TransformerError
from tftransformer.evaluation.tagging_report import TaggingReport
from tftransformer.layers.heads import ClassificationHead
from tftransformer.objectives.tagging import Tagging, TextSpan, complete_tags
from tftransformer.preprocessing.datasets import texts_alone
from tftransformer.preprocessing.tagged_text import WORDS, TaggedTextPreprocessor
from tftransformer.tasks.saved import task_on_preset
from tftransformer.tasks.task import Task
from tftransformer.text.base import Tokenizer
from tftransformer.training.keras_arguments import checked_batch_size, first_batches

_OF_TAGS = ("scheme", "decode", "overlap")


@keras.saving.register_keras_serializable(package="tftransformer")
class TokenClassifier(Task):
    """A tag for each word of raw texts, such as the names in it; usually made by `from_preset`.

    Called on integer inputs it returns (B, T, C) logits; `predict` takes sentences and returns probabilities, (W, C) for each.
    `fit` takes a `TaggedSplit`, or lists of words and lists of their tags; `predict` raw texts and lists of words, too.
    A word is tagged by its first piece. Texts longer than the encoder are read in windows, and nothing of them is dropped.

    Args:
        config: Sizes and choices of the encoder.
        tokenizer: Text to ids; its vocabulary fits `config.vocabulary_size`.
        labels: The C tags in the order of the logits, such as "O", "B-PLACE", "I-PLACE"; or plain ones, such as "NOUN".
        scheme: Meaning of the prefixes: "IOB1", "IOB2", "BIOES", "BILOU" or "plain". None: found from the tags. Tags
            that `fit` is given may be of any of them.
        decode: "viterbi", the most probable sequence that the scheme allows, or "argmax", the most probable tag of each word.
        overlap: Tokens that two windows of a long text share. None: a quarter of `sequence_length`.
        name: Name of the Keras model.
        options: `extra_blocks`, `head_dropout`, `sequence_length`, `seed` and `dtype`, as for `TextClassifier`.

    Raises:
        TransformerError: Too few or double tags, mixed schemes, an overlap that leaves no room, and as `TextClassifier`.

    Example:
        >>> tagger = TokenClassifier.from_preset("bert_12x192_en_uncased", labels=["O", "B-PLACE", "I-PLACE"])
        >>> tagger.compile(learning_rate=1e-3)
        >>> history = tagger.fit([["off", "to", "Rome"]], [["O", "O", "B-PLACE"]], epochs=1, verbose=0)
        >>> [probabilities.shape for probabilities in tagger.predict(["We are off to Rome!"], verbose=0)]
        [(6, 3)]
    """

    def __init__(
        self,
        config: TransformerConfig | dict,
        tokenizer: Tokenizer | dict,
        labels: Sequence[str],
        *,
        scheme: str | None = None,
        decode: str = "viterbi",
        overlap: int | None = None,
        name: str = "token_classifier",
        **options: Any,
    ) -> None:
        if options.pop("pooling", None) is not None or options.pop("pooler", False):
            raise TransformerError("a TokenClassifier has no pooling: it reads the vector of each token")
        objective = Tagging(labels, scheme, decode)

        def preprocessor(tokenizer: Tokenizer, length: int) -> TaggedTextPreprocessor:
            return TaggedTextPreprocessor(tokenizer, length, overlap)

        super().__init__(
            config, tokenizer, objective=objective, preprocessor=preprocessor, pooling=None, name=name, **options
        )
        self.add_head(
            ClassificationHead(len(objective.tags), self.network.head_dropout, dtype=self.dtype_policy, name="head")
        )

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike | Preset,
        labels: Sequence[str] | None = None,
        *,
        scheme: str | None = None,
        load_weights: bool = True,
        **options: Any,
    ) -> "TokenClassifier":
        """Build a tagger on the encoder of a preset, with its head where that gives these tags.

        Args:
            preset: As for `TextClassifier.from_preset`; a folder of Hugging Face's with the head of a token classification
                gives its tags.
            labels: Tags of the training data, of any scheme; those that the scheme has beside them are added. None: those of
                the preset, if it was saved with such a head.
            scheme: Scheme that is learned and predicted. None: that of the labels, IOB2 for those of IOB1.
            load_weights: False builds the same network from random numbers.
            options: Other arguments of the constructor, which take the place of the preset's, and `dropout`, the rate
                inside the encoder.

        Raises:
            TransformerError: The preset is unknown, broken or of another family, or has no tags.
        """
        found = preset if isinstance(preset, Preset) else load_preset(preset)
        saved = found.head.get("labels") if found.head.get("kind") == TAGGING else None
        if labels is None and saved is None:
            raise TransformerError(f"labels must be given: the preset {found.name!r} has no head that gives tags")
        same = saved is not None and (labels is None or set(labels) <= set(saved)) and scheme is None
        if same:
            options["labels"] = saved
        else:
            options["labels"], options["scheme"] = complete_tags(saved if labels is None else labels, scheme)
        options = {"pooling": None, "pooler": False, **options}
        kept = (*cls.kept_settings, *_OF_TAGS) if same else (*cls.kept_settings, "overlap")
        return task_on_preset(
            cls, found, options, kept=kept, fresh=() if same else ("head/.*",), load_weights=load_weights
        )  # fmt: skip

    @property
    def labels(self) -> tuple[str, ...]:
        """The tags in the order of the logits."""
        return tuple(self.objective.tags)

    # Predictions.

    def predict_step(self, data: Any) -> dict[str, Any]:
        """Return probabilities (B * T, C) of a batch and which of them are of tokens, (B * T,)."""
        inputs = keras.utils.unpack_x_y_sample_weight(data)[0]
        probabilities = super().predict_step(data)
        return {
            "probabilities": ops.reshape(probabilities, (-1, len(self.objective.tags))),
            "real": ops.reshape(inputs["padding_mask"], (-1,)),
        }

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> list[np.ndarray]:
        """Return the probabilities of the tags of each word.

        Args:
            x: Sentences in any form that `fit` takes; one string is a list of one. Tags are not looked at.
            batch_size: Windows a batch; 64 by default, which changes nothing but the time it takes.
            kwargs: As in Keras; `steps` takes only so many batches of the first windows.

        Returns:
            (W, C) for each sentence of W words, in their order.
        """
        batch_size = checked_batch_size(batch_size, self.inference_batch_size)
        examples = first_batches(self.preprocess(texts_alone(x)), "steps", kwargs.pop("steps", None), batch_size)
        batches, inverse = self.ordered_batches(examples, batch_size)
        if batches is None:
            return []
        outputs = keras.Model.predict(self, batches, **kwargs)
        tokens = outputs["probabilities"][outputs["real"] > 0]
        # Windows come sorted by length: `inverse` says where each one is.
        lengths = examples.lengths[np.argsort(inverse)]
        starts = (np.cumsum(lengths) - lengths)[inverse]
        return examples.inputs[WORDS].words_of(tokens, starts)

    def predicted_tags(self, x: Any, batch_size: int | None = None) -> list[list[str]]:
        """Return the tag of each word of each sentence, in the task's scheme."""
        return self.objective.decoded(self.predict(x, batch_size, verbose=0))

    def find_spans(self, x: Any, batch_size: int | None = None) -> list[list[TextSpan]]:
        """Return the entities of each text, with their places in it; with plain tags, each word.

        Args:
            x: Texts or sentences in any form that `fit` takes.
            batch_size: Windows a batch; None: as `predict`.

        Returns:
            For each text its `TextSpan`s in order: `text`, `start` and `end` in characters of the text as it was given,
            `type` and `probability`. Of sentences given as words, the text is the words with a space between them.

        Example:
            >>> for span in tagger.find_spans(["Off to Rome!"])[0]:
            ...     assert "Off to Rome!"[span.start : span.end] == span.text
        """
        split, _ = self.preprocessor.read(texts_alone(x), None, None)
        return self.objective.spans(split, self.predict(split, batch_size, verbose=0))

    def report(self, data: TaggedSplit, baselines: Sequence[dict] = ()) -> TaggingReport:
        """Compute precision, recall and F1 of the entities, by type and with intervals, on tagged sentences; `print` it.

        Args:
            data: Sentences with tags, of any scheme.
            baselines: Results of `evaluation.tagging_baselines` on the same sentences, to stand beside it.

        Raises:
            TransformerError: The sentences have no tags.
        """
        return self.objective.report(data, self.predict(data, verbose=0), baselines)

    # To folders.

    def head_contents(self) -> dict[str, Any]:
        return {"head": {"kind": TAGGING, **self.objective.settings(), "head_dropout": self.network.head_dropout}}

    def task_settings(self) -> dict:
        settings = {**super().task_settings(), "overlap": self.preprocessor.overlap}
        return {name: value for name, value in settings.items() if name != "pooler"}

    def get_config(self) -> dict:
        return {**super().get_config(), **self.objective.settings()}
