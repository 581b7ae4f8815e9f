"""From text to text with an encoder-decoder (Vaswani et al. 2017, arXiv 1706.03762): translation, summaries, rewriting."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.finetuning.frozen_part import FrozenPart, find_frozen_part
from tftransformer.layers.taps import tapped
from tftransformer.models import generation
from tftransformer.models.decoder_walk import decoder_stack_of, walk_decoder
from tftransformer.models.encoder_decoder import build_encoder_decoder
from tftransformer.models.walk import stack_of, walk
from tftransformer.objectives.next_token import NextToken
from tftransformer.preprocessing.datasets import texts_alone
from tftransformer.preprocessing.text_to_text import TextToTextPreprocessor
from tftransformer.tasks.saved import built_config, built_tokenizer, check_lengths
from tftransformer.tasks.writing import TextWriter, WritingNetwork
from tftransformer.text.base import Tokenizer


class EncoderDecoderNetwork(WritingNetwork):
    """An encoder of sources, and a decoder of targets that looks at what it gives."""

    def __init__(self, config: TransformerConfig, dtype: Any = None) -> None:
        super().__init__(config, build_encoder_decoder, dtype)

    def __call__(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        target = {
            "token_ids": inputs["decoder_token_ids"],
            "padding_mask": inputs["decoder_padding_mask"],
            "memory": self.memory(inputs, training),
            "memory_padding_mask": inputs["padding_mask"],
        }
        return walk_decoder(decoder_stack_of(self.model), target, training=training)

    def memory(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        """Return what the decoder looks at: the encoder's vectors (B, S, D) of integer inputs, or of stored states."""
        return walk(stack_of(self.model, self.config), inputs, training=training)

    def frozen_part(self) -> FrozenPart | None:
        return find_frozen_part(self.model, self.config, None)


@keras.saving.register_keras_serializable(package="tftransformer")
class Seq2Seq(TextWriter):
    """A model from texts to texts; `fit` learns from pairs of them, `generate` writes.

    Called on integer inputs it returns the logits (B, T, V) of the tokens of given targets (teacher forcing).

    Args:
        config: Sizes and choices of the encoder-decoder.
        tokenizer: Text to ids of the sources, and back of what is written.
        target_tokenizer: Tokenizer of the targets and of what is written. None: `tokenizer`, one vocabulary for both sides.
        sequence_length: Longest source in tokens, special tokens included; longer ones are cut. None: the config's
            `max_sequence_length`.
        target_length: Longest target in tokens, its end included; longer ones are cut in training, and `generate` stops
            there. None: as `sequence_length`.
        search: How `generate`, `predict` and exports find texts. None: `generation.BeamSearch(4)`.
        begin_tokens: Tokens of the target's vocabulary that a target begins with. The first is given, the others are what
            is learned and written first, such as BART's `("</s>", "<s>")`. None: the start token of its tokenizer.
        seed: Random seed of the order of the training examples.
        dtype: Keras dtype policy, such as "mixed_bfloat16". None: the global one.
        name: Name of the Keras model.

    Raises:
        TransformerError: A tokenizer's vocabulary does not fit the config's, two vocabularies are to share embeddings, a
            length is out of range, or a token to begin with is not in the vocabulary.

    Example:
        >>> tokenizer = tt.text.train_byte_bpe(["a house", "ein Haus", "the house", "das Haus"], 280)
        >>> config = tt.TransformerConfig("transformer", vocabulary_size=tokenizer.vocabulary_size, num_layers=1,
        ...                               hidden_dim=16, num_heads=2, intermediate_dim=32, share_embeddings=True)
        >>> translator = tt.Seq2Seq(config, tokenizer, sequence_length=32)
        >>> translator.compile(learning_rate=1e-3)
        >>> history = translator.fit(["a house", "the house"], ["ein Haus", "das Haus"], epochs=1, verbose=0)
        >>> len(translator.generate(["the house"], max_new_tokens=4))
        1
    """

    architecture = "encoder_decoder"
    kept_settings = (*TextWriter.kept_settings, "target_length", "target_tokenizer", "begin_tokens")
    label_smoothing = 0.1

    def __init__(
        self,
        config: TransformerConfig | dict,
        tokenizer: Tokenizer | dict,
        *,
        target_tokenizer: Tokenizer | dict | None = None,
        sequence_length: int | None = None,
        target_length: int | None = None,
        search: Any = None,
        begin_tokens: Sequence[str] | None = None,
        seed: int = 0,
        dtype: Any = None,
        name: str = "seq2seq",
    ) -> None:
        config = built_config(config)
        tokenizer, target_tokenizer = built_tokenizer(tokenizer), built_tokenizer(target_tokenizer)
        sequence_length = config.max_sequence_length if sequence_length is None else sequence_length
        target_length = sequence_length if target_length is None else target_length
        _check_vocabularies(config, tokenizer, target_tokenizer)
        written = tokenizer if target_tokenizer is None else target_tokenizer
        begin = _begin_of(written, begin_tokens)
        check_lengths(config, sequence_length=(sequence_length, 3), target_length=(target_length, 1 + len(begin)))
        preprocessor = TextToTextPreprocessor(tokenizer, sequence_length, written, target_length, begin)
        super().__init__(
            config,
            tokenizer,
            search=generation.BeamSearch(4) if search is None else search,
            objective=NextToken(preprocessor.encode_targets, preprocessor.encode_stream),
            preprocessor=lambda *_: preprocessor,
            network=EncoderDecoderNetwork,
            sequence_length=sequence_length,
            seed=seed,
            dtype=dtype,
            name=name,
        )

    @property
    def target_tokenizer(self) -> Tokenizer:
        """The tokenizer of the targets and of what is written."""
        return self.preprocessor.target_tokenizer

    @property
    def target_length(self) -> int:
        """Longest target in tokens, its end included."""
        return self.preprocessor.target_length

    @property
    def begin(self) -> tuple[int, ...]:
        """Ids that a target begins with."""
        return self.preprocessor.begin

    @property
    def writing_tokenizer(self) -> Tokenizer:
        return self.target_tokenizer

    @property
    def longest_written(self) -> int:
        return self.target_length

    # Writing.

    def generate(
        self,
        texts: Any,
        *,
        search: Any = None,
        max_new_tokens: int | None = None,
        constraints: Sequence[Callable] = (),
        batch_size: int | None = None,
        verbose: bool = False,
    ) -> list:
        """Texts for texts.

        Args:
            texts: Sources in any form that `fit` takes; targets are not looked at.
            search: Way to find them, such as `tt.models.generation.Greedy()`. None: the task's.
            max_new_tokens: Number of tokens after which a text ends at the latest. None: `target_length`.
            constraints: Changes of the scores, such as `tt.models.generation.NoRepeatNgrams(3)`.
            batch_size: Rows a batch; 64 by default, which changes nothing but the time it takes.
            verbose: Whether to show the progress.

        Returns:
            A string for each text, in their order; lists of strings, the best first, from a search for several texts.

        Raises:
            TransformerError: A value out of its range.

        Example:
            >>> texts = translator.generate(["a house", "the house"], search=tt.models.generation.Greedy(), max_new_tokens=4)
            >>> len(texts), type(texts[0]).__name__
            (2, 'str')
        """
        batches, inverse = self.inference_batches(_sources(texts), None, None, batch_size, {})
        return self.write(batches, inverse, search, max_new_tokens, constraints, verbose)

    def written(
        self, inputs: Mapping[str, Any], search: Any, max_new_tokens: int, constraints: Sequence[Callable] = ()
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Texts (B, K) and their scores (B, K) for integer inputs, in TensorFlow operations."""
        starts = tf.fill([tf.shape(inputs["padding_mask"])[0], 1], self.begin[0])
        # Behind what is never written, some of which they may be.
        forced = [generation.Forced(self.begin[1:])] if self.begin[1:] else []
        found = generation.generate(
            self.encoder,
            starts,
            max_new_tokens=max_new_tokens,
            search=search,
            constraints=[*self.never_written(), *constraints, *forced],
            end_tokens=[self.target_tokenizer.separator_id],
            pad_token=self.target_tokenizer.pad_id,
            memory=self.network.memory(inputs, training=False),
            memory_padding_mask=inputs["padding_mask"],
        )
        return self.target_tokenizer.detokenize(found.token_ids), found.scores

    def cross_attention(self, source: str, target: str) -> tuple[list[str], list[str], np.ndarray]:
        """Return the decoder's attention to the source for a text, for pictures (`evaluation.plot_cross_attention`).

        Args:
            source, target: The two texts.

        Returns:
            The source's tokens (S), those of the target with its end (T), and the attention scores (L, N, T, S) of the
            decoder's L blocks: row t is of the position that writes token t.

        Example:
            >>> words, written, scores = translator.cross_attention("a house", "ein Haus")
            >>> scores.shape == (1, 2, len(written), len(words))
            True
        """
        examples = self.preprocess([source], [target])
        x, y, _ = examples.batch(np.array([0]), int(examples.lengths[0]))
        with tapped(r"decoder_block_\d+/cross_attention/scores") as taps:
            self(x, training=False)
        scores = [keras.ops.convert_to_numpy(value)[0] for value in taps.values.values()]
        source, target = _pieces(self.tokenizer, x["token_ids"][0]), _pieces(self.target_tokenizer, y[0])
        return source, target, np.stack(scores).astype("float32")

    # Saving.

    def task_settings(self) -> dict:
        settings = {**super().task_settings(), "target_length": self.target_length}
        if self.target_tokenizer is not self.tokenizer:
            settings["target_tokenizer"] = self.target_tokenizer.spec().to_config()
        if self.begin != (self.target_tokenizer.start_id,):
            settings["begin_tokens"] = [self.target_tokenizer.id_to_token(token) for token in self.begin]
        return settings

    def huggingface_contents(self, contents: dict[str, Any]) -> dict[str, Any]:
        if self.target_tokenizer is not self.tokenizer:
            raise TransformerError("format 'huggingface' must have one tokenizer for both sides; the task has two")
        return {**contents, "begin": self.begin}


def _begin_of(tokenizer: Tokenizer, tokens: Sequence[str] | None) -> tuple[int, ...]:
    """Ids of the tokens that targets begin with."""
    if tokens is None:
        return (tokenizer.start_id,)
    if isinstance(tokens, str) or not tokens:
        raise TransformerError(f"begin_tokens must be a list of tokens; got {tokens!r}")
    return tuple(tokenizer.token_to_id(token) for token in tokens)


def _sources(texts: Any) -> Any:
    """The first texts of pairs; all else as it is, without targets."""
    texts = texts_alone(texts)
    rows = getattr(texts, "texts", texts)
    if isinstance(rows, (list, tuple)) and rows and all(isinstance(row, tuple) and len(row) == 2 for row in rows):
        return [row[0] for row in rows]
    return texts


def _pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    tokens = [tokenizer.id_to_token(int(i)) for i in ids]
    return [tokenizer.token_bytes(token).decode("utf-8", "replace").strip() for token in tokens]


def _check_vocabularies(config: TransformerConfig, tokenizer: Tokenizer, target_tokenizer: Tokenizer | None) -> None:
    if target_tokenizer is not None and config.share_embeddings:
        raise TransformerError(
            "target_tokenizer must be left out where share_embeddings is True: there is one vocabulary"
        )
    sides = {"vocabulary_size": tokenizer, "decoder_vocabulary_size": target_tokenizer or tokenizer}
    for name, side in sides.items():
        if side.vocabulary_size > getattr(config, name):
            raise TransformerError(
                f"{name} must be at least the tokenizer's {side.vocabulary_size} tokens; got {getattr(config, name)}"
            )
