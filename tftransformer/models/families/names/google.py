"""The idioms of Google's TensorFlow checkpoints, in which their tables are written."""

from tftransformer.models.families.names.tables import ENCODER_BLOCK, Ignored, Rule

# What else the first generation of checkpoints holds: the state of training, and heads.
TRAINING_1 = (
    Ignored(r".*/(adam_[mv]|Adam(_1)?|lamb_[mv]|LAMB(_1)?)", "what the optimizer remembered of the weight"),
    Ignored(r"(.*/)?(global_step|beta[12]_power)", "the state of the training, no weight"),
)
HEADS_1 = (
    Ignored(r"cls/.*", "the heads of pretraining, or of question answering"),
    Ignored(r"output_(weights|bias)", "the model has no classification head"),
)
# The head that run_classifier.py (BERT's and ALBERT's) trains; its kernel is (classes, D).
CLASSIFIER = (
    Rule("head/logits/kernel", ("output_weights",), "transpose", may_differ=True, outer=True),
    Rule("head/logits/bias", ("output_bias",), may_differ=True, outer=True),
)
MASKED_LM = (
    Rule("lm_head/dense/kernel", ("cls/predictions/transform/dense/kernel",), outer=True),
    Rule("lm_head/dense/bias", ("cls/predictions/transform/dense/bias",), outer=True),
    Rule("lm_head/norm/gamma", ("cls/predictions/transform/LayerNorm/gamma",), outer=True),
    Rule("lm_head/norm/beta", ("cls/predictions/transform/LayerNorm/beta",), outer=True),
    Rule("lm_head/bias", ("cls/predictions/output_bias",), outer=True),
)
# What follows the path of a tensor in the second generation.
VALUE_2 = "/.ATTRIBUTES/VARIABLE_VALUE"


def dense(address: str, *names: str, suffix: str = "", kernel: str = "same", bias: str = "same") -> tuple[Rule, ...]:
    """TensorFlow keeps a dense kernel as (in, out), as we do."""
    return (
        Rule(f"{address}/kernel", tuple(f"{name}/kernel{suffix}" for name in names), kernel),
        Rule(f"{address}/bias", tuple(f"{name}/bias{suffix}" for name in names), bias),
    )


def norm(address: str, *names: str, suffix: str = "") -> tuple[Rule, ...]:
    """Its layer norms have our names, too."""
    return tuple(
        Rule(f"{address}/{part}", tuple(f"{name}/{part}{suffix}" for name in names)) for part in ("gamma", "beta")
    )


def embeddings_1(root: str) -> tuple[Rule, ...]:
    """The tables and the norm of the first generation."""
    return (
        Rule("embeddings/token/embeddings", (f"{root}/word_embeddings",)),
        Rule("embeddings/position/embeddings", (f"{root}/position_embeddings",)),
        Rule("embeddings/segment/embeddings", (f"{root}/token_type_embeddings",)),
        *norm("embeddings/norm", f"{root}/LayerNorm"),
    )


def encoder_blocks_1(layer: str) -> tuple[Rule, ...]:
    """BERT's blocks, which ELECTRA took over name by name."""
    return (
        *dense(f"{ENCODER_BLOCK}/attention/query", f"{layer}/attention/self/query"),
        *dense(f"{ENCODER_BLOCK}/attention/key", f"{layer}/attention/self/key"),
        *dense(f"{ENCODER_BLOCK}/attention/value", f"{layer}/attention/self/value"),
        *dense(f"{ENCODER_BLOCK}/attention/output", f"{layer}/attention/output/dense"),
        *norm(f"{ENCODER_BLOCK}/attention_norm", f"{layer}/attention/output/LayerNorm"),
        *dense(f"{ENCODER_BLOCK}/feed_forward/intermediate", f"{layer}/intermediate/dense"),
        *dense(f"{ENCODER_BLOCK}/feed_forward/output", f"{layer}/output/dense"),
        *norm(f"{ENCODER_BLOCK}/feed_forward_norm", f"{layer}/output/LayerNorm"),
    )


def table_2(address: str, *names: str) -> Rule:
    """An embedding table of the second generation."""
    return Rule(f"{address}/embeddings", tuple(f"{name}/embeddings{VALUE_2}" for name in names))


def block_2(*roots: str) -> tuple[Rule, ...]:
    """BERT's blocks in the second generation, under each of the roots that a block may have."""

    def named(address: str, *names: str, **layout: str) -> tuple[Rule, ...]:
        paths = (f"{root}/{name}" for root in roots for name in names)
        make = norm if address.endswith("norm") else dense
        return make(f"{ENCODER_BLOCK}/{address}", *paths, suffix=VALUE_2, **layout)

    heads = {"kernel": "merge_last", "bias": "merge_last"}  # (D, N, H) and (N, H)
    # Before the attention layer had the projection inside, it lay beside it.
    outputs = ("_attention_layer/_output_dense", "_attention_output_dense")
    return (
        *named("attention/query", "_attention_layer/_query_dense", **heads),
        *named("attention/key", "_attention_layer/_key_dense", **heads),
        *named("attention/value", "_attention_layer/_value_dense", **heads),
        *named("attention/output", *outputs, kernel="merge_first"),
        *named("attention_norm", "_attention_layer_norm"),
        *named("feed_forward/intermediate", "_intermediate_dense"),
        *named("feed_forward/output", "_output_dense"),
        *named("feed_forward_norm", "_output_layer_norm"),
    )
