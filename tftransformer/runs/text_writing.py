"""Writing with a language model as flags say it: texts for prompts, in pieces as they come, and dialogues."""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from tftransformer import files
from tftransformer.data.chat import ASSISTANT, SYSTEM, USER, Message, render_chat, shortened, without_marks
from tftransformer.errors import TransformerError
from tftransformer.models import generation
from tftransformer.progress import say
from tftransformer.runs.generation_options import OF_SEARCH, DecodingOptions
from tftransformer.runs.run_folder import RunFolder
from tftransformer.tasks.causal_lm import CausalLM

# Where nobody says how long answers may be, this part of the window is left for one.
_ROOM = 4
_SEARCHES = {"greedy": generation.Greedy, "sampling": generation.Sampling, "beams": generation.BeamSearch}


class Writer:
    """A language model with a way to write.

    Args:
        task: The model.
        options: How it writes; `GenerationOptions` have a `seed`, too.
        seed: Seed of the draws, where the options have none.

    Example:
        >>> tokenizer = tt.text.train_byte_bpe(["a good film", "a bad film"], 270)
        >>> config = tt.TransformerConfig("gpt2", vocabulary_size=tokenizer.vocabulary_size, num_layers=1, hidden_dim=16,
        ...                               num_heads=2, intermediate_dim=32, max_sequence_length=32)
        >>> writer = Writer(tt.CausalLM(config, tokenizer), DecodingOptions(top_p=0.9, num_texts=2, max_new_tokens=3))
        >>> [len(texts) for texts in writer.write(["a good"])]
        [2]
    """

    def __init__(self, task: CausalLM, options: DecodingOptions, seed: int = 0) -> None:
        options.check_decoding()
        beams, most = options.num_beams or 0, task.writing_tokenizer.vocabulary_size
        if beams > most:
            raise TransformerError(f"num_beams must be at most {most}, the vocabulary's tokens; got {beams}")
        self.task, self.options = task, options
        self.seed = getattr(options, "seed", seed)

    @staticmethod
    def search_of(options: Any, seed: int = 0) -> Any:
        """The search that options ask for."""
        given = {name: getattr(options, name) for name in OF_SEARCH[options.search]}
        given = {name: value for name, value in given.items() if value is not None}
        if options.search == "sampling":
            given["seed"] = getattr(options, "seed", seed)
        if options.search == "beams":
            given["num_texts"] = options.num_texts
        return _SEARCHES[options.search](**given)

    @property
    def constraints(self) -> tuple[Callable, ...]:
        """The changes of the scores that the options ask for."""
        kinds = {
            "repetition_penalty": generation.RepetitionPenalty,
            "no_repeat_ngram": generation.NoRepeatNgrams,
            "min_new_tokens": generation.MinLength,
        }
        asked = {name: getattr(self.options, name) for name in kinds}
        return tuple(kinds[name](value) for name, value in asked.items() if value is not None)

    def write(self, prompts: Sequence[str], most: int | None = None, verbose: bool = False) -> list[list[str]]:
        """The texts for each prompt, `num_texts` of them.

        Args:
            prompts: Texts to go on with, or to answer.
            most: Bound of `max_new_tokens`, which is then made smaller where the window has no room for so many.
            verbose: Whether to show the progress.
        """
        draws = self.options.num_texts if self.options.search == "sampling" else 1
        rows = [prompt for prompt in prompts for _ in range(draws)]
        new = self.options.max_new_tokens
        if most is not None:
            room = self.task.sequence_length - max(map(self.prompt_length, prompts))
            new = max(1, min(new or most, most, room))
        arguments = {"search": self.search_of(self.options, self.seed), "constraints": self.constraints}
        found = self.task.generate(rows, max_new_tokens=new, verbose=verbose, **arguments)
        found = [[text] if isinstance(text, str) else text for text in found]
        return [[text for texts in found[i : i + draws] for text in texts] for i in range(0, len(found), draws)]

    def stream(self, prompt: str, turn: int = 0) -> Iterator[str]:
        """The text for one prompt in pieces; of a beam search, which knows nothing before its end, in one.

        Args:
            prompt: Text to go on with, or to answer.
            turn: Number that is added to the seed, so that draws differ.
        """
        if self.options.search == "beams":
            yield self.write([prompt])[0][0]
            return
        search = self.search_of(self.options, self.seed)
        if isinstance(search, generation.Sampling):
            search = dataclasses.replace(search, seed=self.seed + turn)
        yield from self.task.stream(
            prompt, search=search, max_new_tokens=self.options.max_new_tokens, constraints=self.constraints
        )

    def prompt_length(self, prompt: str) -> int:
        """The number of tokens of a prompt, special ones included."""
        return len(self.task.tokenizer.tokenize([prompt]).values) + 1 + bool(self.task.text_pairs)


def loaded(init_from: str | None, preset: str | None) -> CausalLM:
    """The model of a finished run, or of a preset."""
    folder = preset if init_from is None else RunFolder.open(init_from, argument="init_from").model_path
    say(f"loading {folder} …")
    return CausalLM.from_preset(folder)


def generate(writer: Writer, prompts: Sequence[str], output: str | None = None) -> list[list[str]]:
    """Return what a model writes for prompts, which is also printed, in pieces as they come, or written to a file.

    Args:
        writer: The model.
        prompts: Texts to go on with, or to answer; a model that answers takes them as a user's first messages.
        output: A text file in place of the screen, with a line for each text.
    """
    if writer.task.text_pairs:
        prompts = [render_chat([(USER, prompt)]) for prompt in prompts]
    if output is None and len(prompts) == 1 and writer.options.num_texts == 1:
        # What goes on with a prompt is shown behind it, an answer by itself.
        pieces = writer.stream(prompts[0])
        first = next(pieces, "")  # before anything is printed: it may be refused
        shown = first if writer.task.text_pairs else prompts[0] + first
        return [[first + _shown(pieces, sys.stdout, shown)]]
    found = writer.write(prompts, verbose=len(prompts) > 64)
    whole = [
        text if writer.task.text_pairs else prompt + text
        for prompt, texts in zip(prompts, found, strict=True)
        for text in texts
    ]
    if output is None:
        print("\n".join(whole))
    else:
        files.write_text(output, "".join(f"{' '.join(text.split())}\n" for text in whole))
        say(f"{len(whole):,} texts are in {output}")
    return found


def _shown(pieces: Iterator[str], stream: TextIO, first: str = "") -> str:
    """The text of pieces, each of which is shown at once."""
    found = []
    stream.write(first)
    stream.flush()
    for piece in pieces:
        stream.write(piece)
        stream.flush()
        found.append(piece)
    stream.write("\n")
    stream.flush()
    return "".join(found)


def chat(writer: Writer, lines: TextIO | None = None, system: str | None = None) -> list[Message]:
    """A dialogue: a user's message on each line that is read, the model's answer to it printed in pieces, to the last line.

    The model sees as many of the latest turns as fit in its window with room for an answer, behind the system's message.

    Args:
        writer: A model that answers.
        lines: Where messages are read; None: standard input.
        system: Message of the system, which comes first and stays.

    Returns:
        All messages.

    Raises:
        TransformerError: The model does not answer, or the system's message fills the window.
    """
    task = writer.task
    if not task.text_pairs:
        raise TransformerError(
            "mode=chat needs a model that was trained on answers; this one goes on with texts: use generate"
        )
    lines = sys.stdin if lines is None else lines
    room = task.sequence_length - (writer.options.max_new_tokens or task.sequence_length // _ROOM)
    head: list[Message] = [] if system is None else [(SYSTEM, system)]

    def fits(text: str) -> bool:
        return writer.prompt_length(text) <= room

    if room < 3 or not fits(render_chat([*head, (USER, ".")])):
        raise TransformerError(
            f"max_new_tokens and the system's message must leave room for messages in the window of {task.sequence_length} "
            "tokens; they leave none"
        )
    messages = list(head)
    asking = lines.isatty()
    while True:
        if asking:
            print("> ", end="", flush=True)
        line = lines.readline()
        if not line:
            return messages
        if not line.strip():
            continue
        try:
            history = shortened([*messages, (USER, line.strip())], fits)
        except TransformerError as error:
            say(f"not sent: {error}")
            continue
        if history is None:
            say(f"not sent: a message must fit in {room} tokens with the system's; this one has more")
            continue
        answer = _shown(writer.stream(render_chat(history), turn=len(messages)), sys.stdout)
        # What the model wrote may hold anything, marks of the template, too; or nothing, which is no turn to remember.
        if answer := without_marks(answer):
            messages += [(USER, line.strip()), (ASSISTANT, answer)]
