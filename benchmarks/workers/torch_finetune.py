"""Hugging Face in torch: the loop of its documentation, which pads each batch to its longest text.

AdamW, a linear schedule and clipping at 1.0, as its Trainer has them; fast tokenizer, sdpa attention. Settings beyond
those of every trainer: `group_by_length` (windows of 50 batches sorted by length, as the Trainer's sampler
does it), `compile` (torch.compile); bfloat16 is autocast.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sidebyside.fit_turns import serve_finetuning

_WINDOW = 50


class TorchTrainer:
    """A sequence classifier and its tokenizer.

    Args:
        settings: As in the module's docstring.
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

        ids = self._tokenizer(texts, truncation=True, max_length=self._settings["length"])["input_ids"]
        trained = [p for p in self._model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, self._settings["learning_rate"], fused=True)
        steps = epochs * -(-len(texts) // self._settings["batch_size"])
        schedule = get_linear_schedule_with_warmup(optimizer, 0, steps)
        self._model.train()
        for _ in range(epochs):
            for rows in self._batches([len(row) for row in ids]):
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
        ids = self._tokenizer(texts, truncation=True, max_length=self._settings["length"])["input_ids"]
        order = np.argsort([len(row) for row in ids], kind="stable")
        outputs = np.zeros((len(ids), self._model.config.num_labels), np.float32)
        with self._torch.inference_mode(), self._autocast():
            for start in range(0, len(ids), 64):
                rows = order[start : start + 64]
                found = self._model(**self._collate([ids[i] for i in rows])).logits
                outputs[rows] = found.float().cpu().numpy()
        self._model.train(was_training)
        return outputs

    def tokens(self, texts: list) -> Any:
        """What one epoch computes."""
        from sidebyside.token_count import TokenCount

        ids = self._tokenizer(texts, truncation=True, max_length=self._settings["length"])["input_ids"]
        lengths = np.array([len(row) for row in ids])
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

    def _batches(self, lengths: Any) -> Iterator[np.ndarray]:
        size, order = self._settings["batch_size"], self._draw.permutation(len(lengths))
        window = _WINDOW * size
        if self._settings.get("group_by_length"):
            longest_first = -np.asarray(lengths)
            order = np.concatenate(
                [
                    part[np.argsort(longest_first[part], kind="stable")]
                    for part in np.split(order, range(window, len(order), window))
                ]
            )
        yield from np.split(order, range(size, len(order), size))

    def _collate(self, ids: list) -> dict:
        batch = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        return {name: value.to(self._device) for name, value in batch.items()}

    def _autocast(self) -> Any:
        enabled = self._settings["precision"] == "bfloat16"
        return self._torch.autocast(self._device.type, self._torch.bfloat16, enabled=enabled)


if __name__ == "__main__":
    serve_finetuning(TorchTrainer)
