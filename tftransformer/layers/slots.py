"""Parts that are put into a layer after it was built, taken out again, and kept by whatever saves the layer.

The weights of such a part have addresses as if the layer had been built with it: the layer's own, then the
name of the part.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tftransformer.errors import TransformerError
from tftransformer.layers.configured import ConfiguredLayer
from tftransformer.layers.kernels import is_tracing
from tftransformer.layers.sublayers import with_sublayers
from tftransformer.layers.taps import active_taps

# What says in a file of weights, beside a layer's numbered arrays, which parts were put in.
_STORED = "inserted"


class SlottedLayer(ConfiguredLayer):
    """A layer that Keras saves and clones with what was put into it, and with the weights in it that are frozen.

    The parts in the slots of a layer and of its sublayers belong to the layer's config: `model.save`,
    `keras.models.clone_model` and `from_config` keep them. `save_weights` stores them beside the weights:
    `load_weights` puts them in where they are missing.

    Args:
        inserted: Entry of `get_config` about the slots.
        frozen: Entry of `get_config` about frozen weights in layers that train.
        kwargs: Keras's arguments of a layer.

    Attributes:
        slots: Names of attributes that hold a part, or None.

    Raises:
        TransformerError: `load_weights` of what was saved with other parts, after the model ran in a graph: that graph
            would go on without them.

    Example:
        >>> from tftransformer.layers.low_rank import LowRankDelta
        >>> from tftransformer.layers.projection import Projection
        >>> layer = Projection(2, name="query")
        >>> layer.build((None, 3))
        >>> attach(layer, "delta", LowRankDelta(2, rank=1, name="lora"), (None, 3))
        >>> [modification["slot"] for modification in layer.get_config()["inserted"]]
        ['delta']
    """

    slots: tuple[str, ...] = ()
    trainable: bool

    def __init__(self, *, inserted: Sequence[dict] = (), frozen: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._structure = (tuple(inserted), tuple(frozen))
        self._traced = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._traced and is_tracing():
            for part in with_sublayers(self):
                part._traced = True
        taps = active_taps()
        if taps is None:
            return super().__call__(*args, **kwargs)
        with taps.inside(self.name):
            output = super().__call__(*args, **kwargs)
            if isinstance(output, tuple):
                return (taps.see("", output[0]), *output[1:])
            return taps.see("", output)

    def _post_build(self) -> None:
        super()._post_build()
        (inserted, frozen), self._structure = self._structure, ((), ())
        if inserted:
            layers = _slotted(self)
            for modification in inserted:
                part = keras.saving.deserialize_keras_object(modification["part"])
                attach(layers[modification["layer"]], modification["slot"], part, tuple(modification["shape"]))
        for name, weight in _own_weights(self).items() if frozen else ():
            weight.trainable = name not in frozen
        if not self.trainable:
            # Keras told this layer before it had anything below; an assignment that changes nothing it ignores.
            self.trainable = True
            self.trainable = False

    def get_config(self) -> dict:
        config = super().get_config()
        inserted = [
            {"layer": name, **modification}
            for name, layer in _slotted(self).items()
            for modification in _modifications(layer)
        ]
        frozen = [name for name, weight in _own_weights(self).items() if not weight.trainable]
        if inserted:
            config["inserted"] = inserted
        if frozen and self.trainable:
            config["frozen"] = frozen
        return config

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if modifications := _modifications(self):
            store[_STORED] = np.frombuffer(json.dumps(modifications).encode(), "uint8")

    def load_own_variables(self, store: Any) -> None:
        modifications = []
        if _STORED in store.keys():
            modifications = json.loads(bytes(np.asarray(store[_STORED], "uint8")))
            store = {name: store[name] for name in store.keys() if name != _STORED}
        super().load_own_variables(store)
        for modification in modifications:
            self._load_part(modification)

    def _load_part(self, modification: dict) -> None:
        slot, part = modification["slot"], keras.saving.deserialize_keras_object(modification["part"])
        held = getattr(self, slot)
        if held is not None and _same(held, part):
            return
        if self._traced:
            raise TransformerError(
                f"the weights of {self.path} were saved with {part.name!r} in it, and this model has run without: "
                "put the same in first, or load before the model's first fit, evaluate or predict"
            )
        if held is not None:
            detach(self, slot)
        config = {**part.get_config(), "dtype": self.dtype_policy}
        attach(self, slot, type(part).from_config(config), tuple(modification["shape"]))


def _modifications(layer: SlottedLayer) -> list[dict]:
    """Return the parts in a layer's own slots, as JSON values."""
    held = {id(getattr(layer, slot)): slot for slot in layer.slots}
    modifications = []
    # In the order in which they were put in, which is that of `get_weights`.
    for part in layer._layers:
        if id(part) in held:
            stated = keras.saving.serialize_keras_object(part)
            # With it Keras would build the part at once, outside the layer.
            stated.pop("build_config", None)
            modifications.append({"slot": held[id(part)], "part": stated, "shape": list(part.attached_to)})
    return modifications


def _slotted(layer: SlottedLayer) -> dict[str, SlottedLayer]:
    """A layer and its built sublayers that have slots, by their paths within the layer; its own is empty."""
    parts = (part for part in with_sublayers(layer) if getattr(part, "slots", ()) and part.built)
    return {part.path.removeprefix(layer.path).lstrip("/"): part for part in parts}


def _own_weights(layer: SlottedLayer) -> dict[str, Any]:
    """A built layer's weights by their paths within it."""
    weights = {weight.path.removeprefix(f"{layer.path}/"): weight for weight in layer.weights}
    return {name: weight for name, weight in weights.items() if "seed_generator" not in name}


def _same(one: keras.layers.Layer, other: keras.layers.Layer) -> bool:
    def settings(part: keras.layers.Layer) -> str:
        config = part.get_config()
        # Where weights are read into another precision or a frozen part, the part is the same.
        return json.dumps({k: v for k, v in config.items() if k not in ("dtype", "trainable", "frozen")}, default=str)

    return type(one) is type(other) and settings(one) == settings(other)


def attach(layer: keras.layers.Layer, slot: str, part: keras.layers.Layer, shape: tuple) -> None:
    """Build a part and make it a sublayer of a built layer.

    Args:
        layer: Layer with the attribute `slot`, which is None while nothing is attached.
        slot: Name of the attribute.
        part: Layer that is not built yet.
        shape: Input shape for `part.build`.

    Example:
        >>> outer, inner = keras.layers.Dense(2, name="outer"), keras.layers.Dense(2, name="inner")
        >>> outer.build((None, 3))
        >>> outer.delta = None
        >>> attach(outer, "delta", inner, (None, 3))
        >>> inner.kernel.path
        'outer/inner/kernel'
    """
    with _open(layer), contextlib.ExitStack() as scopes:
        # Where a variable is made decides its path, and with it the address.
        parent: str | None = ""
        for name in layer.path.split("/"):
            scopes.enter_context(keras.name_scope(name, override_parent=parent))
            parent = None
        part.build(shape)
        part.attached_to = tuple(shape)
        setattr(layer, slot, part)


def detach(layer: keras.layers.Layer, slot: str) -> None:
    """Take a part out, and its weights with it."""
    with _open(layer):
        # An attribute that is only overwritten stays among Keras's sublayers.
        layer._tracker.untrack(getattr(layer, slot))
        setattr(layer, slot, None)


@contextlib.contextmanager
def _open(layer: keras.layers.Layer) -> Iterator[None]:
    # A built layer refuses new parts unless told otherwise; Keras's own `Dense.enable_lora` does the same.
    layer._tracker.unlock()
    try:
        yield
    finally:
        layer._tracker.lock()
