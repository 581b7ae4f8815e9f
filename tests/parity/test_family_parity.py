"""Every family's numbers against Hugging Face's on random weights: committed goldens, both directions, mutations."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from tftransformer.checkpoints import ArraySource
from tftransformer.checkpoints.assign import assign
from tftransformer.checkpoints.huggingface.settings import MODEL_TYPES, config_of, find_family, settings_of
from tftransformer.checkpoints.rules import to_source
from tftransformer.models.families import families_of
from tftransformer.patterns import addresses

TOLERANCE = 1e-5
CASES = ("ragged", "one", "seven", "full")
NAMES = tuple(families_of("huggingface", "encoder"))


class Golden:
    """A family's golden and our model with its weights."""

    def __init__(self, name, build_model):
        with np.load(Path(__file__).parent / "goldens" / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        self.settings = json.loads(str(self.arrays["config"]))
        self.facts = find_family(self.settings).huggingface
        self.config = config_of(self.settings)
        self.weights = self.part("weights/")
        self.model = build_model(self.config, 3)
        self.summary = self.load(self.weights)

    def part(self, prefix):
        return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}

    def load(self, weights):
        return assign(addresses(self.model), ArraySource(weights), self.facts.table)

    def inputs(self, case):
        return self.part(f"{case}/inputs/")

    def found(self, case, generator):
        """All that the golden holds, computed here."""
        inputs = self.inputs(case)
        steps = self.model.steps(inputs)
        weights = generator.loss_weights(len(inputs["token_ids"]))
        address = "encoder_block_1/attention/query/kernel"
        return {**steps, "query_gradient": self.model.gradient(address, inputs, weights).T}


@pytest.fixture(scope="module")
def golden(request, build_model, cache={}):
    if request.param not in cache:
        cache[request.param] = Golden(request.param, build_model)
    return cache[request.param]


every_family = pytest.mark.parametrize("golden", NAMES, indirect=True)
bert_by_default = pytest.mark.parametrize(
    "golden", [n if n == "bert" else pytest.param(n, marks=pytest.mark.slow) for n in NAMES], indirect=True
)


def test_a_golden_stands_for_every_family():
    stored = {path.stem for path in (Path(__file__).parent / "goldens").glob("*.npz")}
    known = {family.name for versions in MODEL_TYPES.values() for family in versions}
    assert known == stored and set(NAMES) <= stored


@every_family
@pytest.mark.parametrize("case", CASES)
def test_every_step_is_hugging_faces(golden, case, generator, deviation):
    reference = golden.part(f"{case}/outputs/")
    layers = golden.config.num_layers
    assert len(reference) == 2 * layers + 1 + 3  # hidden states, attention maps, pooled, logits, gradient
    found = golden.found(case, generator)
    assert deviation(found, reference, golden.inputs(case)["padding_mask"]) < TOLERANCE


@every_family
def test_the_functional_encoder_does_the_same_steps(golden):
    inputs = golden.inputs("ragged")
    ours = keras.ops.convert_to_numpy(golden.model.encoder(inputs))
    last = golden.model.steps(inputs)[f"hidden_{golden.config.num_layers}"]
    np.testing.assert_allclose(ours, last, atol=1e-6)


@every_family
def test_every_tensor_is_used(golden):
    assert sorted(golden.summary.loaded.values()) == sorted(golden.weights)
    assert not golden.summary.ignored and not golden.summary.newly_initialized


@every_family
def test_writing_back_is_bit_equal(golden):
    """Loading and saving are one table: our variables become the very tensors they came from."""
    table, prefix = golden.facts.table, golden.facts.prefix
    back = dict(
        to_source(table, address, keras.ops.convert_to_numpy(variable), golden.config.num_heads, prefix)
        for address, variable in addresses(golden.model).items()
    )
    assert sorted(back) == sorted(golden.weights)
    for name, value in golden.weights.items():
        np.testing.assert_array_equal(back[name], value)


@every_family
def test_settings_round_trip(golden):
    settings = settings_of(golden.config)
    assert config_of(settings) == golden.config
    known = {key: value for key, value in golden.settings.items() if key in settings}
    assert set(golden.settings) - set(known) <= {"architectures", "pad_token_id"}
    assert known.items() <= settings.items()


def _mutations(weights):
    """A transposed kernel, two swapped biases, two swapped norms: by names that every family has."""
    squares = [n for n, w in weights.items() if w.ndim == 2 and w.shape == (24, 24) and "1" in n]
    biases = [n for n, w in weights.items() if n.endswith("bias") and w.shape == (24,)]
    norms = [n for n, w in weights.items() if "norm" in n.lower() and n.endswith("weight") and w.shape == (24,)]
    # Not the key's bias: it adds the same to all scores of a query, and the softmax takes it out.
    biases = [n for n in biases if "key" not in n and "k_lin" not in n]
    for name in squares:
        yield f"transposed {name}", {name: np.ascontiguousarray(weights[name].T)}
    for first, second in zip(biases, biases[1:]):
        yield f"swapped {first}", {first: weights[second], second: weights[first]}
    for first, second in zip(norms, norms[1:]):
        yield f"swapped {first}", {first: weights[second], second: weights[first]}


@pytest.mark.slow
@bert_by_default
def test_the_check_bites(golden, deviation):
    inputs, reference = golden.inputs("ragged"), golden.part("ragged/outputs/")
    reference.pop("query_gradient")
    mutations = list(_mutations(golden.weights))
    assert len(mutations) > 12
    try:
        for name, change in mutations:
            golden.load({**golden.weights, **change})
            found = golden.model.steps(inputs)
            assert deviation(found, reference, inputs["padding_mask"]) > 100 * TOLERANCE, name
    finally:
        golden.load(golden.weights)


@pytest.mark.live
@pytest.mark.parametrize("name", NAMES)
def test_live(name, generator, build_model, deviation):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    theirs = generator.build(name, seed=11)
    settings = theirs.config.to_dict()
    model = build_model(config_of(settings), 3)
    tensors = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assign(addresses(model), ArraySource(tensors), find_family(settings).huggingface.table)
    for seed, lengths in enumerate(generator.LENGTHS.values()):
        inputs = generator.batch(name, lengths, seed=seed)
        reference = generator.outputs(theirs, inputs)
        reference.pop("query_gradient")
        assert deviation(model.steps(inputs), reference, inputs["padding_mask"]) < TOLERANCE
