"""Whether rows that are read again are those that a run had."""

import hashlib
import json

from tftransformer.data.split import Split, Splits


def fingerprints(splits: Splits) -> dict[str, str]:
    """A hash of the texts and targets of each split, in their order.

    Example:
        >>> once, again = (fingerprints(Splits(Split(["a", "b"], ["1", "0"]), None, None)) for _ in range(2))
        >>> once == again, list(once)
        (True, ['train'])
    """
    return {name: _fingerprint(split) for name, split in splits.present().items()}


def _fingerprint(split: Split) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for row in zip(split.texts, split.targets or [None] * len(split), strict=True):
        digest.update(json.dumps(row).encode("ascii"))
    return digest.hexdigest()
