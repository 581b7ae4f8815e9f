"""Weights in a PyTorch `.bin` file, a pickle, opened only by torch's reader that builds nothing but tensors."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer.checkpoints.sources.base import ArraySource, one_line
from tftransformer.errors import TransformerError


class TorchSource(ArraySource):
    """The tensors of a state dict that `torch.save` wrote.

    A pickle can run any code when it is opened, so it is read with `torch.load(weights_only=True)`, which
    refuses everything but tensors and plain containers, and where torch is not installed not at all. The
    tensors stay in the file, mapped into memory, unless it has the format from before torch 1.6.

    Args:
        path: The file.

    Raises:
        TransformerError: There is no such file, torch is not installed (the message says how to convert), or
            it is damaged or holds something else than named tensors.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        self.name = str(path)
        if not path.is_file():
            raise TransformerError(f"there is no weights file {self.name}")
        try:
            import torch
        except ImportError:
            raise TransformerError(_without_torch(path)) from None
        self._torch = torch
        try:
            # Only the zip format can be mapped; torch refuses to map the older one.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except Exception as error:  # whatever the bytes provoke: zip, unpickling, key, type and index errors
            raise TransformerError(
                f"{self.name} is damaged, or holds more than tensors and is not opened ({one_line(error)})"
            ) from None
        super().__init__(self._checked(state), self.name)

    def dtype(self, key: str) -> str:
        return super().dtype(key).removeprefix("torch.")

    def get(self, key: str) -> np.ndarray:
        tensor = self._arrays[key].detach()
        try:
            if self.dtype(key) == "bfloat16":
                import ml_dtypes

                return tensor.contiguous().view(self._torch.int16).numpy().view(ml_dtypes.bfloat16)
            return tensor.contiguous().numpy()
        except (TypeError, RuntimeError) as error:
            raise TransformerError(f"tensor {key!r} of {self.name} cannot be read ({one_line(error)})") from None

    def _checked(self, state: Any) -> dict[str, Any]:
        if not isinstance(state, Mapping) or not state:
            raise TransformerError(
                f"{self.name} must hold named tensors (a state dict); it holds {type(state).__name__}"
            )
        for key, value in state.items():
            if not isinstance(key, str) or not isinstance(value, self._torch.Tensor):
                raise TransformerError(
                    f"{self.name} must hold named tensors and nothing else; {key!r:.80} is a "
                    f"{type(value).__name__} (a training checkpoint? save its state_dict alone)"
                )
            if not self._is_whole(value):
                raise TransformerError(
                    f"{self.name} must hold plain tensors; {key!r:.80} is sparse, without values, or larger "
                    "than what is stored of it"
                )
        return dict(state)

    def _is_whole(self, tensor: Any) -> bool:
        # A stride of 0 makes one stored number look like a tensor of any size: bytes that take gigabytes.
        if tensor.layout != self._torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            return False
        return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _without_torch(path: Path) -> str:
    target = path.with_name("model.safetensors") if path.name == "pytorch_model.bin" else path
    target = target.with_suffix(".safetensors")
    code = (
        "import sys, torch; from safetensors.torch import save_file; "
        "save_file({k: v.clone().contiguous() for k, v in "
        "torch.load(sys.argv[1], map_location='cpu', weights_only=True).items()}, sys.argv[2])"
    )
    return (
        f"{path} is a pickle, which can run any code and is only opened by torch, which is not installed; "
        f'convert it where torch and safetensors are: python -c "{code}" {path} {target}'
    )
