"""Texts translated into another language and back (Sennrich et al. 2016, arXiv 1511.06709)."""

from collections.abc import Callable, Sequence

import numpy as np

from tftransformer.data.augmentation.operations import Operation
from tftransformer.errors import TransformerError
from tftransformer.progress import Progress

Translate = Callable[[list[str]], Sequence[str]]


class BackTranslation(Operation):
    """Put what two translations made of a text in its place.

    Translating takes long: every text is translated once, before training, and kept as long as this object. So it
    comes first in an `Augmentation`; what follows changes the translation anew in each epoch.

    Args:
        forward: From texts to as many in the other language.
        backward: The way back.
        rate: Share of the texts that are replaced.
        batch_size: Texts a call.

    Raises:
        TransformerError: Something is no callable, or a number is out of range; later, a translation returned not
            as many texts as it was given.

    Example:
        >>> there = lambda texts: [text.replace("film", "Film") for text in texts]
        >>> back = lambda texts: [text.replace("Film", "movie") for text in texts]
        >>> operation = BackTranslation(there, back, rate=1.0)
        >>> operation.prepare(["a film"])
        >>> operation.apply(["a film"], [np.random.default_rng(0)])
        ['a movie']
    """

    name = "back_translation"

    def __init__(self, forward: Translate, backward: Translate, rate: float = 0.5, batch_size: int = 32) -> None:
        super().__init__(rate)
        for name, translate in (("forward", forward), ("backward", backward)):
            if not callable(translate):
                raise TransformerError(f"{name} must be a callable from texts to texts; got {type(translate).__name__}")
        if batch_size < 1:
            raise TransformerError(f"batch_size must be at least 1; got {batch_size}")
        self.forward, self.backward, self.batch_size = forward, backward, batch_size
        self._known: dict[str, str] = {}

    def prepare(self, texts: Sequence[str]) -> None:
        missing = [text for text in dict.fromkeys(texts) if text.strip() and text not in self._known]
        with Progress(len(missing), "back-translating") as bar:
            for start in range(0, len(missing), self.batch_size):
                part = missing[start : start + self.batch_size]
                there = _translated("forward", self.forward, part)
                back = _translated("backward", self.backward, there)
                self._known.update(zip(part, back, strict=True))
                bar.update(len(part))

    def apply(self, texts: list[str], draws: list[np.random.Generator]) -> list[str]:
        pairs = zip(texts, draws, strict=True)
        return [self._known.get(text, text) if draw.random() < self.rate else text for text, draw in pairs]


def _translated(name: str, translate: Translate, texts: list[str]) -> list[str]:
    result = translate(texts)
    result = [result] if isinstance(result, str) else list(result)
    if len(result) != len(texts) or not all(isinstance(text, str) for text in result):
        raise TransformerError(
            f"{name} must return a text for each of the {len(texts)} it was given; got {str(result)[:80]!r}"
        )
    return result
