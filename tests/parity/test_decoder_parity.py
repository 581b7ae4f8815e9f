"""Every decoder's numbers against Hugging Face's on random weights: committed goldens, both directions, mutations."""

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.checkpoints import ArraySource
from tftransformer.checkpoints.assign import assign
from tftransformer.checkpoints.fused import fuse, unfused
from tftransformer.checkpoints.huggingface.settings import config_of, find_family, settings_of
from tftransformer.checkpoints.rules import to_source
from tftransformer.layers.taps import tapped
from tftransformer.models import build_decoder, shapes_of
from tftransformer.models.decoder_walk import decoder_stack_of, walk_decoder
from tftransformer.models.families import families_of
from tftransformer.patterns import addresses

TOLERANCE = 1e-5
NAMES = tuple(families_of("huggingface", "decoder"))
CASES = ("ragged", "left", "one", "full")

_spec = importlib.util.spec_from_file_location(
    "generate_decoder_goldens", Path(__file__).parent / "generate_decoder_goldens.py"
)
generator = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generator)


class Golden:
    """A family's golden and our decoder with its weights."""

    def __init__(self, name):
        with np.load(Path(__file__).parent / "goldens" / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        self.name = name
        self.settings = json.loads(str(self.arrays["config"]))
        self.facts = find_family(self.settings).huggingface
        self.config = config_of(self.settings)
        self.weights = self.part("weights/")
        self.model = build_decoder(self.config)
        self.summary = self.load(self.weights)

    def part(self, prefix):
        return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}

    def load(self, weights):
        return assign(addresses(self.model), unfused(ArraySource(weights), self.facts.table), self.facts.table)


def steps(model, config, inputs):
    """Every hidden state, as they count them, every attention map and the logits."""
    last, stack = config.num_layers - 1, decoder_stack_of(model)
    with tapped(r"decoder_final_norm|decoder_block_\d+(/self_attention/scores)?") as taps:
        logits = walk_decoder(stack, inputs)
    found = {"hidden_0": stack.embeddings(inputs["token_ids"]), "logits": logits}
    for i in range(config.num_layers):
        found[f"attention_{i}"] = taps[f"decoder_block_{i}/self_attention/scores"]
        # Their last hidden state is behind the final norm.
        found[f"hidden_{i + 1}"] = taps["decoder_final_norm" if i == last else f"decoder_block_{i}"]
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


def gradient(model, facts, name, inputs):
    """That of the query kernel whose gradient the golden holds, in their layout."""
    variables = addresses(model)
    parts = {}
    for address in variables:
        theirs, _ = to_source(facts.table, address, np.zeros((1, 1)), 1, facts.prefix)
        if theirs.partition("[")[0] == generator.FAMILIES[name][2]:
            parts[address] = variables[address].value
    with tf.GradientTape() as tape:
        logits = walk_decoder(decoder_stack_of(model), inputs)
        weights = generator.loss_weights(logits) * inputs["padding_mask"][:, :, None]
        loss = tf.reduce_sum(logits * weights)
    found = tape.gradient(loss, parts)
    tensors = [to_source(facts.table, a, np.array(value), 4, facts.prefix) for a, value in found.items()]
    (only,) = fuse(dict(tensors), facts.table).values()
    return only


def deviation(ours, reference, padding_mask):
    """The largest difference at real tokens, relative to max(1, max|reference|)."""
    worst = 0.0
    for name, b in reference.items():
        a = ours[name]
        assert a.shape == b.shape, name
        mask = padding_mask[:, None, :, None] if name.startswith("attention") else padding_mask[:, :, None]
        difference = np.abs(a - b) * (1 if name == "query_gradient" else mask)
        worst = max(worst, float(difference.max() / max(1.0, np.abs(b).max())))
    return worst


@pytest.fixture(scope="module")
def golden(request, cache={}):
    if request.param not in cache:
        cache[request.param] = Golden(request.param)
    return cache[request.param]


every_family = pytest.mark.parametrize("golden", NAMES, indirect=True)


@every_family
@pytest.mark.parametrize("case", CASES)
def test_every_step_is_hugging_faces(golden, case):
    inputs, reference = golden.part(f"{case}/inputs/"), golden.part(f"{case}/outputs/")
    assert len(reference) == 2 * golden.config.num_layers + 1 + 2
    found = steps(golden.model, golden.config, inputs)
    found["query_gradient"] = gradient(golden.model, golden.facts, golden.name, inputs)
    assert deviation(found, reference, inputs["padding_mask"]) < TOLERANCE


@every_family
def test_every_tensor_is_used(golden):
    stored = {name.partition("[")[0] for name in golden.summary.loaded.values()}
    assert stored == set(golden.weights)
    assert not golden.summary.ignored and not golden.summary.newly_initialized
    assert shapes_of(golden.config) == {name: tuple(v.shape) for name, v in addresses(golden.model).items()}


@every_family
def test_writing_back_is_bit_equal(golden):
    facts = golden.facts
    tensors = dict(
        to_source(facts.table, address, np.array(variable), golden.config.num_heads, facts.prefix)
        for address, variable in addresses(golden.model).items()
    )
    back = fuse(tensors, facts.table)
    assert sorted(back) == sorted(golden.weights)
    for name, value in golden.weights.items():
        np.testing.assert_array_equal(back[name], value)


@every_family
def test_settings_round_trip(golden):
    settings = settings_of(golden.config)
    assert config_of(settings) == golden.config
    assert golden.settings.items() <= settings.items()


def _mutations(weights):
    """A transposed kernel, two parts of a fused one in the other order, two swapped kernels, biases or norms."""
    for name, value in weights.items():
        if value.ndim == 2 and value.shape[0] == value.shape[1]:
            yield name, {name: np.ascontiguousarray(value.T)}
        if value.shape[-1] == 3 * 24:
            query, key, content = np.split(value, 3, axis=-1)
            yield name, {name: np.concatenate([key, query, content], -1)}
            yield name, {name: np.concatenate([query, content, key], -1)}
    alike = {}
    for name, value in weights.items():
        alike.setdefault((value.shape, name.rpartition(".")[2]), []).append(name)
    for names in alike.values():
        yield from ((one, {one: weights[two], two: weights[one]}) for one, two in zip(names, names[1:]))


@every_family
def test_the_check_bites(golden):
    inputs, reference = golden.part("ragged/inputs/"), golden.part("ragged/outputs/")
    reference.pop("query_gradient")
    mutations = list(_mutations(golden.weights))
    assert len(mutations) > 12
    try:
        for name, change in mutations:
            golden.load({**golden.weights, **change})
            found = steps(golden.model, golden.config, inputs)
            assert deviation(found, reference, inputs["padding_mask"]) > 100 * TOLERANCE, name
    finally:
        golden.load(golden.weights)


@pytest.mark.live
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tied", [True, False])
def test_live(name, tied):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    theirs = generator.build(name, seed=11, tie_word_embeddings=tied)
    settings = theirs.config.to_dict()
    facts, config = find_family(settings).huggingface, config_of(settings)
    assert config.tie_embeddings == tied
    model = build_decoder(config)
    tensors = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assign(addresses(model), unfused(ArraySource(tensors), facts.table), facts.table)
    for seed, lengths in enumerate(generator.LENGTHS.values()):
        inputs = generator.batch(name, lengths, seed=seed)
        reference = generator.outputs(name, theirs, inputs, left=bool(seed % 2))
        found = {**steps(model, config, inputs), "query_gradient": gradient(model, facts, name, inputs)}
        assert deviation(found, reference, inputs["padding_mask"]) < TOLERANCE
