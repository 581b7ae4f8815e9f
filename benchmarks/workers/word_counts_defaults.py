"""The cells of `defaults.py` without an encoder: TF-IDF of words and logistic regression, as every report shows it."""

from typing import Any

from default_turns import read_order
from sidebyside.worker import serve


def prepare(settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    from tftransformer.evaluation import baselines  # noqa: F401  (what takes long is not part of a turn)

    return settings["orders"], {}


def turn(folder: str, number: int) -> dict[str, Any]:
    """Train a cell; the baseline scores the test rows itself."""
    import importlib.metadata

    from tftransformer.evaluation.baselines import tfidf_baseline

    order = read_order(folder, number)
    found = tfidf_baseline(
        order["texts"], order["targets"], order["test_texts"], order["test_targets"], order["labels"], order["seed"]
    )
    figures = {name: found[name] for name in ("accuracy", "macro_f1", "seconds")}
    return {**figures, "versions": {"scikit-learn": importlib.metadata.version("scikit-learn")}}


if __name__ == "__main__":
    serve(prepare, turn)
