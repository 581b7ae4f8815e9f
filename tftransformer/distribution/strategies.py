"""Distribution strategies by name (`tf.distribute`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tftransformer.errors import TransformerError, check_choice, near_miss

# Names are checked without TensorFlow; it is loaded when a strategy is built.
if TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("default", "mirrored", "tpu")


def build_strategy(name: str = "default", devices: Sequence[str] | str | None = None) -> tf.distribute.Strategy:
    """The strategy under whose `scope()` the model and its optimizer have to be built.

    A model on several CPUs has to be compiled with `jit_compile=False`: XLA compiles for one device.

    Args:
        name: "default" for one device; "mirrored" for a copy of the model on every GPU of this machine,
            batches split among them; "tpu" for the cores of a TPU.
        devices: For "mirrored", the devices, such as `["GPU:0", "GPU:1"]`; all GPUs by default, and all
            logical CPUs where there is no GPU. For "tpu", the TPU's name or address; by default what the
            environment variable TPU_NAME says, or the TPU of this machine.

    Returns:
        A strategy. Batches are global: of 32 rows each of 2 replicas sees 16.

    Raises:
        TransformerError: An unknown name or device, or no TPU to be reached.

    Example:
        >>> build_strategy("default").num_replicas_in_sync
        1
    """
    import tensorflow as tf

    check_strategy(name)
    if name == "mirrored":
        return _mirrored(devices)
    if name == "tpu":
        return _tpu(devices)
    if devices is not None:
        raise TransformerError(f"devices goes with 'mirrored' and 'tpu'; got {devices!r} with 'default'")
    return tf.distribute.get_strategy()


def check_strategy(name: str) -> None:
    """Raise a `TransformerError` unless `name` is that of a strategy."""
    if name == "multi_worker":
        raise TransformerError(
            "distribution 'multi_worker' is not available yet with Keras 3; use 'mirrored' for all GPUs of one machine"
        )
    check_choice("distribution", name, STRATEGIES)


def _mirrored(devices: Sequence[str] | str | None) -> tf.distribute.Strategy:
    import tensorflow as tf

    listed = [device for kind in ("GPU", "CPU") for device in tf.config.list_logical_devices(kind)]
    known = [_short(device.name) for device in listed]
    gpus = [device for device in known if device.startswith("GPU")]
    if devices is None:
        chosen = gpus or known
    else:
        chosen = [_short(device) for device in ([devices] if isinstance(devices, str) else devices)]
    for device in chosen:
        if device not in known:
            raise TransformerError(
                f"devices must be among {', '.join(known)}; got {device!r}{near_miss(device, known)}"
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise TransformerError(f"devices must name every device once; got {devices!r}")
    # Without GPUs, TensorFlow picks the same reduction itself, with a warning that NCCL is missing.
    reduction = None if gpus else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(chosen, cross_device_ops=reduction)


def _short(device: str) -> str:
    return device.upper().rpartition("DEVICE:")[2].lstrip("/")


def _tpu(address: Sequence[str] | str | None) -> tf.distribute.Strategy:
    import tensorflow as tf

    if address is not None and not isinstance(address, str):
        raise TransformerError(f"devices must be one name or address for a TPU; got {address!r}")
    address = address or os.environ.get("TPU_NAME")
    if address is None and tf.config.list_physical_devices("TPU"):
        address = "local"
    # Without an address TensorFlow would ask Google's metadata server, and on other machines wait for it.
    if address is None:
        raise TransformerError("distribution 'tpu' needs a TPU: this machine has none, and TPU_NAME is not set")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
        if address != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except Exception as error:
        # Whatever the client libraries raise, from a missing package to a refused connection.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TransformerError(f"distribution 'tpu' cannot reach the TPU {address!r}: {reason}") from error
