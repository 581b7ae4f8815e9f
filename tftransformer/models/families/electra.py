"""ELECTRA's discriminator (Clark et al. 2020, arXiv 2003.10555): BERT that was taught to find replaced words."""

from tftransformer.models.families import bert
from tftransformer.models.families.family import Family, Google, HuggingFace, KerasHub
from tftransformer.models.families.names import google, huggingface, keras_hub
from tftransformer.models.families.names.tables import Ignored, Rule, Table

_HUGGING_FACE = Table(
    name="Hugging Face's ELECTRA",
    prefixes=("", "electra."),
    rules=(
        *huggingface.embeddings("embeddings"),
        *huggingface.dense("embeddings/projection", "embeddings_project"),
        *huggingface.encoder_blocks("encoder.layer.{i}"),
        *huggingface.dense("pooler/dense", "classifier.dense", outer=True),
        *huggingface.dense("head/logits", "classifier.out_proj", may_differ=True, outer=True),
    ),
    ignored=(
        *huggingface.NOT_LOADED,
        Ignored(r"discriminator_predictions\..*", "the head of pretraining (replaced words)"),
        Ignored(r"generator_.*", "the head of the generator (masked words)"),
        Ignored(r"classifier\..*", "the model has no such head"),
    ),
)

_KERAS_HUB = Table(
    name="keras-hub's ELECTRA",
    rules=(
        *keras_hub.embeddings(),
        Rule("embeddings/projection/{path}", ("embeddings_projection/{path}",)),
        *keras_hub.encoder_blocks(),
    ),
    ignored=(
        Ignored(r"pooled_dense/.*", "ELECTRA's pretraining has no task for a pooler, and its classifiers have another"),
    ),
)

# github.com/google-research/electra
_TENSORFLOW_1 = Table(
    name="Google's ELECTRA",
    rules=(
        *google.embeddings_1("electra/embeddings"),
        *google.dense("embeddings/projection", "electra/embeddings_project"),
        *google.encoder_blocks_1("electra/encoder/layer_{i}"),
    ),
    ignored=(
        *google.TRAINING_1,
        Ignored(r"discriminator_predictions/.*", "the head of pretraining (replaced words)"),
        Ignored(r"generator(_predictions)?/.*", "the generator, which is left behind after pretraining"),
        Ignored(r"task_specific/.*", "the head of a task, which has no counterpart here"),
    ),
)

_SEGMENTS = {theirs: ours for theirs, ours in keras_hub.SEGMENTS.items() if theirs != "vocabulary_size"}

FAMILY = Family(
    name="electra",
    title="ELECTRA (discriminator)",
    defaults=bert.DEFAULTS,
    tokenizer=bert.TOKENIZER,
    pooler_activation="gelu",
    pooler_dropout=True,
    huggingface=HuggingFace(
        model_type="electra",
        classes="Electra",
        prefix="electra.",
        table=_HUGGING_FACE,
        settings={**huggingface.SETTINGS, "embedding_size": "embedding_dim"},
        defaults={
            **huggingface.SIZES,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
            "embedding_size": 128,
        },
        projection_only_where_needed=True,
    ),
    keras_hub=KerasHub(
        "Electra",
        _KERAS_HUB,
        settings={**_SEGMENTS, "vocab_size": "vocabulary_size", "embedding_dim": "embedding_dim"},
        fixed=keras_hub.BERT_FIXED,
        pooler=True,
        projection_only_where_needed=True,
    ),
    google=Google(
        _TENSORFLOW_1,
        # Its "gelu" is the exact one: `gelu` in google-research/electra's model/modeling.py calls erf.
        activations={"gelu": "gelu", "relu": "relu"},
        # `get_bert_config` in its util/training_utils.py: D / 64 heads; no file states them.
        head_width=64,
    ),
)
