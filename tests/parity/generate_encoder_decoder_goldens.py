"""Writes goldens/<family>.npz of the encoder-decoders: a tiny model of Hugging Face's, every tensor random, and its steps.

    python tests/parity/generate_encoder_decoder_goldens.py

It needs torch and transformers (the `bench` extra).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "goldens"
# Real tokens of each row of the two sides.
LENGTHS = {"ragged": ((17, 6, 1), (5, 12, 1)), "one": ((1,), (1,)), "full": ((20,), (20,))}
BART = {
    "vocab_size": 61, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "max_position_embeddings": 20,
}  # fmt: skip
T5 = {
    "vocab_size": 61, "d_model": 24, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4, "d_kv": 8, "d_ff": 40,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12,
}  # fmt: skip
_T5_QUERIES = ("encoder.block.0.layer.0.SelfAttention.q.weight", "decoder.block.0.layer.1.EncDecAttention.q.weight")
_QUERIES = ("model.encoder.layers.0.self_attn.q_proj.weight", "model.decoder.layers.0.encoder_attn.q_proj.weight")
# Family -> (class, settings, the two query kernels whose gradients are compared).
FAMILIES: dict[str, tuple[str, dict[str, Any], tuple[str, str]]] = {
    "bart": ("BartForConditionalGeneration", BART, _QUERIES),
    "t5": ("T5ForConditionalGeneration", {**T5, "tie_word_embeddings": True}, _T5_QUERIES),
    "t5_v1_1": (
        "T5ForConditionalGeneration",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        _T5_QUERIES,
    ),
}


def batch(family: str, lengths: tuple, seed: int = 0) -> dict[str, np.ndarray]:
    """Random token ids (B, S) and (B, T) with padding up to the longest row of each side."""
    rng, found = np.random.default_rng(seed), {}
    for side, rows in zip(("encoder", "decoder"), lengths, strict=True):
        real = np.arange(max(rows))[None, :] < np.array(rows)[:, None]
        ids = np.where(real, rng.integers(5, FAMILIES[family][1]["vocab_size"], real.shape), 1)
        found |= {f"{side}_token_ids": ids.astype("int32"), f"{side}_padding_mask": real.astype("int32")}
    return found


def build(family: str, seed: int = 7, **settings: Any) -> Any:
    """A model of transformers in evaluation mode with every parameter and the bias of the logits random."""
    import torch
    import transformers

    name, sizes, _ = FAMILIES[family]
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**{**sizes, **settings}, attn_implementation="eager")).eval()
    if model.config.model_type == "t5" and settings.get("tie_word_embeddings", sizes["tie_word_embeddings"]) is False:
        # Published weights of v1.1 have a projection of their own, which transformers 5 makes for files alone.
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    generator = torch.Generator().manual_seed(seed)
    tensors = [*model.named_parameters(), *(b for b in model.named_buffers() if b[0] == "final_logits_bias")]
    with torch.no_grad():
        for address, tensor in sorted(tensors):
            centre = 1.0 if "norm" in address and address.endswith("weight") else 0.0
            # T5 divides no products of queries and keys: its weights do.
            width = model.config.d_kv**-0.5 if address.endswith("Attention.q.weight") else 1.0
            tensor.copy_(centre + 0.3 * width * torch.randn(tensor.shape, generator=generator))
    return model


def loss_weights(logits: np.ndarray) -> np.ndarray:
    """(B, T, V): the loss whose gradients are compared is the sum of these times the logits at real tokens."""
    return np.random.default_rng(3).normal(size=logits.shape).astype("float32") / logits.shape[1]


def outputs(family: str, model: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hidden states and attention maps of both sides, the cross-attention's, logits and two gradients."""
    import torch

    ids = {name: torch.tensor(value).long() for name, value in inputs.items()}
    found = model(
        input_ids=ids["encoder_token_ids"], attention_mask=ids["encoder_padding_mask"],
        decoder_input_ids=ids["decoder_token_ids"], decoder_attention_mask=ids["decoder_padding_mask"],
        output_hidden_states=True, output_attentions=True, use_cache=False,
    )  # fmt: skip
    model.zero_grad()
    weights = loss_weights(found.logits.detach().numpy()) * inputs["decoder_padding_mask"][:, :, None]
    (found.logits * torch.tensor(weights)).sum().backward()
    parameters = dict(model.named_parameters())
    rows = {
        "encoder_hidden": found.encoder_hidden_states,
        "encoder_attention": found.encoder_attentions,
        "decoder_hidden": found.decoder_hidden_states,
        "decoder_attention": found.decoder_attentions,
        "cross_attention": found.cross_attentions,
        "gradient": [parameters[name].grad for name in FAMILIES[family][2]],
        "logits": [found.logits],
    }
    return {f"{kind}_{i}": value.detach().numpy() for kind, values in rows.items() for i, value in enumerate(values)}


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """What a file of transformers holds of it: tensors that are tied once."""
    state, seen = model.state_dict(), set()
    for name in sorted(state, key=lambda name: ("shared" not in name, name)):
        if state[name].data_ptr() in seen:
            state.pop(name)
        else:
            seen.add(state[name].data_ptr())
    return {name: tensor.numpy() for name, tensor in state.items()}


def write(family: str) -> Path:
    """One family's file."""
    model = build(family)
    arrays = {f"weights/{name}": value for name, value in weights_of(model).items()}
    for case, lengths in LENGTHS.items():
        inputs = batch(family, lengths, seed=len(case))
        arrays |= {f"{case}/inputs/{name}": value for name, value in inputs.items()}
        arrays |= {f"{case}/outputs/{name}": value for name, value in outputs(family, model, inputs).items()}
    arrays["config"] = np.array(json.dumps({"model_type": model.config.model_type, **FAMILIES[family][1]}))
    path = FOLDER / f"{family}.npz"
    np.savez_compressed(path, **arrays)
    return path


if __name__ == "__main__":
    for name in FAMILIES:
        written = write(name)
        print(f"{written.name}: {written.stat().st_size:,} bytes")
