"""The recipe: rate, updates, start and validation where nobody says."""

import keras
import pytest

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.finetuning import CosineSchedule, build_optimizer
from tftransformer.finetuning.recipe import UPDATES, choose_recipe, complete_hparams, default_epochs, plan_validation
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.tasks import MultiTaskClassifier, TextClassifier
from tftransformer.text import WordPieceTokenizer


@pytest.mark.parametrize("batches", [1, 7, 13, 83, 84, 300])
@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("hparams", [{}, {"epochs": 8}])
def test_default_epochs_have_updates_enough(batches, accumulated, hparams):
    epochs = default_epochs(hparams, batches, accumulated)
    updates = -(-batches // accumulated)
    least = hparams.get("epochs", 3)
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
        # What is newly initialized has 5e-4 at both.
        factors = dict(model.optimizer._rate_patterns).values()
        assert max(factors) * rate == pytest.approx(5e-4)
        model.compile(learning_rate=3e-5)
        assert model.optimizer._learning_rate.peak == 3e-5


def test_a_preset_knows_better():
    assert complete_hparams({"learning_rate": 7e-5, "epochs": 8}, 192) == {"learning_rate": 7e-5, "epochs": 8}
    classifier = TextClassifier.from_preset("bert_12x192_en_uncased", labels=["no", "yes"], load_weights=False)
    classifier.compile()
    assert classifier.optimizer._learning_rate.peak == classifier.recommended_hparams["learning_rate"] == 7e-5


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


def recipe(rows, classes=2, **given):
    return choose_recipe(rows, 384, classes, {}, **{"fresh_head": True, **given})


@pytest.mark.parametrize(
    ("rows", "classes", "start"),
    [
        (7, 2, "head_start"),
        (8, 2, "contrastive:150"),
        (64, 2, "contrastive:150"),
        (65, 2, "head_start"),
        (1200, 150, "contrastive:150"),
    ],
)
def test_few_rows_a_class_are_brought_together(rows, classes, start):
    found = recipe(rows, classes)
    assert found.start == found.strategy == start and found.learning_rate == 1e-4
    assert (found.epochs == 0) == start.startswith("contrastive")
    # Pairs of texts have no vectors before they are trained on, and epochs that are asked for are taken.
    assert recipe(rows, classes, contrasts=False).start == recipe(rows, classes, epochs=2).start == "head_start"
    assert recipe(rows, classes, pairs=True).start is None and recipe(rows, classes, pairs=True).updates >= UPDATES
    assert recipe(rows, classes, fresh_head=False).strategy == "full"


@pytest.mark.parametrize("rows", [65, 400, 1000, 5000])
def test_there_are_updates_enough_and_what_is_given_is_taken(rows):
    found = recipe(rows)
    assert found.epochs * found.updates_an_epoch >= UPDATES
    assert found.epochs == default_epochs({}, -(-rows // 16))
    given = recipe(rows, learning_rate=3e-5, epochs=2, batch_size=8, strategy="freeze:2")
    assert (given.learning_rate, given.epochs, given.batch_size) == (3e-5, 2, 8)
    assert given.strategy == "head_start+freeze:2" and given.updates_an_epoch == -(-rows // 8)


def test_a_strategy_has_its_rate_and_a_preset_its_own():
    assert recipe(500, fresh_head=False, strategy="lora:8").learning_rate == parse_strategy("lora:8").learning_rate({})
    assert choose_recipe(500, 192, 2, {"learning_rate": 7e-5}, fresh_head=True).learning_rate == 7e-5
    assert choose_recipe(500, 768, 2, {}, fresh_head=True).learning_rate == 2e-5


def test_it_is_told_in_one_line():
    assert str(recipe(8, 1)) == "8 rows, 1 label, 384 wide: contrastive:150"
    line = str(recipe(1000, epochs=1, learning_rate=2.5e-5, batch_size=1000))
    assert line == "1,000 rows, 2 labels, 384 wide: head_start, rate 2.5e-5, 1 epoch of 1 update, 1,000 rows a batch"
    assert "\n" not in str(recipe(7000))


@pytest.mark.parametrize("rows", [1, 16, 50, 800, 20_000])
@pytest.mark.parametrize("epochs", [1, 3, 60, 250])
@pytest.mark.parametrize("validation_rows", [1, 90, 800, 50_000])
@pytest.mark.parametrize("every_epoch", [False, True])
def test_validation_costs_a_quarter_of_the_training(rows, epochs, validation_rows, every_epoch):
    plan = plan_validation(rows, epochs, validation_rows, every_epoch)
    assert plan.epochs[-1] == epochs and sorted(set(plan.epochs)) == plan.epochs and plan.epochs[0] >= 1
    assert 1 <= plan.rows <= validation_rows
    if every_epoch:
        assert len(plan.epochs) == epochs
    assert len(plan.epochs) <= max(10, epochs * every_epoch)
    # A forward pass is a third of a training step; a hundred rows are looked at whatever they cost.
    cost = len(plan.epochs) * plan.rows / 3
    least = (epochs if every_epoch else 1) * min(validation_rows, 100) / 3
    assert cost <= max(rows * epochs / 4, least) + 1e-6
