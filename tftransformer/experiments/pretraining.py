"""Pretraining from integer shards to a preset folder: what `examples/pretrain.py train` does with its flags.

Runs on Keras's TensorFlow and JAX backends; on JAX nothing here needs TensorFlow.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer import patterns
from tftransformer.checkpoints import load_preset, save_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.shard_batches import ShardBatches
from tftransformer.data.shards import Shards, open_shards
from tftransformer.data.tokenizers.spec import TokenizerSpec
from tftransformer.data.word_starts import special_ids
from tftransformer.errors import TransformerError
from tftransformer.experiments.pretraining_curves import plot_curves
from tftransformer.experiments.pretraining_options import PretrainingOptions
from tftransformer.experiments.pretraining_texts import say
from tftransformer.models.encoder import build_encoder
from tftransformer.training import inheritance
from tftransformer.training.basis import fit_basis
from tftransformer.training.distillation import Distillation, word_weights
from tftransformer.training.encoder_states import encoder_states
from tftransformer.training.pretraining import Pretrainer
from tftransformer.training.pretraining_log import read_log
from tftransformer.training.pretraining_loop import LOG, PretrainingLoop
from tftransformer.training.speed import forward_operations, matmul_peak
from tftransformer.training.spelling import spell_pieces

# Longer rows only cost time where a projection is fitted.
SAMPLE_LENGTH = 40
MEASURED_BATCHES = 16
BASIS_BATCHES = 24


def pretrain(options: PretrainingOptions) -> dict[str, float]:
    """Build or load the encoder, train it, and leave a preset folder, with a log and curves beside it.

    Returns:
        The last figures of the training, see `PretrainingLoop.train`.

    Raises:
        TransformerError: Bad options, shards, preset or teacher, or a loss that is not finite.
    """
    options.check()
    shards = open_shards(options.shards)
    config, encoder = _encoder(options, shards)
    distillation = _distillation(options, shards, config, encoder)
    if distillation is not None and not options.resume:
        distillation.measure(
            batch for batch, _ in itertools.islice(_batches(options, shards).stream(), MEASURED_BATCHES)
        )
    loop = build_loop(options, shards, config, encoder, distillation)
    options.run_folder.mkdir(parents=True, exist_ok=True)
    if options.resume:
        say(f"resumed after {loop.restore():,} steps")

    def snapshot(figures: Mapping[str, float]) -> None:
        _save(options, config, encoder, shards.tokenizer, figures)
        log = read_log(options.run_folder / LOG)
        plot_curves(options.run_folder / "curves.png", log)
        say(f"saved {options.output_dir} after {figures['step']:,.0f} steps")

    return loop.train(options.schedule(), snapshot)


def build_loop(
    options: PretrainingOptions,
    shards: Shards,
    config: TransformerConfig,
    encoder: keras.Model,
    distillation: Distillation | None,
) -> PretrainingLoop:
    """The training loop over a shard folder, with the machine's speed measured."""
    pretrainer = Pretrainer(
        encoder,
        config,
        options.objective,
        distillation,
        learning_rate=options.learning_rate,
        dtype=options.dtype,
    )
    operations = 3.0 * forward_operations(encoder, config, options.max_length)
    if pretrainer.head is not None:
        table = encoder.get_layer("embeddings").token
        operations += 6.0 * options.mask_rate * table.output_dim * (config.hidden_dim + table.input_dim)
    if distillation is not None:
        operations += forward_operations(distillation.teacher, distillation.config, options.max_length)
    dtype = "float32" if options.dtype == "float32" else "bfloat16"
    rows = options.batch_size * options.max_length
    peak = matmul_peak(rows, config.hidden_dim, config.intermediate_dim, dtype)
    say(
        f"{encoder.count_params():,} parameters; {operations / 1e6:.0f} million operations a token; "
        f"matrix products of {rows} x {config.hidden_dim} x {config.intermediate_dim} run at "
        f"{peak / 1e9:,.0f} GFLOP/s in {dtype}"
    )
    return PretrainingLoop(
        pretrainer,
        _batches(options, shards),
        _batches(options, shards, "heldout").first(options.heldout_batches),
        options.run_folder,
        options.identity(shards.fingerprint),
        operations=operations,
        peak=peak,
    )


def _batches(options: PretrainingOptions, shards: Shards, part: str = "train") -> ShardBatches:
    masked = options.objective != "distillation"
    return ShardBatches(
        shards,
        part,
        max_length=options.max_length,
        batch_size=options.batch_size,
        teacher=options.objective != "masked_lm",
        packed=options.objective == "masked_lm",
        mask_rate=options.mask_rate if masked else 0.0,
        # XLA compiles again for each new length; TensorFlow's own kernels take any.
        length_multiple=8 if keras.backend.backend() == "tensorflow" else 32,
        seed=options.seed,
    )


def _encoder(options: PretrainingOptions, shards: Shards) -> tuple[TransformerConfig, keras.Model]:
    """The encoder to train, and the config it is saved with."""
    preset = load_preset(options.preset) if options.preset else None
    if preset is None:
        config = TransformerConfig(
            options.family,
            vocabulary_size=len(shards.tokenizer.vocabulary),
            num_layers=options.num_layers,
            hidden_dim=options.hidden_dim,
            num_heads=options.num_heads,
            intermediate_dim=options.intermediate_dim,
            max_sequence_length=options.max_sequence_length,
            dropout=options.dropout,
        )
    else:
        config = preset.config
        if preset.tokenizer.vocabulary != shards.tokenizer.vocabulary:
            raise TransformerError(
                f"shards {options.shards} were made with another vocabulary than the preset's; prepare them with "
                f"--preset={options.preset}"
            )
    options.check_length(config.max_sequence_length)
    keras.utils.set_random_seed(options.seed)
    # Dropout has nothing to prevent where no text comes by often, and slows the loss's fall.
    encoder = build_encoder(config.replace(dropout=0.0, attention_dropout=0.0), dtype=options.dtype)
    if preset is not None:
        preset.load_into(encoder)
    return config, encoder


def _distillation(
    options: PretrainingOptions, shards: Shards, config: TransformerConfig, encoder: keras.Model
) -> Distillation | None:
    """The loss towards the teacher; sets the student's weights from the teacher's, where that is wanted."""
    if options.objective == "masked_lm":
        return None
    teacher = load_preset(options.teacher)
    if (
        shards.teacher_tokenizer is None
        or teacher.tokenizer.vocabulary != shards.teacher_tokenizer.vocabulary
    ):
        raise TransformerError(
            f"shards {options.shards} hold no ids of this teacher; prepare them with --teacher={options.teacher}"
        )
    empty = np.zeros((teacher.config.hidden_dim, config.hidden_dim))
    model = teacher.build_encoder(dtype=options.teacher_dtype)
    distillation = Distillation(model, teacher.config, config.num_layers, empty)
    if options.resume:
        return distillation
    if options.preset:
        distillation.set_basis(_fitted_basis(options, shards, config, encoder, distillation))
        return distillation
    weights = {
        name: ops.convert_to_numpy(ops.cast(v, "float32")) for name, v in patterns.addresses(model).items()
    }
    pad_id = special_ids(shards.teacher_tokenizer)[1]
    inherited, basis = inheritance.inherit(
        weights,
        teacher.config,
        config,
        _sample(options, shards, pad_id),
        spell_pieces(
            shards.tokenizer.vocabulary,
            teacher.tokenizer.vocabulary,
            special_ids(shards.teacher_tokenizer)[0],
        ),
        pad_id=pad_id,
        seed=options.seed,
        progress=say,
    )
    distillation.set_basis(basis)
    if options.inherit:
        variables = patterns.addresses(encoder)
        for name, array in inherited.items():
            variables[name].assign(array)
    return distillation


def _sample(options: PretrainingOptions, shards: Shards, pad_id: int) -> np.ndarray:
    """(sample_texts, T) ids of the teacher's vocabulary."""
    length = min(SAMPLE_LENGTH, options.max_length)
    batches = ShardBatches(shards, max_length=length, batch_size=64, teacher=True, seed=options.seed)
    rows: list[np.ndarray] = []
    for batch, position in batches.stream():
        ids = batch["teacher_token_ids"][batch["teacher_padding_mask"].any(axis=1)]
        rows += list(np.pad(ids, ((0, 0), (0, length - ids.shape[1])), constant_values=pad_id))
        if len(rows) >= options.sample_texts or position.epoch:
            return np.stack(rows[: options.sample_texts])
    raise AssertionError  # the stream has no end


def _fitted_basis(
    options: PretrainingOptions,
    shards: Shards,
    config: TransformerConfig,
    encoder: keras.Model,
    distillation: Distillation,
) -> np.ndarray:
    """The basis that a student already has, from a few batches."""

    def pairs() -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
        for batch, _ in itertools.islice(_batches(options, shards).stream(), BASIS_BATCHES):
            taught = distillation.teacher_states(batch)
            states = encoder_states(encoder, config, batch)
            own = [states[block] for block in distillation.student_blocks]
            yield [
                (_word_rows(t, batch["teacher_words"], batch), _word_rows(s, batch["words"], batch))
                for t, s in zip(taught, own, strict=True)
            ]

    return fit_basis(pairs())


def _word_rows(hidden: Any, words: np.ndarray, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    weights, there = word_weights(words, batch["words"].shape[1])
    means = ops.convert_to_numpy(ops.matmul(weights, ops.cast(hidden, "float32")))
    return means[ops.convert_to_numpy(there) > 0]


@dataclasses.dataclass(frozen=True)
class _Stored:
    """A tokenizer that is only passed on: to be saved it need not run."""

    stored: TokenizerSpec

    def spec(self) -> TokenizerSpec:
        return self.stored


def _save(
    options: PretrainingOptions,
    config: TransformerConfig,
    encoder: keras.Model,
    tokenizer: TokenizerSpec,
    figures: Mapping[str, float],
) -> None:
    save_preset(
        options.output_dir,
        config=config,
        tokenizer=_Stored(tokenizer),
        variables=patterns.addresses(encoder),
        pooling="mean",
        task={"pretraining": {**options.plain(), **figures}},
        dtype="float16",
        overwrite=True,
    )
