"""Taps: the named intermediate values of a network, to be kept or changed while it runs.

Every layer of this package shows what it returns under its address, such as `encoder_block_3/feed_forward`; an
attention also shows its `scores` and what each of its `heads` gives. Nobody listens unless `tapped` is open, so
a tap costs nothing, changes no signature and needs no second model.
"""

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tftransformer.errors import TransformerError, near_miss

Change = Callable[[str, Any], Any]


class Taps:
    """Values that were seen under the names asked for: `taps[name]`. Made by `tapped`.

    Attributes:
        values: Name to value, in the order in which they were computed.
    """

    def __init__(self, keep: tuple[str, ...], change: Mapping[str, Change]) -> None:
        self.values: dict[str, Any] = {}
        self._keep = [_compiled(pattern) for pattern in keep]
        self._change = [(_compiled(pattern), function) for pattern, function in change.items()]
        self._inside: list[str] = []
        self._next: str | None = None

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            raise TransformerError(f"tap {name!r} was not seen; {len(self.values)} were{near_miss(name, self.values)}")
        return self.values[name]

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Values seen meanwhile stand below a layer's name."""
        if not self._inside and self._next is not None:
            name, self._next = self._next, None
        self._inside.append(name)
        try:
            yield
        finally:
            self._inside.pop()

    def see(self, name: str, value: Any) -> Any:
        """Keep a value if somebody wants it, and return what the network goes on with."""
        path = "/".join([*self._inside, name] if name else self._inside)
        for pattern, function in self._change:
            if pattern.fullmatch(path):
                value = function(path, value)
        if any(pattern.fullmatch(path) for pattern in self._keep):
            self.values[path] = value
        return value

    def name_next(self, name: str) -> None:
        """The next layer that is called from outside all others goes by this name."""
        self._next = name


_ACTIVE: contextvars.ContextVar[Taps | None] = contextvars.ContextVar("taps", default=None)


@contextlib.contextmanager
def tapped(*keep: str, change: Mapping[str, Change] | None = None) -> Iterator[Taps]:
    """Listen to the taps of whatever runs inside the `with` statement, in this thread.

    In a traced function the values belong to that trace: open it inside of the function. A layer that is applied
    several times shows its last application, except for an encoder's shared blocks, which `models.walk` names by their
    application: `encoder_block_7` is what the eighth gives.

    Args:
        keep: Full-match patterns of the names whose values are kept.
        change: Pattern to a function from name and value to the value that the network goes on with, of the same
            shape.

    Yields:
        `Taps`, which fill while the network runs.

    Raises:
        TransformerError: A pattern is no regular expression; or, when it is read, a name that was not seen.

    Example:
        >>> block = EncoderBlock(num_heads=2, intermediate_dim=8, name="encoder_block_0")
        >>> with tapped("encoder_block_0/attention/scores") as taps:
        ...     y = block(keras.ops.ones((1, 3, 4)))
        >>> taps["encoder_block_0/attention/scores"].shape
        TensorShape([1, 2, 3, 3])
    """
    taps = Taps(keep, change or {})
    token = _ACTIVE.set(taps)
    try:
        yield taps
    finally:
        _ACTIVE.reset(token)


def active_taps() -> Taps | None:
    """The taps that `tapped` opened last; None where nobody listens."""
    return _ACTIVE.get()


def tap(name: str, value: Any) -> Any:
    """Show a value under a name below the layer that is running, and return what to go on with.

    Example:
        >>> tap("scores", 1.0)
        1.0
    """
    taps = _ACTIVE.get()
    return value if taps is None else taps.see(name, value)


def _compiled(pattern: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise TransformerError(f"taps: {pattern!r} is not a regular expression: {error}") from None
