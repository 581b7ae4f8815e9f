"""Writes goldens/<family>.npz: a tiny model of Hugging Face's, every tensor random, and all that it computes.

    python tests/parity/generate_goldens.py

It needs torch and transformers (the `bench` extra). Default-initialised weights would not do: with zero
biases and unit norms, swapping biases or norms changes nothing.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "goldens"
LENGTHS = {"ragged": (20, 7, 1), "one": (1,), "seven": (7,), "full": (20,)}
SIZES = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "num_labels": 3,
}
# Family -> (start of the class names, settings, id of padding, has segments).
FAMILIES: dict[str, tuple[str, dict[str, Any], int, bool]] = {
    "bert": ("Bert", SIZES, 0, True),
    "distilbert": (
        "DistilBert",
        {
            "vocab_size": 61,
            "dim": 24,
            "n_layers": 3,
            "n_heads": 4,
            "hidden_dim": 40,
            "max_position_embeddings": 20,
            "num_labels": 3,
        },
        0,
        False,
    ),
    "roberta": ("Roberta", {**SIZES, "max_position_embeddings": 22, "type_vocab_size": 1}, 1, False),
    "xlm_roberta": ("XLMRoberta", {**SIZES, "max_position_embeddings": 22, "type_vocab_size": 1}, 1, False),
    "electra": ("Electra", {**SIZES, "embedding_size": 12}, 0, True),
    "albert": ("Albert", {**SIZES, "embedding_size": 12, "num_hidden_layers": 4, "num_hidden_groups": 2}, 0, True),
}


def batch(family: str, lengths: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs (B, T) with padding up to the longest row and, where the family has them, two segments."""
    _, settings, pad_id, segments = FAMILIES[family]
    rng = np.random.default_rng(seed)
    places = np.arange(max(lengths))[None, :]
    real = places < np.array(lengths)[:, None]
    second = places >= rng.integers(1, max(lengths) + 1, (len(lengths), 1))
    inputs = {
        "token_ids": np.where(real, rng.integers(5, settings["vocab_size"], real.shape), pad_id).astype("int32"),
        "padding_mask": real.astype("int32"),
    }
    return {**inputs, "segment_ids": (second & real).astype("int32")} if segments else inputs


def build(family: str, seed: int = 7, kind: str = "ForSequenceClassification", **settings: Any) -> Any:
    """A model of transformers in evaluation mode with every parameter random."""
    import torch
    import transformers

    classes, sizes, _, _ = FAMILIES[family]
    config = getattr(transformers, f"{classes}Config")(**{**sizes, **settings}, attn_implementation="eager")
    model = getattr(transformers, f"{classes}{kind}")(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def last_projection(model: Any) -> Any:
    """The linear layer that gives the logits."""
    return getattr(model.classifier, "out_proj", model.classifier)


def query_weight(model: Any) -> Any:
    """The query kernel of the last block but one (of ALBERT's second group)."""
    wanted = (
        "layer.1.attention.self.query.weight",
        "layer.1.attention.q_lin.weight",
        "groups.1.albert_layers.0.attention.query.weight",
    )
    return next(p for name, p in model.named_parameters() if name.endswith(wanted))


def loss_weights(batch_size: int, classes: int = 3) -> np.ndarray:
    """(B, C): the loss whose gradient is compared is the sum of these times the logits."""
    return np.random.default_rng(3).normal(size=(batch_size, classes)).astype("float32")


def outputs(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every hidden state and attention map, the vector before the logits, the logits, and a weight's gradient."""
    import torch

    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    tensors = {names[key]: torch.tensor(value).long() for key, value in inputs.items()}
    kept = {}
    hook = last_projection(model).register_forward_hook(lambda _, given, __: kept.update(pooled=given[0].detach()))
    found = model(**tensors, output_hidden_states=True, output_attentions=True)
    hook.remove()
    model.zero_grad()
    (found.logits * torch.tensor(loss_weights(len(found.logits)))).sum().backward()
    return {
        **{f"hidden_{i}": state.detach().numpy() for i, state in enumerate(found.hidden_states)},
        **{f"attention_{i}": scores.detach().numpy() for i, scores in enumerate(found.attentions)},
        "pooled": kept["pooled"].numpy(),
        "logits": found.logits.detach().numpy(),
        "query_gradient": query_weight(model).grad.numpy().copy(),
    }


def write(family: str) -> Path:
    """One family's file."""
    model = build(family)
    arrays = {f"weights/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    for case, lengths in LENGTHS.items():
        inputs = batch(family, lengths, seed=len(case))
        arrays.update({f"{case}/inputs/{name}": value for name, value in inputs.items()})
        arrays.update({f"{case}/outputs/{name}": value for name, value in outputs(model, inputs).items()})
    stated = model.config.to_dict()
    keep = {
        *FAMILIES[family][1],
        "model_type",
        "hidden_act",
        "activation",
        "layer_norm_eps",
        "pad_token_id",
        "type_vocab_size",
    }
    config = {key: value for key, value in stated.items() if key in keep - {"num_labels"}}
    arrays["config"] = np.array(json.dumps({**config, "architectures": [type(model).__name__]}))
    path = FOLDER / f"{family}.npz"
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


if __name__ == "__main__":
    for name in FAMILIES:
        written = write(name)
        print(f"{written.name}: {written.stat().st_size:,} bytes")
