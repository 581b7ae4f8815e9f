"""What a distillation needs before it starts: the teacher, the student's view of it, and inherited weights."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer import patterns
from tftransformer.checkpoints import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.shard_batches import ShardBatches
from tftransformer.data.shards import Shards
from tftransformer.data.word_starts import special_ids
from tftransformer.errors import TransformerError
from tftransformer.experiments.pretraining_options import PretrainingOptions, training_batches
from tftransformer.experiments.pretraining_texts import say
from tftransformer.training import inheritance
from tftransformer.training.basis import fit_basis
from tftransformer.training.distillation import Distillation, word_weights
from tftransformer.training.encoder_states import encoder_states
from tftransformer.training.spelling import spell_pieces

# Longer rows only cost time where a projection is fitted.
SAMPLE_LENGTH = 40
MEASURED_BATCHES = 16
BASIS_BATCHES = 24


def build_distillation(
    options: PretrainingOptions, shards: Shards, config: TransformerConfig, encoder: keras.Model
) -> Distillation | None:
    """The loss towards the teacher, and a student that starts from it, where that is wanted.

    Args:
        options: Of the run; without distillation there is none.
        shards: With the teacher's ids.
        config: Of the student.
        encoder: The student. Without `preset` it is given weights made from the teacher's, if `inherit` says so.

    Raises:
        TransformerError: The shards were made for another teacher, or it is narrower than the student.
    """
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
        return distillation  # the checkpoint has the basis and the measured variances
    if options.preset:
        distillation.set_basis(_fitted_basis(options, shards, config, encoder, distillation))
    else:
        distillation.set_basis(_inherited(options, shards, config, encoder, teacher.config, model))
    batches = itertools.islice(training_batches(options, shards).stream(), MEASURED_BATCHES)
    distillation.measure(batch for batch, _ in batches)
    return distillation


def _inherited(
    options: PretrainingOptions,
    shards: Shards,
    config: TransformerConfig,
    encoder: keras.Model,
    teacher_config: TransformerConfig,
    model: keras.Model,
) -> np.ndarray:
    """The basis of a new student; unless options say otherwise, its weights are set from the teacher's, too."""
    weights = {
        name: ops.convert_to_numpy(ops.cast(v, "float32")) for name, v in patterns.addresses(model).items()
    }
    unknown_id, pad_id, *_ = special_ids(shards.teacher_tokenizer)
    inherited, basis = inheritance.inherit(
        weights,
        teacher_config,
        config,
        _sample(options, shards, pad_id),
        spell_pieces(shards.tokenizer.vocabulary, shards.teacher_tokenizer.vocabulary, unknown_id),
        pad_id=pad_id,
        seed=options.seed,
        progress=say,
    )
    if options.inherit:
        variables = patterns.addresses(encoder)
        for name, array in inherited.items():
            variables[name].assign(array)
    return basis


def _sample(options: PretrainingOptions, shards: Shards, pad_id: int) -> np.ndarray:
    """(sample_texts, T) ids of the teacher's vocabulary."""
    length = min(SAMPLE_LENGTH, options.max_length)
    batches = ShardBatches(shards, max_length=length, batch_size=64, teacher=True, seed=options.seed)
    rows: list[np.ndarray] = []
    for batch, position in batches.stream():
        if len(rows) >= options.sample_texts or position.epoch:
            break
        ids = batch["teacher_token_ids"][batch["teacher_padding_mask"].any(axis=1)]
        rows += list(np.pad(ids, ((0, 0), (0, length - ids.shape[1])), constant_values=pad_id))
    return np.stack(rows[: options.sample_texts])


def _fitted_basis(
    options: PretrainingOptions,
    shards: Shards,
    config: TransformerConfig,
    encoder: keras.Model,
    distillation: Distillation,
) -> np.ndarray:
    """The basis that a student already has, from a few batches."""

    def pairs() -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
        for batch, _ in itertools.islice(training_batches(options, shards).stream(), BASIS_BATCHES):
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
