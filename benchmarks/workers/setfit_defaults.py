"""SetFit's cells of `defaults.py`: `SetFitModel` and its Trainer with the default `TrainingArguments`.

Reports and checkpoints are off, texts are cut at the set's length. Run with setfit 1.2.0, sentence-transformers 6.2.0,
transformers 5.23.0 and torch 2.13.0, which go together without a pin.
"""

import tempfile
from typing import Any

from default_turns import Predict, serve_defaults


def load() -> None:
    import datasets  # noqa: F401
    import setfit  # noqa: F401


def train(order: dict[str, Any]) -> Predict:
    """Train a cell of single texts."""
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


if __name__ == "__main__":
    serve_defaults(load, ("setfit", "sentence-transformers", "transformers", "torch"), train)
