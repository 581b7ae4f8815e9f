"""A checkpoint in another structure: fewer blocks, more or fewer positions, new tokens.

Nothing is trained here: the result is a starting point for fine-tuning.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.stored import stored_addresses
from tftransformer.checkpoints.structure.new_tokens import append_tokens
from tftransformer.checkpoints.structure.resizing import RESIZERS, append_mean_rows, resize_positions
from tftransformer.checkpoints.structure.views import Resize, SourceView
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, near_miss
from tftransformer.models.layer_choice import choose_layers, keep_in_config

# What has a row for each token: the table, and the bias of masked words where the checkpoint has that head.
_TOKENS = ("embeddings/token/embeddings", "lm_head/bias")
_POSITIONS = "embeddings/position/embeddings"
_BLOCK = re.compile(r"encoder_block_(\d+)(/.*)")
# What may differ between a config and the checkpoint: sizes that are adapted, rates that are free to choose, and
# what an encoder does not have.
_SIZES = ("num_layers", "max_sequence_length", "vocabulary_size")
_FREE = ("dropout", "attention_dropout", "tie_embeddings", "decoder_vocabulary_size", "num_decoder_layers")


@dataclasses.dataclass(frozen=True)
class AdaptedPreset(Preset):
    """A preset whose weights are read through the changes that `adapt` was asked for.

    Args:
        changes: What was changed, a line each.
    """

    changes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What was changed, to be read by people."""
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
        preset: From `load_preset` (or `preset_from_file`).
        config: The structure wanted. Depth, length, rows of the vocabulary and dropout may differ from the
            checkpoint's; everything else has to be the same.
        layers: Which blocks to keep: a number n (the first n), "first:n", "last:n", "every_second" (0, 2, 4,
            ...), or their numbers in the order wanted. With a config, "first" and "last" need no number, and
            None keeps the first. Where all layers share one block (ALBERT), it is applied fewer times.
        max_sequence_length: Longest input. Of fewer positions, the first are kept; learned ones can also
            become more.
        positions: How: "repeated" (1, 2, 3, 1, 2, 3: texts up to the old length give the same vectors as
            before) or "interpolated" (the old ones stretched over the new length).
        new_tokens: Appended to a WordPiece vocabulary; see `append_tokens` for what can be one. Their vectors
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
    if preset.modifications:
        raise TransformerError(
            f"a preset must be adapted before its structure is modified; {preset.name} has modifications"
        )
    if positions not in RESIZERS:
        raise TransformerError(
            f"positions must be one of {', '.join(RESIZERS)}; got {positions!r}{near_miss(str(positions), RESIZERS)}"
        )
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
    fields = {field.name: getattr(preset, field.name) for field in dataclasses.fields(preset)}
    fields["changes"] = (*fields.get("changes", ()), *changes)
    fields["config"] = _new_config(config, shallow, length, rows)
    fields["source"] = _view(preset, kept, length, positions, len(new_tokens), rows)
    fields["tokenizer"] = tokenizer
    fields["task"] = _new_task(preset.task, length, old)
    return AdaptedPreset(**fields)


def _check_config(config: TransformerConfig | None, old: TransformerConfig) -> None:
    for field in dataclasses.fields(old) if config is not None else ():
        wanted, found = _comparable(config, field.name), _comparable(old, field.name)
        if wanted != found and field.name not in (*_SIZES, *_FREE):
            raise TransformerError(
                f"{field.name} of the config must be the checkpoint's, {found!r}; got {wanted!r}"
            )


def _comparable(config: TransformerConfig, name: str) -> Any:
    """A field's value; of blocks, how many layers share them, where they do at all."""
    if name == "num_distinct_blocks" and config.num_blocks == config.num_layers:
        return None
    return getattr(config, name)


def _length(config: TransformerConfig | None, old: TransformerConfig, given: int | None) -> int:
    stated = None if config is None else config.max_sequence_length
    if None not in (stated, given) and stated != given:
        raise TransformerError(
            f"max_sequence_length must be the config's, {stated}, where both are given; got {given}"
        )
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


def _new_task(task: Mapping[str, Any], length: int, old: TransformerConfig) -> dict[str, Any]:
    """A classifier's own limit was for the old length."""
    same = length == old.max_sequence_length
    return {name: value for name, value in task.items() if same or name != "max_length"}


def _view(
    preset: Preset, kept: tuple[int, ...], length: int, positions: str, new: int, rows: int
) -> SourceView:
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
            spelling = preset.table.names(f"encoder_block_{number}{rest}").index(key)
            renamed[preset.table.names(f"encoder_block_{new}{rest}")[spelling]] = key
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
