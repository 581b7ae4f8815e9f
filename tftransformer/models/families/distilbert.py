"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT without segments and pooler, with other tensor names."""

from tftransformer.models.families import bert
from tftransformer.models.families.family import Family, HuggingFace, KerasHub
from tftransformer.models.families.names import huggingface, keras_hub
from tftransformer.models.families.names.huggingface import dense, norm
from tftransformer.models.families.names.tables import ENCODER_BLOCK, Ignored, Rule, Table

_LAYER = "transformer.layer.{i}"

_HUGGING_FACE = Table(
    name="Hugging Face's DistilBERT",
    prefixes=("", "distilbert."),
    rules=(
        *huggingface.embeddings("embeddings"),
        *dense(f"{ENCODER_BLOCK}/attention/query", f"{_LAYER}.attention.q_lin"),
        *dense(f"{ENCODER_BLOCK}/attention/key", f"{_LAYER}.attention.k_lin"),
        *dense(f"{ENCODER_BLOCK}/attention/value", f"{_LAYER}.attention.v_lin"),
        *dense(f"{ENCODER_BLOCK}/attention/output", f"{_LAYER}.attention.out_lin"),
        *norm(f"{ENCODER_BLOCK}/attention_norm", f"{_LAYER}.sa_layer_norm"),
        *dense(f"{ENCODER_BLOCK}/feed_forward/intermediate", f"{_LAYER}.ffn.lin1"),
        *dense(f"{ENCODER_BLOCK}/feed_forward/output", f"{_LAYER}.ffn.lin2"),
        *norm(f"{ENCODER_BLOCK}/feed_forward_norm", f"{_LAYER}.output_layer_norm"),
        *dense("pooler/dense", "pre_classifier", outer=True),
        *dense("head/logits", "classifier", may_differ=True, outer=True),
        *dense("lm_head/dense", "vocab_transform", outer=True),
        *norm("lm_head/norm", "vocab_layer_norm", outer=True),
        Rule("lm_head/bias", ("vocab_projector.bias",), outer=True),
    ),
    ignored=(
        *huggingface.NOT_LOADED,
        Ignored(r"vocab_projector\.weight", huggingface.TIED_TOKENS),
        Ignored(r"vocab_.*", "the head of pretraining (masked words)"),
        Ignored(r"(pre_)?classifier\..*", "the model has no such head"),
    ),
)

_KERAS_HUB = Table(
    name="keras-hub's DistilBERT",
    rules=(
        *keras_hub.embeddings("token_and_position_embedding/"),
        *keras_hub.encoder_blocks(),
        keras_hub.POOLER,
        keras_hub.HEAD,
    ),
    ignored=(keras_hub.NO_POOLER, keras_hub.NO_HEAD),
)

FAMILY = Family(
    name="distilbert",
    title="DistilBERT",
    defaults={**bert.DEFAULTS, "num_segments": 0},
    tokenizer=bert.TOKENIZER,
    pooler_activation="relu",
    huggingface=HuggingFace(
        model_type="distilbert",
        classes="DistilBert",
        prefix="distilbert.",
        table=_HUGGING_FACE,
        settings={
            "vocab_size": "vocabulary_size",
            "n_layers": "num_layers",
            "dim": "hidden_dim",
            "n_heads": "num_heads",
            "hidden_dim": "intermediate_dim",
            "max_position_embeddings": "max_sequence_length",
            "dropout": "dropout",
            "attention_dropout": "attention_dropout",
        },
        defaults={
            "vocab_size": 30522,
            "n_layers": 6,
            "dim": 768,
            "n_heads": 12,
            "hidden_dim": 3072,
            "max_position_embeddings": 512,
            "dropout": 0.1,
            "attention_dropout": 0.1,
            "activation": "gelu",
        },
        fixed={"layer_norm_epsilon": 1e-12, "num_segments": 0},
        activation="activation",
        head_dropout="seq_classif_dropout",
        default_head_dropout=0.2,
    ),
    keras_hub=KerasHub(
        "DistilBert",
        _KERAS_HUB,
        settings=keras_hub.SIZES,
        fixed={"activation": "gelu", "layer_norm_epsilon": 1e-12, "num_segments": 0},
    ),
)
