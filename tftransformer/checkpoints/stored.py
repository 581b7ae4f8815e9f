"""Which of our addresses a source holds, and under which name: a table read from right to left."""

from collections.abc import Iterator

from tftransformer.checkpoints.rules import Rule, Table
from tftransformer.checkpoints.sources import Source


def stored_addresses(source: Source, table: Table) -> dict[str, str]:
    """The source's names of everything in it that has an address here, by address.

    No tensor is read. What the table has no rule for (heads of pretraining, counters) is left out, and of two
    spellings of one address the usual one counts, as in loading.

    Args:
        source: The tensors.
        table: What the source calls them.

    Example:
        >>> import numpy as np
        >>> from tftransformer.checkpoints.sources import ArraySource
        >>> from tftransformer.models.families import FAMILIES
        >>> arrays = {"bert.encoder.layer.3.output.dense.bias": np.zeros(4), "cls.seq_relationship.bias": np.zeros(2)}
        >>> stored_addresses(ArraySource(arrays), FAMILIES["bert"].huggingface.table)
        {'encoder_block_3/feed_forward/output/bias': 'bert.encoder.layer.3.output.dense.bias'}
    """
    keys = source.keys()
    present, found = set(keys), {}
    for key in keys:
        for address in _candidates(key, table):
            if address not in found:
                names = [name for name in table.names(address) if name in present]
                if key in names:
                    found[address] = names[0]
                    break
    return found


def _candidates(key: str, table: Table) -> Iterator[str]:
    for rule in table.rules:
        for name in rule.names:
            # A name without the block's number is that of the one block that all layers share.
            address = rule.address if "{i}" in name else rule.address.replace("{i}", "0")
            backwards = Rule(name, (address,))
            for prefix in table.prefixes:
                if key.startswith(prefix):
                    yield from backwards.names_of(key.removeprefix(prefix)) or ()
