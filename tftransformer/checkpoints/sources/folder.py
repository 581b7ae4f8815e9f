"""Finding the weights in a checkpoint folder."""

import os
from pathlib import Path

from tftransformer.checkpoints.sources.base import Source
from tftransformer.checkpoints.sources.shards import SafetensorsSource, ShardedSource
from tftransformer.checkpoints.sources.tensorflow_file import TensorFlowSource, find_checkpoint
from tftransformer.checkpoints.sources.torch_file import TorchSource
from tftransformer.errors import TransformerError

# The first that is there is read: what needs no other library and cannot run code comes first.
_FORMS = (
    ("model.safetensors", SafetensorsSource),
    ("model.safetensors.index.json", lambda path: ShardedSource(path, SafetensorsSource)),
    ("pytorch_model.bin", TorchSource),
    ("pytorch_model.bin.index.json", lambda path: ShardedSource(path, TorchSource)),
)
_UNREAD = {
    "tf_model.h5": "transformers' TensorFlow classes, gone since its version 5",
    "flax_model.msgpack": "transformers' Flax classes, gone since its version 5",
}


def open_weights(folder: str | os.PathLike[str]) -> Source:
    """The weights in a folder: whole or sharded safetensors, a PyTorch file, or a TensorFlow checkpoint.

    Nothing but headers and indexes is read; a tensor is read when `get` asks for it.

    Args:
        folder: Folder with `model.safetensors`, `model.safetensors.index.json`, `pytorch_model.bin`,
            `pytorch_model.bin.index.json` or a TensorFlow checkpoint's `.index`; the first of them that is
            there is read.

    Returns:
        The tensors by the names that the file gives them.

    Raises:
        TransformerError: There are no weights that can be read, or they are damaged.

    Example:
        >>> from tftransformer.checkpoints.sources import open_weights
        >>> open_weights("all-MiniLM-L6-v2").shape("embeddings.word_embeddings.weight")  # doctest: +SKIP
        (30522, 384)
    """
    folder = Path(folder)
    for name, opener in _FORMS:
        # A link that leads nowhere counts as its file: that is an error, not a reason to read another.
        if (folder / name).exists() or (folder / name).is_symlink():
            return opener(folder / name)
    checkpoint = find_checkpoint(folder)
    if checkpoint is not None:
        return TensorFlowSource(checkpoint)
    for name, writer in _UNREAD.items():
        if (folder / name).exists():
            raise TransformerError(
                f"{folder / name} was written by {writer}, and is not read; save it as model.safetensors"
            )
    known = ", ".join(name for name, _ in _FORMS)
    raise TransformerError(f"{folder} has no weights: none of {known}, and no TensorFlow checkpoint")
