"""Options of `tag`, checked without Keras; its flags are made from the fields."""

import dataclasses

from tftransformer.evaluation.tagging import SCHEMES
from tftransformer.runs.flags import option
from tftransformer.runs.task_options import TaskOptions


@dataclasses.dataclass(frozen=True)
class TaggingOptions(TaskOptions):
    """Everything that decides a run of `tag`.

    Raises:
        TransformerError: A number out of range, or an unknown name, before any data are read.
    """

    command = "tag"
    columns = ("word_column", "tag_column", "comments")

    dataset: str = option(
        "sample",
        "A file of tagged sentences (columns such as CoNLL's, or JSONL with words and tags, or with texts and spans), a folder "
        "with one file a split, 'sample', or 'tfds:NAME'.",
    )
    word_column: str | None = option(None, "The column of the words, by number from 1 or by name; default: the first.")
    tag_column: str | None = option(None, "The column of the tags, by number from 1 or by name; default: the last.")
    comments: bool = option(False, "Leave out lines of a column file that begin with #.")
    scheme: str | None = option(
        None, "What is learned; default: the scheme of the tags, IOB2 for IOB1.", choices=SCHEMES
    )
    decode: str = option(
        "viterbi",
        "The most probable valid sequence, or the most probable tag of each word.",
        choices=("viterbi", "argmax"),
    )
    sequence_length: int | None = option(
        None, "Tokens of a window; longer sentences are read in several; default: the encoder's limit.", least=3
    )
    overlap: int | None = option(None, "Tokens that two windows share; default: a quarter of a window.", least=0)
    batch_size: int = option(8, "Sentences a batch, over all replicas.", least=1)
    label_smoothing: float = option(0.0, "Fraction of the tag's weight spread over all tags.")
    early_stopping: int = option(
        0,
        "Stop after this many epochs without a better validation F1 of entities and keep the best weights; 0: never.",
        least=0,
    )

    _of_compile = (*TaskOptions._of_compile, "label_smoothing")
