"""Any preset as a folder of our own, without building a model."""

import os
from pathlib import Path

from tftransformer.checkpoints.own import save_preset
from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.rules import transform_of
from tftransformer.checkpoints.stored import stored_addresses
from tftransformer.errors import TransformerError


def write_preset(
    preset: Preset,
    folder: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write what a preset holds, under our names and in our layout, as `load_preset` reads it back.

    Args:
        preset: From anywhere: a hub, another project's folder, or `adapt`.
        folder: Where to; appears whole or not at all.
        dtype: Of the stored weights. None: as they are.
        overwrite: Replace a folder that holds files.

    Returns:
        The folder.

    Raises:
        TransformerError: The folder holds files, the disk refuses, or the structure was modified.
    """
    if preset.modifications:
        raise TransformerError(f"a preset must be written before its structure is modified; {preset.name} is")
    stored = stored_addresses(preset.source, preset.table)
    if preset.labels is None:  # nobody would know what its rows mean
        stored = {address: key for address, key in stored.items() if not address.startswith("head/")}
    transforms = {address: transform_of(preset.table.rule(address)) for address in stored}
    return save_preset(
        folder,
        config=preset.config,
        tokenizer=preset.tokenizer.build(),
        variables={a: transforms[a].forward(preset.source.get(key)) for a, key in stored.items()},
        pooling=preset.pooling,
        labels=preset.labels,
        head=preset.head,
        task=preset.task,
        class_name=preset.class_name or None,
        dtype=dtype,
        overwrite=overwrite,
    )
