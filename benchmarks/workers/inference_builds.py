"""Writes what the inference contenders run, in a process of its own, so that building counts in nobody's memory."""

from pathlib import Path
from typing import Any

from sidebyside.worker import serve

ONNX_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def ours(settings: dict[str, Any]) -> None:
    import tftransformer as tt

    classifier = tt.TextClassifier.from_preset(settings["folder"], sequence_length=settings["length"], text_pairs=False)
    for dtype in ("float32", "bfloat16"):
        classifier.export(Path(settings["target"]) / f"ours_{dtype}", dtype=dtype)


def keras_hub(settings: dict[str, Any]) -> None:
    """Its preprocessor and classifier in one graph; rows are cut to the longest of the batch, as everybody's are."""
    import keras_hub
    import tensorflow as tf
    from safetensors.numpy import load_file

    folder = settings["folder"]
    head = load_file(Path(folder) / "model.safetensors")
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor.from_preset(
        folder, sequence_length=settings["length"]
    )
    classifier = keras_hub.models.BertTextClassifier.from_preset(
        folder, num_classes=len(head["classifier.bias"]), preprocessor=preprocessor
    )
    classifier.output_dense.set_weights([head["classifier.weight"].T, head["classifier.bias"]])
    network = classifier.backbone

    def classify(text: tf.Tensor) -> dict[str, tf.Tensor]:
        packed = preprocessor(text)
        longest = tf.reduce_max(tf.reduce_sum(tf.cast(packed["padding_mask"], tf.int32), axis=1))
        packed = {key: value[:, :longest] for key, value in packed.items()}
        pooled = network(packed, training=False)["pooled_output"]
        return {"probabilities": tf.nn.softmax(classifier.output_dense(pooled))}

    module = tf.Module()
    module.serve = tf.function(classify, autograph=False)
    module.weights = [weight.value for weight in classifier.weights]
    # Its tokenizer's tables are resources, which a SavedModel finds through the objects that hold them.
    module.tokenizer = preprocessor.tokenizer
    served = module.serve.get_concrete_function(text=tf.TensorSpec([None], tf.string))
    target = str(Path(settings["target"]) / "keras_hub")
    tf.saved_model.save(module, target, signatures={"serving_default": served})


def onnx(settings: dict[str, Any]) -> None:
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
    axes = {name: {0: "batch", 1: "tokens"} for name in ONNX_INPUTS}
    path = Path(settings["target"]) / "fp32.onnx"
    torch.onnx.export(
        Probabilities(), (ones, ones, 0 * ones), path, input_names=list(axes), output_names=["probabilities"],
        dynamic_axes={**axes, "probabilities": {0: "batch"}}, opset_version=17, dynamo=False,
    )  # fmt: skip
    quantize_dynamic(path, path.with_name("int8.onnx"), weight_type=QuantType.QInt8)


def prepare(settings: dict[str, Any]) -> tuple[None, dict[str, Any]]:
    {"ours": ours, "keras_hub": keras_hub, "onnx": onnx}[settings["what"]](settings)
    return None, {}


if __name__ == "__main__":
    serve(prepare, lambda state, number: {})
