"""Train a language model on texts, or on prompts and chats with answers; write with it, in pieces as they come; chat with it.

--dataset names the texts; --init_from goes on with a finished run and --preset with a pretrained decoder. --mode=generate writes
behind each --prompt, --mode=chat answers the lines of standard input; both take a finished run or a preset as it is.
"""

import dataclasses
from pathlib import Path
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.runs.flags import OptionFlags, option
from tftransformer.runs.generation_options import NETWORK, DecodingOptions, GenerationOptions
from tftransformer.runs.predictions import texts_to_predict
from tftransformer.runs.run_folder import RunFolder, check_free


@dataclasses.dataclass(frozen=True)
class ModeOptions:
    """Mode of the command, and the prompts for a finished run or a preset."""

    mode: str = option("train", "What to do.", choices=("train", "generate", "chat"))
    prompt: tuple[str, ...] | None = option(
        None, "generate: a text to go on with, or to answer; may be given several times."
    )
    prompts: str | None = option(None, "generate: a file of prompts, one a line.", argument="texts")
    output: str | None = option(None, "generate: a new file for the texts, one a line, in place of the screen.")
    system: str | None = option(None, "chat: a message of the system, which the model sees at every turn.")


DECODING = tuple(field.name for field in dataclasses.fields(DecodingOptions))
MODE, DECODE = OptionFlags(ModeOptions), OptionFlags(DecodingOptions)
RUN = OptionFlags(GenerationOptions, without=DECODING)
FLAGS = (MODE, DECODE, RUN)
# Flags of a run that writing takes, too.
_OF_WRITING = ("init_from", "preset", "seed", "overwrite")
_OF_MODE = {"prompt": "generate", "prompts": "generate", "output": "generate", "system": "chat"}


def read_flags() -> tuple[ModeOptions, Any]:
    """Return the mode and its input: options to train; or the model, how it writes, and prompts."""
    mode, given, decoding = MODE.read(), RUN.given(), DECODE.read()
    for name in MODE.given():
        if (needed := _OF_MODE.get(name, mode.mode)) != mode.mode:
            raise TransformerError(f"{name} goes with mode={needed}; got mode={mode.mode}")
    if mode.mode != "train":
        return mode, _to_write(mode, given, decoding)
    options = RUN.read(**dataclasses.asdict(decoding))
    for origin in ("init_from", "preset"):
        if getattr(options, origin) is not None:
            for name in NETWORK:
                if name in given:
                    raise TransformerError(f"{name} cannot go with {origin}, whose network stays as it is")
    if options.init_from is not None:
        _check_run(options.init_from)
    check_free(options.output_dir, options.overwrite)
    return mode, options


def _to_write(mode: ModeOptions, given: dict[str, Any], decoding: DecodingOptions) -> tuple[Any, ...]:
    for name in given:
        if name not in _OF_WRITING:
            raise TransformerError(f"{name} cannot go with mode={mode.mode}, which takes a model as it is")
    init_from, preset = given.get("init_from"), given.get("preset")
    if (init_from is None) == (preset is None):
        raise TransformerError("init_from must be given, the folder of a finished run, or pass preset; one of the two")
    if init_from is not None:
        _check_run(init_from)
    if mode.output and Path(mode.output).exists() and not given.get("overwrite", False):
        raise TransformerError(f"output must be a new file; {mode.output} exists: pass overwrite=True to replace it")
    prompts = None
    if mode.mode == "generate":
        if not (mode.prompt or mode.prompts):
            raise TransformerError('generate needs a prompt: pass --prompt="..." once or more, or --prompts=FILE')
        if mode.prompt and mode.prompts:
            raise TransformerError("prompt cannot go with prompts: give prompts one by one, or a file of them")
        prompts = texts_to_predict(list(mode.prompt or ()), mode.prompts)
    elif decoding.num_texts > 1:
        raise TransformerError(f"num_texts must be 1 with mode=chat, which answers once; got {decoding.num_texts}")
    return init_from, preset, decoding, given.get("seed", 0), prompts


def _check_run(folder: str) -> None:
    run = RunFolder.open(folder, argument="init_from")
    if "repetition_penalty" not in run.config:
        raise TransformerError(f"init_from must be the folder of a run of generate; {run.path} is of another command")


def run(mode: ModeOptions, what: Any) -> None:
    """Train, write or chat."""
    if mode.mode == "train":
        from tftransformer.runs import generation

        generation.train(what)
        return
    from tftransformer.runs import text_writing

    init_from, preset, decoding, seed, prompts = what
    writer = text_writing.Writer(text_writing.loaded(init_from, preset), decoding, seed)
    if mode.mode == "chat":
        text_writing.chat(writer, system=mode.system)
    else:
        text_writing.generate(writer, prompts, mode.output)
