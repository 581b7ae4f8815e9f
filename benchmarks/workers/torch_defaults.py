"""Hugging Face's cells of `defaults.py`: the Trainer with all of `TrainingArguments`' defaults, on the CPU.

Three epochs, batches of 8, AdamW at 5e-5 that falls linearly to 0, no warm-up. Reports and checkpoints are off, and
the test rows go in larger batches; neither changes what is learned.
"""

import tempfile
from typing import Any

from default_turns import Predict, serve_defaults


def load() -> None:
    import torch  # noqa: F401
    import transformers

    transformers.Trainer  # noqa: B018  (imported when it is first looked at)


def train(order: dict[str, Any]) -> Predict:
    """Train a cell."""
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
        scratch.name,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        seed=order["seed"],
        disable_tqdm=True,
        per_device_eval_batch_size=64,
    )
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=rows,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    trainer.train()

    def predict(texts: list) -> Any:
        predictions = trainer.predict(encode(texts)).predictions
        scratch.cleanup()
        return predictions.argmax(axis=-1)

    return predict


if __name__ == "__main__":
    serve_defaults(load, ("torch", "transformers"), train)
