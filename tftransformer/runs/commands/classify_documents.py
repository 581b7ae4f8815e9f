"""Classify documents longer than the encoder: chunks to vectors, attention over chunks, one label a document."""

from tftransformer.runs.flags import OptionFlags
from tftransformer.runs.options import DocumentOptions

RUN = OptionFlags(
    DocumentOptions,
    without=("init_from", "add_labels"),
    sequence_length="Longest chunk in tokens; default: the encoder's limit.",
    pooling="From tokens to a chunk's vector; default: the preset's.",
    text_columns="The column of the text; by name, or by number from 1.",
)
FLAGS = (RUN,)


def run(options: DocumentOptions) -> None:
    """Train, and report."""
    from tftransformer.runs import documents

    documents.train(options)
