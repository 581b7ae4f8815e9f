"""Tasks: an encoder, a head, preprocessing and labels in one `keras.Model` over raw text."""

from tftransformer.lazy import attach

# What a user builds, by the module that defines it: `tt` has these names, too, and `tt.load` finds the classes by them.
TASKS = {
    "TextClassifier": "text_classifier",
    "DocumentClassifier": "document_classifier",
    "MultiTaskClassifier": "multi_task",
    "TextRegressor": "text_regressor",
    "TokenClassifier": "token_classifier",
    "Seq2Seq": "seq2seq",
    "CausalLM": "causal_lm",
}
__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        **TASKS,
        "Task": "task",
        "Network": "network",
        "EncoderNetwork": "network",
        "load": "loading",
    },
)
