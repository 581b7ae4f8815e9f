"""A checkpoint in another structure: fewer blocks, more or fewer positions, new tokens.

Nothing is trained here: the result is a starting point for fine-tuning.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tftransformer.checkpoints.assign import stored_addresses
from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.sources import Source
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, check_choice
from tftransformer.models.layer_choice import choose_layers, keep_in_config
from tftransformer.text.spec import TokenizerSpec
from tftransformer.text.vocabulary import vocabulary_bytes


class Resize(NamedTuple):
    """A tensor with another number of rows: how many, and how they are made from the stored ones."""

    rows: int
    make: Callable[[np.ndarray], np.ndarray]


class SourceView:
    """Some tensors of a source, under other names and in other lengths.

    Args:
        source: The tensors as they are.
        origins: The source's name of each tensor, by its name here.
        resized: New sizes of those with another number of rows, by their name here.

    Example:
        >>> from tftransformer.checkpoints.sources import ArraySource
        >>> source = ArraySource({"a": np.ones((2, 3)), "b": np.zeros(4)})
        >>> view = SourceView(source, {"c": "a"}, {"c": Resize(1, lambda table: table[:1])})
        >>> view.keys(), view.shape("c"), view.get("c").shape
        (('c',), (1, 3), (1, 3))
    """

    def __init__(self, source: Source, origins: Mapping[str, str], resized: Mapping[str, Resize]) -> None:
        self.name = source.name
        self._source = source
        self._origins = dict(origins)
        self._resized = dict(resized)

    def keys(self) -> tuple[str, ...]:
        return tuple(self._origins)

    def shape(self, key: str) -> tuple[int, ...]:
        shape = tuple(self._source.shape(self._origins[key]))
        return (self._resized[key].rows, *shape[1:]) if key in self._resized else shape

    def dtype(self, key: str) -> str:
        return self._source.dtype(self._origins[key])

    def get(self, key: str) -> np.ndarray:
        value = self._source.get(self._origins[key])
        return self._resized[key].make(value) if key in self._resized else value


# What has a row for each token: the table, and the bias of masked words where the checkpoint has that head.
_TOKENS = ("embeddings/token/embeddings", "lm_head/bias")
_POSITIONS = "embeddings/position/embeddings"
_BLOCK = re.compile(r"encoder_block_(\d+)(/.*)")
# What may differ between a config and the checkpoint: sizes that are adapted, rates that are free to choose, and
# what an encoder does not have.
_SIZES = ("num_layers", "max_sequence_length", "vocabulary_size")
_FREE = (
    "dropout",
    "attention_dropout",
    "tie_embeddings",
    "share_embeddings",
    "decoder_vocabulary_size",
    "num_decoder_layers",
)


@dataclasses.dataclass(frozen=True)
class AdaptedPreset(Preset):
    """A preset whose weights are read through the changes that `adapt` was asked for.

    Args:
        changes: Changes that were made, a line each.
    """

    changes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Readable list of the changes that were made, one a line."""
        return "\n".join(self.changes) or "nothing was changed"


def adapt(
    preset: Preset,
    config: TransformerConfig | None = None,
    *,
    layers: int | str | Sequence[int] | None = None,
    max_sequence_length: int | None = None,
    positions: str = "repeated",
    new_tokens: Sequence[str] = (),
) -> AdaptedPreset:
    """A preset for a model of another depth, length or vocabulary, with weights from this one.

    State the structure as a `config`, or only what differs from the checkpoint. No weights are read before
    the result is loaded into a model, and then one tensor at a time.

    Args:
        preset: Preset from `load_preset` (or `preset_from_file`).
        config: The structure wanted. Depth, length, rows of the vocabulary and dropout may differ from the
            checkpoint's; everything else has to be the same.
        layers: Blocks to keep: a number n (the first n), "first:n", "last:n", "every_second" (0, 2, 4,
            ...), or their numbers in the order wanted. With a config, "first" and "last" need no number, and
            None keeps the first. Where all layers share one block (ALBERT), it is applied fewer times.
        max_sequence_length: Longest input. Of fewer positions, the first are kept; learned ones can also
            become more.
        positions: Way to more positions: "repeated" (1, 2, 3, 1, 2, 3: texts up to the old length give the same vectors as
            before) or "interpolated" (the old ones stretched over the new length).
        new_tokens: Tokens to append to a WordPiece vocabulary, see `append_tokens`. Their vectors
            start as the mean of the old tokens'.

    Returns:
        A preset with another `config`, `tokenizer` and `source`; its `summary` says what was changed.

    Raises:
        TransformerError: More layers than there are, an unknown choice, a token that exists or can never
            occur, a config that differs elsewhere, or a preset whose structure was modified.

    Example:
        >>> import tftransformer as tt
        >>> preset = adapt(tt.load_preset("bert_12x192_en_uncased"), layers="every_second", max_sequence_length=512)
        >>> print(preset.summary)
        layers: 6 of 12, the blocks 0, 2, 4, 6, 8, 10
        positions: 512 instead of 256, repeated
        >>> encoder = preset.build_encoder()
    """
    old = preset.config
    if not preset.has_encoder:
        raise TransformerError(f"preset must hold an encoder, whose structure changes; {preset.name} holds a decoder")
    if preset.modifications:
        raise TransformerError(
            f"a preset must be adapted before its structure is modified; {preset.name} has modifications"
        )
    check_choice("positions", positions, RESIZERS)
    kept = choose_layers(layers, old.num_layers, None if config is None else config.num_layers)
    shallow = keep_in_config(old, kept)
    _check_config(config, shallow)
    length = _length(config, old, max_sequence_length)
    tokenizer = append_tokens(preset.tokenizer, new_tokens) if len(new_tokens) else preset.tokenizer
    rows = _rows(config, old, len(tokenizer.vocabulary))
    changes = (
        *_layer_changes(kept, old),
        *_length_changes(length, old, positions),
        *_vocabulary_changes(preset, tuple(new_tokens), rows),
    )
    # A classifier's own limit was for the old length.
    left_out = () if length == old.max_sequence_length else ("sequence_length",)
    new = {
        "changes": (*getattr(preset, "changes", ()), *changes),
        "config": _new_config(config, shallow, length, rows),
        "source": _view(preset, kept, length, positions, len(new_tokens), rows),
        "tokenizer": tokenizer,
        "task": {name: value for name, value in preset.task.items() if name not in left_out},
    }
    return AdaptedPreset(**vars(preset) | new)


def _check_config(config: TransformerConfig | None, old: TransformerConfig) -> None:
    for field in dataclasses.fields(old) if config is not None else ():
        wanted, found = _comparable(config, field.name), _comparable(old, field.name)
        if wanted != found and field.name not in (*_SIZES, *_FREE):
            raise TransformerError(f"{field.name} of the config must be the checkpoint's, {found!r}; got {wanted!r}")


def _comparable(config: TransformerConfig, name: str) -> Any:
    """A field's value; of blocks, how many layers share them, where they do at all."""
    if name == "num_distinct_blocks" and config.num_blocks == config.num_layers:
        return None
    return getattr(config, name)


def _length(config: TransformerConfig | None, old: TransformerConfig, given: int | None) -> int:
    stated = None if config is None else config.max_sequence_length
    if None not in (stated, given) and stated != given:
        raise TransformerError(f"max_sequence_length must be the config's, {stated}, where both are given; got {given}")
    if given is None:
        return stated or old.max_sequence_length
    return old.replace(max_sequence_length=given).max_sequence_length  # which checks that it is a length


def _rows(config: TransformerConfig | None, old: TransformerConfig, tokens: int) -> int:
    if config is None:
        return max(old.vocabulary_size, tokens)
    if config.vocabulary_size < tokens:
        raise TransformerError(
            f"vocabulary_size of the config must be at least {tokens}, the tokens with the new ones; got "
            f"{config.vocabulary_size}"
        )
    return config.vocabulary_size


def _new_config(
    config: TransformerConfig | None, shallow: TransformerConfig, length: int, rows: int
) -> TransformerConfig:
    base = shallow if config is None else config
    sizes: dict[str, Any] = {"max_sequence_length": length, "vocabulary_size": rows}
    if base.decoder_vocabulary_size == base.vocabulary_size:  # It follows until somebody sets it.
        sizes["decoder_vocabulary_size"] = rows
    return base.replace(**sizes)


def _view(preset: Preset, kept: tuple[int, ...], length: int, positions: str, new: int, rows: int) -> SourceView:
    old, table = preset.config, preset.table
    stored = stored_addresses(preset.source, table)
    origins = {key: key for key in preset.source.keys()}
    if old.num_blocks == old.num_layers and kept != tuple(range(old.num_layers)):
        origins = _renumbered(stored, origins, preset, kept)
    resized = {}
    if length != old.max_sequence_length and _POSITIONS in stored:
        offset = old.position_offset
        make = partial(resize_positions, length=length, offset=offset, how=positions)
        resized[stored[_POSITIONS]] = Resize(offset + length, make)
    if new or rows != old.vocabulary_size:
        used = len(preset.tokenizer.vocabulary)
        make = partial(append_mean_rows, used=used, new=new, rows=rows)
        resized |= {stored[address]: Resize(rows, make) for address in _TOKENS if address in stored}
    return SourceView(preset.source, origins, resized)


def _renumbered(
    stored: Mapping[str, str], origins: Mapping[str, str], preset: Preset, kept: tuple[int, ...]
) -> dict[str, str]:
    """The source's names of the kept blocks under their new numbers; those of the others are left out."""
    blocks: dict[int, list[tuple[str, str]]] = {}
    for address, key in stored.items():
        if match := _BLOCK.fullmatch(address):
            blocks.setdefault(int(match[1]), []).append((match[2], key))
    dropped = {key for entries in blocks.values() for _, key in entries}
    renamed = {key: origin for key, origin in origins.items() if key not in dropped}
    for new, number in enumerate(kept):
        for rest, key in blocks.get(number, ()):
            place = preset.table.names(f"encoder_block_{number}{rest}").index(key)
            renamed[preset.table.names(f"encoder_block_{new}{rest}")[place]] = key
    return renamed


def _layer_changes(kept: tuple[int, ...], old: TransformerConfig) -> list[str]:
    if kept == tuple(range(old.num_layers)):
        return []
    if old.num_blocks < old.num_layers:
        return [f"layers: {len(kept)} instead of {old.num_layers}, all by the one block that they share"]
    return [f"layers: {len(kept)} of {old.num_layers}, the blocks {', '.join(map(str, kept))}"]


def _length_changes(length: int, old: TransformerConfig, how: str) -> list[str]:
    before = old.max_sequence_length
    if length == before:
        return []
    if old.position != "learned":
        how = f"{old.position} positions need no weights"
    elif length < before:
        how = "the first"
    return [f"positions: {length} instead of {before}, {how}"]


def _vocabulary_changes(preset: Preset, tokens: tuple[str, ...], rows: int) -> list[str]:
    used, before = len(preset.tokenizer.vocabulary), preset.config.vocabulary_size
    lines = []
    if tokens:
        shown = ", ".join(tokens[:5]) + (", …" if len(tokens) > 5 else "")
        lines.append(
            f"vocabulary: {used + len(tokens)} tokens instead of {used}; the new ones ({shown}) have the ids from "
            f"{used} on and start as the mean of the old vectors"
        )
    if rows != max(before, used + len(tokens)):
        lines.append(f"token table: {rows} rows instead of {before}")
    return lines


# A vocabulary with tokens of one's own at its end, each checked to be one that a text can hold.


def append_tokens(tokenizer: TokenizerSpec, tokens: Sequence[str]) -> TokenizerSpec:
    """A WordPiece tokenizer with more tokens; the ids of the old ones stay.

    New tokens are pieces like all others: normalised text that starts a word, or goes on with one where they
    are written with `##`, and the longest piece that fits wins. So "spect" also starts "spectral", and a word
    with a space or a hyphen in it, which is several words to the tokenizer, cannot be a token.

    Args:
        tokenizer: Tokenizer of the kind "wordpiece".
        tokens: Tokens as normalised text has them (in lower case, for an uncased vocabulary).
    """
    if isinstance(tokens, str) or not all(isinstance(token, str) for token in tokens):
        raise TransformerError(f"new_tokens must be a list of strings; got {tokens!r:.80}")
    if tokenizer.kind != "wordpiece":
        raise TransformerError(
            f"new_tokens can be added to a wordpiece vocabulary alone; this one is {tokenizer.kind}, whose "
            "pieces follow from merges or scores that a new one does not have"
        )
    tokens = tuple(tokens)
    old = {token: i for i, token in enumerate(tokenizer.vocabulary)}
    for i, token in enumerate(tokens):
        if token in old:
            raise TransformerError(f"new_tokens must be new; {token!r} has the id {old[token]} already")
        if token in tokens[:i]:
            raise TransformerError(f"new_tokens must hold each token once; {token!r} is there twice")
    result = _with_vocabulary(tokenizer, (*tokenizer.vocabulary, *tokens))
    _check_reachable(tokenizer, tokens, old)
    return result


def _check_reachable(tokenizer: TokenizerSpec, tokens: tuple[str, ...], old: dict[str, int]) -> None:
    """Every token (without its ##) must be what the tokenizer makes of it: one word, unchanged."""
    bodies = [token.removeprefix("##") for token in tokens]
    added = [body for body in dict.fromkeys(bodies) if body and body not in old]
    trial = _with_vocabulary(tokenizer, (*tokenizer.vocabulary, *added)).build()
    for token, body, ids in zip(tokens, bodies, trial.tokenize(bodies).to_list() if bodies else ()):
        pieces = [trial.id_to_token(i) for i in ids]
        if pieces != [body]:
            read = " ".join(pieces) or "nothing"
            capitals = body != body.lower() and tokenizer.settings.get("lowercase", True)
            raise TransformerError(
                f"new_tokens must be words as the tokenizer reads them; {token!r} can never occur, since the text "
                f"{body!r} is read as {read}{'; write it in lower case' if capitals else ''}"
            )


def _with_vocabulary(tokenizer: TokenizerSpec, vocabulary: tuple[str, ...]) -> TokenizerSpec:
    files = {**tokenizer.files, "vocab.txt": vocabulary_bytes(vocabulary)}
    return TokenizerSpec(tokenizer.kind, vocabulary, tokenizer.settings, files)


# Embedding tables of another length: positions repeated or interpolated, and mean vectors for new tokens.


def interpolate_rows(table: np.ndarray, rows: int) -> np.ndarray:
    """The table stretched: its first and last rows stay at the ends, the others are mixed from two neighbours.

    Returns:
        (rows, D) in the table's dtype.

    Example:
        >>> interpolate_rows(np.array([[1.0], [2.0]]), 3)[:, 0].tolist()
        [1.0, 1.5, 2.0]
    """
    places = np.linspace(0, len(table) - 1, rows)
    lower = np.floor(places).astype(int)
    upper = np.minimum(lower + 1, len(table) - 1)
    fraction = (places - lower)[:, None].astype("float32")
    values = table.astype("float32")
    return (values[lower] * (1 - fraction) + values[upper] * fraction).astype(table.dtype)


RESIZERS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    # As Longformer (Beltagy et al. 2020, arXiv 2004.05150) starts its positions.
    "repeated": lambda table, rows: np.resize(table, (rows, *table.shape[1:])),
    "interpolated": interpolate_rows,
}


def resize_positions(table: np.ndarray, length: int, offset: int, how: str) -> np.ndarray:
    """A position table for another length.

    Args:
        table: (offset + T, D).
        length: Positions that are wanted; the first ones where that is fewer than T.
        offset: Rows at its head that belong to no position and stay as they are.
        how: One of `RESIZERS`, for more positions than T.

    Returns:
        (offset + length, D).

    Example:
        >>> resize_positions(np.array([[0.0], [1.0], [2.0]]), 3, offset=1, how="repeated")[:, 0].tolist()
        [0.0, 1.0, 2.0, 1.0]
    """
    head, body = table[:offset], table[offset:]
    body = body[:length] if length <= len(body) else RESIZERS[how](body, length)
    return np.concatenate([head, body])


def append_mean_rows(table: np.ndarray, used: int, new: int, rows: int) -> np.ndarray:
    """A token table with vectors for new tokens: the mean of those that are used.

    From the mean no new token starts out likelier than the average old one, while random vectors can outweigh
    all of them (Hewitt 2021, "Initializing new word embeddings for pretrained language models").

    Args:
        table: (V, D), or a bias (V,).
        used: The rows that belong to tokens; the others are padding, of which new tokens take the first.
        new: New tokens.
        rows: Rows that are wanted; those beyond the table and the new tokens hold the mean, too.

    Returns:
        (rows, D), or (rows,), in the table's dtype.

    Example:
        >>> append_mean_rows(np.array([[1.0], [3.0], [0.0]]), used=2, new=2, rows=4)[:, 0].tolist()
        [1.0, 3.0, 2.0, 2.0]
    """
    result = np.empty((rows, *table.shape[1:]), table.dtype)
    result[:] = table[:used].astype("float64").mean(axis=0).astype(table.dtype)
    result[:used] = table[:used]
    spare = table[used + new : rows]
    result[used + new : used + new + len(spare)] = spare
    return result
