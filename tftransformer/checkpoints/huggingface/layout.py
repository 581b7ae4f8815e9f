"""How Hugging Face stores a family of encoders: its tensors, its settings, and both translated either way."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tftransformer.checkpoints.rules import Table
from tftransformer.config import FAMILY_DEFAULTS, TransformerConfig
from tftransformer.errors import TransformerError

# The first name of each of ours is the one written back.
ACTIVATIONS: dict[str, str] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
# Settings that change what the model computes in a way that has no counterpart here, with the only value
# that can be loaded.
REQUIRED: dict[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
}
# The same from our side: what their encoders can express.
EXPRESSIBLE: dict[str, Any] = {
    "position": "learned",
    "normalize_first": False,
    "embedding_norm": True,
    "scale_embeddings": False,
    "use_bias": True,
    "gated": False,
}
MOST_LAYERS = 1000


@dataclasses.dataclass(frozen=True)
class Layout:
    """One family in Hugging Face's folders.

    Args:
        family: Ours.
        model_type: Theirs.
        classes: What their classes' names start with ("Bert" of "BertModel").
        prefix: What stands before the encoder's tensors in a task's model.
        table: The names of the tensors.
        settings: Their settings and the fields of `TransformerConfig` that they are.
        defaults: What their configuration class assumes for a setting that a file leaves out.
        required: Settings of this family beside `REQUIRED`, with the only value that can be loaded.
        fixed: Fields that the family has no setting for.
        activation: Their setting of the activation.
        head_dropout: Their setting of the classifier's dropout.
        default_head_dropout: Its value where a file leaves it out; None: the encoder's dropout.
        positions_after_padding: Position 0 has the row after the padding token's id (RoBERTa), and the number
            of positions counts the rows before it.
        projection_only_where_needed: There is no projection where the embeddings are as wide as the blocks.
    """

    family: str
    model_type: str
    classes: str
    prefix: str
    table: Table
    settings: Mapping[str, str]
    defaults: Mapping[str, Any]
    required: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    activation: str = "hidden_act"
    head_dropout: str = "classifier_dropout"
    default_head_dropout: float | None = None
    positions_after_padding: bool = False
    projection_only_where_needed: bool = False

    def to_config(self, settings: Mapping[str, Any], where: Any = "config.json") -> TransformerConfig:
        """Their settings as our configuration.

        Args:
            settings: The contents of config.json.
            where: For messages.

        Raises:
            TransformerError: An option without a counterpart here, or an impossible size.
        """
        for key, required in {**REQUIRED, **self.required}.items():
            if settings.get(key, required) not in (required, None):
                raise TransformerError(f"{where}: {key} must be {required!r}; got {settings[key]!r}")
        settings = {**self.defaults, **settings}
        activation = settings[self.activation]
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise TransformerError(f"{where}: {self.activation} must be one of {known}; got {activation!r}")
        fields = {ours: settings[theirs] for theirs, ours in self.settings.items()}
        if self.positions_after_padding:
            offset = settings["pad_token_id"]
            if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
                raise TransformerError(f"{where}: pad_token_id must be a number of a token; got {offset!r}")
            fields["position_offset"] = offset + 1
            if isinstance(fields["max_sequence_length"], int):
                fields["max_sequence_length"] -= offset + 1
        if self.projection_only_where_needed and fields["embedding_dim"] == fields["hidden_dim"]:
            fields["embedding_dim"] = None
        layers = fields["num_layers"]
        if isinstance(layers, int) and layers > MOST_LAYERS:
            raise TransformerError(
                f"{where}: the number of layers must be at most {MOST_LAYERS}; got {layers}"
            )
        try:
            return TransformerConfig(self.family, **fields, **self.fixed, activation=ACTIVATIONS[activation])
        except TransformerError as error:
            raise TransformerError(f"{where}: {error}") from None

    def to_settings(self, config: TransformerConfig) -> dict[str, Any]:
        """Our configuration as their settings: `to_config`'s inverse.

        Raises:
            TransformerError: Their model of this family cannot express it.
        """
        if isinstance(config.num_heads, tuple):
            raise TransformerError(
                f"Hugging Face's {self.classes} must have as many heads in every block; the model's blocks have "
                f"{', '.join(map(str, config.num_heads))}"
            )
        required = {**EXPRESSIBLE, **self.fixed, "num_key_value_heads": config.num_heads}
        if "embedding_dim" not in self.settings.values():
            required["embedding_dim"] = None
        if "num_distinct_blocks" not in self.settings.values():
            required["num_distinct_blocks"] = None
        if not self.positions_after_padding:
            required["position_offset"] = FAMILY_DEFAULTS[self.family]["position_offset"]
        for field, value in required.items():
            found = getattr(config, field)
            if found != value and not (field == "num_distinct_blocks" and found == config.num_layers):
                raise TransformerError(
                    f"Hugging Face's {self.classes} must have {field} {value!r}; the model's is {found!r}"
                )
        if config.head_dim * config.num_heads != config.hidden_dim:
            raise TransformerError(
                f"Hugging Face's {self.classes} must have heads of hidden_dim / num_heads; got {config.head_dim} "
                f"with hidden_dim {config.hidden_dim} and num_heads {config.num_heads}"
            )
        settings = {theirs: getattr(config, ours) for theirs, ours in self.settings.items()}
        names = {ours: theirs for theirs, ours in self.settings.items()}
        if self.positions_after_padding:
            settings[names["max_sequence_length"]] += config.position_offset
            settings["pad_token_id"] = config.position_offset - 1
        if self.projection_only_where_needed and config.embedding_dim is None:
            settings[names["embedding_dim"]] = config.hidden_dim
        elif "embedding_dim" in names and config.embedding_dim is None:
            raise TransformerError(
                f"Hugging Face's {self.classes} must have embedding_dim, and a projection behind it; got None"
            )
        if "num_distinct_blocks" in names:
            settings[names["num_distinct_blocks"]] = config.num_blocks
        activation = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == config.activation)
        return {"model_type": self.model_type, **settings, **self.required, self.activation: activation}
