"""ALBERT (Lan et al. 2019, arXiv 1909.11942): one block for all layers, factorised embeddings."""

from tftransformer.models.families import bert
from tftransformer.models.families.family import Family, Google, HuggingFace, KerasHub, TokenizerFacts
from tftransformer.models.families.names import google, huggingface, keras_hub
from tftransformer.models.families.names.tables import ENCODER_BLOCK, Ignored, Rule, Table

_LAYER = "encoder.albert_layer_groups.{i}.albert_layers.0"
_GROUP = "bert/encoder/transformer/group_{i}/inner_group_0"

_HUGGING_FACE = Table(
    name="Hugging Face's ALBERT",
    prefixes=("", "albert."),
    rules=(
        *huggingface.embeddings("embeddings"),
        *huggingface.dense("embeddings/projection", "encoder.embedding_hidden_mapping_in"),
        *huggingface.dense(f"{ENCODER_BLOCK}/attention/query", f"{_LAYER}.attention.query"),
        *huggingface.dense(f"{ENCODER_BLOCK}/attention/key", f"{_LAYER}.attention.key"),
        *huggingface.dense(f"{ENCODER_BLOCK}/attention/value", f"{_LAYER}.attention.value"),
        *huggingface.dense(f"{ENCODER_BLOCK}/attention/output", f"{_LAYER}.attention.dense"),
        *huggingface.norm(f"{ENCODER_BLOCK}/attention_norm", f"{_LAYER}.attention.LayerNorm"),
        *huggingface.dense(f"{ENCODER_BLOCK}/feed_forward/intermediate", f"{_LAYER}.ffn"),
        *huggingface.dense(f"{ENCODER_BLOCK}/feed_forward/output", f"{_LAYER}.ffn_output"),
        *huggingface.norm(f"{ENCODER_BLOCK}/feed_forward_norm", f"{_LAYER}.full_layer_layer_norm"),
        *huggingface.dense("pooler/dense", "pooler"),
        *huggingface.dense("head/logits", "classifier", may_differ=True, outer=True),
        *huggingface.dense("lm_head/dense", "predictions.dense", outer=True),
        *huggingface.norm("lm_head/norm", "predictions.LayerNorm", outer=True),
        Rule("lm_head/bias", ("predictions.bias",), outer=True),
    ),
    ignored=(
        *huggingface.NOT_LOADED,
        Ignored(r"predictions\.decoder\..*", huggingface.TIED_TOKENS),
        Ignored(r"(predictions|sop_classifier)\..*", "the heads of pretraining (masked words, sentence order)"),
        Ignored(r"classifier\..*", "the model has no classification head"),
        Ignored(r"pooler\..*", "the model has no pooler"),
    ),
)

_KERAS_HUB = Table(
    name="keras-hub's ALBERT",
    rules=(
        *keras_hub.embeddings(),
        Rule("embeddings/projection/{path}", ("embedding_projection/{path}",)),
        *keras_hub.encoder_blocks("group_{i}_inner_layer_0"),
        keras_hub.POOLER,
        keras_hub.HEAD,
    ),
    ignored=(keras_hub.NO_POOLER, keras_hub.NO_HEAD),
)

# github.com/google-research/albert
_TENSORFLOW_1 = Table(
    name="Google's ALBERT",
    rules=(
        *google.embeddings_1("bert/embeddings"),
        *google.dense("embeddings/projection", "bert/encoder/embedding_hidden_mapping_in"),
        *google.dense(f"{ENCODER_BLOCK}/attention/query", f"{_GROUP}/attention_1/self/query"),
        *google.dense(f"{ENCODER_BLOCK}/attention/key", f"{_GROUP}/attention_1/self/key"),
        *google.dense(f"{ENCODER_BLOCK}/attention/value", f"{_GROUP}/attention_1/self/value"),
        *google.dense(f"{ENCODER_BLOCK}/attention/output", f"{_GROUP}/attention_1/output/dense"),
        *google.norm(f"{ENCODER_BLOCK}/attention_norm", f"{_GROUP}/LayerNorm"),
        *google.dense(f"{ENCODER_BLOCK}/feed_forward/intermediate", f"{_GROUP}/ffn_1/intermediate/dense"),
        *google.dense(f"{ENCODER_BLOCK}/feed_forward/output", f"{_GROUP}/ffn_1/intermediate/output/dense"),
        *google.norm(f"{ENCODER_BLOCK}/feed_forward_norm", f"{_GROUP}/LayerNorm_1"),
        *google.dense("pooler/dense", "bert/pooler/dense"),
        *google.CLASSIFIER,
        *google.MASKED_LM,
    ),
    ignored=(*google.TRAINING_1, *google.HEADS_1, Ignored(r"bert/pooler/.*", "the model has no pooler")),
)

FAMILY = Family(
    name="albert",
    title="ALBERT",
    defaults={**bert.DEFAULTS, "activation": "gelu_tanh", "embedding_dim": 128, "num_distinct_blocks": 1},
    tokenizer=TokenizerFacts("sentencepiece", ("<unk>", "<pad>", "[CLS]", "[SEP]", "[MASK]")),
    pretrained_pooler=True,
    huggingface=HuggingFace(
        model_type="albert",
        classes="Albert",
        prefix="albert.",
        table=_HUGGING_FACE,
        settings={
            **huggingface.SETTINGS,
            "embedding_size": "embedding_dim",
            "num_hidden_groups": "num_distinct_blocks",
        },
        defaults={
            **huggingface.SIZES,
            "vocab_size": 30000,
            "hidden_size": 4096,
            "num_attention_heads": 64,
            "intermediate_size": 16384,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "hidden_act": "gelu_new",
            "embedding_size": 128,
            "num_hidden_groups": 1,
        },
        required={"inner_group_num": 1},
        head_dropout="classifier_dropout_prob",
    ),
    keras_hub=KerasHub(
        "Albert",
        _KERAS_HUB,
        settings={**keras_hub.SEGMENTS, "embedding_dim": "embedding_dim", "num_groups": "num_distinct_blocks"},
        fixed=keras_hub.BERT_FIXED,
        # With several layers in a group they take turns; here each block is applied as often as it is in a row.
        required={"num_inner_repetitions": 1},
        pooler=True,
    ),
    google=Google(
        _TENSORFLOW_1,
        # "gelu" is the tanh approximation: `gelu` in google-research/albert's modeling.py.
        activations={"gelu": "gelu_new", "relu": "relu"},
        settings="albert_config.json",
    ),
)
