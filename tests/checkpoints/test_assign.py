import keras
import ml_dtypes
import numpy as np
import pytest

from tftransformer.checkpoints import ArraySource
from tftransformer.checkpoints.assign import assign, make_plan
from tftransformer.checkpoints.rules import Ignored, Rule, Table
from tftransformer.errors import TransformerError

TABLE = Table(
    "test",
    rules=(
        Rule("block_{i}/kernel", ("layer.{i}.weight",), "transpose"),
        Rule("block_{i}/gamma", ("layer.{i}.weight_", "layer.{i}.gamma")),
        Rule("head/kernel", ("classifier.weight",), "transpose", may_differ=True),
        Rule("head/bias", ("classifier.bias",), may_differ=True),
    ),
    ignored=(Ignored(r"steps", "a counter"), Ignored(r"classifier\..*", "no such head")),
    prefixes=("", "body."),
)


def variables(dtype="float32", blocks=2, head=None):
    shapes = {}
    for i in range(blocks):
        shapes.update({f"block_{i}/kernel": (2, 3), f"block_{i}/gamma": (3,)})
    if head:
        shapes.update({"head/kernel": (3, head), "head/bias": (head,)})
    return {name: keras.Variable(np.full(shape, 9.0), dtype=dtype) for name, shape in shapes.items()}


def tensors(blocks=2, head=None):
    rng = np.random.default_rng(0)
    found = {"steps": np.array(5)}
    for i in range(blocks):
        found[f"body.layer.{i}.weight"] = rng.normal(size=(3, 2)).astype("float32")
        found[f"body.layer.{i}.gamma"] = rng.normal(size=(3,)).astype("float32")
    if head:
        found["classifier.weight"] = rng.normal(size=(head, 3)).astype("float32")
        found["classifier.bias"] = rng.normal(size=(head,)).astype("float32")
    return found


def values(model):
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in model.items()}


def failure(model, found, **options):
    """The message, after checking that it is one line and that nothing was set."""
    with pytest.raises(TransformerError) as caught:
        assign(model, ArraySource(found), TABLE, **options)
    for name, value in values(model).items():
        assert (value.astype("float32") == 9).all(), f"{name} was set"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_everything_is_set_exactly():
    model, found = variables(head=4), tensors(head=4)
    summary = assign(model, ArraySource(found), TABLE)
    np.testing.assert_array_equal(values(model)["block_1/kernel"], found["body.layer.1.weight"].T)
    np.testing.assert_array_equal(values(model)["block_0/gamma"], found["body.layer.0.gamma"])
    assert set(summary.loaded) == set(model) and not summary.newly_initialized
    assert summary.ignored == {"steps": "a counter"}
    assert summary.to_dict()["loaded"] == 6
    assert str(summary) == "6 variables loaded from the given arrays\nnot needed: steps (a counter)"


def test_all_misses_in_one_message():
    found = tensors(blocks=3)
    del found["body.layer.0.weight"], found["body.layer.1.gamma"]
    found["body.layer.0.gamma"] = np.ones(4, "float32")
    found["stray"] = np.ones(1)
    message = failure(variables(), found)
    for part in (
        "2 missing in it: block_0/kernel (layer.0.weight), block_1/gamma (layer.1.weight_)",
        "3 in it that the model has no place for: body.layer.2.gamma, body.layer.2.weight, stray",
        "1 that do not fit: block_0/gamma is (4,) there and (3,) in the model",
    ):
        assert part in message


def test_long_lists_are_cut():
    message = failure(variables(blocks=30), tensors(blocks=0))
    assert "60 missing" in message and "and 40 more" in message and len(message) < 2000


def test_a_second_spelling_is_not_dropped_silently():
    found = tensors()
    found["layer.0.gamma"] = found["body.layer.0.gamma"]
    assert "no place for: body.layer.0.gamma" in failure(variables(), found)


def test_ranks_and_dtypes():
    found = tensors()
    found["body.layer.0.weight"] = np.ones((3, 2, 1), "float32")
    found["body.layer.1.weight"] = np.ones((3, 2), "int8")
    message = failure(variables(), found)
    assert "block_0/kernel is (3, 2, 1) there" in message and "block_1/kernel has the dtype int8" in message


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_numbers_that_are_not_finite(broken):
    found = tensors()
    found["body.layer.1.weight"][0, 0] = broken
    assert "body.layer.1.weight hold NaN or infinity" in failure(variables(), found)


def test_overflow_in_the_models_dtype():
    found = tensors()
    found["body.layer.1.weight"][0, 0] = 1e6
    assert "body.layer.1.weight hold NaN" in failure(variables("float16"), found)


@pytest.mark.parametrize("stored", ["float16", ml_dtypes.bfloat16, "float64"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_values_are_cast(stored, dtype):
    found = {key: value if key == "steps" else value.astype(stored) for key, value in tensors().items()}
    model = variables(dtype)
    assign(model, ArraySource(found), TABLE)
    ours = values(model)["block_0/gamma"].astype("float64")
    np.testing.assert_allclose(ours, found["body.layer.0.gamma"].astype("float64"), rtol=1e-2)
    assert model["block_0/gamma"].dtype == dtype


def test_optional_weights_start_fresh():
    model = variables(head=4)
    assert "2 missing" in failure(model, tensors())
    summary = assign(model, ArraySource(tensors()), TABLE, optional="head/.*")
    assert set(summary.newly_initialized) == {"head/kernel", "head/bias"}
    assert (values(model)["head/kernel"] == 9).all()
    assert "newly initialized: head/kernel, head/bias (the source has no such weights)" in str(summary)


def test_a_head_of_another_shape_starts_fresh_whole():
    model, found = variables(head=4), tensors(head=5)
    assert "head/kernel is (3, 5) there" in failure(model, found)
    summary = assign(model, ArraySource(found), TABLE, optional=("head/.*",))
    assert summary.newly_initialized["head/kernel"] == "the source's has shape (3, 5), the model's (3, 4)"
    found["classifier.bias"] = np.ones(4, "float32")  # fits, but its kernel does not
    summary = assign(model, ArraySource(found), TABLE, optional=("head/.*",))
    assert set(summary.newly_initialized) == {"head/kernel", "head/bias"}
    assert (values(model)["head/bias"] == 9).all()


def test_optional_does_not_excuse_a_misshapen_body():
    found = tensors()
    found["body.layer.0.weight"] = np.ones((3, 3), "float32")
    assert "block_0/kernel" in failure(variables(), found, optional=".*")


def test_fresh_leaves_weights_alone():
    model = variables(head=4)
    summary = assign(model, ArraySource(tensors(head=4)), TABLE, fresh="head/.*")
    assert (values(model)["head/kernel"] == 9).all()
    assert set(summary.newly_initialized) == {"head/kernel", "head/bias"}
    assert "classifier.weight" in summary.ignored


def test_patterns_must_be_regular_expressions():
    with pytest.raises(TransformerError, match="optional must be regular expressions"):
        make_plan({}, ArraySource({}), TABLE, optional="(")
