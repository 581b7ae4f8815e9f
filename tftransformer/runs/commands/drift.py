"""Say whether new texts are still of the kind that a classifier was trained on.

    python -m tftransformer classify --freeze_layers=8
    python -m tftransformer drift --model=runs/sample-1 --texts=new.txt

compares lengths, unknown tokens, frequencies of tokens, predicted labels, confidence and the classifier's vectors with
those of the run's own texts, each beside what is noise, and lists words that more of the new texts have. Texts are read
from a .txt file, one a line, or from a CSV, TSV or JSONL file; labels in it are not looked at.
"""

import dataclasses

from tftransformer.data.readers.text_file import existing_path
from tftransformer.errors import TransformerError
from tftransformer.runs.flags import OptionFlags, option
from tftransformer.runs.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class DriftOptions:
    """The run, and the texts that are compared with its own."""

    model: str | None = option(None, "The folder of a finished run of classify.py, whose data can still be read.")
    texts: str | None = option(None, "A file of new texts.")
    plot: str = option("drift.png", "Where to draw it; empty: nowhere.")
    seed: int = option(0, "Random seed of what is drawn.")

    def check(self) -> None:
        """Refuse what can be seen on the disk."""
        for name in ("model", "texts"):
            if not getattr(self, name):
                raise TransformerError(f"--{name} is missing; --help lists the flags")
        RunFolder.open(self.model, argument="model")
        existing_path(self.texts, "texts")


FLAGS = (OptionFlags(DriftOptions),)


def run(options: DriftOptions) -> None:
    """Compare, and print the report."""
    from tftransformer.runs.drift import report_run

    report_run(options.model, options.texts, options.plot, options.seed)
