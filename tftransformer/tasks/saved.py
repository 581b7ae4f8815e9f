"""Saving of a task that is made from a config: our own folders, and Keras's files with what `compile` was told."""

import os
from typing import Any, Self

import keras

from tftransformer.checkpoints.huggingface.folder import save_huggingface
from tftransformer.checkpoints.own import save_preset
from tftransformer.errors import TransformerError
from tftransformer.finetuning.structure import STRUCTURE, describe_modifications, restore_structure
from tftransformer.tasks.base import TextTask
from tftransformer.training.compilation import restore_compilation

# Of folders with weights.
FORMATS = ("tftransformer", "huggingface")


class SavedTask(TextTask):
    """A task that can be saved; subclasses say what there is to save (`preset_contents`, `task_settings`, `get_config`)."""

    def preset_contents(self) -> dict[str, Any]:
        """What every format of a folder holds of it: arguments of the functions that write one."""
        raise NotImplementedError

    def task_settings(self) -> dict:
        """What a preset stores about the network and its inputs."""
        raise NotImplementedError

    # To a folder.

    def save_to_preset(self, folder: str | os.PathLike, *, dtype: str | None = None, overwrite: bool = False) -> None:
        """Write a folder that `from_preset` and `tt.load` read; `from_preset` of other tasks takes its encoder.

        Args:
            folder: Where to; appears whole or not at all.
            dtype: Dtype of the stored weights, such as "float16". None: as they are, bit by bit.
            overwrite: Replace a folder that holds files.

        Raises:
            TransformerError: The folder holds files, or the disk refuses.
        """
        self._save(folder, self.preset_contents(), dtype=dtype, overwrite=overwrite)

    def _save(self, folder: str | os.PathLike, contents: dict[str, Any], whole: bool = True, **options: Any) -> None:
        """Write our own format; `whole` where the head is among the contents, without which it is an encoder's folder."""
        save_preset(
            folder,
            **contents,
            task=self.task_settings(),
            modifications=describe_modifications(self, head=whole),
            class_name=keras.saving.get_registered_name(type(self)) if whole else None,
            **options,
        )

    def _save_huggingface(self, folder: str | os.PathLike, contents: dict[str, Any], **options: Any) -> None:
        """Write what transformers loads."""
        if modifications := describe_modifications(self):
            kinds = " and ".join(dict.fromkeys(modification["kind"] for modification in modifications))
            raise TransformerError(
                f"format 'huggingface' has no place for {kinds}: merge those of projections (LoRA, DoRA, IA3) with "
                "tt.merge, remove the others"
            )
        save_huggingface(folder, **contents, **options)

    # Keras's own files.

    @classmethod
    def from_config(cls, config: dict) -> Self:
        config = {**config, "dtype": keras.saving.deserialize_keras_object(config["dtype"])}
        structure = {name: config.pop(name) for name in STRUCTURE if name in config}
        task = cls(**config)
        task.fresh = ()  # Keras loads every weight after this
        restore_structure(task, **structure)
        return task

    def get_compile_config(self) -> dict | None:
        return self._compile_config.serialize() if self.compiled and self._compile_config else None

    def compile_from_config(self, config: dict) -> None:
        self.compile_as_saved(keras.saving.deserialize_keras_object(config))
        restore_compilation(self)

    def compile_as_saved(self, settings: dict) -> None:
        """`compile` with what `get_compile_config` wrote."""
        for argument in ("loss", "metrics", "weighted_metrics"):
            self.objective.follow(settings.get(argument))
        keras.Model.compile(self, **settings)
