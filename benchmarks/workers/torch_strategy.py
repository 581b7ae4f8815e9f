"""Hugging Face's side of `strategies_parity.py`: transformers in torch with the loop of its documentation, PEFT for LoRA."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from sidebyside.worker import serve


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    import peft  # noqa: F401  (what takes long is not part of a turn)
    import torch  # noqa: F401
    import transformers  # noqa: F401

    return settings, {}


def turn(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train with the order, the head and LoRA's A of this seed; the figures of the run."""
    import torch
    from transformers import AutoTokenizer

    torch.manual_seed(seed)
    start = np.load(Path(settings["starts"]) / f"seed-{seed}.npz")
    model = build(settings, start)
    tokenizer = AutoTokenizer.from_pretrained(settings["minilm"])
    texts = json.loads(Path(settings["texts"]).read_text("utf-8"))

    def collate(rows: Any, texts: list[str]) -> dict:
        chosen = [texts[row] for row in rows]
        return tokenizer(chosen, padding=True, truncation=True, max_length=settings["length"], return_tensors="pt")

    size, labels = settings["batch_size"], torch.tensor(texts["labels"])
    chunks = [rows for order in start["order"] for rows in np.split(order, range(size, len(order), size))]
    batches = [{**collate(rows, texts["texts"]), "labels": labels[rows]} for rows in chunks]
    with torch.no_grad():
        loss_before = float(model.eval()(**batches[0]).loss)
    model.train()
    ends = train(model, batches, settings)
    model.eval()
    # Of like lengths together, as ours does it.
    order = np.argsort([len(text) for text in texts["test_texts"]], kind="stable")
    predicted = np.zeros(len(order), int)
    with torch.inference_mode():
        for rows in np.split(order, range(64, len(order), 64)):
            predicted[rows] = model(**collate(rows, texts["test_texts"])).logits.argmax(-1).numpy()
    return {
        "loss_before": loss_before,
        "tokens": int(sum(batch["attention_mask"].sum() for batch in batches)),
        "steps": len(batches),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "ends": ends,
        "predicted": predicted.tolist(),
    }


def build(settings: dict[str, Any], start: Any) -> Any:
    """The classifier, changed for its strategy, with the seed's fresh weights."""
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification

    rate = settings["dropout"]
    model = AutoModelForSequenceClassification.from_pretrained(
        settings["minilm"],
        num_labels=2,
        hidden_dropout_prob=rate,
        attention_probs_dropout_prob=rate,
        classifier_dropout=rate,
    )
    with torch.no_grad():
        model.classifier.weight.copy_(torch.tensor(start["head"].T))
        model.classifier.bias.zero_()
    bert = model.bert
    name, _, number = settings["strategy"].partition(":")
    if name == "freeze":
        for part in (bert.embeddings, *bert.encoder.layer[: int(number)]):
            part.requires_grad_(False)
    if name == "lora":
        # Targets and the scale alpha / r of 1 are PEFT's own.
        config = LoraConfig(task_type=TaskType.SEQ_CLS, r=int(number), lora_alpha=int(number))
        model = get_peft_model(model, config)
        with torch.no_grad():
            for layer, parts in zip(bert.encoder.layer, start["down"], strict=True):
                for part, down in zip(("query", "value"), parts, strict=True):
                    wrapped = getattr(layer.attention.self, part)
                    wrapped.lora_A["default"].weight.copy_(torch.tensor(down.T))
    return model


def train(model: Any, batches: list[dict], settings: dict[str, Any]) -> list[tuple[float, float]]:
    """One step a batch; the wall and processor seconds before the first and after each."""
    import torch

    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    spared = [name for name in trained if name.endswith("bias") or "LayerNorm" in name]
    groups = [
        {"params": [p for name, p in trained.items() if name not in spared], "weight_decay": settings["weight_decay"]},
        {"params": [trained[name] for name in spared], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings["learning_rate"], eps=1e-6)
    steps = len(batches)
    warmup = int(steps * settings["warmup"])
    # transformers' linear schedule without its first step, whose rate is zero.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (warmup + 1), (steps - step) / (steps - warmup))
    )
    ends = [(time.perf_counter(), time.process_time())]
    for batch in batches:
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), settings["clip"])
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ends.append((time.perf_counter(), time.process_time()))
    return ends


if __name__ == "__main__":
    serve(prepare, turn)
