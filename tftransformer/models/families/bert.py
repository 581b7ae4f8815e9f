"""BERT (Devlin et al. 2018, arXiv 1810.04805): all that is known of the family."""

from typing import Any

from tftransformer.models.families.family import Family, Google, HuggingFace, KerasHub, TokenizerFacts
from tftransformer.models.families.names import google, huggingface, keras_hub
from tftransformer.models.families.names.tables import Ignored, Rule, Table

DEFAULTS: dict[str, Any] = {
    "position": "learned",
    "position_offset": 0,
    "num_segments": 2,
    "activation": "gelu",
    "normalize_first": False,
    "embedding_norm": True,
    "scale_embeddings": False,
    "layer_norm_epsilon": 1e-12,
}
TOKENIZER = TokenizerFacts("wordpiece", ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"))

_HUGGING_FACE = Table(
    name="Hugging Face's BERT",
    prefixes=("", "bert."),
    rules=(
        *huggingface.embeddings("embeddings"),
        *huggingface.encoder_blocks("encoder.layer.{i}"),
        *huggingface.dense("pooler/dense", "pooler.dense"),
        *huggingface.dense("head/logits", "classifier", may_differ=True, outer=True),
        *huggingface.dense("lm_head/dense", "cls.predictions.transform.dense", outer=True),
        *huggingface.norm("lm_head/norm", "cls.predictions.transform.LayerNorm", outer=True),
        Rule("lm_head/bias", ("cls.predictions.bias",), outer=True),
    ),
    ignored=(
        *huggingface.NOT_LOADED,
        Ignored(r"cls\.predictions\.decoder\..*", huggingface.TIED_TOKENS),
        Ignored(r"cls\..*", "the heads of pretraining (masked words, next sentence)"),
        Ignored(r"classifier\..*", "the model has no classification head"),
        Ignored(r"pooler\..*", "the model has no pooler"),
    ),
)

_KERAS_HUB = Table(
    name="keras-hub's BERT",
    rules=(*keras_hub.embeddings(), *keras_hub.encoder_blocks(), keras_hub.POOLER, keras_hub.HEAD),
    ignored=(keras_hub.NO_POOLER, keras_hub.NO_HEAD),
)

# github.com/google-research/bert
_TENSORFLOW_1 = Table(
    name="Google's BERT",
    rules=(
        *google.embeddings_1("bert/embeddings"),
        *google.encoder_blocks_1("bert/encoder/layer_{i}"),
        *google.dense("pooler/dense", "bert/pooler/dense"),
        *google.CLASSIFIER,
        *google.MASKED_LM,
    ),
    ignored=(*google.TRAINING_1, *google.HEADS_1, Ignored(r"bert/pooler/.*", "the model has no pooler")),
)

# A functional encoder's layers are numbered, a later one's have the names of its attributes. Some releases have
# the pooler beside the encoder, in the next-sentence head; a pooler inside is then one that pretraining never used.
_MODEL_GARDEN = Table(
    name="Model Garden's BERT",
    rules=(
        google.table_2("embeddings/token", "{root}layer_with_weights-0", "{root}_embedding_layer"),
        google.table_2("embeddings/position", "{root}layer_with_weights-1", "{root}_position_embedding_layer"),
        google.table_2("embeddings/segment", "{root}layer_with_weights-2", "{root}_type_embedding_layer"),
        *google.norm(
            "embeddings/norm", "{root}layer_with_weights-3", "{root}_embedding_norm_layer", suffix=google.VALUE_2
        ),
        *google.block_2("{root}layer_with_weights-{i+4}", "{root}_transformer_layers/{i}"),
        *google.dense(
            "pooler/dense",
            "next_sentence..pooler_dense",
            "{root}layer_with_weights-{n+4}",
            "{root}_pooler_layer",
            suffix=google.VALUE_2,
        ),
    ),
    ignored=(
        Ignored(r".*/\.OPTIMIZER_SLOT/.*", "what the optimizer remembered of the weight"),
        Ignored(r"_CHECKPOINTABLE_OBJECT_GRAPH", "the structure of the saved object"),
        Ignored(r"{root}(layer_with_weights-{n+4}|_pooler_layer)/.*", "a pooler that the model does not use"),
        Ignored(r"next_sentence\.\.pooler_dense/.*", "a pooler that the model does not use"),
        Ignored(r"(?!{root}).*", "outside of the encoder: heads, training"),
    ),
)

FAMILY = Family(
    name="bert",
    title="BERT",
    defaults=DEFAULTS,
    tokenizer=TOKENIZER,
    pretrained_pooler=True,
    huggingface=HuggingFace(
        model_type="bert",
        classes="Bert",
        prefix="bert.",
        table=_HUGGING_FACE,
        settings=huggingface.SETTINGS,
        defaults=huggingface.SIZES,
    ),
    keras_hub=KerasHub("Bert", _KERAS_HUB, settings=keras_hub.SEGMENTS, fixed=keras_hub.BERT_FIXED, pooler=True),
    google=Google(
        _TENSORFLOW_1,
        # Both generations mean GELU's tanh approximation by "gelu": `gelu` in google-research/bert's modeling.py, and
        # official/modeling/activations/gelu.py, which calls Keras's with approximate=True, in Model Garden.
        activations={"gelu": "gelu_new", "relu": "relu"},
        settings="bert_config.json",
        model_garden=_MODEL_GARDEN,
    ),
)
