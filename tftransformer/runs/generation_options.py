"""Options of the command `generate`, checked without Keras; its flags are made from the fields."""

import dataclasses
from typing import Any

from tftransformer.data.language_texts import UNITS
from tftransformer.errors import TransformerError
from tftransformer.models.families import FAMILIES
from tftransformer.models.generation.settings import check_beams, check_positive, check_sampling
from tftransformer.runs.flags import check_options, like, option
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.pair_options import PairOptions, check_training
from tftransformer.runs.task_options import PRECISIONS

# What decides the network and its tokens: a run that goes on with another one, or with a preset, has these of it.
NETWORK = ("family", "vocabulary_size", "num_layers", "hidden_dim", "num_heads", "intermediate_dim")
DECODERS = tuple(name for name, family in FAMILIES.items() if family.architecture == "decoder")
# Tokens of a row, where neither a flag nor a network says.
SEQUENCE_LENGTH = 128
# By search the settings that are its own.
OF_SEARCH = {
    "greedy": (),
    "sampling": ("temperature", "top_k", "top_p", "min_p"),
    "beams": ("num_beams", "length_penalty", "num_groups", "diversity_penalty"),
}


@dataclasses.dataclass(frozen=True)
class DecodingOptions:
    """Options for writing texts; None is the default of `tftransformer.models.generation`.

    Raises:
        TransformerError: A value out of range, or of another search.
    """

    search: str = option("sampling", "How the next token is chosen.", choices=tuple(OF_SEARCH))
    temperature: float | None = option(None, "sampling: below 1 for likelier tokens; default: 1.")
    top_k: int | None = option(None, "sampling: only so many likeliest tokens.", least=1)
    top_p: float | None = option(None, "sampling: only the likeliest tokens that have this much probability together.")
    min_p: float | None = option(None, "sampling: only tokens so many times as probable as the likeliest.")
    num_beams: int | None = option(None, "beams: texts that go on at each token; default: 4.", least=1)
    length_penalty: float | None = option(None, "beams: above 0 for longer texts, below for shorter ones; default: 1.")
    num_groups: int | None = option(None, "beams: groups of beams that write unlike texts; default: 1.", least=1)
    diversity_penalty: float | None = option(
        None, "beams: what a token loses for each beam of a former group that took it; 0.2 to 0.8 are usual."
    )
    num_texts: int = option(1, "Texts a prompt: so many draws, or the best so many of a beam search.", least=1)
    repetition_penalty: float | None = option(
        None, "Above 1 against tokens that came before, as in CTRL; 1.2 is usual."
    )
    no_repeat_ngram: int | None = option(None, "No so many tokens in a row twice.", least=1)
    min_new_tokens: int | None = option(None, "No end before so many tokens.", least=1)
    max_new_tokens: int | None = option(
        None, "Tokens after which a text ends at the latest; default: as many as the window has room for.", least=1
    )

    def check(self) -> None:
        """`check_decoding`."""
        self.check_decoding()

    def check_decoding(self) -> None:
        """Raise a `TransformerError` for a number out of range or settings of another search."""
        check_options(self)
        for search, names in OF_SEARCH.items():
            for name in names:
                if getattr(self, name) is not None and search != self.search:
                    raise TransformerError(f"{name} goes with search={search}; got search={self.search}")
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        check_sampling(given.get("temperature", 1.0), self.top_k, given.get("top_p", 1.0), given.get("min_p", 0.0))
        if self.repetition_penalty is not None:
            check_positive("repetition_penalty", self.repetition_penalty)
        if self.search == "greedy" and self.num_texts > 1:
            raise TransformerError(f"num_texts must be 1 with search=greedy, which finds one; got {self.num_texts}")
        if self.search == "beams":
            check_beams(
                given.get("num_beams", 4),
                given.get("length_penalty", 1.0),
                self.num_texts,
                given.get("num_groups", 1),
                given.get("diversity_penalty", 0.0),
            )
        if None not in (self.min_new_tokens, self.max_new_tokens) and self.min_new_tokens > self.max_new_tokens:
            raise TransformerError(
                f"min_new_tokens must be at most max_new_tokens, {self.max_new_tokens}; got {self.min_new_tokens}"
            )


@dataclasses.dataclass(frozen=True)
class GenerationOptions(DecodingOptions):
    """Everything that decides a run of `generate`.

    Raises:
        TransformerError: A number out of range, or an unknown name, before any data are read.
    """

    # Data
    dataset: str | None = option(
        None,
        "A text file; a JSONL, CSV or TSV file with prompt and answer, or with messages; or a folder with one of a kind for "
        "each split, such as train.txt and test.txt.",
    )
    unit: str = option("paragraph", "What one text of a text file is.", choices=UNITS)
    validation_fraction: float = option(0.05, "Fraction of the data to validate on, where there is no such split.")
    test_fraction: float = option(0.05, "Fraction of the data to test on, where there is no such split.")
    train_examples: int | None = option(None, "Train on this many texts or pairs, chosen by --seed.", least=2)

    # Model
    family: str = option("gpt2", "Family whose defaults the network has.", choices=DECODERS)
    vocabulary_size: int = option(4000, "Tokens of the vocabulary, learned from the training texts.", least=261)
    num_layers: int = like(PairOptions, "num_layers")
    hidden_dim: int = like(PairOptions, "hidden_dim")
    num_heads: int = like(PairOptions, "num_heads")
    intermediate_dim: int = option(512, "Width inside the feed-forward layers.", least=1)
    dropout: float = option(0.2, "Dropout rate; few texts need much.")
    sequence_length: int | None = option(
        None,
        f"Tokens that are seen at once; default: {SEQUENCE_LENGTH} from nothing, else what the network has.",
        least=4,
    )

    # Training
    epochs: int | None = option(
        None, "Passes over the training texts; default: 30 from nothing, where no --minutes are given.", least=1
    )
    minutes: float | None = like(PairOptions, "minutes")
    batch_size: int = option(16, "Rows a batch, over all replicas.", least=1)
    learning_rate: float | None = option(
        None, "Highest rate; default: the task's recommendation, which depends on the weights."
    )
    schedule: str = like(PairOptions, "schedule")
    warmup: int = option(200, "Updates in which the rate rises.", least=0)
    strategy: str = like(PairOptions, "strategy")
    mixed_precision: str = like(ClassificationOptions, "mixed_precision")
    distribution: str = like(ClassificationOptions, "distribution")
    seed: int = option(0, "Random seed of weights, order, splits, subsets and draws.", least=0)
    init_from: str | None = option(None, "The folder of a finished run to go on with, or to write with.")
    preset: str | None = option(None, "A preset with a decoder in its place, such as a folder of a pretrained GPT-2.")

    output_dir: str | None = like(ClassificationOptions, "output_dir")
    overwrite: bool = like(ClassificationOptions, "overwrite")

    def check(self) -> None:
        """Raise a `TransformerError` for a number out of range or flags that contradict each other."""
        self.check_decoding()
        if not self.dataset:
            raise TransformerError(
                "dataset must be given: a text file, a JSONL file of prompts and answers, or a folder"
            )
        if self.init_from is not None and self.preset is not None:
            raise TransformerError("preset cannot go with init_from: both say which weights to begin with; pass one")
        check_training(self)
        if self.hidden_dim % self.num_heads:
            raise TransformerError(
                f"hidden_dim must be a multiple of num_heads; got {self.hidden_dim} and {self.num_heads}"
            )

    @property
    def dtype(self) -> str | None:
        """The Keras dtype policy."""
        return PRECISIONS[self.mixed_precision]

    def as_config(self) -> dict[str, Any]:
        """Every setting, as a run's folder keeps it."""
        return dataclasses.asdict(self)
