"""Hugging Face's generation on the weights of tests/parity/test_generation_parity.py: writes goldens/generation.json.

    python tests/parity/generation_peer.py

It needs torch and transformers (the `bench` extra). The weights are drawn by the names of our decoder, so that they
need not be kept.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

GOLDENS = Path(__file__).parent / "goldens" / "generation.json"
SIZES = {"vocabulary_size": 40, "num_layers": 2, "hidden_dim": 16, "num_heads": 4, "intermediate_dim": 24}
LENGTH, NEW_TOKENS, PAD, END = 24, 12, 0, (22, 16)
PROMPTS = [[5, 6, 7, 3, 17], [8, 9], [30]]
# Name -> their arguments.
CASES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy with rules": {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "min_new_tokens": 8},
    "greedy without some words": {"bad_words_ids": [[3], [4], [29], [31]]},
    "beams": {"num_beams": 4, "num_return_sequences": 3},
    "one beam": {"num_beams": 1},
    "many beams": {"num_beams": 9, "num_return_sequences": 9},
    "beams until they are full": {"num_beams": 4, "num_return_sequences": 2, "early_stopping": True},
    "beams to the end": {"num_beams": 4, "early_stopping": "never", "length_penalty": 2.0},
    "beams for short texts": {"num_beams": 3, "length_penalty": -1.0, "num_return_sequences": 3},
    "beams with rules": {"num_beams": 4, "no_repeat_ngram_size": 2, "min_new_tokens": 6, "repetition_penalty": 1.2},
}


def weights_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random weights by the names and shapes of our decoder: of some size, so that the likeliest tokens stand out."""
    rng = np.random.default_rng(7)
    return {
        name: rng.normal(1.0 if name.endswith("gamma") else 0.0, 0.4, shape).astype("float32")
        for name, shape in sorted(shapes.items())
    }


def names_of(layers: int) -> dict[str, tuple[str, ...]]:
    """Their names, and the parts of ours that each is made of, side by side in its last axis."""
    names = {
        "transformer.wte.weight": ("decoder_embeddings/token/embeddings",),
        "transformer.wpe.weight": ("decoder_embeddings/position/embeddings",),
        "transformer.ln_f.weight": ("decoder_final_norm/gamma",),
        "transformer.ln_f.bias": ("decoder_final_norm/beta",),
    }
    for i in range(layers):
        theirs, ours = f"transformer.h.{i}", f"decoder_block_{i}"
        for kind, kernel in (("weight", "kernel"), ("bias", "bias")):
            attention = f"{ours}/self_attention"
            names[f"{theirs}.attn.c_attn.{kind}"] = tuple(
                f"{attention}/{p}/{kernel}" for p in ("query", "key", "value")
            )
            names[f"{theirs}.attn.c_proj.{kind}"] = (f"{attention}/output/{kernel}",)
            names[f"{theirs}.mlp.c_fc.{kind}"] = (f"{ours}/feed_forward/intermediate/{kernel}",)
            names[f"{theirs}.mlp.c_proj.{kind}"] = (f"{ours}/feed_forward/output/{kernel}",)
        for norm, ours_norm in (("ln_1", "self_attention_norm"), ("ln_2", "feed_forward_norm")):
            names[f"{theirs}.{norm}.weight"] = (f"{ours}/{ours_norm}/gamma",)
            names[f"{theirs}.{norm}.bias"] = (f"{ours}/{ours_norm}/beta",)
    return names


def generate(weights: dict[str, np.ndarray]) -> dict[str, dict[str, list]]:
    """The texts and, of beams, the scores that Hugging Face's GPT-2 gives in each case."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=SIZES["vocabulary_size"], n_positions=LENGTH, n_embd=SIZES["hidden_dim"], n_layer=SIZES["num_layers"],
        n_head=SIZES["num_heads"], n_inner=SIZES["intermediate_dim"], bos_token_id=1, eos_token_id=list(END),
        pad_token_id=PAD,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    state = model.state_dict()
    for name, parts in names_of(SIZES["num_layers"]).items():
        state[name] = torch.tensor(np.concatenate([weights[part] for part in parts], axis=-1))
    state["lm_head.weight"] = state["transformer.wte.weight"]
    model.load_state_dict(state)
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[PAD] * (width - len(row)) + row for row in PROMPTS])
    found = {}
    for name, options in CASES.items():
        out = model.generate(
            ids, attention_mask=(ids != PAD).long(), max_new_tokens=NEW_TOKENS, do_sample=False,
            return_dict_in_generate=True, output_scores=True, **options,
        )  # fmt: skip
        count = options.get("num_return_sequences", 1)
        new = out.sequences[:, width:].reshape(len(PROMPTS), count, -1).tolist()
        texts = [[_up_to_the_end(text) for text in row] for row in new]
        scores = getattr(out, "sequences_scores", None)
        scores = [] if scores is None else scores.reshape(len(PROMPTS), count).tolist()
        found[name] = {"texts": texts, "scores": scores}
    return found


def _up_to_the_end(text: list[int]) -> list[int]:
    """A text without what fills the row behind its end token."""
    ends = [place for place, token in enumerate(text) if token in END]
    return text[: ends[0] + 1] if ends else text


if __name__ == "__main__":
    from tftransformer.config import TransformerConfig
    from tftransformer.models import build_decoder
    from tftransformer.patterns import addresses

    decoder = build_decoder(TransformerConfig("gpt2", max_sequence_length=LENGTH, **SIZES))
    shapes = {name: tuple(variable.shape) for name, variable in addresses(decoder).items()}
    GOLDENS.write_text(json.dumps(generate(weights_of(shapes)), indent=1) + "\n")
    print(f"{GOLDENS}: {len(CASES)} cases")
