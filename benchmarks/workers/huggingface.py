"""Hugging Face in torch in every comparison: the loop of its documentation, its Trainer, PEFT, its tokenizers, ONNX, and SetFit."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sidebyside.fit_turns import TokenCount, finetuning
from sidebyside.turns import Epoch, Predict, Reader, cells, reading
from sidebyside.worker import serve_one

_WINDOW = 50  # batches of which the rows are sorted by length, as the Trainer's sampler does it


def batches_of(lengths: np.ndarray, order: np.ndarray, size: int, group_by_length: bool) -> list[np.ndarray]:
    """Cut an order of rows into batches, in windows by length where rows of like length share a batch."""
    if group_by_length:
        windows = np.split(order, range(_WINDOW * size, len(order), _WINDOW * size))
        order = np.concatenate([rows[np.argsort(-lengths[rows], kind="stable")] for rows in windows])
    return np.split(order, range(size, len(order), size))


class TorchTrainer:
    """A sequence classifier and its tokenizer in the loop of the documentation, which pads each batch to its longest text.

    AdamW, a linear schedule and clipping at 1.0, as the Trainer has them; fast tokenizer, sdpa attention. Settings beyond those of
    every trainer: `group_by_length`, `compile` (torch.compile); bfloat16 is autocast.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self._torch, self._settings = torch, settings
        torch.manual_seed(0)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._tokenizer = AutoTokenizer.from_pretrained(settings["folder"])
        self._model = AutoModelForSequenceClassification.from_pretrained(settings["folder"]).to(self._device)
        bert = self._model.bert
        if settings["freeze"]:
            for part in (bert.embeddings, *bert.encoder.layer[: settings["freeze"]]):
                part.requires_grad_(False)
        self._step = torch.compile(self._model) if settings.get("compile") else self._model
        self._draw = np.random.default_rng(0)

    def fit(self, texts: list, labels: list, epochs: int, clock: Any) -> None:
        """Tokenise once, then train epoch after epoch."""
        import torch
        from transformers import get_linear_schedule_with_warmup

        ids = self._ids(texts)
        lengths = np.array([len(row) for row in ids])
        trained = [p for p in self._model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, self._settings["learning_rate"], fused=True)
        steps = epochs * -(-len(texts) // self._settings["batch_size"])
        schedule = get_linear_schedule_with_warmup(optimizer, 0, steps)
        self._model.train()
        for _ in range(epochs):
            for rows in self._batches(lengths):
                batch = self._collate([ids[i] for i in rows])
                batch["labels"] = torch.tensor([labels[i] for i in rows], device=self._device)
                with self._autocast():
                    loss = self._step(**batch).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                loss.item()  # as the Trainer's log of losses does
                if clock.step():
                    return
            clock.epoch()

    def logits(self, texts: list) -> np.ndarray:
        """(B, C) in inference mode."""
        was_training = self._model.training
        self._model.eval()
        ids = self._ids(texts)
        order = np.argsort([len(row) for row in ids], kind="stable")
        outputs = np.zeros((len(ids), self._model.config.num_labels), np.float32)
        with self._torch.inference_mode(), self._autocast():
            for rows in np.split(order, range(64, len(order), 64)):
                found = self._model(**self._collate([ids[i] for i in rows])).logits
                outputs[rows] = found.float().cpu().numpy()
        self._model.train(was_training)
        return outputs

    def tokens(self, texts: list) -> TokenCount:
        """Count what one epoch computes."""
        lengths = np.array([len(row) for row in self._ids(texts)])
        return TokenCount.of((lengths[rows], int(lengths[rows].max())) for rows in self._batches(lengths))

    def dropout(self) -> float:
        """The rate inside the encoder."""
        return self._model.config.hidden_dropout_prob

    def remember(self) -> None:
        """Keep the weights; each `fit` makes its own optimizer, as the Trainer does."""
        self._copy = {name: value.clone() for name, value in self._model.state_dict().items()}

    def restore(self) -> None:
        """Return to what was kept."""
        self._model.load_state_dict(self._copy)

    def _ids(self, texts: list) -> list[list[int]]:
        return self._tokenizer(texts, truncation=True, max_length=self._settings["length"])["input_ids"]

    def _batches(self, lengths: np.ndarray) -> list[np.ndarray]:
        order = self._draw.permutation(len(lengths))
        return batches_of(lengths, order, self._settings["batch_size"], self._settings.get("group_by_length", False))

    def _collate(self, ids: list) -> dict:
        batch = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        return {name: value.to(self._device) for name, value in batch.items()}

    def _autocast(self) -> Any:
        enabled = self._settings["precision"] == "bfloat16"
        return self._torch.autocast(self._device.type, self._torch.bfloat16, enabled=enabled)


def load_trainer() -> None:
    import torch  # noqa: F401
    import transformers

    transformers.Trainer  # noqa: B018  (imported when it is first looked at)


def train_cell(order: dict[str, Any]) -> Predict:
    """Train a cell: the Trainer with all of `TrainingArguments`' defaults, on the CPU.

    Three epochs, batches of 8, AdamW at 5e-5 that falls linearly to 0, no warm-up. Reports and checkpoints are off, and the test
    rows go in larger batches; neither changes what is learned.
    """
    import transformers

    # Before the head is made; the Trainer sets it once more before it trains.
    transformers.set_seed(order["seed"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(order["encoder"])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        order["encoder"], num_labels=len(order["labels"])
    )

    def encode(texts: list) -> list[dict[str, Any]]:
        sides = (texts,) if isinstance(texts[0], str) else tuple(map(list, zip(*texts, strict=True)))
        encoded = tokenizer(*sides, truncation=True, max_length=order["length"])
        return [{name: encoded[name][row] for name in encoded} for row in range(len(texts))]

    rows = [{**row, "labels": target} for row, target in zip(encode(order["texts"]), order["targets"], strict=True)]
    scratch = tempfile.TemporaryDirectory()
    arguments = transformers.TrainingArguments(
        scratch.name, report_to=[], save_strategy="no", use_cpu=True, seed=order["seed"], disable_tqdm=True,
        per_device_eval_batch_size=64,
    )  # fmt: skip
    collator = transformers.DataCollatorWithPadding(tokenizer)
    trainer = transformers.Trainer(
        model, arguments, train_dataset=rows, data_collator=collator, processing_class=tokenizer
    )
    trainer.train()

    def predict(texts: list) -> Any:
        predictions = trainer.predict(encode(texts)).predictions
        scratch.cleanup()
        return predictions.argmax(axis=-1)

    return predict


def load_setfit() -> None:
    import datasets  # noqa: F401
    import setfit  # noqa: F401


def train_setfit(order: dict[str, Any]) -> Predict:
    """Train a cell of single texts: `SetFitModel` and its Trainer with the default `TrainingArguments`.

    Reports and checkpoints are off, texts are cut at the set's length. Run with setfit 1.2.0, sentence-transformers 6.2.0,
    transformers 5.23.0 and torch 2.13.0, which go together without a pin.
    """
    import datasets
    import setfit
    import transformers

    transformers.set_seed(order["seed"])
    model = setfit.SetFitModel.from_pretrained(order["encoder"])
    model.model_body.max_seq_length = order["length"]
    rows = datasets.Dataset.from_dict({"text": order["texts"], "label": order["targets"]})
    with tempfile.TemporaryDirectory() as scratch:
        arguments = setfit.TrainingArguments(
            output_dir=scratch, report_to="none", save_strategy="no", seed=order["seed"], show_progress_bar=False
        )
        setfit.Trainer(model=model, args=arguments, train_dataset=rows).train()
    return lambda texts: model.predict(texts, show_progress_bar=False).tolist()


def prepare_strategy(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    import peft  # noqa: F401  (what takes long is not part of a turn)
    import torch  # noqa: F401
    import transformers  # noqa: F401

    return settings, {}


def train_strategy(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train with the order, the head and LoRA's A of this seed; the figures of the run."""
    import torch
    from transformers import AutoTokenizer

    torch.manual_seed(seed)
    start = np.load(Path(settings["starts"]) / f"seed-{seed}.npz")
    model = start_strategy(settings, start)
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
    ends = take_steps(model, batches, settings)
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


def start_strategy(settings: dict[str, Any], start: Any) -> Any:
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


def take_steps(model: Any, batches: list[dict], settings: dict[str, Any]) -> list[tuple[float, float]]:
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


def build_reader(settings: dict[str, Any]) -> Reader:
    """Build the reader: the fast tokenizer over a thousand texts at a time, then its collator on shuffled batches.

    `datasets.map(batched=True)` and torch's DataLoader do the same around these two.
    """
    import tokenizers
    import transformers

    transformers.utils.logging.set_verbosity_error()
    inner = tokenizers.BertWordPieceTokenizer(settings["vocabulary"], lowercase=True)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner._tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    collate = transformers.DataCollatorWithPadding(tokenizer, return_tensors="np")

    def reader(texts: list[str], labels: list[int]) -> Epoch:
        ids: list[list[int]] = []
        for start in range(0, len(texts), 1000):
            chunk = tokenizer(texts[start : start + 1000], truncation=True, max_length=settings["length"])
            ids.extend(chunk["input_ids"])
        lengths = np.array([len(row) for row in ids])

        def epoch() -> Iterator[tuple[int, int, int]]:
            order = np.random.default_rng(0).permutation(len(ids))
            for rows in batches_of(lengths, order, settings["batch_size"], settings.get("group_by_length", False)):
                mask = collate([{"input_ids": ids[i], "label": labels[i]} for i in rows])["attention_mask"]
                yield len(mask), mask.shape[1], int(mask.sum())

        return epoch

    return reader


def export(settings: dict[str, Any]) -> tuple[None, dict[str, Any]]:
    """Write the classifier as ONNX, in float32 and with weights of 8 bits."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(settings["folder"], attn_implementation="eager")

    class Probabilities(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval()

        def forward(self, ids: Any, mask: Any, segments: Any) -> Any:
            return torch.softmax(self.model(ids, attention_mask=mask, token_type_ids=segments).logits, -1)

    ones = torch.ones((2, 7), dtype=torch.long)
    axes = {name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask", "token_type_ids")}
    path = Path(settings["target"]) / "fp32.onnx"
    torch.onnx.export(
        Probabilities(), (ones, ones, 0 * ones), path, input_names=list(axes), output_names=["probabilities"],
        dynamic_axes={**axes, "probabilities": {0: "batch"}}, opset_version=17, dynamo=False,
    )  # fmt: skip
    quantize_dynamic(path, path.with_name("int8.onnx"), weight_type=QuantType.QInt8)
    return None, {}


if __name__ == "__main__":
    setfit_packages = ("setfit", "sentence-transformers", "transformers", "torch")
    serve_one(
        {
            "finetune": finetuning(TorchTrainer),
            "defaults": cells(load_trainer, ("torch", "transformers"), train_cell),
            "setfit": cells(load_setfit, setfit_packages, train_setfit),
            "strategy": (prepare_strategy, train_strategy),
            "data": reading(build_reader),
            "export": (export, lambda state, number: {}),
        }
    )
