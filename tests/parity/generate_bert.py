"""Writes goldens/bert.npz: a tiny BERT of Hugging Face's, every tensor random, and what it computes.

    python tests/parity/generate_bert.py

It needs torch and transformers (the `bench` extra). Default-initialised weights would not do: with zero
biases and unit norms, swapping biases or norms changes nothing.
"""

import json
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "goldens" / "bert.npz"
SETTINGS = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "num_labels": 3,
}
LENGTHS = {"ragged": (20, 7, 1, 13), "one": (1, 1), "seven": (7, 7), "full": (20, 20)}


def batch(lengths: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs (B, T) with two segments and padding up to the longest row."""
    rng = np.random.default_rng(seed)
    places = np.arange(max(lengths))[None, :]
    real = places < np.array(lengths)[:, None]
    second = places >= rng.integers(1, max(lengths) + 1, (len(lengths), 1))
    return {
        "token_ids": np.where(real, rng.integers(5, SETTINGS["vocab_size"], real.shape), 0).astype("int32"),
        "padding_mask": real.astype("int32"),
        "segment_ids": (second & real).astype("int32"),
    }


def build(seed: int, **settings):
    """A `BertForSequenceClassification` in evaluation mode with every parameter random."""
    import torch
    import transformers

    config = transformers.BertConfig(**{**SETTINGS, **settings}, attn_implementation="eager")
    model = transformers.BertForSequenceClassification(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def outputs(model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every hidden state, the pooled output and the logits for one batch."""
    import torch

    tensors = {
        "input_ids": torch.tensor(inputs["token_ids"]).long(),
        "attention_mask": torch.tensor(inputs["padding_mask"]).long(),
        "token_type_ids": torch.tensor(inputs["segment_ids"]).long(),
    }
    with torch.no_grad():
        body = model.bert(**tensors, output_hidden_states=True)
        logits = model(**tensors).logits
    found = {f"hidden_{i}": state.numpy() for i, state in enumerate(body.hidden_states)}
    return {**found, "pooled": body.pooler_output.numpy(), "logits": logits.numpy()}


def main() -> None:
    model = build(seed=7)
    arrays = {f"weights/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    for case, lengths in LENGTHS.items():
        inputs = batch(lengths, seed=len(case))
        arrays.update({f"{case}/inputs/{name}": value for name, value in inputs.items()})
        arrays.update({f"{case}/outputs/{name}": value for name, value in outputs(model, inputs).items()})
    config = {key: value for key, value in model.config.to_dict().items() if key in SETTINGS}
    config.update(
        model_type="bert",
        layer_norm_eps=model.config.layer_norm_eps,
        architectures=["BertForSequenceClassification"],
    )
    arrays["config"] = np.array(json.dumps(config))
    PATH.parent.mkdir(exist_ok=True)
    np.savez_compressed(PATH, **arrays)
    print(f"{PATH}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
