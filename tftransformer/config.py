"""The configuration of a Transformer: one frozen object that the builders read and checkpoints store."""

import dataclasses
import json
import math
from typing import Any, NamedTuple

from tftransformer.errors import TransformerError, check_choice, near_miss
from tftransformer.models.families import FAMILIES

ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu")
NORMS = ("layer", "rms")
# Of every family that does not say otherwise.
GENERAL: dict[str, Any] = {
    "gated": False,
    "use_bias": True,
    "norm": "layer",
    "scale_attention": True,
    "rotary_period": 10000.0,
    "relative_buckets": 32,
    "relative_max_distance": 128,
    "scale_logits": False,
    "logits_bias": False,
    "share_embeddings": False,
}
# Far above every model, far below what overflows: a larger number is a damaged file.
LARGEST_SIZE = 2**31 - 1


class PositionScheme(NamedTuple):
    """Place where a scheme applies positions, and the class in `tftransformer.layers` that does it.

    Attributes:
        enters: "embeddings": vectors added to those of the tokens. "scores": a bias on the attention scores that all
            blocks of a stack share. "attention": a part of each block's attention. "": nowhere.
        layer: The class. "" where `TransformerEmbedding` does it by the scheme's name, or nobody.
        trained: Whether it has weights.
    """

    enters: str
    layer: str = ""
    trained: bool = False


POSITIONS = {
    "learned": PositionScheme("embeddings", trained=True),
    "sinusoidal": PositionScheme("embeddings"),
    "sinusoidal_halves": PositionScheme("embeddings"),
    "rotary": PositionScheme("attention", "RotaryPosition"),
    "alibi": PositionScheme("scores", "ALiBi"),
    "relative": PositionScheme("attention", "RelativePosition", trained=True),
    "relative_buckets": PositionScheme("scores", "RelativePositionBuckets", trained=True),
    "none": PositionScheme(""),
}


# None, until the constructor puts the family's default there: afterwards the field has its type.
_SETTLED_LATER: Any = None


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Sizes and choices of a Transformer, checked on construction.

    Arguments left at None take the family's default (`models.families`), so that a config states only
    what is special about a model.

    Args:
        family: One of `models.families.FAMILIES`, such as "bert" or "roberta" (encoders), "gpt2" (a decoder) or
            "transformer" (an encoder-decoder). Every builder takes every family: it fixes defaults.
        vocabulary_size: V, rows of the token embedding table (the encoder's, where there are two).
        num_layers: Number of blocks (of the encoder, where there are two stacks).
        hidden_dim: D, width of the residual stream.
        num_heads: N, query heads: of every block, or of encoders a tuple of as many numbers as there are distinct
            blocks (heads were pruned). A tuple of equal numbers becomes that number.
        intermediate_dim: Width of the feed-forward layer between its two products.
        max_sequence_length: Rows of the learned position table; the longest input it can take. The other
            position schemes have no table and only use it as the default length of inputs.
        num_segments: Rows of the segment table; 0 leaves segments out, 1 adds the same row to every token, so
            that there is no such input. None: the family's.
        embedding_dim: Width of the embedding tables and of the norm on their sum, if another than D; a
            projection to D follows (Lan et al. 2019). None: the family's, or D without a projection.
        num_distinct_blocks: Blocks with weights of their own; the `num_layers` applications are dealt out to
            them evenly, in order (ALBERT shares one block). None: the family's, or one for each layer.
        position_offset: Rows at the start of the position table that belong to no position (RoBERTa's have 2).
            None: the family's.
        num_key_value_heads: Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245): this many
            key and value heads, each shared by `num_heads / num_key_value_heads` query heads.
            One number or one for each distinct block. None: as many as query heads.
        head_dim: H, width of one head. None: `hidden_dim / num_heads`; to be given where `num_heads` is a tuple.
        dropout: Dropout rate of embeddings and of what each sublayer adds to the residual stream (0 to 1).
        attention_dropout: Dropout rate of the attention scores. None: the same as `dropout`.
        activation: "gelu" (exact), "gelu_tanh", "relu" or "silu". None: the family's.
        gated: Multiply the activated product by a second, linear one (Shazeer 2020, arXiv 2002.05202). None: the
            family's, or not.
        use_bias: Biases in the dense projections of the blocks. None: the family's, or biases.
        qkv_bias: Biases in the projections of query, key and value. None: the family's, or as `use_bias` says.
        scale_attention: Divide the products of queries and keys by sqrt(H). T5 leaves it to the weights. None: the
            family's, or division.
        position: "learned", "sinusoidal", "sinusoidal_halves" (all sines before all cosines), "rotary", "alibi", "relative",
            "relative_buckets" or "none". None: the family's.
        rotary_period: Longest wavelength of rotary positions divided by 2 pi. None: the family's, or 10000.
        rotary_scaling: (factor, low, high, length): rotary angles stretched as Llama 3.1's are; `RotaryPosition` explains it.
            None: as they are.
        relative_buckets, relative_max_distance: Buckets of "relative_buckets" positions, and the distance from which on all
            are in the last one. None: the family's, or T5's 32 and 128.
        norm: "layer", or "rms" for norms without a mean and an offset (Zhang and Sennrich 2019, arXiv 1910.07467).
            None: the family's, or "layer".
        normalize_first: Pre-norm blocks (with one last norm after them) instead of post-norm. None: the family's.
        embedding_norm: Layer norm on the summed embeddings. None: the family's.
        scale_embeddings: Multiply token embeddings by sqrt(D), as Vaswani et al. do. None: the family's.
        layer_norm_epsilon: Number added to the variance, or in RMS norms to the mean square. None: the family's.
        tie_embeddings: Decoders: the output projection is the token table, transposed.
        scale_logits: Decoders: multiply the vectors before the output projection by 1/sqrt(D), as T5 does where the
            token table is that. None: the family's, or no.
        logits_bias: Decoders: a bias on the logits. None: the family's, or none.
        share_embeddings: Encoder-decoders: one token table for both sides, whose vocabularies are then one. Positions and
            norms stay each side's own. None: the family's, or no.
        decoder_vocabulary_size: Encoder-decoders: rows of the decoder's table. None: `vocabulary_size`.
        num_decoder_layers: Encoder-decoders: decoder blocks. None: `num_layers`.

    Raises:
        TransformerError: A size is not a positive integer, sizes do not divide, or a name is unknown.

    Example:
        >>> config = TransformerConfig(vocabulary_size=1000, num_layers=2, hidden_dim=32, num_heads=4,
        ...                            intermediate_dim=64)
        >>> config.head_dim, config.position
        (8, 'learned')
        >>> TransformerConfig.from_json(config.to_json()) == config
        True
    """

    family: str = "bert"
    _: dataclasses.KW_ONLY
    vocabulary_size: int
    num_layers: int
    hidden_dim: int
    num_heads: int | tuple[int, ...]
    intermediate_dim: int
    max_sequence_length: int = 512
    num_segments: int = _SETTLED_LATER
    embedding_dim: int | None = None
    num_distinct_blocks: int | None = None
    position_offset: int = _SETTLED_LATER
    num_key_value_heads: int | tuple[int, ...] = _SETTLED_LATER
    head_dim: int = _SETTLED_LATER
    dropout: float = 0.1
    attention_dropout: float = _SETTLED_LATER
    activation: str = _SETTLED_LATER
    gated: bool = _SETTLED_LATER
    use_bias: bool = _SETTLED_LATER
    qkv_bias: bool = _SETTLED_LATER
    scale_attention: bool = _SETTLED_LATER
    position: str = _SETTLED_LATER
    rotary_period: float = _SETTLED_LATER
    rotary_scaling: tuple[float, float, float, float] | None = None
    relative_buckets: int = _SETTLED_LATER
    relative_max_distance: int = _SETTLED_LATER
    norm: str = _SETTLED_LATER
    normalize_first: bool = _SETTLED_LATER
    embedding_norm: bool = _SETTLED_LATER
    scale_embeddings: bool = _SETTLED_LATER
    layer_norm_epsilon: float = _SETTLED_LATER
    tie_embeddings: bool = True
    scale_logits: bool = _SETTLED_LATER
    logits_bias: bool = _SETTLED_LATER
    share_embeddings: bool = _SETTLED_LATER
    decoder_vocabulary_size: int = _SETTLED_LATER
    num_decoder_layers: int = _SETTLED_LATER

    def __post_init__(self) -> None:
        check_choice("family", self.family, FAMILIES)
        for name in ("vocabulary_size", "num_layers", "hidden_dim", "intermediate_dim", "max_sequence_length"):
            _check_size(name, getattr(self, name))
        for name, value in {**GENERAL, **FAMILIES[self.family].defaults}.items():
            self._default(name, value)
        self._check_blocks()
        self._default("attention_dropout", self.dropout)
        self._default("qkv_bias", self.use_bias)
        self._settle_scaling()
        self._settle_heads()
        self._default("decoder_vocabulary_size", self.vocabulary_size)
        self._default("num_decoder_layers", self.num_layers)
        self._check()

    def _default(self, name: str, value: Any) -> None:
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)  # the documented way inside a frozen dataclass

    def _check_blocks(self) -> None:
        for name in ("embedding_dim", "num_distinct_blocks"):
            if getattr(self, name) is not None:
                _check_size(name, getattr(self, name))
        if self.num_blocks > self.num_layers:
            raise TransformerError(
                f"num_distinct_blocks must be at most num_layers, {self.num_layers}; got {self.num_blocks}"
            )

    def _settle_heads(self) -> None:
        for name in ("num_heads", "num_key_value_heads"):
            self._default(name, self.num_heads)
            object.__setattr__(self, name, _one_or_each(name, getattr(self, name), self.num_blocks))
        for heads, shared in self._rows_of_heads():
            if heads % shared:
                raise TransformerError(f"num_heads must be a multiple of num_key_value_heads; got {heads} and {shared}")
        if self.head_dim is not None:
            return
        if isinstance(self.num_heads, tuple):
            raise TransformerError("head_dim must be given where blocks have unlike num_heads; got None")
        if self.hidden_dim % self.num_heads:
            raise TransformerError(
                "hidden_dim must be a multiple of num_heads unless head_dim is given; got "
                f"hidden_dim={self.hidden_dim}, num_heads={self.num_heads}"
            )
        self._default("head_dim", self.hidden_dim // self.num_heads)

    def _settle_scaling(self) -> None:
        if self.rotary_scaling is None:
            return
        numbers = tuple(self.rotary_scaling) if isinstance(self.rotary_scaling, (tuple, list)) else ()
        right = all(isinstance(n, (int, float)) and not isinstance(n, bool) and 0 < n < math.inf for n in numbers)
        if len(numbers) != 4 or not right or not numbers[1] < numbers[2]:
            raise TransformerError(
                "rotary_scaling must be four positive numbers, (factor, low, high, length) with low below high; "
                f"got {self.rotary_scaling!r:.80}"
            )
        object.__setattr__(self, "rotary_scaling", numbers)

    def _check(self) -> None:
        for name in (
            "head_dim", "decoder_vocabulary_size", "num_decoder_layers", "relative_buckets", "relative_max_distance",
        ):  # fmt: skip
            _check_size(name, getattr(self, name))
        for name in ("num_segments", "position_offset"):
            _check_size(name, getattr(self, name), least=0)
        if self.share_embeddings and self.decoder_vocabulary_size != self.vocabulary_size:
            raise TransformerError(
                f"decoder_vocabulary_size must be vocabulary_size, {self.vocabulary_size}, where share_embeddings is True; "
                f"got {self.decoder_vocabulary_size}"
            )
        if self.position == "rotary" and self.head_dim % 2:
            raise TransformerError(f"head_dim must be even for rotary positions; got {self.head_dim}")
        for name in ("dropout", "attention_dropout"):
            rate = getattr(self, name)
            if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
                raise TransformerError(f"{name} must be at least 0 and below 1; got {rate!r}")
        if not isinstance(self.layer_norm_epsilon, (int, float)) or not 0 < self.layer_norm_epsilon < math.inf:
            raise TransformerError(f"layer_norm_epsilon must be positive; got {self.layer_norm_epsilon!r}")
        if not isinstance(self.rotary_period, (int, float)) or not 1 < self.rotary_period < math.inf:
            raise TransformerError(f"rotary_period must be above 1; got {self.rotary_period!r}")
        for name, known in (("activation", ACTIVATIONS), ("position", POSITIONS), ("norm", NORMS)):
            check_choice(name, getattr(self, name), known)
        if POSITIONS[self.position].enters == "scores" and isinstance(self.num_heads, tuple):
            raise TransformerError(
                f"num_heads must be one number where blocks share a bias for each head, as with {self.position!r} "
                f"positions; got {self.num_heads}"
            )

    @property
    def num_blocks(self) -> int:
        """Blocks with weights of their own: `encoder_block_0` to `encoder_block_{num_blocks - 1}`."""
        return self.num_distinct_blocks or self.num_layers

    def block_of_layer(self, layer: int) -> int:
        """The number of the block that is applied as layer `layer`, counted from 0.

        Example:
            >>> config = TransformerConfig(vocabulary_size=9, num_layers=4, num_distinct_blocks=2, hidden_dim=8,
            ...                            num_heads=2, intermediate_dim=8)
            >>> [config.block_of_layer(i) for i in range(4)]
            [0, 0, 1, 1]
        """
        return layer * self.num_blocks // self.num_layers

    def heads_of_block(self, block: int | None) -> tuple[int, int]:
        """Return the numbers of query heads, and of key and value heads, of the block `encoder_block_{block}`.

        Args:
            block: Number of the block. None: those of the widest block, which further blocks are made like.

        Example:
            >>> config = TransformerConfig(vocabulary_size=9, num_layers=2, hidden_dim=8, num_heads=(4, 3), head_dim=2,
            ...                            intermediate_dim=8)
            >>> config.heads_of_block(1), config.heads_of_block(None)
            ((3, 3), (4, 4))
        """
        rows = self._rows_of_heads()
        return max(rows) if block is None else rows[block if len(rows) > 1 else 0]

    def _rows_of_heads(self) -> list[tuple[int, int]]:
        """A row for each block, or one for all: the number of blocks may be that of a damaged file."""
        numbers = (self.num_heads, self.num_key_value_heads)
        rows = max((len(n) for n in numbers if isinstance(n, tuple)), default=1)
        return list(zip(*(n if isinstance(n, tuple) else (n,) * rows for n in numbers), strict=True))

    def replace(self, **changes: Any) -> "TransformerConfig":
        """A copy with some fields changed, checked like a new one."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, family defaults filled in, as plain JSON values."""
        fields = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "TransformerConfig":
        """The inverse of `to_dict`.

        Raises:
            TransformerError: A field is unknown or missing.
        """
        known = {field.name: field.default for field in dataclasses.fields(cls)}
        for name in fields:
            if name not in known:
                raise TransformerError(f"unknown field {name!r} in a TransformerConfig{near_miss(name, known)}")
        missing = [name for name, default in known.items() if default is dataclasses.MISSING and name not in fields]
        if missing:
            raise TransformerError(f"a TransformerConfig needs {', '.join(missing)}; they are missing")
        return cls(**fields)

    def to_json(self) -> str:
        """The config as JSON text; `from_json` reads it back to an equal config."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "TransformerConfig":
        """The inverse of `to_json`."""
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise TransformerError(f"a TransformerConfig must be JSON; line {error.lineno}: {error.msg}") from None
        if not isinstance(fields, dict):
            raise TransformerError(f"a TransformerConfig must be a JSON object; got {type(fields).__name__}")
        return cls.from_dict(fields)


def _check_size(name: str, value: Any, least: int = 1) -> None:
    # Python's integers alone: those of NumPy are no JSON.
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        rule = "a positive integer" if least else "0 or a positive integer"
        raise TransformerError(f"{name} must be {rule}; got {value!r:.80}")
    if value > LARGEST_SIZE:
        raise TransformerError(f"{name} must be at most {LARGEST_SIZE}; got a number of {len(str(value))} digits")


def _one_or_each(name: str, value: Any, blocks: int) -> int | tuple[int, ...]:
    """One positive integer for all blocks, or one for each."""
    if not isinstance(value, (tuple, list)):
        _check_size(name, value)
        return value
    if len(value) != blocks:
        raise TransformerError(f"{name} must be one number, or {blocks}, one for each block; got {len(value)}")
    for number in value:
        _check_size(f"{name} of a block", number)
    return value[0] if len(set(value)) == 1 else tuple(value)
