"""Text regression: an encoder, pooling and a linear head that gives one number a text, or several."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tftransformer.checkpoints.preset import REGRESSION, Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.examples import Examples
from tftransformer.data.split import Split
from tftransformer.evaluation.regression_report import RegressionReport
from tftransformer.layers.heads import ClassificationHead
from tftransformer.objectives.regression import Regression
from tftransformer.tasks.saved import task_on_preset
from tftransformer.tasks.task import Task
from tftransformer.text.base import Tokenizer

# Settings of a saved head that a task with other numbers has none of.
_OF_NUMBERS = ("names", "mean", "scale", "levels")


@keras.saving.register_keras_serializable(package="tftransformer")
class TextRegressor(Task):
    """Numbers for raw texts or pairs of texts, such as ratings or how alike two texts are; usually made by `from_preset`.

    Called on integer inputs it returns (B, K), at mean 0 and scale 1; `predict` takes texts and returns the numbers in the
    units of the training targets: (B,) for one a text, (B, K) for several.

    Args:
        config: Sizes and choices of the encoder.
        tokenizer: Text to ids; its vocabulary fits `config.vocabulary_size`.
        names: Names of the K numbers, in their order.
        mean, scale: K numbers each, mean and deviation of the training targets. None: the first `fit` reads them off.
        levels: For ratings, the steps of their scale in rising order; None for other numbers.
        text_pairs: Whether it takes pairs; None until `fit` is given some or single texts.
        name: Name of the Keras model.
        options: `pooling`, `pooler`, `extra_blocks`, `head_dropout`, `sequence_length`, `seed` and `dtype`, as for
            `TextClassifier`.

    Raises:
        TransformerError: Names that are none, levels that do not rise, and as `TextClassifier`.

    Example:
        >>> regressor = TextRegressor.from_preset("bert_12x192_en_uncased")
        >>> regressor.compile(learning_rate=1e-3)
        >>> history = regressor.fit(["no refund", "quick and kind"], [1.0, 5.0], epochs=1, verbose=0)
        >>> regressor.predict(["too late"], verbose=0).shape
        (1,)
    """

    def __init__(
        self,
        config: TransformerConfig | dict,
        tokenizer: Tokenizer | dict,
        names: Sequence[str] = ("number",),
        *,
        mean: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        levels: Sequence[float] | None = None,
        text_pairs: bool | None = None,
        name: str = "text_regressor",
        **options: Any,
    ) -> None:
        objective = Regression(names, mean, scale, levels)
        super().__init__(config, tokenizer, objective=objective, name=name, **options)
        self.preprocessor.pairs = text_pairs
        self.add_head(
            ClassificationHead(len(objective.names), self.network.head_dropout, dtype=self.dtype_policy, name="head")
        )

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike | Preset,
        names: Sequence[str] | None = None,
        *,
        load_weights: bool = True,
        **options: Any,
    ) -> "TextRegressor":
        """Build a regressor on the encoder of a preset, with its head where that gives these numbers.

        Args:
            preset: As for `TextClassifier.from_preset`; a folder of Hugging Face's with the head of a regression gives its
                numbers as they are.
            names: Names of the numbers. None: those of the preset, or one number.
            load_weights: False builds the same network from random numbers.
            options: Other arguments of the constructor, which take the place of the preset's, and `dropout`, the rate
                inside the encoder.

        Raises:
            TransformerError: The preset is unknown, broken or of another family.
        """
        found = preset if isinstance(preset, Preset) else load_preset(preset)
        names = (names,) if isinstance(names, str) else names
        same = found.is_regression and (names is None or tuple(names) == tuple(found.head["names"]))
        kept = (*cls.kept_settings, *_OF_NUMBERS, "text_pairs") if same else cls.kept_settings
        if names is not None:
            options["names"] = names
        return task_on_preset(
            cls, found, options, kept=kept, fresh=() if same else ("head/.*",), load_weights=load_weights
        )  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers, in the order of the outputs."""
        return tuple(self.objective.names)

    def report(self, data: Split | Examples, baselines: Sequence[dict] = ()) -> RegressionReport:
        """Compute errors, correlations and their intervals on data with targets; `print` it.

        Args:
            data: A Split with targets, or `Examples` that `preprocess` made of one.
            baselines: Results of `evaluation.tfidf_ridge_baseline` and `mean_baseline` on the same texts, to stand beside it.
        """
        return self.objective.report(data, self.predict(data, verbose=0), baselines)

    def nearest_levels(self, texts: Any, batch_size: int | None = None) -> np.ndarray:
        """Return the level of each text that is nearest to its number; shapes as of `predict`.

        Raises:
            TransformerError: The regressor has no levels.
        """
        return self.objective.nearest(self.predict(texts, batch_size, verbose=0))

    def head_contents(self) -> dict[str, Any]:
        return {"head": {"kind": REGRESSION, **self.objective.settings(), "head_dropout": self.network.head_dropout}}

    def huggingface_contents(self, contents: dict[str, Any]) -> dict[str, Any]:
        mean, scale = (np.float32(value or default) for value, default in
                       ((self.objective.mean, [0.0]), (self.objective.scale, [1.0])))  # fmt: skip
        variables = dict(contents["variables"])
        # Their head gives the numbers in units.
        for name, shift in (("head/logits/kernel", 0.0), ("head/logits/bias", mean)):
            if name in variables:
                variables[name] = (keras.ops.convert_to_numpy(variables[name]) * scale + shift).astype("float32")
        return {**contents, "variables": variables}

    def task_settings(self) -> dict:
        return {**super().task_settings(), "text_pairs": self.text_pairs}

    def get_config(self) -> dict:
        return {**super().get_config(), **self.objective.settings()}
