"""BERT as Google released it: google-research/bert (TensorFlow 1) and Model Garden (TensorFlow 2)."""

import re
from collections.abc import Iterable

from tftransformer.checkpoints.rules import MERGE_FIRST, MERGE_LAST, Ignored, Rule, Table
from tftransformer.checkpoints.tables.tensorflow_parts import (
    CLASSIFIER,
    HEADS_1,
    MASKED_LM,
    TRAINING_1,
    dense,
    embeddings_1,
    encoder_blocks_1,
    norm,
)

# Both generations mean GELU's tanh approximation by "gelu": `gelu` in google-research/bert's modeling.py, and
# official/modeling/activations/gelu.py, which calls Keras's with approximate=True, in Model Garden.
ACTIVATIONS: dict[str, str] = {"gelu": "gelu_new", "relu": "relu"}

TENSORFLOW_1 = Table(
    name="Google's BERT",
    rules=(
        *embeddings_1("bert/embeddings"),
        *encoder_blocks_1("bert/encoder/layer_{i}"),
        *dense("pooler/dense", "bert/pooler/dense"),
        *CLASSIFIER,
        *MASKED_LM,
    ),
    ignored=(*TRAINING_1, *HEADS_1, Ignored(r"bert/pooler/.*", "the model has no pooler")),
)

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# The token table's path ends in one of these; what stands before is the encoder's place in the saved object.
# A functional encoder's layers are numbered, a later one's have the names of its attributes.
_TOKENS = (f"layer_with_weights-0/embeddings{_VALUE}", f"_embedding_layer/embeddings{_VALUE}")
_POOLER = "next_sentence..pooler_dense"  # of some releases, beside the encoder


def model_garden_root(keys: Iterable[str]) -> str | None:
    """What stands before the encoder's tensors, such as "encoder/"; None where there is no such encoder."""
    found = (key.removesuffix(tail) for key in keys for tail in _TOKENS if f"/{key}".endswith(f"/{tail}"))
    # A classifier's own layers are numbered around the encoder's: the innermost is the encoder.
    return max(found, key=len, default=None)


def count_blocks(keys: Iterable[str], root: str) -> int:
    """How many blocks of an encoder with that root are stored."""
    block = rf"{re.escape(root)}(layer_with_weights-|_transformer_layers/)\d+"
    block += "/_attention_layer/_query_dense/kernel"
    return sum(re.fullmatch(block + re.escape(_VALUE), key) is not None for key in keys)


def model_garden(num_layers: int, root: str, outer_pooler: bool = False) -> Table:
    """Model Garden's names, which number all layers with weights in one row: the table depends on the depth.

    Args:
        num_layers: Blocks of the encoder.
        root: See `model_garden_root`.
        outer_pooler: The pooler is the next-sentence head's, beside the encoder; a pooler inside is then one
            that pretraining never used.
    """
    inner = (f"{root}layer_with_weights-{num_layers + 4}", f"{root}_pooler_layer")
    return Table(
        name="Model Garden's BERT",
        rules=(
            _table("token", f"{root}layer_with_weights-0", f"{root}_embedding_layer"),
            _table("position", f"{root}layer_with_weights-1", f"{root}_position_embedding_layer"),
            _table("segment", f"{root}layer_with_weights-2", f"{root}_type_embedding_layer"),
            *norm(
                "embeddings/norm",
                f"{root}layer_with_weights-3",
                f"{root}_embedding_norm_layer",
                suffix=_VALUE,
            ),
            *(
                rule
                for i in range(num_layers)
                for rule in _block(i, f"{root}layer_with_weights-{i + 4}", f"{root}_transformer_layers/{i}")
            ),
            *dense("pooler/dense", *((_POOLER,) if outer_pooler else inner), suffix=_VALUE),
        ),
        ignored=(
            Ignored(r".*/\.OPTIMIZER_SLOT/.*", "what the optimizer remembered of the weight"),
            Ignored(r"_CHECKPOINTABLE_OBJECT_GRAPH", "the structure of the saved object"),
            *(
                Ignored(re.escape(name) + "/.*", "a pooler that the model does not use")
                for name in (*inner, _POOLER)
            ),
            Ignored(
                rf"(?!{re.escape(root)}).*" if root else r"(?!)", "outside of the encoder: heads, training"
            ),
        ),
    )


def has_outer_pooler(keys: Iterable[str]) -> bool:
    """Whether the pooler is the next-sentence head's."""
    return f"{_POOLER}/kernel{_VALUE}" in keys


def _table(part: str, *names: str) -> Rule:
    return Rule(f"embeddings/{part}/embeddings", tuple(f"{name}/embeddings{_VALUE}" for name in names))


def _block(i: int, *roots: str) -> tuple[Rule, ...]:
    def named(address: str, *names: str, **layout: object) -> tuple[Rule, ...]:
        make = norm if address.endswith("norm") else dense
        paths = (f"{root}/{name}" for root in roots for name in names)
        return make(f"encoder_block_{i}/{address}", *paths, suffix=_VALUE, **layout)

    heads = {"kernel": MERGE_LAST, "bias": MERGE_LAST}  # (D, N, H) and (N, H)
    return (
        *named("attention/query", "_attention_layer/_query_dense", **heads),
        *named("attention/key", "_attention_layer/_key_dense", **heads),
        *named("attention/value", "_attention_layer/_value_dense", **heads),
        # Before Model Garden's attention layer had the projection inside, it lay beside it.
        *named(
            "attention/output",
            "_attention_layer/_output_dense",
            "_attention_output_dense",
            kernel=MERGE_FIRST,
        ),
        *named("attention_norm", "_attention_layer_norm"),
        *named("feed_forward/intermediate", "_intermediate_dense"),
        *named("feed_forward/output", "_output_dense"),
        *named("feed_forward_norm", "_output_layer_norm"),
    )
