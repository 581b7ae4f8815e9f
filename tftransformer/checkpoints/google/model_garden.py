"""Tables whose names depend on the model: Model Garden numbers all layers with weights in one row, under some root.

`models.families.family.Google` says which placeholders such a table may have.
"""

import dataclasses
import re
from collections.abc import Iterable

from tftransformer.checkpoints.rules import Ignored, Table

_TOKENS = "embeddings/token/embeddings"
_QUERY = "encoder_block_{i}/attention/query/kernel"
_LATER = re.compile(r"\{([in])\+(\d+)\}")


def find_root(table: Table, keys: Iterable[str]) -> str | None:
    """What stands before the encoder's tensors, such as "encoder/"; None where there is no such encoder.

    Args:
        table: With `{root}` in its names.
        keys: The names of all tensors.

    Example:
        >>> from tftransformer.models.families import FAMILIES
        >>> table = FAMILIES["bert"].google.model_garden
        >>> find_root(table, ["encoder/layer_with_weights-0/embeddings/.ATTRIBUTES/VARIABLE_VALUE"])
        'encoder/'
    """
    tails = [name.removeprefix("{root}") for name in _names(table, _TOKENS)]
    found = (key.removesuffix(tail) for key in keys for tail in tails if f"/{key}".endswith(f"/{tail}"))
    # A classifier's own layers are numbered around the encoder's: the innermost is the encoder.
    return max(found, key=len, default=None)


def count_blocks(table: Table, keys: Iterable[str], root: str = "") -> int:
    """How many blocks of an encoder with that root are stored."""
    names = (_LATER.sub("{i}", name).replace("{root}", root) for name in _names(table, _QUERY))
    expression = re.compile("|".join(re.escape(name).replace(r"\{i\}", r"\d+") for name in names))
    return sum(expression.fullmatch(key) is not None for key in keys)


def expand(table: Table, num_layers: int, root: str) -> Table:
    """The table of one model: its depth and its root in the place of the placeholders.

    Args:
        table: With `{root}`, `{i+4}` and `{n+4}` in names and in patterns of what is ignored.
        num_layers: Blocks of the encoder.
        root: See `find_root`.
    """

    def filled(text: str, root: str = root, block: int = 0) -> str:
        numbers = {"i": block, "n": num_layers}
        text = _LATER.sub(lambda match: str(numbers[match[1]] + int(match[2])), text)
        return text.replace("{root}", root).replace("{i}", str(block))

    rules = [
        dataclasses.replace(
            rule, address=filled(rule.address, block=i), names=tuple(filled(n, block=i) for n in rule.names)
        )
        for rule in table.rules
        for i in range(num_layers if "{i}" in rule.address else 1)
    ]
    ignored = [Ignored(filled(row.pattern, re.escape(root)), row.reason) for row in table.ignored]
    return dataclasses.replace(table, rules=tuple(rules), ignored=tuple(ignored))


def _names(table: Table, address: str) -> tuple[str, ...]:
    """The names of a rule as they are written, placeholders and all."""
    return next(rule.names for rule in table.rules if rule.address == address)
