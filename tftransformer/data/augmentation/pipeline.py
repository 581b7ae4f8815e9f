"""Augmentation: operations one after another, drawn anew in each epoch, the same in each run."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tftransformer.data.augmentation.operations import BackTranslation, DeleteWords, Operation, Source, SwapWords
from tftransformer.data.augmentation.sources import (
    EmbeddingNeighbours,
    InsertSynonyms,
    ReplaceSynonyms,
    SynonymOperation,
    WordNetSynonyms,
)
from tftransformer.data.augmentation.words import split_words
from tftransformer.data.texts import Texts, as_texts
from tftransformer.errors import TransformerError, near_miss

OPERATIONS = {kind.name: kind for kind in (ReplaceSynonyms, SwapWords, DeleteWords, InsertSynonyms)}
SIDES = ("both", "first", "second")
SOURCES = ("wordnet", "embeddings", "wordnet_or_embeddings")


class Augmentation:
    """Changed copies of training texts, with their labels.

    `fit` draws other copies in each epoch; copy c of text i in epoch e is the same in every run with this seed,
    whatever the order of the batches. Validation and test are never augmented.

    Args:
        operations: Each a string such as "swap:0.1" or several, "synonyms:0.1,delete:0.1" (`synonyms`, `swap`,
            `delete`, `insert`; without a number the fraction is 0.1), or an `Operation`. They work one after another.
        copies: Changed copies of each text beside the text itself, so that an epoch has 1 + copies as many rows. 0:
            a changed copy takes the text's place.
        seed: Random seed of all draws.
        side: Text of a pair that is changed: "both", "first" or "second".
        synonyms: Source of the synonyms of `synonyms` and `insert`: "wordnet", which needs nltk and its WordNet; "embeddings", the nearest
            words in the encoder's token table; "wordnet_or_embeddings", the second where there is no first; or
            a callable from a word to its synonyms.

    Raises:
        TransformerError: An unknown name, a number out of range, no WordNet, or back-translation behind another
            operation.

    Example:
        >>> augmentation = Augmentation("swap:0.2", copies=1, seed=0)
        >>> augmentation(["one two three four five"])
        ['three two one four five']
    """

    def __init__(
        self,
        *operations: str | Operation,
        copies: int = 1,
        seed: int = 0,
        side: str = "both",
        synonyms: str | Source = "wordnet",
    ) -> None:
        self.operations = tuple(read for given in operations for read in _read(given))
        if not self.operations:
            raise TransformerError("augmentation must name an operation, such as 'swap:0.1'; got none")
        for number, operation in enumerate(self.operations):
            if number and isinstance(operation, BackTranslation):
                raise TransformerError(
                    "back_translation must come first: texts are translated once, before anything changes them"
                )
        for name, value in (("copies", copies), ("seed", seed)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise TransformerError(f"{name} must be an integer of at least 0; got {value!r}")
        if side not in SIDES:
            raise TransformerError(f"side must be one of {', '.join(SIDES)}; got {side!r}{near_miss(side, SIDES)}")
        self.copies, self.seed, self.side, self.synonyms = int(copies), int(seed), side, synonyms
        self._source = self._find_source()
        self._ready: tuple[Operation, ...] = ()

    @property
    def rows_per_text(self) -> int:
        """Rows that each text has in an epoch."""
        return self.copies + 1

    def prepare(self, texts: Texts, neighbours: Callable[[], EmbeddingNeighbours] | None = None) -> None:
        """Do what takes long, once: find neighbours of words, translate.

        Args:
            texts: Texts that will be augmented.
            neighbours: Called where synonyms come from the encoder's table.

        Raises:
            TransformerError: The table is needed and not given, or `side` is one that the texts do not have.
        """
        if texts.second is None and self.side == "second":
            raise TransformerError("side='second' is for pairs of texts; these are single texts")
        changing = [text for name, side in zip(SIDES[1:], texts.sides) if self.side in ("both", name) for text in side]
        source = self._source
        if source is None and self._need_synonyms():
            if neighbours is None:
                raise TransformerError(
                    "synonyms='embeddings' needs an encoder: use it in fit, or pass EmbeddingNeighbours as synonyms"
                )
            source = neighbours()
        if isinstance(source, EmbeddingNeighbours):
            source.prepare({word for text in changing for word in split_words(text)[0]})
        self._ready = tuple(o if source is None else o.bind(source) for o in self.operations)
        for operation in self._ready:
            operation.prepare(changing)

    def augment(self, texts: Texts, rows: np.ndarray, copies: np.ndarray, epoch: int) -> Texts:
        """Changed texts, for those that `prepare` has seen.

        Args:
            texts: All texts.
            rows: (M,) which of them.
            copies: (M,) which copy of each.
            epoch: The number of the epoch, from 0.

        Returns:
            M texts without targets and weights, which stay those of the rows.
        """
        changed = []
        for number, side in enumerate(texts.sides):
            chosen = [side[row] for row in rows]
            if self.side in ("both", SIDES[number + 1]):
                draws = [
                    np.random.default_rng((self.seed, epoch, int(copy), number, int(row)))
                    for row, copy in zip(rows, copies, strict=True)
                ]
                chosen = self._changed(chosen, draws)
            changed.append(chosen)
        return Texts(*changed)

    def __call__(self, texts: Any, *, epoch: int = 0, copy: int = 0) -> list:
        """Augment some texts or pairs for inspection: text i of the list as text i of a training set.

        Args:
            texts: Texts in any form that `fit` takes.
            epoch, copy: Numbers that choose the random draws.

        Raises:
            TransformerError: As `prepare`.
        """
        texts = as_texts(texts)
        self.prepare(texts)
        rows = np.arange(len(texts))
        return self.augment(texts, rows, np.full(len(rows), copy), epoch).rows

    def __str__(self) -> str:
        return ",".join(map(str, self.operations))

    def _changed(self, texts: list[str], draws: list[np.random.Generator]) -> list[str]:
        changed = list(texts)
        for operation in self._ready:
            changed = operation.apply(changed, draws)
        # An empty text with a label is of no use.
        return [new if new.strip() else old for new, old in zip(changed, texts, strict=True)]

    def _need_synonyms(self) -> bool:
        return any(isinstance(o, SynonymOperation) and o.source is None for o in self.operations)

    def _find_source(self) -> Source | None:
        """Return the source of synonyms; None for the encoder's table, or where nothing needs them."""
        if callable(self.synonyms):
            return self.synonyms
        if self.synonyms not in SOURCES:
            raise TransformerError(
                f"synonyms must be one of {', '.join(SOURCES)} or a callable; got {self.synonyms!r}"
                f"{near_miss(self.synonyms, SOURCES)}"
            )
        if not self._need_synonyms() or self.synonyms == "embeddings":
            return None
        try:
            return WordNetSynonyms()
        except TransformerError:
            if self.synonyms == "wordnet":
                raise
            return None


def as_augmentation(value: Any) -> Augmentation | None:
    """Convert the `augmentation` of `fit`: None, an `Augmentation`, a string or several, or an `Operation`.

    Raises:
        TransformerError: It is something else, or as `Augmentation`.

    Example:
        >>> as_augmentation("swap:0.1,delete:0.05").copies
        1
    """
    if value is None or isinstance(value, Augmentation):
        return value
    if isinstance(value, (str, Operation)):
        return Augmentation(value)
    if isinstance(value, Sequence):
        return Augmentation(*value)
    raise TransformerError(
        f"augmentation must be an Augmentation or a string such as 'swap:0.1'; got {type(value).__name__}"
    )


def _read(given: str | Operation) -> list[Operation]:
    """Operations from one argument."""
    if isinstance(given, Operation):
        return [given]
    if not isinstance(given, str):
        raise TransformerError(
            f"an operation must be a string such as 'swap:0.1' or an Operation; got {type(given).__name__}"
        )
    return [_read_one(part.strip()) for part in given.split(",")]


def _read_one(text: str) -> Operation:
    name, colon, number = text.partition(":")
    if name == BackTranslation.name:
        raise TransformerError(
            f"operation {name} cannot be given as a string: pass BackTranslation(forward, backward, fraction)"
        )
    if name not in OPERATIONS:
        known = [*OPERATIONS, BackTranslation.name]
        raise TransformerError(f"operation must be one of {', '.join(known)}; got {text!r}{near_miss(name, known)}")
    if not colon:
        return OPERATIONS[name]()
    try:
        fraction = float(number)
    except ValueError:
        raise TransformerError(f"the fraction of {name} must be above 0 and at most 1; got {number!r}") from None
    return OPERATIONS[name](fraction)
