"""Shared code of the commands of pairs of texts: train, or write with a run; flags are checked before TensorFlow."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.runs.flags import OptionFlags, option
from tftransformer.runs.pair_options import NETWORK, PairOptions
from tftransformer.runs.predictions import texts_to_predict
from tftransformer.runs.run_folder import check_free


@dataclasses.dataclass(frozen=True)
class WritingOptions:
    """Texts for a finished run to write for; `mode`, which a command adds, says whether it writes."""

    model: str | None = option(None, "To write: the folder of a finished run.")
    text: tuple[str, ...] | None = option(None, "To write: a text; may be given several times.")
    texts: str | None = option(None, "To write: a file of texts, one a line, or a table.")
    output: str | None = option(None, "To write: a new file for what is written, one a line, in place of the screen.")


def read_flags(
    mode_flags: OptionFlags,
    run_flags: OptionFlags,
    kind: type[PairOptions],
    read: Callable[..., Sequence[str]] = texts_to_predict,
    reading: Sequence[str] = (),
) -> tuple[Any, Any]:
    """Return the mode and its input: options to train, or texts.

    Args:
        mode_flags: Flags of a dataclass of `WritingOptions` with the field `mode`, "train" or the command's name.
        run_flags: Flags of the options of a run.
        kind: The dataclass of these.
        read: Texts from those that were given, a file, and the values of the flags `reading`, None where not given.
        reading: Flags of a run that say how texts to write for are read.
    """
    mode, given = mode_flags.read(), run_flags.given()
    if mode.mode != "train":
        for name in given:
            if name not in ("overwrite", "init_from", *reading):
                raise TransformerError(f"{name} cannot go with mode={mode.mode}, which takes a finished run as it is")
        if "init_from" in given:
            if mode.model is not None:
                raise TransformerError("init_from cannot go with model: both name the run; pass one")
            mode = dataclasses.replace(mode, model=given["init_from"])
        kind.open_run(mode.model, "model" if "init_from" not in given else "init_from")
        if mode.output and Path(mode.output).exists() and not given.get("overwrite", False):
            raise TransformerError(
                f"output must be a new file; {mode.output} exists: pass overwrite=True to replace it"
            )
        if not (mode.text or mode.texts):
            raise TransformerError(f'{mode.mode} needs a text: pass --text="..." once or more, or --texts=FILE')
        return mode, read(list(mode.text or ()), mode.texts, *(given.get(name) for name in reading))
    for name in mode_flags.given():
        if name != "mode":
            raise TransformerError(f"{name} goes with mode={kind.command}; got mode={mode.mode}")
    options = run_flags.read()
    for origin in ("init_from", "preset"):
        for name in NETWORK:
            if getattr(options, origin) is not None and name in given:
                raise TransformerError(f"{name} cannot go with {origin}, whose network stays as it is")
    if options.init_from is not None:
        kind.open_run(options.init_from, "init_from")
    check_free(options.output_dir, options.overwrite)
    return mode, options
