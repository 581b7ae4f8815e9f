"""Fewer layers: what the kept ones compute is what the whole encoder computes with the others left out."""

import keras
import numpy as np
import pytest

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.finetuning.adapter_config import adapter_config
from tftransformer.finetuning.freezing import freeze, frozen_addresses
from tftransformer.finetuning.methods import Adapter, LoRA, Prefix
from tftransformer.finetuning.pruning import prune_heads
from tftransformer.finetuning.rebuilding import keep_layers
from tftransformer.models.walk import stack_of, walk
from tftransformer.patterns import addresses
from tftransformer.tasks.text_classifier import TextClassifier
from tftransformer.text import WordPieceTokenizer


@pytest.fixture(scope="module")
def make(tiny_vocabulary):
    def build(family="bert", **options):
        sizes = {"num_layers": 4, "hidden_dim": 16, "num_heads": 4, "intermediate_dim": 24}
        config = TransformerConfig(
            family, vocabulary_size=len(tiny_vocabulary), max_sequence_length=32, **{**sizes, **options}
        )
        tokenizer = WordPieceTokenizer(tiny_vocabulary)
        classifier = TextClassifier(config, tokenizer, ("a", "b", "c"), extra_blocks=1, sequence_length=16)
        shake(classifier)
        return classifier

    return build


@pytest.fixture(scope="module")
def classifier(make):
    """One that no test changes."""
    return make()


def shake(classifier):
    draw = np.random.default_rng(5)
    for name, variable in addresses(classifier).items():
        variable.assign(draw.normal(1.0 if name.endswith("gamma") else 0.0, 0.4, variable.shape))


def inputs(classifier, reviews):
    examples = classifier.preprocess(reviews[0][:6])
    return examples.features(np.arange(6), int(examples.lengths.max()))


def logits(classifier, reviews):
    return keras.ops.convert_to_numpy(classifier(inputs(classifier, reviews), training=False))


def without_the_others(classifier, reviews, layers):
    """The logits of the whole classifier with only some of its layers run."""
    given = inputs(classifier, reviews)
    mask, stack = given["padding_mask"], stack_of(classifier.encoder, classifier.config)
    x = walk(stack._replace(blocks=tuple(stack.blocks[layer] for layer in layers)), given, training=False)
    for block in classifier.extra_blocks:
        x = block(x, padding_mask=mask)
    return keras.ops.convert_to_numpy(classifier.head(classifier.pooler(x, padding_mask=mask)))


CHOICES = [("every:2", [0, 2]), ([3, 0], [3, 0])]
FURTHER = [("first:2", [0, 1]), ("last:3", [1, 2, 3]), (1, [0]), ([1, 3], [1, 3]), ([1, 1, 2], [1, 1, 2])]


@pytest.mark.parametrize(
    ("layers", "kept"), [*CHOICES, *(pytest.param(*row, marks=pytest.mark.slow) for row in FURTHER)]
)
def test_it_computes_what_the_kept_layers_did(classifier, reviews, layers, kept):
    small = keep_layers(classifier, layers)
    assert (small.config.num_layers, small.config.num_blocks) == (len(kept), len(kept))
    np.testing.assert_allclose(logits(small, reviews), without_the_others(classifier, reviews, kept), atol=1e-5)
    block = classifier.encoder.get_layer("encoder_block_0").count_params()
    assert classifier.count_params() - small.count_params() == (4 - len(kept)) * block


def test_all_layers_are_the_same_model_bit_for_bit(classifier, reviews):
    same = keep_layers(classifier, "first:4")
    assert same is not classifier and same.config == classifier.config
    for name, variable in addresses(classifier).items():
        np.testing.assert_array_equal(addresses(same)[name], variable, err_msg=name)
    np.testing.assert_array_equal(logits(same, reviews), logits(classifier, reviews))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"position": "alibi", "normalize_first": True}, {"position": "relative"}])
def test_positions_of_every_kind(make, reviews, options):
    classifier = make(**options)
    small = keep_layers(classifier, [0, 3])
    np.testing.assert_allclose(logits(small, reviews), without_the_others(classifier, reviews, [0, 3]), atol=1e-5)


def test_shared_blocks(make, reviews):
    classifier = make("albert", embedding_dim=8)
    small = keep_layers(classifier, "every:2")
    assert small.count_params() == classifier.count_params()
    np.testing.assert_allclose(logits(small, reviews), without_the_others(classifier, reviews, [0, 2]), atol=1e-5)
    with pytest.raises(TransformerError, match="the encoder has 4 layers of 2 blocks"):
        keep_layers(make("albert", embedding_dim=8, num_distinct_blocks=2), 2)


@pytest.mark.slow
def test_what_belongs_to_a_kept_block_comes_along(make, reviews):
    classifier = make()
    LoRA(rank=2, targets=r"encoder_block_[12]/attention/(query|value)").apply(classifier)
    Prefix(length=2, targets=r"encoder_block_[03]/attention").apply(classifier)
    Adapter(bottleneck_dim=3).apply(classifier)
    shake(classifier)
    small = keep_layers(classifier, [2, 3])
    np.testing.assert_allclose(logits(small, reviews), without_the_others(classifier, reviews, [2, 3]), atol=1e-5)
    targets = {modification["kind"]: modification.get("targets") for modification in adapter_config(small)}
    assert targets["lora"] == ["encoder_block_0/attention/query", "encoder_block_0/attention/value"]
    assert targets["prefix"] == ["encoder_block_1/attention"]
    assert {modification["kind"] for modification in adapter_config(keep_layers(classifier, [1]))} == {
        "lora",
        "adapter",
    }


def test_frozen_blocks_stay_frozen_under_their_new_names(make):
    classifier = make()
    freeze(classifier, layers=3)
    small = keep_layers(classifier, [1, 3])
    frozen = {name.split("/")[0] for name in frozen_addresses(small)}
    assert frozen == {"embeddings", "encoder_block_0"}
    assert not small.encoder.get_layer("encoder_block_0").trainable
    assert small.encoder.get_layer("encoder_block_1").trainable
    free = keep_layers(make(), [0])
    assert not frozen_addresses(free)


@pytest.mark.slow
def test_pruned_blocks_bring_their_heads_and_all_is_saved(make, reviews, tmp_path):
    classifier = prune_heads(make(), {0: [1], 3: [0, 1]})
    small = keep_layers(classifier, [3, 1])
    assert small.config.num_heads == (2, 4)
    expected = without_the_others(classifier, reviews, [3, 1])
    np.testing.assert_allclose(logits(small, reviews), expected, atol=1e-5)
    small.save_to_preset(tmp_path / "small")
    loaded = TextClassifier.from_preset(tmp_path / "small")
    np.testing.assert_array_equal(logits(loaded, reviews), logits(small, reviews))


@pytest.mark.slow
def test_it_saves_for_hugging_face(make, reviews, tmp_path):
    whole = make()
    classifier = TextClassifier(whole.config, whole.tokenizer, ("a", "b"), sequence_length=16)
    shake(classifier)
    small = keep_layers(classifier, "every:2")
    small.save_to_preset(tmp_path / "theirs", format="huggingface")
    loaded = TextClassifier.from_preset(tmp_path / "theirs", sequence_length=16)
    assert loaded.config.num_layers == 2
    np.testing.assert_allclose(logits(loaded, reviews), logits(small, reviews), atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([0, 4], "layers must be numbers of blocks between 0 and 3; got 4"),
        ("fist:2", "did you mean 'first'"),
        (5, "layers must be between 1 and 4, the blocks that there are; got 5"),
        ("every", "layers must say how many, as in every:6"),
        ([], "got none"),
        (None, "layers must say which to keep, .*; got None"),
    ],
)
def test_wrong_choices_are_one_line(classifier, layers, words):
    with pytest.raises(TransformerError, match=words):
        keep_layers(classifier, layers)


def test_only_tasks(classifier):
    with pytest.raises(TransformerError, match="task must be a model with an encoder .*; got a Functional"):
        keep_layers(classifier.encoder, 2)
