"""A plain TensorFlow SavedModel, such as TensorFlow Hub's text encoders, as a frozen feature layer."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from tftransformer.checkpoints.sources.base import one_line
from tftransformer.errors import TransformerError, near_miss

# What our encoders call the inputs of TensorFlow Hub's.
_OUR_NAMES = {"input_word_ids": "token_ids", "input_mask": "padding_mask", "input_type_ids": "segment_ids"}
_USUAL_OUTPUTS = ("pooled_output", "default", "outputs", "output_0")
_USUAL_SIGNATURES = ("serving_default", "default", "serve")


@dataclasses.dataclass(frozen=True)
class _Endpoint:
    """A way to call a SavedModel: inputs and outputs by name; "" where there is but one, without a name."""

    call: Callable[[dict[str, Any]], Any]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


@keras.saving.register_keras_serializable(package="tftransformer")
class SavedModelFeatures(keras.layers.Layer):
    """Vectors that a SavedModel gives for texts or token ids; its weights never train.

    The model's own `__call__` is used where it has one, as TensorFlow Hub's models have, and a signature
    (`serving_default`, `default`, `serve` or the only one) otherwise. It must take named tensors or a single
    one with any batch size, and give a floating-point tensor.

    The layer is stored by its path, and loading it runs whatever graph is there, which can read and write
    files: `keras.saving.load_model` does so only with `safe_mode=False`. Its weights are no Keras variables:
    they do not count as parameters of a model, and no checkpoint holds them.

    Args:
        folder: The SavedModel: a folder with `saved_model.pb`.
        output: The name of the output. None: the only one, or the first there is of `pooled_output`,
            `default`, `outputs` and `output_0`.

    Call arguments:
        inputs: The tensor, or a dict by the SavedModel's names. For encoders of TensorFlow Hub
            (`input_word_ids`, `input_mask`, `input_type_ids`) our names may be used instead: `token_ids`,
            `padding_mask`, `segment_ids`.

    Shapes: strings (B,) or ids (B, T), ... -> the output's, mostly (B, D).

    Raises:
        TransformerError: There is no SavedModel, it cannot be loaded or called like that, the layer is asked to
            train, or the backend is not TensorFlow.

    Example:
        >>> texts = keras.Input((), dtype="string")                               # doctest: +SKIP
        >>> features = SavedModelFeatures("universal-sentence-encoder")(texts)    # doctest: +SKIP
        >>> model = keras.Model(texts, keras.layers.Dense(2)(features))           # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str], output: str | None = None, **kwargs: Any) -> None:
        if keras.backend.backend() != "tensorflow":
            raise TransformerError(
                f"a SavedModel runs on the TensorFlow backend only; the backend is {keras.backend.backend()}"
            )
        if kwargs.setdefault("trainable", False):
            raise TransformerError(f"trainable must be False: the weights of {folder} are frozen; got True")
        super().__init__(**kwargs)
        self.folder = os.fspath(folder)
        self.output_name = output
        # Kept as an attribute, so that what TensorFlow saves with this layer holds the model, too.
        self._loaded = _load(self.folder)
        self._endpoint = _choose(self._loaded, self.folder)
        self._chosen = _output_name(self._endpoint.outputs, output, self.folder)
        self.built = True

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        tensors = {
            name: tf.ensure_shape(tf.cast(given, spec.dtype), spec.shape)
            for (name, spec), given in zip(self._endpoint.inputs.items(), self._by_name(inputs), strict=True)
        }
        found = self._endpoint.call(tensors)
        features = found[self._chosen] if isinstance(found, Mapping) else found
        return tf.cast(tf.stop_gradient(features), self.compute_dtype)

    def compute_output_spec(self, inputs: Any) -> Any:
        for (name, spec), given in zip(self._endpoint.inputs.items(), self._by_name(inputs), strict=True):
            if not spec.shape.is_compatible_with(given.shape) or (given.dtype == "string") != (
                spec.dtype.name == "string"
            ):
                raise TransformerError(
                    f"input {name or 'of the layer'} must be {_described(spec)} for {self.folder}; got "
                    f"{given.dtype} of shape {tuple(given.shape)}"
                )
        return keras.KerasTensor(self._endpoint.outputs[self._chosen].shape.as_list(), dtype=self.compute_dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "folder": self.folder, "output": self.output_name}

    @classmethod
    def from_config(cls, config: dict) -> "SavedModelFeatures":
        from keras.src.saving.serialization_lib import in_safe_mode  # Keras has no public name for it

        if in_safe_mode():
            raise TransformerError(
                f"loading this model would run the SavedModel {config.get('folder')!r}; where you trust "
                "it, pass safe_mode=False to keras.saving.load_model"
            )
        return cls(**config)

    def _by_name(self, inputs: Any) -> list[Any]:
        """The given tensors in the order of the endpoint's inputs."""
        names = list(self._endpoint.inputs)
        if not isinstance(inputs, Mapping):
            if len(names) != 1:
                raise TransformerError(f"inputs of {self.folder} must be a dict of {', '.join(names)}; got one tensor")
            return [inputs]
        given = {name: inputs.get(name, inputs.get(_OUR_NAMES.get(name, name))) for name in names}
        missing = [name for name in names if given[name] is None]
        unknown = [name for name in inputs if name not in names and name not in map(_OUR_NAMES.get, names)]
        if missing or unknown:
            expected = ", ".join(names) if names != [""] else "one tensor"
            raise TransformerError(f"inputs of {self.folder} must be {expected}; got {', '.join(inputs)}")
        return list(given.values())


def _load(folder: str) -> Any:
    if not (Path(folder) / "saved_model.pb").is_file():
        raise TransformerError(f"folder must be a SavedModel, which has a saved_model.pb; {folder} has none")
    import tensorflow as tf

    try:
        import tensorflow_text  # noqa: F401  (registers the operations of tokenizers, which many models use)
    except ImportError:
        pass
    try:
        return tf.saved_model.load(folder)
    except Exception as error:  # TensorFlow raises its own, OSError, ValueError, and what damaged files provoke
        raise TransformerError(f"the SavedModel {folder} cannot be loaded ({one_line(error)})") from None


def _choose(loaded: Any, folder: str) -> _Endpoint:
    """The first way to call it that takes tensors of any batch size."""
    found = 0
    for endpoint in _endpoints(loaded):
        found += 1
        shapes = [spec.shape for spec in endpoint.inputs.values()]
        if all(shape.rank is None or (shape.rank > 0 and shape[0] is None) for shape in shapes):
            return endpoint
    reason = "those it has take no tensors, or a fixed batch size" if found else "it has none"
    raise TransformerError(
        f"the SavedModel {folder} must have a __call__, or a signature named "
        f"{', '.join(_USUAL_SIGNATURES)}, that takes tensors; {reason}"
    )


def _endpoints(loaded: Any) -> Iterator[_Endpoint]:
    for endpoint in (*_calls(loaded), *_signatures(loaded)):
        if all(map(_is_tensor, endpoint.inputs.values())) and any(map(_is_tensor, endpoint.outputs.values())):
            yield endpoint


def _calls(loaded: Any) -> Iterator[_Endpoint]:
    """The traces of the model's own `__call__` that are not for training."""
    import tensorflow as tf

    for function in getattr(getattr(loaded, "__call__", None), "concrete_functions", ()):
        positional, keywords = function.structured_input_signature
        if not positional:
            continue
        first, *rest = positional
        constants = tf.nest.flatten([rest, keywords])
        # `training` is a constant of the trace, and so is every other argument behind the inputs.
        if not any(isinstance(leaf, tf.TypeSpec) or leaf is True for leaf in constants):

            def call(tensors: dict, rest=tuple(rest), keywords=keywords) -> Any:
                return loaded(tensors.get("", tensors), *rest, **keywords)

            yield _Endpoint(call, _named(first), _named(function.structured_outputs))


def _signatures(loaded: Any) -> Iterator[_Endpoint]:
    signatures = getattr(loaded, "signatures", {})
    names = [name for name in _USUAL_SIGNATURES if name in signatures]
    for name in names or (list(signatures) if len(signatures) == 1 else ()):
        function = signatures[name]
        inputs = function.structured_input_signature[1]
        if inputs:
            yield _Endpoint(
                lambda tensors, function=function: function(**tensors),
                _named(inputs),
                _named(function.structured_outputs),
            )


def _named(value: Any) -> Mapping[str, Any]:
    # Sorted, because TensorFlow gives a signature's names in another order each time.
    return dict(sorted(value.items())) if isinstance(value, Mapping) else {"": value}


def _is_tensor(spec: Any) -> bool:
    import tensorflow as tf

    return isinstance(spec, tf.TensorSpec)


def _output_name(outputs: Mapping[str, Any], asked: str | None, folder: str) -> str:
    floating = [name for name, spec in outputs.items() if getattr(getattr(spec, "dtype", None), "is_floating", False)]
    if asked is not None and asked not in floating:
        raise TransformerError(
            f"output must be a floating-point output of {folder} ({', '.join(floating) or 'it has none'}); "
            f"got {asked!r}{near_miss(asked, floating)}"
        )
    usual = [name for name in _USUAL_OUTPUTS if name in floating]
    if asked is None and not usual and len(floating) != 1:
        raise TransformerError(
            f"output must name one of the floating-point outputs of {folder} "
            f"({', '.join(floating) or 'it has none'}); got None"
        )
    name = asked if asked is not None else (usual or floating)[0]
    if not outputs[name].shape.rank:
        raise TransformerError(f"output {name!r} of {folder} must be a batch of vectors; it has no known axes")
    return name


def _described(spec: Any) -> str:
    return f"{spec.dtype.name} of shape {tuple(spec.shape) if spec.shape.rank is not None else 'any'}"
