"""tftransformer: `TextClassifier.from_preset(folder).compile().fit(texts)`.

Settings beyond those of every trainer: `jit` (XLA; the default is none on a CPU), `activation_cache`,
`freeze_embeddings` (only they are frozen, the reference for what the blocks cost alone).
"""

from typing import Any

import numpy as np
from sidebyside.fit_turns import serve_finetuning


def build(settings: dict[str, Any]) -> Any:
    from keras_fit import ClockCallback, KerasTrainer
    from sidebyside.token_count import TokenCount

    import tftransformer as tt

    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[settings["precision"]]
    classifier = tt.TextClassifier.from_preset(settings["folder"], dtype=policy, sequence_length=settings["length"])
    if settings["freeze"]:
        classifier.apply(tt.Freeze(layers=settings["freeze"]))
    elif settings.get("freeze_embeddings"):
        classifier.apply(tt.Freeze(layers=0))
    options = {"jit_compile": settings["jit"]} if "jit" in settings else {}
    classifier.compile(learning_rate=settings["learning_rate"], **options)
    fit_options = {"activation_cache": settings["activation_cache"]} if "activation_cache" in settings else {}

    def shape(batch: tuple) -> tuple[np.ndarray, int]:
        mask = batch[0]["padding_mask"].numpy()
        return mask.sum(axis=1), mask.shape[1]

    class Ours(KerasTrainer):
        _kept: tuple = (None, None, None)

        def fit(self, texts: list, labels: list, epochs: int, clock: Any) -> None:
            names = [classifier.labels[label] for label in labels]
            callbacks = [ClockCallback(clock)]
            classifier.fit(texts, names, settings["batch_size"], epochs, verbose=0, callbacks=callbacks, **fit_options)

        def logits(self, texts: list) -> np.ndarray:
            # Evaluation is not timed, and need not take long: the batches of the last texts are kept.
            if texts is not self._kept[0]:
                batches, inverse = tt.data.pipeline.ordered_batches(classifier.preprocess(texts), 64)
                self._kept = texts, list(batches), inverse
            return self.run(self._kept[1])[self._kept[2]]

        def tokens(self, texts: list) -> TokenCount:
            examples = classifier.preprocess(texts, [classifier.labels[0]] * len(texts))
            boundaries = None
            if classifier.jit_compile:
                boundaries = tt.data.buckets.length_buckets(examples.lengths, classifier.sequence_length)
            batches = tt.data.pipeline.token_batches(examples, settings["batch_size"], boundaries=boundaries)
            return TokenCount.of(shape(batch) for batch in batches)

        def dropout(self) -> float:
            return classifier.config.dropout

    return Ours(classifier)


if __name__ == "__main__":
    serve_finetuning(build)
