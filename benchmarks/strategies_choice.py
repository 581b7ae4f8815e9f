"""What `strategies_parity.py` compares, and whether its flags make sense."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tftransformer import finetuning
from tftransformer.errors import TransformerError

# The fewer weights train, the higher the rate that they need.
RATES = {"full": 1e-4, "freeze": 2e-4, "lora": 2e-3}
# Flags that are numbers: the rule, and what keeps it.
NUMBERS = {
    "seeds": ("at least 2", lambda value: value >= 2),
    "train_rows": ("at least 1", lambda value: value >= 1),
    "test_rows": ("at least 1", lambda value: value >= 1),
    "epochs": ("at least 1", lambda value: value >= 1),
    "batch_size": ("at least 1", lambda value: value >= 1),
    "dropout": ("at least 0 and below 1", lambda value: 0 <= value < 1),
    "timeout": ("above 0", lambda value: value > 0),
}


def check_numbers(values: Mapping[str, float | None]) -> None:
    """Raise a `TransformerError` for the first that breaks its rule in `NUMBERS`; None keeps every rule.

    Example:
        >>> check_numbers({"seeds": 3, "test_rows": None})
    """
    for name, value in values.items():
        rule, holds = NUMBERS[name]
        if value is not None and not holds(value):
            raise TransformerError(f"{name} must be {rule}; got {value}")


def choose_strategies(spellings: Sequence[str], blocks: int) -> list[str]:
    """Check the strategies: those that both sides have, each once.

    Args:
        spellings: As `parse_strategy` reads them.
        blocks: Of the encoder.

    Returns:
        The full spellings.

    Raises:
        TransformerError: One that only one side has, one twice, or more frozen blocks than there are.

    Example:
        >>> choose_strategies(["full", "lora"], 6)
        ['full', 'lora:8']
    """
    chosen: list[str] = []
    for text in spellings:
        strategy = finetuning.parse_strategy(text)
        method = strategy.methods[0]
        if len(strategy.methods) > 1 or method.name not in RATES:
            raise TransformerError(f"strategies must be among {', '.join(RATES)}; got {text!r}")
        if str(strategy) in chosen:
            raise TransformerError(f"strategies must be different; got {text!r} twice")
        if method.name == "freeze" and method.layers > blocks:
            raise TransformerError(f"strategies must freeze at most {blocks} blocks; got {text!r}")
        chosen.append(str(strategy))
    if not chosen:
        raise TransformerError("strategies must name at least one; got none")
    return chosen


def encoder_config(data: str | None, minilm: str | None) -> Any:
    """The `TransformerConfig` of the encoder.

    Args:
        data, minilm: Folders.

    Raises:
        TransformerError: One of them is none, or the second holds no Hugging Face folder of a BERT encoder.
    """
    from tftransformer.checkpoints import load_preset  # loads TensorFlow

    for name, folder in (("data", data), ("minilm", minilm)):
        if folder is None or not Path(folder).is_dir():
            raise TransformerError(f"{name} must be a folder; got {folder!r}")
    for file in ("config.json", "model.safetensors"):
        if not (Path(minilm) / file).is_file():
            raise TransformerError(f"minilm must be a folder with {file}; got {minilm!r}")
    config = load_preset(minilm).config
    if config.family != "bert":
        raise TransformerError(f"minilm must hold a BERT encoder; got {config.family!r}")
    return config
