"""ELECTRA's discriminator as Google released it: github.com/google-research/electra (TensorFlow 1)."""

from tftransformer.checkpoints.rules import Ignored, Table
from tftransformer.checkpoints.tables.tensorflow_parts import (
    TRAINING_1,
    dense,
    embeddings_1,
    encoder_blocks_1,
)

# Its "gelu" is the exact one: `gelu` in google-research/electra's model/modeling.py calls erf.
ACTIVATIONS: dict[str, str] = {"gelu": "gelu", "relu": "relu"}
HEAD_WIDTH = 64  # `get_bert_config` in its util/training_utils.py: D / 64 heads; no file states them

TENSORFLOW_1 = Table(
    name="Google's ELECTRA",
    rules=(
        *embeddings_1("electra/embeddings"),
        *dense("embeddings/projection", "electra/embeddings_project"),
        *encoder_blocks_1("electra/encoder/layer_{i}"),
    ),
    ignored=(
        *TRAINING_1,
        Ignored(r"discriminator_predictions/.*", "the head of pretraining (replaced words)"),
        Ignored(r"generator(_predictions)?/.*", "the generator, which is left behind after pretraining"),
        Ignored(r"task_specific/.*", "the head of a task, which has no counterpart here"),
    ),
)
