"""Writes goldens/<family>.npz of the decoders: a tiny language model of Hugging Face's, every tensor random, and its steps.

    python tests/parity/generate_decoder_goldens.py

It needs torch and transformers (the `bench` extra).
"""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "goldens"
LENGTHS = {"ragged": (20, 7, 1), "one": (1,), "full": (20,)}
SIZES = {
    "vocab_size": 61, "num_hidden_layers": 3, "hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 20,
}  # fmt: skip
# Family -> (class of the language model, settings, the query kernel whose gradient is compared).
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "gpt2": (
        "GPT2LMHeadModel",
        {"vocab_size": 61, "n_layer": 3, "n_embd": 24, "n_head": 4, "n_inner": 40, "n_positions": 20},
        "transformer.h.1.attn.c_attn.weight",
    ),
    "llama": (
        "LlamaForCausalLM",
        {
            **SIZES, "num_key_value_heads": 2, "head_dim": 8, "rope_theta": 500.0,
            "rope_scaling": {
                "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
        "model.layers.1.self_attn.q_proj.weight",
    ),
    "mistral": (
        "MistralForCausalLM",
        {**SIZES, "num_key_value_heads": 2, "rope_theta": 1e4, "sliding_window": None},
        "model.layers.1.self_attn.q_proj.weight",
    ),
    "qwen2": (
        "Qwen2ForCausalLM",
        {**SIZES, "num_key_value_heads": 1, "rope_theta": 1e6, "tie_word_embeddings": True},
        "model.layers.1.self_attn.q_proj.weight",
    ),
}  # fmt: skip


def batch(family: str, lengths: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """Random token ids (B, T) with padding up to the longest row."""
    rng = np.random.default_rng(seed)
    real = np.arange(max(lengths))[None, :] < np.array(lengths)[:, None]
    ids = np.where(real, rng.integers(5, FAMILIES[family][1]["vocab_size"], real.shape), 0)
    return {"token_ids": ids.astype("int32"), "padding_mask": real.astype("int32")}


def build(family: str, seed: int = 7, **settings: Any) -> Any:
    """A language model of transformers in evaluation mode with every parameter random."""
    import torch
    import transformers

    name, sizes, _ = FAMILIES[family]
    kind = getattr(transformers, name)
    # Their constructor writes into the mappings that it is given.
    stated = copy.deepcopy({**sizes, **settings})
    model = kind(kind.config_class(**stated, attn_implementation="eager")).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for address, parameter in sorted(model.named_parameters()):
            norm = any(part.startswith("ln_") or "norm" in part for part in address.split("."))
            centre = 1.0 if norm and address.endswith("weight") else 0.0
            parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def loss_weights(logits: np.ndarray) -> np.ndarray:
    """(B, T, V): the loss whose gradient is compared is the sum of these times the logits at real tokens."""
    return np.random.default_rng(3).normal(size=logits.shape).astype("float32") / logits.shape[1]


def outputs(family: str, model: Any, inputs: dict[str, np.ndarray], left: bool = False) -> dict[str, np.ndarray]:
    """Hidden states, attention maps, logits and a gradient; what padding on the left gives is moved to the right."""
    import torch

    mask = inputs["padding_mask"]
    move = [np.roll(np.arange(mask.shape[1]), mask.shape[1] - row.sum() if left else 0) for row in mask]
    back = [np.argsort(places) for places in move]
    rows = np.arange(len(mask))[:, None]
    ids, real = (torch.tensor(inputs[name][rows, move]).long() for name in ("token_ids", "padding_mask"))
    positions = torch.clamp(real.cumsum(-1) - 1, min=0)
    found = model(
        input_ids=ids, attention_mask=real, position_ids=positions, output_hidden_states=True, output_attentions=True
    )
    moved_back = torch.tensor(np.array(back))
    row_numbers = torch.arange(len(mask))[:, None]
    logits = found.logits[row_numbers, moved_back]
    model.zero_grad()
    weights = loss_weights(logits.detach().numpy()) * mask[:, :, None]
    (logits * torch.tensor(weights)).sum().backward()
    gradient = dict(model.named_parameters())[FAMILIES[family][2]].grad.numpy().copy()
    steps = {f"hidden_{i}": state.detach().numpy()[rows, back] for i, state in enumerate(found.hidden_states)}
    for i, scores in enumerate(found.attentions):
        one_way = scores.detach().numpy()
        steps[f"attention_{i}"] = np.stack([one[:, b][:, :, b] for one, b in zip(one_way, back, strict=True)])
    return {**steps, "logits": logits.detach().numpy(), "query_gradient": gradient}


def write(family: str) -> Path:
    """One family's file."""
    model = build(family)
    arrays = {f"weights/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        arrays.pop("weights/lm_head.weight")  # the token table once more
    for case, lengths in {**LENGTHS, "left": LENGTHS["ragged"]}.items():
        inputs = batch(family, lengths, seed=len(case))
        found = outputs(family, model, inputs, left=case == "left")
        arrays.update({f"{case}/inputs/{name}": value for name, value in inputs.items()})
        arrays.update({f"{case}/outputs/{name}": value for name, value in found.items()})
    arrays["config"] = np.array(json.dumps({"model_type": model.config.model_type, **FAMILIES[family][1]}))
    path = FOLDER / f"{family}.npz"
    np.savez_compressed(path, **arrays)
    return path


if __name__ == "__main__":
    for name in FAMILIES:
        written = write(name)
        print(f"{written.name}: {written.stat().st_size:,} bytes")
