"""Strings in, probabilities out: a SavedModel, ONNX Runtime or torch over the same batches as all others, tokenizer counted.

Settings: `runtime` ("saved_model", "onnx" or "torch"), `file`, `folder` (Hugging Face's, for its tokenizer), `dtype`,
`length`, and `batches` (lists of texts), or `one` (a text) and `calls` (of it a turn).
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sidebyside.worker import serve

Runner = Callable[[list[str]], np.ndarray]


def saved_model(settings: dict[str, Any]) -> Runner:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizers' operations)

    module = tf.saved_model.load(settings["file"])
    serve_texts = module.signatures["serving_default"]

    def run(texts: list[str], _module: Any = module) -> np.ndarray:  # the module owns the weights
        return serve_texts(text=tf.constant(texts))["probabilities"].numpy()

    return run


def tokenizer(settings: dict[str, Any], tensors: str) -> Callable[[list[str]], Any]:
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(settings["folder"], use_fast=True)
    return lambda texts: found(
        texts, truncation=True, max_length=settings["length"], padding=True, return_tensors=tensors
    )


def onnx(settings: dict[str, Any]) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = os.cpu_count() or 1
    session = onnxruntime.InferenceSession(settings["file"], options, providers=["CPUExecutionProvider"])
    encode, names = tokenizer(settings, "np"), [given.name for given in session.get_inputs()]

    def run(texts: list[str]) -> np.ndarray:
        encoded = encode(texts)
        return session.run(None, {name: encoded[name].astype("int64") for name in names})[0]

    return run


def torch(settings: dict[str, Any]) -> Runner:
    import torch as pytorch
    from transformers import AutoModelForSequenceClassification

    pytorch.set_num_threads(os.cpu_count() or 1)
    dtype = getattr(pytorch, settings["dtype"])
    model = AutoModelForSequenceClassification.from_pretrained(
        settings["folder"], attn_implementation="sdpa", dtype=dtype
    ).eval()
    encode = tokenizer(settings, "pt")

    def run(texts: list[str]) -> np.ndarray:
        with pytorch.inference_mode():
            return pytorch.softmax(model(**encode(texts)).logits.float(), -1).numpy()

    return run


def prepare(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    run = {"saved_model": saved_model, "onnx": onnx, "torch": torch}[settings["runtime"]](settings)
    # Every shape once: libraries prepare their kernels for each. All answers are compared, since whoever trims texts to
    # another length differs in the long ones alone.
    found = np.concatenate([run(batch) for batch in settings.get("batches") or 10 * [[settings["one"]]]])
    return (run, settings), {"probabilities": found.astype(float).tolist(), "bytes": size_of(settings)}


def size_of(settings: dict[str, Any]) -> int:
    """Bytes on disk of what the runtime reads."""
    path = Path(settings.get("file") or settings["folder"])
    return sum(f.stat().st_size for f in ([path] if path.is_file() else path.rglob("*")) if f.is_file())


def turn(state: Any, number: int) -> dict[str, Any]:
    run, settings = state
    if "batches" in settings:
        return {"texts_per_second": sum(map(len, settings["batches"])) / seconds(run, settings["batches"])}
    times = [seconds(run, [[settings["one"]]]) for _ in range(settings["calls"])]
    return {"one_text_ms": 1e3 * median(times)}


def seconds(run: Runner, batches: list[list[str]]) -> float:
    """Time these batches, one after the other."""
    start = time.perf_counter()
    for batch in batches:
        run(batch)
    return time.perf_counter() - start


if __name__ == "__main__":
    serve(prepare, turn)
