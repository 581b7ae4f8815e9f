"""Options of the command `translate`, checked without Keras; its flags are made from the fields."""

import dataclasses

from tftransformer.runs.flags import option
from tftransformer.runs.pair_options import PairOptions


@dataclasses.dataclass(frozen=True)
class TranslationOptions(PairOptions):
    """Everything that decides a run of `translate`.

    Raises:
        TransformerError: A number out of range, or an unknown name, before any data are read.
    """

    command = "translate"
    own = ("source", "target")
    example = "a folder such as multi30k/ with train.en and train.de, or a file"
    lengths = (64, 64)

    dataset: str | None = option(
        None,
        "A folder of parallel files such as train.en and train.de, or with a CSV, TSV, JSONL or Parquet file for each split; one such "
        "file; or 'tfds:NAME/CONFIG'.",
    )
    source: str = option("en", "Ending of the files, or column, of what is translated.")
    target: str = option("de", "Ending of the files, or column, of the translations.")

    @property
    def run_name(self) -> str:
        return f"{self.source}-{self.target}"
