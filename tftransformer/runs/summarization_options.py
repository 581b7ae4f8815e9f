"""Options of the command `summarize`, checked without Keras; its flags are made from the fields."""

import dataclasses
from pathlib import PurePath

from tftransformer.runs.flags import option
from tftransformer.runs.pair_options import PairOptions


@dataclasses.dataclass(frozen=True)
class SummarizationOptions(PairOptions):
    """Everything that decides a run of `summarize`.

    Raises:
        TransformerError: A number out of range, or an unknown name, before any data are read.
    """

    command = "summarize"
    own = ("source_column", "target_column")
    example = "a CSV, TSV, JSONL or Parquet file with texts and summaries, or a folder with one for each split"
    # An abstract and its sentence; articles of news have 600 to 1,000 tokens, in which time grows faster than they do.
    lengths = (320, 64)
    # With 4e-3 the decoder learned nothing of SciTLDR's texts, and wrote one summary for all (docs/summarization.md).
    rate = 2e-3

    dataset: str | None = option(
        None,
        "A CSV, TSV, JSONL or Parquet file with texts and summaries, a folder with one for each split, or 'tfds:NAME'.",
    )
    source_column: str | None = option(
        None,
        "Column of the texts, which may be lists of sentences; default: article, document, text, … .",
        argument="source",
    )
    target_column: str | None = option(
        None,
        "Column of the summaries, which may be lists of several; default: summary, highlights, … .",
        argument="target",
    )
    vocabulary_size: int = option(
        2000,
        "Tokens of the vocabulary of both sides, learned from the training pairs; many pairs bear more.",
        least=261,
    )
    num_layers: int = option(2, "Blocks of the encoder, and of the decoder.", least=1)
    dropout: float = option(0.2, "Dropout rate; few pairs need much.")
    batch_size: int = option(32, "Pairs a batch, over all replicas.", least=1)
    learning_rate: float | None = option(
        None, "Highest rate; default: 2e-3 from nothing, 4e-4 with --init_from or --preset."
    )
    warmup: int = option(200, "Updates in which the rate rises.", least=0)

    @property
    def run_name(self) -> str:
        return PurePath(str(self.dataset).removeprefix("tfds:")).stem
