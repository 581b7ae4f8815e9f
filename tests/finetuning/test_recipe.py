"""The rate and the epochs where nobody says."""

import keras
import pytest

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.finetuning import CosineSchedule, build_optimizer
from tftransformer.finetuning.recipe import complete_advice, default_epochs
from tftransformer.tasks import MultiTaskClassifier, TextClassifier
from tftransformer.text import WordPieceTokenizer


@pytest.mark.parametrize("batches", [1, 7, 13, 83, 84, 300])
@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("advice", [{}, {"epochs": 8}])
def test_default_epochs_have_updates_enough(batches, accumulated, advice):
    epochs = default_epochs(advice, batches, accumulated)
    updates = -(-batches // accumulated)
    least = advice.get("epochs", 3)
    assert epochs >= least and epochs * updates >= 250
    assert epochs == least or (epochs - 1) * updates < 250


def build(kind, vocabulary, width, what):
    config = TransformerConfig(
        vocabulary_size=len(vocabulary), num_layers=1, hidden_dim=width, num_heads=2, intermediate_dim=8,
        max_sequence_length=8,
    )  # fmt: skip
    return kind(config, WordPieceTokenizer(vocabulary), what)


@pytest.mark.parametrize("kind", [TextClassifier, MultiTaskClassifier])
def test_narrow_encoders_train_at_a_higher_rate(tiny_vocabulary, kind):
    what = ["no", "yes"] if kind is TextClassifier else {"one": ["no", "yes"]}
    for width, rate in ((510, 1e-4), (512, 2e-5)):
        model = build(kind, tiny_vocabulary, width, what)
        model.compile()
        assert model.optimizer._learning_rate.peak == rate
        # Whatever starts fresh has 5e-4 at both.
        factors = dict(model.optimizer._rate_patterns).values()
        assert max(factors) * rate == pytest.approx(5e-4)
        model.compile(learning_rate=3e-5)
        assert model.optimizer._learning_rate.peak == 3e-5


def test_a_preset_knows_better():
    assert complete_advice({"learning_rate": 7e-5, "epochs": 8}, 192) == {"learning_rate": 7e-5, "epochs": 8}
    classifier = TextClassifier.from_preset("bert_12x192_en_uncased", labels=["no", "yes"], load_weights=False)
    classifier.compile()
    assert classifier.optimizer._learning_rate.peak == classifier.advice["learning_rate"] == 7e-5


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (CosineSchedule(1e-4), "CosineSchedule"),
        (keras.optimizers.schedules.CosineDecay(1e-4, 10), "CosineDecay"),
        (lambda: 1e-4, "function"),
        ("linear", "linear"),
    ],
)
def test_a_schedule_is_no_rate(given, named):
    message = f"learning_rate must be the highest rate, a number; got '{named}': name a schedule beside it"
    with pytest.raises(TransformerError, match=message) as error:
        build_optimizer(given)
    assert "\n" not in str(error.value)
    with pytest.raises(TransformerError, match="learning_rate must be a number"):
        build_optimizer([1e-4])


def test_further_options_are_those_of_the_optimizer():
    optimizer = build_optimizer(weight_decay=0.2, gradient_accumulation_steps=2, rate_multipliers={"head/.*": 2.0})
    assert optimizer.weight_decay == 0.2 and optimizer.gradient_accumulation_steps == 2
    with pytest.raises(TypeError, match="amsgrad"):
        build_optimizer(amsgrad=True)
