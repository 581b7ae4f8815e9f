"""A task's model to a folder, in our layout or in Hugging Face's."""

import os
from typing import TYPE_CHECKING, Any

import keras

from tftransformer import patterns
from tftransformer.checkpoints.huggingface.folder import save_huggingface
from tftransformer.checkpoints.own import save_preset
from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.structure import describe_modifications

if TYPE_CHECKING:
    from tftransformer.tasks.text_classifier import TextClassifier

FORMATS = ("tftransformer", "huggingface")


def save_classifier(
    classifier: "TextClassifier",
    folder: str | os.PathLike,
    *,
    format: str = "tftransformer",
    head: bool = True,
    dtype: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a classifier's weights, tokenizer, labels and settings.

    Args:
        classifier: A `TextClassifier`.
        folder: Where to; appears whole or not at all.
        format: "tftransformer", or "huggingface" for a folder that transformers loads.
        head: False leaves the head and its labels out, so that an encoder remains.
        dtype: Of the stored weights, such as "float16". None: as they are, bit by bit.
        overwrite: Replace a folder that holds files.

    Raises:
        TransformerError: The format is unknown or cannot express the classifier, or the folder holds files.

    Example:
        >>> save_classifier(classifier, "models/tickets", format="tftransformer")
    """
    if format not in FORMATS:
        known = ", ".join(FORMATS)
        raise TransformerError(f"format must be one of {known}; got {format!r}{near_miss(format, FORMATS)}")
    variables = patterns.addresses(classifier)
    if not head:
        variables = {name: v for name, v in variables.items() if not name.startswith("head/")}
    arguments: dict[str, Any] = {
        "config": classifier.config,
        "tokenizer": classifier.tokenizer,
        "variables": variables,
        "pooling": classifier.pooling,
        "labels": classifier.labels if head else None,
        "head": classifier.head_settings() if head else None,
        "dtype": dtype,
        "overwrite": overwrite,
    }
    modifications = describe_modifications(classifier)
    if format != "huggingface":
        name = keras.saving.get_registered_name(type(classifier)) if head else None
        task = classifier.task_settings()
        save_preset(folder, task=task, modifications=modifications, class_name=name, **arguments)
        return
    if modifications:
        kinds = " and ".join(dict.fromkeys(record["kind"] for record in modifications))
        raise TransformerError(
            f"format 'huggingface' has no place for {kinds}: merge those of projections (LoRA, DoRA, IA3) with tt.merge, remove the others"
        )
    save_huggingface(folder, **arguments)
