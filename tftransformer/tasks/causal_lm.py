"""Language models that go on with a text (Radford et al. 2018, 2019): a decoder, plain texts or prompts with answers."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.config import TransformerConfig
from tftransformer.data.examples import Examples
from tftransformer.errors import TransformerError, check_whole
from tftransformer.evaluation.language import by_units
from tftransformer.models import generation
from tftransformer.models.decoder import build_decoder
from tftransformer.models.decoder_walk import decoder_stack_of, walk_decoder
from tftransformer.objectives.next_token import NextToken
from tftransformer.preprocessing.continuation import IGNORED, ContinuationPreprocessor
from tftransformer.preprocessing.datasets import check_strings, texts_alone
from tftransformer.tasks.saved import built_config, built_tokenizer, check_lengths
from tftransformer.tasks.writing import TextWriter, WritingNetwork
from tftransformer.text.base import Tokenizer
from tftransformer.training.keras_arguments import checked_batch_size


class DecoderNetwork(WritingNetwork):
    """A decoder, of which each token sees those before it."""

    def __init__(self, config: TransformerConfig, dtype: Any = None) -> None:
        super().__init__(config, build_decoder, dtype)

    def __call__(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        return walk_decoder(
            decoder_stack_of(self.model),
            {"token_ids": inputs["token_ids"], "padding_mask": inputs["padding_mask"]},
            training=training,
        )


@keras.saving.register_keras_serializable(package="tftransformer")
class CausalLM(TextWriter):
    """A model of what comes next: `fit` learns from texts or from prompts with answers, `generate` goes on with prompts.

    Called on integer inputs it returns the logits (B, T, V) of each next token.

    Plain texts are learned whole: longer ones are cut into rows of `sequence_length` tokens, of which none is left out.
    Of pairs, which are prompts and answers, the answers alone count, and longer ones lose tokens at their ends.

    Args:
        config: Sizes and choices of the decoder.
        tokenizer: Text to ids and back.
        sequence_length: Longest row in tokens, and longest text with its prompt. None: the config's `max_sequence_length`.
        search: How `generate`, `predict` and exports find texts. None: `generation.Greedy()`.
        text_pairs: Whether it answers prompts; None until `fit` is given pairs or texts.
        seed: Random seed of the order of the training examples.
        dtype: Keras dtype policy, such as "mixed_bfloat16". None: the global one.
        name: Name of the Keras model.

    Raises:
        TransformerError: The tokenizer's vocabulary does not fit the config's, or a length is out of range.

    Example:
        >>> tokenizer = tt.text.train_byte_bpe(["a good film", "a good story", "a bad film"], 280)
        >>> config = tt.TransformerConfig("gpt2", vocabulary_size=tokenizer.vocabulary_size, num_layers=1, hidden_dim=16,
        ...                               num_heads=2, intermediate_dim=32, max_sequence_length=32)
        >>> model = tt.CausalLM(config, tokenizer)
        >>> model.compile(learning_rate=1e-3)
        >>> history = model.fit(["a good film", "a bad film"], epochs=1, verbose=0)
        >>> len(model.generate(["a good"], max_new_tokens=4))
        1
    """

    architecture = "decoder"
    kept_settings = (*TextWriter.kept_settings, "text_pairs")

    def __init__(
        self,
        config: TransformerConfig | dict,
        tokenizer: Tokenizer | dict,
        *,
        sequence_length: int | None = None,
        search: Any = None,
        text_pairs: bool | None = None,
        seed: int = 0,
        dtype: Any = None,
        name: str = "causal_lm",
    ) -> None:
        config, tokenizer = built_config(config), built_tokenizer(tokenizer)
        sequence_length = config.max_sequence_length if sequence_length is None else sequence_length
        check_lengths(config, sequence_length=(sequence_length, 4))
        if tokenizer.vocabulary_size > config.vocabulary_size:
            raise TransformerError(
                f"vocabulary_size must be at least the tokenizer's {tokenizer.vocabulary_size} tokens; got "
                f"{config.vocabulary_size}"
            )
        super().__init__(
            config,
            tokenizer,
            search=generation.Greedy() if search is None else search,
            objective=NextToken(),
            preprocessor=functools.partial(ContinuationPreprocessor, pairs=text_pairs),
            network=DecoderNetwork,
            sequence_length=sequence_length,
            seed=seed,
            dtype=dtype,
            name=name,
        )

    # Writing.

    def generate(
        self,
        prompts: Any,
        *,
        search: Any = None,
        max_new_tokens: int | None = None,
        constraints: Sequence[Callable] = (),
        batch_size: int | None = None,
        verbose: bool = False,
    ) -> list:
        """Generate the texts that follow prompts.

        Args:
            prompts: Texts to go on with, or to answer; "" begins from nothing.
            search: Way to find what comes next, such as `tt.models.generation.Sampling(top_p=0.9)`. None: the task's.
            max_new_tokens: Number of tokens after which a text ends at the latest. None: as many as `sequence_length` has
                room for behind the longest prompt.
            constraints: Changes of the scores, such as `tt.models.generation.RepetitionPenalty(1.2)`.
            batch_size: Rows a batch; 64 by default.
            verbose: Whether to show the progress.

        Returns:
            For each prompt the new text, without the prompt, which it continues directly: it may begin with a space.
            From a search for several texts: lists, the best first.

        Raises:
            TransformerError: A value out of its range, or a prompt that leaves no room.

        Example:
            >>> texts = model.generate(["a good", "a"], search=tt.models.generation.Sampling(seed=1), max_new_tokens=3)
            >>> len(texts)
            2
        """
        examples, new = self._prompts(prompts, max_new_tokens)
        batches, inverse = self.ordered_batches(examples, checked_batch_size(batch_size, self.inference_batch_size))
        return self.write(batches, inverse, search, new, constraints, verbose)

    def stream(
        self,
        prompt: str,
        *,
        search: Any = None,
        max_new_tokens: int | None = None,
        constraints: Sequence[Callable] = (),
    ) -> Iterator[str]:
        """Yield the text that follows one prompt, in pieces as soon as they are known; arguments as for `generate`.

        Yields:
            Pieces of the text, of whole characters.

        Example:
            >>> "".join(model.stream("a good", max_new_tokens=3)) == model.generate(["a good"], max_new_tokens=3)[0]
            True
        """
        examples, new = self._prompts([prompt], max_new_tokens)
        goes_on = [len(examples.tokens.token_ids) > 1]
        known: list[int] = []
        told = ""
        for tokens in generation.stream(
            self.encoder,
            examples.tokens.token_ids[None],
            max_new_tokens=new,
            search=self.search if search is None else search,
            constraints=[*self.never_written(), *constraints],
            end_tokens=[self.tokenizer.separator_id],
            pad_token=self.tokenizer.pad_id,
        ):
            known.append(int(tokens[0]))
            text = self._texts_behind([known], goes_on)[0].numpy().decode()
            # Of a character of several tokens the first ones are no text yet.
            if len(text) > len(told) and not text.endswith("\ufffd"):
                yield text[len(told) :]
                told = text
        text = self._texts_behind([known], goes_on)[0].numpy().decode() if known else ""
        if len(text) > len(told):
            yield text[len(told) :]

    def written(
        self, inputs: Mapping[str, Any], search: Any, max_new_tokens: int, constraints: Sequence[Callable] = ()
    ) -> tuple[tf.Tensor, tf.Tensor]:
        found = generation.generate(
            self.encoder,
            inputs["token_ids"],
            inputs["padding_mask"],
            max_new_tokens=max_new_tokens,
            search=search,
            constraints=[*self.never_written(), *constraints],
            end_tokens=[self.tokenizer.separator_id],
            pad_token=self.tokenizer.pad_id,
        )
        goes_on = tf.reduce_sum(inputs["padding_mask"], axis=1) > 1
        return self._texts_behind(found.token_ids, goes_on[:, tf.newaxis]), found.scores

    def _texts_behind(self, token_ids: Any, goes_on: Any) -> tf.Tensor:
        """Texts of new tokens: answers, or what goes on with a prompt, to which the space before its first word belongs."""
        alone = self.tokenizer.detokenize(token_ids)
        return alone if self.text_pairs else tf.where(goes_on, self.tokenizer.detokenize(token_ids, inside=True), alone)

    def _prompts(self, prompts: Any, max_new_tokens: int | None) -> tuple[Examples, int]:
        """Rows of prompts, whose last token is what an answer or the next token follows, and how many may come."""
        prompts = texts_alone(prompts)
        rows = getattr(prompts, "texts", prompts)
        rows = [rows] if isinstance(rows, str) else list(rows)
        check_strings(rows, "a prompt", (str,))
        examples = self.preprocessor.prompts(rows, self.objective)
        longest = int(examples.lengths.max(initial=0))
        room = self.sequence_length - longest
        if rows and room < 1:
            raise TransformerError(
                f"a prompt must leave room in sequence_length, {self.sequence_length} tokens; row "
                f"{int(examples.lengths.argmax())} (from 0) has {longest}"
            )
        if max_new_tokens is not None:
            check_whole("max_new_tokens", max_new_tokens)
            if max_new_tokens > room:
                raise TransformerError(
                    f"max_new_tokens must be at most {room}, what the longest prompt leaves of sequence_length; got "
                    f"{max_new_tokens}"
                )
        return examples, max_new_tokens or max(room, 1)

    # Figures.

    def perplexities(self, texts: Any, batch_size: int | None = None) -> dict[str, float]:
        """Compute perplexities of plain texts, or of answers to prompts, also by units independent of the vocabulary.

        Args:
            texts: Texts in a list or a `Split`, or pairs of a prompt and its answer.
            batch_size: Rows a batch.

        Returns:
            `token`: perplexity of a token, ends of texts included; `word`: of a word between spaces; `byte`: of a byte
            of UTF-8. All are of the same sum of log-probabilities; for pairs, of the answers alone.

        Raises:
            TransformerError: A pair is longer than `sequence_length`.

        Example:
            >>> sorted(model.perplexities(["a good story"]))
            ['byte', 'token', 'word']
        """
        examples = self.preprocess(texts)
        rows = [text if isinstance(text, str) else text[1] for text in getattr(texts, "texts", texts)]
        pairs = any(not isinstance(text, str) for text in getattr(texts, "texts", texts))
        if pairs and (examples.tokens.full_lengths > examples.lengths).any():
            raise TransformerError(
                f"pairs must fit in sequence_length, {self.sequence_length} tokens, for perplexities of words; the longest "
                f"has {examples.tokens.full_lengths.max()}"
            )
        tokens = int((examples.targets.items.values != IGNORED).sum())
        token = float(self.evaluate(examples, batch_size=batch_size, verbose=0, return_dict=True)["perplexity"])
        return by_units(-np.log(token) * tokens, tokens, rows)

    # Serving and saving.

    @property
    def longest_written(self) -> int:
        return self.preprocessor.longest_written

    def task_settings(self) -> dict:
        return {**super().task_settings(), "text_pairs": self.text_pairs}
