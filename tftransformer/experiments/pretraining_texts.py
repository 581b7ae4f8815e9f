"""Text files to integer shards: `examples/pretrain.py prepare`."""

import dataclasses
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tftransformer.data import plain_text, shard_writing
from tftransformer.errors import TransformerError
from tftransformer.progress import Progress

LINE_SECONDS = 15.0


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """The flags of `examples/pretrain.py prepare`, where each is explained."""

    texts: tuple[str, ...]
    output_dir: str
    vocabulary: str | None = None
    preset: str | None = None
    vocabulary_size: int = 13000
    lowercase: bool = True
    vocabulary_paragraphs: int = 2_000_000
    teacher: str | None = None
    heldout_share: float = 0.005
    seed: int = 0
    overwrite: bool = False

    def check(self) -> None:
        """Everything that can be known before the work starts.

        Raises:
            TransformerError: A number out of range, flags that contradict each other, a folder with files.
        """
        if self.vocabulary and self.preset:
            raise TransformerError("give vocabulary or preset, whose tokenizer is taken; got both")
        if not 0 < self.heldout_share < 0.5:
            raise TransformerError(f"heldout_share must be above 0 and below 0.5; got {self.heldout_share}")
        for name in ("vocabulary_size", "vocabulary_paragraphs"):
            if getattr(self, name) < 1:
                raise TransformerError(f"{name} must be at least 1; got {getattr(self, name)}")
        check_folder(self.output_dir, self.overwrite)


def check_folder(output_dir: str, overwrite: bool) -> None:
    """Raise a `TransformerError` for a folder that holds files, unless it may be replaced."""
    folder = Path(output_dir)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise TransformerError(f"output_dir {folder} holds files already; choose another, or --overwrite")


def prepare_shards(options: TextOptions) -> dict[str, Any]:
    """Tokenise the texts into a folder of shards.

    Returns:
        The contents of its meta.json.

    Raises:
        TransformerError: Bad options, texts, vocabulary or teacher.
    """
    from tftransformer.checkpoints import load_preset

    options.check()
    paths = plain_text.find_text_files(options.texts)
    _check_tokenizers_run()
    teacher = load_preset(options.teacher).tokenizer.build() if options.teacher else None
    survey = shard_writing.survey_texts(paths, options.heldout_share)
    say(f"{len(paths)} files, {survey.paragraphs:,} paragraphs")
    tokenizer = _tokenizer(options, paths, survey)
    with Progress(survey.sections, "tokenising", line_seconds=LINE_SECONDS) as bar:
        meta = shard_writing.write_shards(
            options.output_dir,
            paths,
            survey,
            tokenizer,
            teacher,
            about={"texts": [Path(path).name for path in options.texts], "seed": options.seed},
            overwrite=options.overwrite,
            progress=bar.update,
        )
    for part, counts in meta["parts"].items():
        say(f"{part}: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()))
    say(f"saved {options.output_dir}")
    return meta


def _check_tokenizers_run() -> None:
    try:
        import tensorflow_text  # noqa: F401
    except ImportError:
        raise TransformerError(
            "prepare needs tensorflow and tensorflow-text, which cut texts into tokens; train does without them: "
            "prepare the shards on another machine"
        ) from None


def _tokenizer(options: TextOptions, paths: list[Path], survey: shard_writing.Survey) -> Any:
    if options.preset:
        from tftransformer.checkpoints import load_preset

        return load_preset(options.preset).tokenizer.build()
    from tftransformer.data.tokenizers.vocabulary_training import train_wordpiece
    from tftransformer.data.tokenizers.wordpiece import WordPieceTokenizer

    if options.vocabulary:
        return WordPieceTokenizer(options.vocabulary, lowercase=options.lowercase)
    paragraphs = _sample(paths, survey, options)
    pieces = train_wordpiece(paragraphs, options.vocabulary_size, lowercase=options.lowercase, progress=say)
    return WordPieceTokenizer(pieces, lowercase=options.lowercase)


def _sample(paths: list[Path], survey: shard_writing.Survey, options: TextOptions) -> Iterator[str]:
    """The paragraphs, or a random share of them where they are too many to count all their words."""
    lines = itertools.chain.from_iterable(map(plain_text.read_paragraphs, paths))
    share = options.vocabulary_paragraphs / survey.paragraphs
    draw = random.Random(options.seed)
    return (line for line in lines if line and (share >= 1 or draw.random() < share))


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)
