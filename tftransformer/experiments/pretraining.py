"""Pretraining from plain text to a preset folder: what examples/pretrain.py does with its flags."""

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer import patterns
from tftransformer.checkpoints import load_preset, save_preset
from tftransformer.config import TransformerConfig
from tftransformer.data import masked_lm, plain_text
from tftransformer.data.pretraining import PretrainingBatches, spell_pieces
from tftransformer.errors import TransformerError, near_miss
from tftransformer.training import inheritance
from tftransformer.training.distillation import Distillation
from tftransformer.training.pretraining import OBJECTIVES, Pretrainer

# A word of English prose has about 1.3 pieces in a vocabulary of ten thousand and more.
WORDS_PER_PIECE = 0.75
FEWEST_WORDS = 4
# Longer rows only cost time where a projection is fitted.
SAMPLE_LENGTH = 40
MEASURED_BATCHES = 8


@dataclasses.dataclass(frozen=True)
class PretrainingOptions:
    """The flags of examples/pretrain.py, where each is explained."""

    texts: tuple[str, ...]
    output_dir: str
    objective: str = "masked_lm"
    teacher: str | None = None
    inherit: bool = True
    vocabulary: str | None = None
    vocabulary_size: int = 13000
    num_layers: int = 12
    hidden_dim: int = 192
    num_heads: int = 6
    intermediate_dim: int = 768
    max_sequence_length: int = 256
    dropout: float = 0.1
    max_length: int = 64
    batch_size: int = 64
    learning_rate: float = 5e-4
    warmup: int = 200
    mask_rate: float = 0.15
    minutes: float | None = None
    steps: int | None = None
    sample_texts: int = 1500
    snapshot_minutes: float = 10.0
    seed: int = 0
    overwrite: bool = False

    def check(self) -> None:
        """Everything that can be known before the work starts.

        Raises:
            TransformerError: A number out of range, flags that contradict each other, a folder with files.
        """
        if self.objective not in OBJECTIVES:
            raise TransformerError(
                f"objective must be one of {', '.join(OBJECTIVES)}; got {self.objective!r}"
                f"{near_miss(self.objective, OBJECTIVES)}"
            )
        if self.objective != "masked_lm" and not self.teacher:
            raise TransformerError(f"objective {self.objective} needs a teacher: --teacher=FOLDER")
        if self.objective == "masked_lm" and self.teacher:
            raise TransformerError(
                "objective masked_lm has no use for a teacher; leave --teacher out, or take both"
            )
        if (self.minutes is None) == (self.steps is None):
            raise TransformerError("give either minutes or steps, how long to train; got both or neither")
        for name in ("vocabulary_size", "batch_size", "sample_texts"):
            if getattr(self, name) < 1:
                raise TransformerError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("minutes", "steps"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise TransformerError(f"{name} must be above 0; got {getattr(self, name)}")
        if not 8 <= self.max_length <= self.max_sequence_length:
            raise TransformerError(
                f"max_length must be between 8 and max_sequence_length, {self.max_sequence_length}; "
                f"got {self.max_length}"
            )
        folder = Path(self.output_dir)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not self.overwrite:
            raise TransformerError(f"output_dir {folder} holds files already; choose another, or --overwrite")


def pretrain(options: PretrainingOptions) -> dict[str, float]:
    """Learn a vocabulary if none is given, build the encoder, train it, and leave a preset folder.

    Returns:
        The last figures of the training, see `Pretrainer.train`.

    Raises:
        TransformerError: Bad options, texts or teacher, or a loss that is not finite.
    """
    from tftransformer.data.tokenizers.vocabulary_training import train_wordpiece
    from tftransformer.data.tokenizers.wordpiece import WordPieceTokenizer

    options.check()
    paths = plain_text.find_text_files(options.texts)
    config = TransformerConfig(
        vocabulary_size=options.vocabulary_size,
        num_layers=options.num_layers,
        hidden_dim=options.hidden_dim,
        num_heads=options.num_heads,
        intermediate_dim=options.intermediate_dim,
        max_sequence_length=options.max_sequence_length,
        dropout=options.dropout,
    )
    teacher = load_preset(options.teacher) if options.teacher else None
    texts = read_texts(paths, options)
    _say(f"{len(texts):,} texts from {len(paths)} files")
    if options.vocabulary:
        tokenizer = WordPieceTokenizer(options.vocabulary)
        config = config.replace(vocabulary_size=len(tokenizer.vocabulary))
    else:
        tokenizer = WordPieceTokenizer(train_wordpiece(texts, options.vocabulary_size, progress=_say))

    encoder, pretrainer, batches = prepare(options, config, tokenizer, texts, teacher)

    def snapshot(figures: Mapping[str, float]) -> None:
        save_preset(
            options.output_dir,
            config=config,
            tokenizer=tokenizer,
            variables=patterns.addresses(encoder),
            pooling="mean",
            task={"pretraining": {**_plain(options), **figures}},
            dtype="float16",
            overwrite=True,
        )
        _say(f"saved {options.output_dir} after {figures['step']:,.0f} steps")

    if teacher is not None and options.inherit:
        snapshot({"step": 0, "tokens": 0, "seconds": 0.0})
    return pretrainer.train(
        batches,
        minutes=options.minutes,
        steps=options.steps,
        snapshot=snapshot,
        snapshot_minutes=options.snapshot_minutes,
    )


def read_texts(paths: list[Path], options: PretrainingOptions) -> list[str]:
    """Every file cut into texts that fit the rows: of all lengths for a teacher, full ones for masked-LM."""
    most = max(int(options.max_length * WORDS_PER_PIECE), FEWEST_WORDS + 1)
    fewest = FEWEST_WORDS if options.teacher else None
    texts: list[str] = []
    for number, path in enumerate(paths):
        paragraphs = plain_text.read_paragraphs(path)
        texts += plain_text.pack_texts(paragraphs, most, fewest, seed=options.seed + number)
    if not texts:
        raise TransformerError(f"texts must hold at least one word; got none in {len(paths)} files")
    return texts


def prepare(
    options: PretrainingOptions,
    config: TransformerConfig,
    tokenizer: Any,
    texts: list[str],
    teacher: Any = None,
) -> tuple[Any, Pretrainer, PretrainingBatches]:
    """The encoder, its pretrainer and its batches.

    Args:
        options: The flags.
        config: Of the encoder as it will be saved.
        tokenizer: The encoder's.
        texts: What to train on.
        teacher: A `Preset`, or None.
    """
    from tftransformer.models.encoder import build_encoder

    # Dropout has nothing to prevent where no text comes by often, and slows the loss's fall.
    encoder = build_encoder(config.replace(dropout=0.0, attention_dropout=0.0))
    distillation = teacher_tokenizer = None
    if teacher is not None:
        teacher_encoder = teacher.build_encoder()
        teacher_tokenizer = teacher.tokenizer.build()
        basis = _inherit(
            options, config, encoder, tokenizer, texts, teacher, teacher_encoder, teacher_tokenizer
        )
        distillation = Distillation(teacher_encoder, teacher.config.num_layers, config.num_layers, basis)
    batches = PretrainingBatches(
        texts,
        tokenizer,
        max_length=options.max_length,
        batch_tokens=options.batch_size * options.max_length,
        teacher_tokenizer=teacher_tokenizer,
        mask_rate=0.0 if options.objective == "distillation" else options.mask_rate,
        seed=options.seed,
    )
    if distillation is not None:
        distillation.measure(itertools.islice(batches, MEASURED_BATCHES))
    pretrainer = Pretrainer(
        encoder,
        config,
        options.objective,
        distillation,
        learning_rate=options.learning_rate,
        warmup=options.warmup,
    )
    return encoder, pretrainer, batches


def _inherit(
    options, config, encoder, tokenizer, texts, teacher, teacher_encoder, teacher_tokenizer
) -> np.ndarray:
    """Set the student's weights from the teacher's, if wanted; returns the basis of its targets."""
    import keras

    draw = np.random.default_rng(options.seed)
    sample = [texts[i] for i in draw.permutation(len(texts))[: options.sample_texts]]
    rows = masked_lm.pad_rows(
        masked_lm.tokenize_rows(teacher_tokenizer, sample),
        teacher_tokenizer.start_id,
        teacher_tokenizer.separator_id,
        teacher_tokenizer.pad_id,
        min(SAMPLE_LENGTH, options.max_length),
    )
    weights = {name: keras.ops.convert_to_numpy(v) for name, v in patterns.addresses(teacher_encoder).items()}
    inherited, basis = inheritance.inherit(
        weights,
        teacher.config,
        config,
        rows["token_ids"],
        spell_pieces(tokenizer.vocabulary, teacher_tokenizer.vocabulary, teacher_tokenizer.unknown_id),
        pad_id=teacher_tokenizer.pad_id,
        seed=options.seed,
        progress=_say,
    )
    if options.inherit:
        variables = patterns.addresses(encoder)
        for name, array in inherited.items():
            variables[name].assign(array)
    return basis


def _plain(options: PretrainingOptions) -> dict[str, Any]:
    """The options as JSON values; of paths the names only, for the rest is nobody else's."""
    plain = dataclasses.asdict(options)
    plain["texts"] = [Path(path).name for path in options.texts]
    for name in ("teacher", "vocabulary", "output_dir"):
        plain[name] = Path(plain[name]).name if plain[name] else None
    return plain


def _say(line: str) -> None:
    print(line, flush=True)
