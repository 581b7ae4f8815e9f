"""Scores of heads against differences of the loss, and what they leave as it was."""

import keras
import numpy as np
import pytest

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.finetuning.head_importance import head_importance
from tftransformer.finetuning.pruning import choose_heads, prune_heads
from tftransformer.patterns import addresses
from tftransformer.tasks.multi_task import MultiTaskClassifier
from tftransformer.tasks.text_classifier import TextClassifier
from tftransformer.text import WordPieceTokenizer

HEAD = 4


@pytest.fixture
def make(tiny_vocabulary):
    def build(family="bert", multi_label=False, **options):
        sizes = {"num_layers": 2, "hidden_dim": 12, "num_heads": 3, "intermediate_dim": 16}
        config = TransformerConfig(
            family, vocabulary_size=len(tiny_vocabulary), max_sequence_length=32, **{**sizes, **options}
        )
        tokenizer = WordPieceTokenizer(tiny_vocabulary)
        classifier = TextClassifier(
            config, tokenizer, ("negative", "positive"), pooling="mean", multi_label=multi_label, sequence_length=16
        )
        draw = np.random.default_rng(5)
        for name, variable in addresses(classifier).items():
            variable.assign(draw.normal(1.0 if name.endswith("gamma") else 0.0, 0.4, variable.shape))
        return classifier

    return build


def losses(classifier, texts, labels):
    """Of each text."""
    examples = classifier.preprocess(texts, labels)
    given = examples.features(np.arange(len(examples)), int(examples.lengths.max()))
    logits = keras.ops.convert_to_numpy(classifier(given, training=False)).astype("float64")
    if classifier.multi_label:
        return (np.logaddexp(0, logits) - examples.targets.values * logits).sum(axis=1)
    picked = np.take_along_axis(logits, examples.targets.values[:, None], axis=1)[:, 0]
    return np.logaddexp.reduce(logits, axis=1) - picked


def differences(classifier, texts, labels, blocks, step=1e-2):
    """|dL/dfactor| of each block's heads by the losses a little above and below the factor 1."""
    scores = {}
    for block in range(blocks):
        kernel = addresses(classifier)[f"encoder_block_{block}/attention/output/kernel"]
        whole = np.array(kernel)
        scores[block] = np.zeros(len(whole) // HEAD)
        for head in range(len(whole) // HEAD):
            sides = []
            for factor in (1 + step, 1 - step):
                scaled = whole.copy()
                scaled[head * HEAD : (head + 1) * HEAD] *= factor
                kernel.assign(scaled)
                sides.append(losses(classifier, texts, labels))
            scores[block][head] = np.abs((sides[0] - sides[1]) / (2 * step)).mean()
        kernel.assign(whole)
    return scores


KINDS = {
    "bert": {},
    "several labels": {"multi_label": True},
    "one block for all layers": {"family": "albert", "embedding_dim": 8},
    "relative positions": {"position": "relative"},
}


@pytest.mark.parametrize(
    "kind", [kind if kind == "bert" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_scores_are_the_derivatives_of_the_loss(make, reviews, kind):
    classifier = make(**KINDS[kind])
    texts, labels = reviews[0][:5], reviews[1][:5]
    if classifier.multi_label:
        labels = [["negative", "positive"], [], *([label] for label in labels[2:])]
    found = head_importance(classifier, texts, labels, batch_size=2, normalize=False)
    expected = differences(classifier, texts, labels, classifier.config.num_blocks)
    assert found.keys() == expected.keys()
    for block in found:
        assert expected[block].max() > 1e-2
        np.testing.assert_allclose(found[block], expected[block], rtol=2e-2, atol=1e-3)


@pytest.mark.slow
def test_scores_of_a_block_are_compared_with_their_own(make, reviews):
    classifier = make()
    texts, labels = reviews[0][:8], reviews[1][:8]
    plain = head_importance(classifier, texts, labels, normalize=False)
    scores = head_importance(classifier, texts, labels, batch_size=3)
    for block in scores:
        assert np.linalg.norm(scores[block]) == pytest.approx(1.0)
        np.testing.assert_allclose(scores[block], plain[block] / np.linalg.norm(plain[block]), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_head_that_nobody_hears_scores_nothing_and_goes_first(make, reviews):
    classifier = make()
    kernel = addresses(classifier)["encoder_block_1/attention/output/kernel"]
    kernel.assign(np.concatenate([np.zeros((HEAD, 12)), np.array(kernel)[HEAD:]]))
    # Weights of heads that do not train have scores, too.
    classifier.encoder.trainable = False
    before = losses(classifier, *(column[:8] for column in reviews))
    scores = head_importance(classifier, *reviews)
    assert scores[1][0] == 0.0 and (np.concatenate([*scores.values()])[[0, 1, 2, 4, 5]] > 0).all()
    assert choose_heads(scores, 0.2) == {1: [0]}
    small = prune_heads(classifier, fraction=0.2, scores=scores)
    after = losses(small, *(column[:8] for column in reviews))
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.slow
def test_the_classifier_is_left_as_it_was(make, reviews):
    classifier = make()
    attention = classifier.encoder.get_layer("encoder_block_0").attention
    names, dropout = list(addresses(classifier)), attention.score_dropout
    before = losses(classifier, *(column[:4] for column in reviews))
    head_importance(classifier, *(column[:4] for column in reviews))
    assert attention.score_dropout is dropout and list(addresses(classifier)) == names
    np.testing.assert_array_equal(losses(classifier, *(column[:4] for column in reviews)), before)
    # Also where the network does not run.
    classifier.network = None
    with pytest.raises(TypeError):
        head_importance(classifier, *(column[:4] for column in reviews))
    assert attention.score_dropout is dropout


def test_it_needs_labels_and_a_task(make):
    classifier = make()
    with pytest.raises(TransformerError, match="head_importance needs texts with labels; got texts without"):
        head_importance(classifier, ["good", "bad"])
    with pytest.raises(TransformerError, match="task must be a model with an encoder"):
        head_importance(classifier.encoder, ["good"])
    with pytest.raises(TransformerError, match="batch_size must be a positive integer; got 0"):
        head_importance(classifier, ["good"], ["positive"], batch_size=0)
    several = MultiTaskClassifier(classifier.config, classifier.tokenizer, {"mood": ["no", "yes"]})
    with pytest.raises(TransformerError, match="task must have one head, .*; got a MultiTaskClassifier"):
        head_importance(several, ["good"])
