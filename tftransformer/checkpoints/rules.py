"""Tables of names applied to arrays: the layouts in which a source may keep a tensor, and writing back.

The tables are data of the families (`models/families/`); a rule names its change of layout, which is here.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from tftransformer.models.families.names.tables import Ignored, Rule, Table

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Transform:
    """A change of layout that loses nothing: the values are the same, in another order or shape.

    Args:
        name: Name for messages.
        rank: Number of axes of the source's tensor; None: any number.
        shape: Callable from a tensor's shape there to its shape here.
        forward: Callable from the source's layout to ours.
        backward: Callable from ours to the source's, given the number of heads, which a merged axis forgets.
    """

    name: str
    rank: int | None
    shape: Callable[[Shape], Shape]
    forward: Callable[[np.ndarray], np.ndarray]
    backward: Callable[[np.ndarray, int], np.ndarray]


SAME = Transform("same", None, lambda s: s, lambda a: a, lambda a, heads: a)
TRANSPOSE = Transform("transpose", 2, lambda s: s[::-1], lambda a: a.T, lambda a, heads: a.T)
# (D, N, H) <-> (D, N*H) and (N, H) <-> (N*H,)
MERGE_LAST = Transform(
    "merge the last two axes",
    None,
    lambda s: (*s[:-2], s[-2] * s[-1]) if len(s) >= 2 else s,
    lambda a: a.reshape(*a.shape[:-2], -1),
    lambda a, heads: a.reshape(*a.shape[:-1], heads, -1),
)
# (N, H, D) <-> (N*H, D)
MERGE_FIRST = Transform(
    "merge the first two axes",
    3,
    lambda s: (s[0] * s[1], *s[2:]),
    lambda a: a.reshape(-1, *a.shape[2:]),
    lambda a, heads: a.reshape(heads, -1, *a.shape[1:]),
)
# (V,) <-> (1, V)
ROW = Transform("drop the first axis", 2, lambda s: s[1:], lambda a: a[0], lambda a, heads: a[None])
TRANSFORMS: dict[str, Transform] = {
    "same": SAME,
    "transpose": TRANSPOSE,
    "merge_last": MERGE_LAST,
    "merge_first": MERGE_FIRST,
    "row": ROW,
}

TOKEN_TABLE = "embeddings/token/embeddings"
DECODER_TOKEN_TABLE = "decoder_embeddings/token/embeddings"
# Our own folders: a tensor's name is its address.
OWN = Table(
    name="tftransformer",
    rules=(Rule("head/{path}", ("head/{path}",), may_differ=True), Rule("{path}", ("{path}",))),
    ignored=(
        Ignored(r"(head|lm_head)/.*", "the model has no such head"),
        Ignored(r"pooler/.*", "the model has no pooler"),
        Ignored(r"extra_block_\d+/.*", "the model has no extra blocks"),
    ),
)


def transform_of(rule: Rule) -> Transform:
    """The change of layout that a rule names."""
    return TRANSFORMS[rule.transform]


def to_source(
    table: Table, address: str, value: np.ndarray, num_heads: int, prefix: str = ""
) -> tuple[str, np.ndarray]:
    """The source's name and layout of one of our variables: loading's inverse.

    Args:
        table: Names of the variables in the source.
        address: Ours.
        value: The variable's values.
        num_heads: Heads of the block, to take merged axes apart.
        prefix: String before the names of an encoder that a task's model wraps.

    Example:
        >>> table = Table("theirs", (Rule("dense/kernel", ("fc.weight",), "transpose"),))
        >>> name, value = to_source(table, "dense/kernel", np.ones((2, 3)), 1, prefix="bert.")
        >>> name, value.shape
        ('bert.fc.weight', (3, 2))
    """
    rule = table.rule(address)
    names = None if rule is None else rule.names_of(address)
    if rule is None or names is None:
        raise KeyError(f"{table.name} has no name for {address!r}")
    prefix = "" if rule.outer else prefix
    return prefix + names[0], transform_of(rule).backward(value, num_heads)
