"""A weights file without a checkpoint's folder around it: the config and the vocabulary are one's own."""

import os
from pathlib import Path

from tftransformer.checkpoints.adaptation import SourceView
from tftransformer.checkpoints.assign import make_plan, stored_addresses
from tftransformer.checkpoints.huggingface.tokenizer import read_tokenizer
from tftransformer.checkpoints.preset import Preset, check_vocabulary
from tftransformer.checkpoints.rules import OWN, TOKEN_TABLE, Table
from tftransformer.checkpoints.sources import SafetensorsSource, ShardedSource, Source, TorchSource, open_weights
from tftransformer.config import POSITIONS, TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.families import FAMILIES
from tftransformer.models.shapes import encoder_shapes
from tftransformer.text.spec import TokenizerSpec
from tftransformer.text.vocabulary import parse_vocabulary

_POSITIONS = "embeddings/position/embeddings"


def preset_from_file(
    weights: str | os.PathLike[str],
    config: TransformerConfig,
    vocabulary: str | os.PathLike[str] | TokenizerSpec,
    *,
    pooling: str = "cls",
) -> Preset:
    """A preset from a bare weights file, with the names of this project or of Hugging Face.

    Depth, length and rows of the vocabulary are read from the file, whatever the config says of them: `adapt`
    then brings them to the config's. Everything else is the config's, and loading is strict. A head is left out:
    without its labels nobody knows what its rows mean.

    Args:
        weights: A `.safetensors` file, an index of several, a `.bin` file of PyTorch's, or a folder of those.
        config: The structure.
        vocabulary: A vocab.txt (of lower-case WordPieces), a folder with a tokenizer's files, or a
            `TokenizerSpec`.
        pooling: "cls", "mean" or "max".

    Raises:
        TransformerError: A file is missing or damaged, holds no encoder of the config's family, or one of other
            sizes.

    Example:
        >>> config = TransformerConfig(vocabulary_size=30522, num_layers=4, hidden_dim=384, num_heads=12,
        ...                            intermediate_dim=1536)
        >>> found = preset_from_file("model.safetensors", config, "vocab.txt")  # doctest: +SKIP
        >>> encoder = adapt(found, config).build_encoder()                      # doctest: +SKIP
    """
    source = _open(Path(weights).expanduser())
    table, stored = _names(source, config.family)
    pretrained_pooler = FAMILIES[config.family].pretrained_pooler
    dropped = ("head",) if pretrained_pooler else ("head", "pooler")
    hidden = {key for address, key in stored.items() if address.split("/")[0] in dropped}
    found = _stored_sizes(config, source, stored)
    source = SourceView(source, {key: key for key in source.keys() if key not in hidden}, {})
    scheme = POSITIONS[config.position]
    if not scheme.trained or scheme.enters == "embeddings":  # others have weights that the shapes do not list
        make_plan(encoder_shapes(found), source, table)
    tokenizer = _tokenizer(vocabulary, config.family)
    check_vocabulary(tokenizer.vocabulary, found.vocabulary_size, str(vocabulary))
    return Preset(
        name=os.fspath(weights),
        origin="file",
        config=found,
        source=source,
        table=table,
        tokenizer=tokenizer,
        pooling=pooling,
        pooler=pooling == "cls" and pretrained_pooler and "pooler/dense/kernel" in stored,
    )


def _open(path: Path) -> Source:
    if path.is_dir():
        return open_weights(path)
    if not path.is_file():
        raise TransformerError(f"weights must be a file or a folder that exists; got {path}")
    one = TorchSource if ".bin" in path.suffixes or path.suffix in (".pt", ".pth") else SafetensorsSource
    return ShardedSource(path, one) if path.name.endswith(".index.json") else one(path)


def _names(source: Source, family: str) -> tuple[Table, dict[str, str]]:
    """The table whose names the file has, and what it has under them."""
    facts = FAMILIES[family].huggingface
    tables = [OWN, *([] if facts is None else [facts.table])]
    for table in tables:
        stored = stored_addresses(source, table)
        if TOKEN_TABLE in stored:
            return table, stored
    raise TransformerError(
        f"weights must hold an encoder of the family {family}, by the names of this project or of Hugging Face; "
        f"{source.name} has no token table, but for instance {', '.join(sorted(source.keys())[:3]) or 'nothing'}"
    )


def _stored_sizes(config: TransformerConfig, source: Source, stored: dict[str, str]) -> TransformerConfig:
    blocks = {address.split("/")[0] for address in stored if address.startswith("encoder_block_")}
    sizes = {"vocabulary_size": source.shape(stored[TOKEN_TABLE])[0]}
    if config.num_blocks == config.num_layers and blocks:
        sizes["num_layers"] = len(blocks)
    if config.position == "learned" and _POSITIONS in stored:
        sizes["max_sequence_length"] = source.shape(stored[_POSITIONS])[0] - config.position_offset
    return config.replace(**sizes)


def _tokenizer(vocabulary: str | os.PathLike[str] | TokenizerSpec, family: str) -> TokenizerSpec:
    if isinstance(vocabulary, TokenizerSpec):
        return vocabulary
    path = Path(vocabulary).expanduser()
    if path.is_dir():
        return read_tokenizer(path, family)
    if not path.is_file():
        raise TransformerError(f"vocabulary must be a file or a folder that exists; got {path}")
    if path.suffix != ".txt":
        raise TransformerError(
            f"vocabulary must be a vocab.txt or, for any other tokenizer, the folder with its files; got {path}"
        )
    data = path.read_bytes()
    return TokenizerSpec("wordpiece", parse_vocabulary(data, str(path)), {}, {"vocab.txt": data})
