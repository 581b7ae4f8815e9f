"""What a run computes: tokens, padding, and the arithmetic they cost."""

import dataclasses
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True)
class TokenCount:
    """Tokens of an epoch, and the sums of squared lengths that attention costs.

    Args:
        rows: Texts.
        real: Tokens of the texts.
        computed: Tokens of the texts and the padding.
        real_squares: Sum of length squared over the rows.
        computed_squares: The same of the padded lengths.
    """

    rows: int
    real: int
    computed: int
    real_squares: int
    computed_squares: int

    @classmethod
    def of(cls, batches: Iterable[tuple[Sequence[int], int]]) -> "TokenCount":
        """From batches as (lengths of the rows, padded length).

        Example:
            >>> TokenCount.of([([3, 5], 5)]).padding
            0.2
        """
        rows = real = computed = real_squares = computed_squares = 0
        for lengths, padded in batches:
            rows += len(lengths)
            real += sum(int(n) for n in lengths)
            real_squares += sum(int(n) ** 2 for n in lengths)
            computed += len(lengths) * padded
            computed_squares += len(lengths) * padded**2
        return cls(rows, real, computed, real_squares, computed_squares)

    @property
    def padding(self) -> float:
        """Padded tokens over computed tokens."""
        return 1 - self.real / self.computed


def training_flops(tokens: int, squares: int, layers: int, width: int, inner: int, frozen: int = 0) -> float:
    """Operations of the matrix products in a training step, the model's own and nothing recomputed.

    A block has P = 4 D^2 + 2 D F parameters in products: 2 P operations a token forward, and 2 P each for
    the gradients of weights and inputs. Attention adds 4 T^2 D a row forward (scores and weighted sum) and
    twice that backward. A block that trains costs 6 P tokens + 12 D squares, a frozen one a third of it;
    embeddings, pooler and head are left out. With no block frozen this is the usual 6 P tokens + attention.

    Args:
        tokens: Tokens over all rows.
        squares: Sum of T^2 over all rows.
        layers, width, inner: L, D and F.
        frozen: Blocks at the bottom without a gradient.

    Returns:
        Floating-point operations.

    Example:
        >>> training_flops(tokens=1, squares=0, layers=1, width=1, inner=4)
        72.0
    """
    forward = 2.0 * (4 * width**2 + 2 * width * inner) * tokens + 4.0 * width * squares
    return forward * (frozen + 3 * (layers - frozen))
