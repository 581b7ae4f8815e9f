"""A classifier on a checkpoint in another structure, as the command `custom_model` makes it."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from tftransformer.checkpoints.adaptation import AdaptedPreset, adapt
from tftransformer.checkpoints.describe import describe
from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.native_format import write_preset
from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.checkpoints.weights_files import preset_from_file
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, near_miss
from tftransformer.evaluation.reports import Report
from tftransformer.models.layer_choice import choose_layers
from tftransformer.progress import say
from tftransformer.runs import classification
from tftransformer.runs.options import CustomOptions
from tftransformer.runs.run_folder import next_free

# Fields of a config that follow another one until they are stated.
_FOLLOWERS = {
    "attention_dropout": "dropout",
    "num_decoder_layers": "num_layers",
    "decoder_vocabulary_size": "vocabulary_size",
}


def train(options: CustomOptions) -> Report:
    """Adapt a checkpoint, write it as a preset of its own, and fine-tune, evaluate, save and export on it.

    Returns:
        The report on the test split, which is also printed.
    """
    preset = build_custom(options)
    classification.load_splits(options)  # before anything is written
    if options.model_dir:
        folder = Path(options.model_dir)
    else:
        folder = next_free(Path("presets"), "custom")
    write_preset(preset, folder, overwrite=options.overwrite)
    say(f"\n{describe(preset)}\n\nthe model is in {folder}")
    return classification.train(dataclasses.replace(options, preset=str(folder)))


def build_custom(options: CustomOptions) -> AdaptedPreset:
    """The checkpoint that the options name, in the structure that they state."""
    stated = {} if options.config is None else _read_fields(Path(options.config))
    if options.weights is None:
        found = load_preset(options.preset)
    else:
        config = TransformerConfig.from_dict(stated)
        found = preset_from_file(options.weights, config, options.vocabulary, pooling=options.pooling or "cls")
    layers = parse_layers(options.layers)
    return adapt(
        found,
        _complete(stated, found, layers, options),
        layers=layers,
        max_sequence_length=options.max_sequence_length,
        positions=options.positions,
        new_tokens=options.new_tokens or (),
    )


def parse_layers(text: str | None) -> int | str | tuple[int, ...] | None:
    """Return the argument `layers` of `adapt` for a text from a command line.

    Example:
        >>> parse_layers("6"), parse_layers("6,"), parse_layers("0,5,11"), parse_layers("last:6")
        (6, (6,), (0, 5, 11), 'last:6')
    """
    if text is None or not re.fullmatch(r"\d+(\s*,\s*\d+)*,?", text):
        return text
    numbers = tuple(int(number) for number in text.rstrip(",").split(","))
    return numbers if "," in text else numbers[0]


def _read_fields(path: Path) -> dict[str, Any]:
    """A config's fields from a JSON file, which need not hold all of them."""
    stated = read_json(path)
    known = {field.name for field in dataclasses.fields(TransformerConfig)}
    for name in stated:
        if name not in known:
            raise TransformerError(f"{path}: unknown field {name!r} in a TransformerConfig{near_miss(name, known)}")
    return stated


def _complete(stated: dict[str, Any], found: Preset, layers: Any, options: CustomOptions) -> TransformerConfig:
    """The config: what is stated, then what the other options say, then what the checkpoint has."""
    old = found.config
    tokens = len(found.tokenizer.vocabulary) + len(options.new_tokens or ())
    asked = {"vocabulary_size": max(old.vocabulary_size, tokens)}
    if layers is not None and "num_layers" not in stated:
        asked["num_layers"] = len(choose_layers(layers, old.num_layers))
    if options.max_sequence_length is not None:
        asked["max_sequence_length"] = options.max_sequence_length
    fields = old.to_dict()
    for follower, leader in _FOLLOWERS.items():
        if fields[follower] == fields[leader]:
            fields[follower] = None
    if old.num_distinct_blocks == old.num_layers:
        fields["num_distinct_blocks"] = None
    return TransformerConfig.from_dict({**fields, **asked, **stated})
