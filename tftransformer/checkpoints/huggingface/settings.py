"""Hugging Face's settings (config.json) and our configuration, translated either way by what a family says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tftransformer.checkpoints.assign import MOST_LAYERS
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, check_choice, near_miss
from tftransformer.models.families import FAMILIES, Family, families_of
from tftransformer.models.families.family import HuggingFace

# By their name of the family; T5's versions share one.
MODEL_TYPES: dict[str, list[Family]] = {}
for _family in families_of("huggingface").values():
    MODEL_TYPES.setdefault(_family.huggingface.model_type, []).append(_family)

# The first name of each of ours is the one written back.
ACTIVATIONS: dict[str, str] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "gated-gelu": "gelu_tanh",
}
# Settings that change what the model computes in a way that has no counterpart here, with the only value
# that can be loaded.
REQUIRED: dict[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
}
# The same from our side: what their families have no setting for, so that it must be the family's.
SETTLED = (
    "position", "rotary_period", "rotary_scaling", "norm", "normalize_first", "embedding_norm", "scale_embeddings",
    "scale_attention", "use_bias", "qkv_bias", "gated",
)  # fmt: skip
# Their name of Llama 3.1's stretched rotary positions, and their settings in the order of `rotary_scaling`.
_SCALED = "llama3"
_SCALING = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def find_family(settings: Mapping[str, Any], where: Any = "config.json") -> Family:
    """The family that config.json names."""
    model_type = settings.get("model_type")
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        hint = near_miss(model_type, MODEL_TYPES) if isinstance(model_type, str) else ""
        raise TransformerError(
            f"{where} must be of a family that loads ({', '.join(MODEL_TYPES)}); its model_type is {model_type!r}{hint}"
        )
    versions = MODEL_TYPES[model_type]
    fitting = (family for family in versions if _missed(family.huggingface, settings) is None)
    return next(fitting, versions[0])


def _missed(facts: HuggingFace, settings: Mapping[str, Any]) -> str | None:
    """The first of their settings that has another value than the family requires; None where all are right."""
    stated = {**facts.defaults, **settings}
    for key, required in {**REQUIRED, **facts.required}.items():
        if stated.get(key, required) not in (required, None):
            return key
    return None


def config_of(
    settings: Mapping[str, Any], where: Any = "config.json", family: Family | None = None
) -> TransformerConfig:
    """Their settings as our configuration."""
    family = find_family(settings, where) if family is None else family
    facts = family.huggingface
    key = _missed(facts, settings)
    settings = {**facts.defaults, **settings}
    if key is not None:
        raise TransformerError(
            f"{where}: {key} must be {({**REQUIRED, **facts.required})[key]!r}; got {settings[key]!r}"
        )
    activation = settings[facts.activation]
    check_choice(f"{where}: {facts.activation}", activation, ACTIVATIONS)
    fields = _fields(settings, facts, where)
    if facts.positions_after_padding:
        offset = settings["pad_token_id"]
        if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
            raise TransformerError(f"{where}: pad_token_id must be a number of a token; got {offset!r}")
        fields["position_offset"] = offset + 1
        if isinstance(fields["max_sequence_length"], int):
            fields["max_sequence_length"] -= offset + 1
    if facts.rotary:
        fields |= _rotary_of(settings, where)
    if fields["intermediate_dim"] is None and isinstance(fields["hidden_dim"], int):
        fields["intermediate_dim"] = 4 * fields["hidden_dim"]  # what GPT-2's files leave unsaid
    if facts.projection_only_where_needed and fields["embedding_dim"] == fields["hidden_dim"]:
        fields["embedding_dim"] = None
    return config_from(where, family, {**fields, **facts.fixed, "activation": ACTIVATIONS[activation]})


def _fields(settings: Mapping[str, Any], facts: HuggingFace, where: Any) -> dict[str, Any]:
    """Our fields; where each side of an encoder-decoder has a setting for one of them, the two must agree."""
    fields: dict[str, Any] = {}
    for theirs, ours in facts.settings.items():
        if fields.setdefault(ours, settings[theirs]) != settings[theirs]:
            other = next(name for name, field in facts.settings.items() if field == ours)
            raise TransformerError(f"{where}: {theirs} must be {other}, {settings[other]!r}; got {settings[theirs]!r}")
    return fields


def _rotary_of(settings: Mapping[str, Any], where: Any) -> dict[str, Any]:
    """Wavelengths of rotary positions: `rope_parameters` since transformers 5, before `rope_theta` and `rope_scaling`."""
    stated = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    if not isinstance(stated, Mapping):
        raise TransformerError(f"{where}: rope_scaling must be an object; got {stated!r:.80}")
    kind = stated.get("rope_type", stated.get("type", "default"))
    check_choice(f"{where}: rope_type", kind, ("default", _SCALED))
    fields = {"rotary_period": stated.get("rope_theta", settings.get("rope_theta", 10000.0))}
    if kind == _SCALED:
        if missing := [name for name in _SCALING if name not in stated]:
            raise TransformerError(f"{where}: rope_scaling must hold {missing[0]!r} with the rope_type {kind!r}")
        fields["rotary_scaling"] = tuple(stated[name] for name in _SCALING)
    return fields


def _rotary_settings(config: TransformerConfig) -> dict[str, Any]:
    """`_rotary_of`'s inverse, as every version of transformers reads it."""
    scaling = None
    if config.rotary_scaling is not None:
        scaling = {"rope_type": _SCALED, **dict(zip(_SCALING, config.rotary_scaling, strict=True))}
    return {"rope_theta": config.rotary_period, "rope_scaling": scaling}


def begin_of(settings: Mapping[str, Any], facts: HuggingFace, vocabulary: Sequence[str], where: Any) -> list[str]:
    """The tokens that a target begins with."""
    tokens = []
    for name in facts.begin:
        number = {**facts.defaults, **settings}.get(name)
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(vocabulary):
            raise TransformerError(
                f"{where}: {name} must be a number of a token, below {len(vocabulary)}; got {number!r}"
            )
        tokens.append(vocabulary[number])
    return tokens


def begin_settings(begin: Sequence[int], facts: HuggingFace) -> dict[str, Any]:
    """`begin_of`'s inverse, and that generation forces what comes behind the first one."""
    forced = {"forced_bos_token_id": begin[1]} if len(begin) > 1 else {}
    return {**dict(zip(facts.begin, begin, strict=False)), **forced}


def config_from(where: Any, family: Family, fields: Mapping[str, Any]) -> TransformerConfig:
    """The config of some fields; messages of errors begin with `where`."""
    layers = fields["num_layers"]
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise TransformerError(f"{where}: the number of layers must be at most {MOST_LAYERS}; got {layers}")
    try:
        return TransformerConfig(family.name, **fields)
    except TransformerError as error:
        raise TransformerError(f"{where}: {error}") from None


def settings_of(config: TransformerConfig) -> dict[str, Any]:
    """Our configuration as their settings: `config_of`'s inverse."""
    facts = FAMILIES[config.family].huggingface
    _check_expressible(config, facts)
    settings = {theirs: getattr(config, ours) for theirs, ours in facts.settings.items()}
    names = {ours: theirs for theirs, ours in facts.settings.items()}
    if facts.positions_after_padding:
        settings[names["max_sequence_length"]] += config.position_offset
        settings["pad_token_id"] = config.position_offset - 1
    if facts.projection_only_where_needed and config.embedding_dim is None:
        settings[names["embedding_dim"]] = config.hidden_dim
    elif "embedding_dim" in names and config.embedding_dim is None:
        raise TransformerError(
            f"Hugging Face's {facts.classes} must have embedding_dim, and a projection behind it; got None"
        )
    if "num_distinct_blocks" in names:
        settings[names["num_distinct_blocks"]] = config.num_blocks
    if facts.rotary:
        settings |= _rotary_settings(config)
    activation = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == config.activation)
    stated = {"model_type": facts.model_type, **settings, facts.activation: activation}
    return {**stated, **facts.required, **facts.written}


def _check_expressible(config: TransformerConfig, facts: HuggingFace) -> None:
    if isinstance(config.num_heads, tuple):
        raise TransformerError(
            f"Hugging Face's {facts.classes} must have as many heads in every block; the model's blocks have "
            f"{', '.join(map(str, config.num_heads))}"
        )
    sizes = {"vocabulary_size": 8, "num_layers": 1, "hidden_dim": 8, "num_heads": 1, "intermediate_dim": 8}
    usual = TransformerConfig(config.family, **sizes)
    required = {field: getattr(usual, field) for field in SETTLED if field not in facts.settings.values()}
    required |= facts.fixed
    # Dropout changes training alone, and not what the model is.
    required.pop("dropout", None)
    if facts.rotary:
        del required["rotary_period"], required["rotary_scaling"]
    if "num_key_value_heads" not in facts.settings.values():
        required["num_key_value_heads"] = config.num_heads
    if "embedding_dim" not in facts.settings.values():
        required["embedding_dim"] = None
    if "num_distinct_blocks" not in facts.settings.values():
        required["num_distinct_blocks"] = None
    if not facts.positions_after_padding:
        required["position_offset"] = usual.position_offset
    for field, value in required.items():
        found = getattr(config, field)
        if found != value and not (field == "num_distinct_blocks" and found == config.num_layers):
            raise TransformerError(
                f"Hugging Face's {facts.classes} must have {field} {value!r}; the model's is {found!r}"
            )
    if "head_dim" not in facts.settings.values() and config.head_dim * config.num_heads != config.hidden_dim:
        raise TransformerError(
            f"Hugging Face's {facts.classes} must have heads of hidden_dim / num_heads; got {config.head_dim} "
            f"with hidden_dim {config.hidden_dim} and num_heads {config.num_heads}"
        )
