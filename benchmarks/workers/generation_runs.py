"""Tokens from GPT-2's shape with random weights: one runtime, prompts of one length, no end before the last token.

Settings: `runtime` ("ours", "torch" or "keras_hub"), `dtype`, `beams` (1: greedy), `batch_size`, `prompt`, `new_tokens`,
and the sizes `vocabulary_size`, `layers`, `width`, `heads`.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sidebyside.worker import seconds_since_start, serve

Runner = Callable[[np.ndarray], np.ndarray]


def ours(settings: dict[str, Any]) -> Runner:
    import tensorflow as tf

    from tftransformer.config import TransformerConfig
    from tftransformer.models import build_decoder
    from tftransformer.models.generation import BeamSearch, Greedy, generate

    config = TransformerConfig(
        "gpt2", vocabulary_size=settings["vocabulary_size"], num_layers=settings["layers"],
        hidden_dim=settings["width"], num_heads=settings["heads"], intermediate_dim=4 * settings["width"],
        max_sequence_length=settings["prompt"] + settings["new_tokens"],
    )  # fmt: skip
    model = build_decoder(config, dtype=settings["dtype"])
    search = Greedy() if settings["beams"] == 1 else BeamSearch(settings["beams"])

    @tf.function(jit_compile=settings.get("xla", False))
    def run(prompts: tf.Tensor) -> tf.Tensor:
        return generate(model, prompts, max_new_tokens=settings["new_tokens"], search=search).token_ids[:, 0]

    return lambda prompts: run(tf.constant(prompts)).numpy()


def torch(settings: dict[str, Any]) -> Runner:
    import torch as pytorch
    from transformers import GPT2Config, GPT2LMHeadModel

    pytorch.set_num_threads(os.cpu_count() or 1)
    config = GPT2Config(
        vocab_size=settings["vocabulary_size"], n_positions=settings["prompt"] + settings["new_tokens"],
        n_embd=settings["width"], n_layer=settings["layers"], n_head=settings["heads"], bos_token_id=1,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).to(getattr(pytorch, settings["dtype"])).eval()

    def run(prompts: np.ndarray) -> np.ndarray:
        ids = pytorch.tensor(prompts).long()
        with pytorch.inference_mode():
            found = model.generate(
                ids, attention_mask=pytorch.ones_like(ids), max_new_tokens=settings["new_tokens"], do_sample=False,
                num_beams=settings["beams"],
            )  # fmt: skip
        return found[:, ids.shape[1] :].numpy()

    return run


def keras_hub(settings: dict[str, Any]) -> Runner:
    import keras
    import keras_hub as hub

    keras.config.set_dtype_policy(settings["dtype"])
    length = settings["prompt"] + settings["new_tokens"]
    backbone = hub.models.GPT2Backbone(
        vocabulary_size=settings["vocabulary_size"], num_layers=settings["layers"], num_heads=settings["heads"],
        hidden_dim=settings["width"], intermediate_dim=4 * settings["width"], max_sequence_length=length,
    )  # fmt: skip
    model = hub.models.GPT2CausalLM(backbone=backbone, preprocessor=None)
    sampler = "greedy" if settings["beams"] == 1 else hub.samplers.BeamSampler(num_beams=settings["beams"])
    model.compile(sampler=sampler, jit_compile=False)

    def run(prompts: np.ndarray) -> np.ndarray:
        padded = np.pad(prompts, ((0, 0), (0, settings["new_tokens"])))
        mask = np.arange(length) < settings["prompt"]
        given = {"token_ids": padded, "padding_mask": np.broadcast_to(mask, padded.shape).astype("int32")}
        return np.array(model.generate(given, stop_token_ids=None)["token_ids"])[:, settings["prompt"] :]

    return run


def prepare(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    run = {"ours": ours, "torch": torch, "keras_hub": keras_hub}[settings["runtime"]](settings)
    shape = (settings["batch_size"], settings["prompt"])
    prompts = np.random.default_rng(0).integers(3, settings["vocabulary_size"], shape).astype("int32")
    found = run(prompts)
    if found.shape != (settings["batch_size"], settings["new_tokens"]):
        raise ValueError(f"{settings['runtime']} gave {found.shape} tokens")
    return (run, prompts), {"seconds_to_first_text": seconds_since_start()}


def turn(state: Any, number: int) -> dict[str, Any]:
    run, prompts = state
    start = time.perf_counter()
    found = run(prompts)
    return {"tokens_per_second": found.size / (time.perf_counter() - start)}


if __name__ == "__main__":
    serve(prepare, turn)
