"""Run as a script: a zoo of layers and models from numpy weights, its outputs into an .npz file.

KERAS_BACKEND=jax python backend_zoo.py OUT.npz [--without_tensorflow]
"""

import sys

if "--without_tensorflow" in sys.argv:
    sys.modules["tensorflow"] = None  # any `import tensorflow` fails

import keras
import numpy as np

from tftransformer import layers
from tftransformer.config import TransformerConfig
from tftransformer.models import build_decoder, build_encoder, build_encoder_decoder, decode_step, start_decoding
from tftransformer.models.generation import BeamSearch, Greedy, NoRepeatNgrams, RepetitionPenalty, generate

rng = np.random.default_rng(0)
x = rng.normal(size=(2, 5, 16)).astype("float32")
memory = rng.normal(size=(2, 7, 16)).astype("float32")
padding = np.array([[1, 1, 1, 0, 0], [0] * 5])
ids = rng.integers(1, 20, (2, 5)).astype("int32")
block = {"num_heads": 4, "intermediate_dim": 24, "layer_norm_epsilon": 1e-5}


def randomise(layer):
    # By name, not by order: backends may list weights differently.
    for variable in layer.weights:
        seed = sum(ord(c) * (i + 1) for i, c in enumerate(variable.path.split("/", 1)[-1]))
        variable.assign(np.random.default_rng(seed).normal(size=variable.shape).astype("float32") * 0.4)


def run(layer, *inputs, **kwargs):
    layer(*inputs, **kwargs)
    randomise(layer)
    return layer(*inputs, **kwargs)


zoo = {
    "sinusoidal": run(layers.SinusoidalPosition(), x, offset=3),
    "learned": run(layers.LearnedPosition(9), x, offset=3),
    "alibi": run(layers.ALiBi(6), ids),
    "buckets": run(layers.RelativePositionBuckets(4, 8, 6), ids, key_length=9, offset=2),
    "embeddings": run(layers.TransformerEmbedding(20, 16, sequence_length=8, num_segments=2, scale=True), ids, ids % 2),
    "attention": run(layers.MultiHeadAttention(4, num_key_value_heads=2), x, memory, causal=True),
    "empty row": run(layers.MultiHeadAttention(4), x, padding_mask=padding),
    "rotary": run(layers.EncoderBlock(**block, position=layers.RotaryPosition(interleaved=True)), x, padding),
    "relative": run(layers.EncoderBlock(**block, position=layers.RelativePosition(2)), x, padding_mask=padding),
    "gated": run(layers.EncoderBlock(**block, gated=True, activation="silu", normalize_first=True), x),
    "decoder": run(layers.DecoderBlock(**block, cross_attention=True), x, memory, padding_mask=padding),
    "cls": run(layers.CLSPooling(), x),
    "mean": run(layers.MeanPooling(), x, padding_mask=padding),
    "max": run(layers.MaxPooling(), x, padding_mask=padding),
    "head": run(layers.ClassificationHead(3), x[:, 0]),
}
for activation in ("gelu", "gelu_tanh", "relu", "silu"):
    zoo[activation] = run(layers.FeedForward(24, activation), x)
_, zoo["scores"] = run(layers.MultiHeadAttention(4), x, padding_mask=padding, return_attention_scores=True)

sizes = {"vocabulary_size": 20, "num_layers": 1, "hidden_dim": 16, "num_heads": 4, "intermediate_dim": 24}
config = TransformerConfig("bert", **sizes, max_sequence_length=8)
zoo["encoder"] = run(build_encoder(config), {"token_ids": ids, "padding_mask": padding, "segment_ids": ids % 2})
for position in ("learned", "rotary", "relative_buckets"):
    model = build_decoder(TransformerConfig("gpt2", **sizes, max_sequence_length=8, position=position))
    zoo[f"decoder of {position}"] = run(model, {"token_ids": ids, "padding_mask": np.ones_like(ids)})
    logits, state = decode_step(model, ids[:, :3], start_decoding(model, 2, 8), 0)
    zoo[f"cached {position}"], state = decode_step(model, ids[:, 3:4], state, 3)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(zoo[f"cached {position}"])[:, 0],
        keras.ops.convert_to_numpy(zoo[f"decoder of {position}"])[:, 3],
        atol=2e-5,
    )
rules = [NoRepeatNgrams(2), RepetitionPenalty()]
for name, search in {"greedy": Greedy(), "beams": BeamSearch(2)}.items():
    texts = generate(
        model, ids[:, :3], padding[:, :3], max_new_tokens=4, end_tokens=[1], search=search, constraints=rules
    )
    zoo[f"tokens of {name}"], zoo[f"scores of {name}"] = texts.token_ids, texts.scores
inputs = {"encoder_token_ids": ids, "encoder_padding_mask": padding,
          "decoder_token_ids": ids[:, :4], "decoder_padding_mask": padding[:, :4]}  # fmt: skip
zoo["encoder-decoder"] = run(build_encoder_decoder(TransformerConfig("transformer", **sizes)), inputs)

if "--without_tensorflow" in sys.argv:
    assert sys.modules["tensorflow"] is None
np.savez(sys.argv[1], backend=keras.backend.backend(), **{k: keras.ops.convert_to_numpy(v) for k, v in zoo.items()})
