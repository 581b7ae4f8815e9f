"""Every encoder-decoder's numbers against Hugging Face's on random weights: committed goldens, both directions, mutations."""

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.checkpoints import ArraySource
from tftransformer.checkpoints.assign import assign
from tftransformer.checkpoints.huggingface.settings import config_of, find_family, settings_of
from tftransformer.checkpoints.rules import to_source
from tftransformer.layers.taps import tapped
from tftransformer.models import build_model, shapes_of
from tftransformer.models.decoder_walk import decoder_stack_of, walk_decoder
from tftransformer.models.families import families_of
from tftransformer.models.walk import stack_of, walk
from tftransformer.patterns import addresses

TOLERANCE = 1e-5
NAMES = tuple(families_of("huggingface", "encoder_decoder"))
_PATH = Path(__file__).parent / "generate_encoder_decoder_goldens.py"
_spec = importlib.util.spec_from_file_location("generate_encoder_decoder_goldens", _PATH)
generator = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generator)


class Golden:
    """A family's golden and our model with its weights."""

    def __init__(self, name):
        with np.load(Path(__file__).parent / "goldens" / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        self.name = name
        self.settings = json.loads(str(self.arrays["config"]))
        self.facts = find_family(self.settings).huggingface
        self.config = config_of(self.settings)
        self.weights = self.part("weights/")
        self.model = build_model(self.config)
        self.summary = self.load(self.weights)

    def part(self, prefix):
        return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}

    def load(self, weights):
        return assign(addresses(self.model), ArraySource(weights), self.facts.table)


def steps(model, config, inputs):
    """Every hidden state, as they count them, every attention map and the logits."""
    pattern = r"(decoder_)?final_norm|(en|de)coder_block_\d+(/((self|cross)_)?attention/scores)?"
    encoder, decoder, found = stack_of(model, config), decoder_stack_of(model), {}
    source = {"token_ids": inputs["encoder_token_ids"], "padding_mask": inputs["encoder_padding_mask"]}
    with tapped(pattern) as taps:
        memory = walk(encoder, source)
        target = {
            "token_ids": inputs["decoder_token_ids"],
            "padding_mask": inputs["decoder_padding_mask"],
            "memory": memory,
            "memory_padding_mask": inputs["encoder_padding_mask"],
        }
        found["logits_0"] = walk_decoder(decoder, target)
    found["encoder_hidden_0"] = walk(encoder, source, stop=0)
    ids = inputs["decoder_token_ids"]
    given = ids if decoder.table is decoder.embeddings else decoder.table(ids, lookup=True)
    found["decoder_hidden_0"] = decoder.embeddings(given)
    for side, count, norm, own in (
        ("encoder", config.num_layers, "final_norm", "attention"),
        ("decoder", config.num_decoder_layers, "decoder_final_norm", "self_attention"),
    ):
        for i in range(count):
            found[f"{side}_attention_{i}"] = taps[f"{side}_block_{i}/{own}/scores"]
            # Of pre-norm models their last hidden state is behind the final norm.
            last = i == count - 1 and config.normalize_first
            found[f"{side}_hidden_{i + 1}"] = taps[norm if last else f"{side}_block_{i}"]
            if side == "decoder":
                found[f"cross_attention_{i}"] = taps[f"decoder_block_{i}/cross_attention/scores"]
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


def gradients(model, facts, name, inputs):
    """Those of the query kernels whose gradients the golden holds, in their layout."""
    theirs = {
        to_source(facts.table, address, np.zeros((1, 1)), 1, facts.prefix)[0]: address
        for address, variable in addresses(model).items()
        if "/query/kernel" in address
    }
    wanted = [theirs[kernel] for kernel in generator.FAMILIES[name][2]]
    with tf.GradientTape() as tape:
        logits = model(inputs)
        weights = generator.loss_weights(logits) * inputs["decoder_padding_mask"][:, :, None]
        loss = tf.reduce_sum(logits * weights)
    found = tape.gradient(loss, [addresses(model)[address].value for address in wanted])
    pairs = zip(wanted, found, strict=True)
    values = [to_source(facts.table, address, np.array(value), 4, facts.prefix)[1] for address, value in pairs]
    return {f"gradient_{i}": value for i, value in enumerate(values)}


def deviation(ours, reference, inputs):
    """The largest difference at real tokens, relative to max(1, max|reference|)."""
    worst = 0.0
    for name, b in reference.items():
        a = ours[name]
        assert a.shape == b.shape, name
        mask = inputs["encoder_padding_mask" if name.startswith("encoder") else "decoder_padding_mask"]
        mask = mask[:, None, :, None] if "attention" in name else mask[:, :, None]
        difference = np.abs(a - b) * (1 if name.startswith("gradient") else mask)
        worst = max(worst, float(difference.max() / max(1.0, np.abs(b).max())))
    return worst


@pytest.fixture(scope="module")
def golden(request, cache={}):
    if request.param not in cache:
        cache[request.param] = Golden(request.param)
    return cache[request.param]


every_family = pytest.mark.parametrize("golden", NAMES, indirect=True)


@every_family
@pytest.mark.parametrize("case", generator.LENGTHS)
def test_every_step_is_hugging_faces(golden, case):
    inputs, reference = golden.part(f"{case}/inputs/"), golden.part(f"{case}/outputs/")
    blocks = 2 * golden.config.num_layers + 3 * golden.config.num_decoder_layers
    assert len(reference) == blocks + 2 + 2 + 1
    found = steps(golden.model, golden.config, inputs)
    found |= gradients(golden.model, golden.facts, golden.name, inputs)
    assert deviation(found, reference, inputs) < TOLERANCE


@every_family
def test_every_tensor_is_used(golden):
    assert set(golden.summary.loaded.values()) == set(golden.weights)
    assert not golden.summary.ignored and not golden.summary.newly_initialized
    assert shapes_of(golden.config) == {name: tuple(v.shape) for name, v in addresses(golden.model).items()}


@every_family
def test_writing_back_is_bit_equal(golden):
    back = dict(
        to_source(golden.facts.table, address, np.array(variable), golden.config.num_heads, golden.facts.prefix)
        for address, variable in addresses(golden.model).items()
    )
    assert sorted(back) == sorted(golden.weights)
    for name, value in golden.weights.items():
        np.testing.assert_array_equal(back[name], value)


@every_family
def test_settings_round_trip(golden):
    settings = settings_of(golden.config)
    assert config_of(settings) == golden.config
    assert golden.settings.items() <= settings.items()


def _mutations(weights):
    """A transposed kernel, two swapped kernels of one place, two swapped biases, two swapped norms, two swapped tables."""
    for name, value in weights.items():
        if value.ndim == 2 and value.shape[0] == value.shape[1]:
            yield name, {name: np.ascontiguousarray(value.T)}
    names, alike = sorted(weights), {}
    for name in names:
        # A bias on the keys moves all scores of a query alike, which is no mutation.
        if not name.endswith("k_proj.bias"):
            alike.setdefault((weights[name].shape, name.rpartition(".")[2]), []).append(name)
    for group in alike.values():
        yield from ((f"{one}, {two}", {one: weights[two], two: weights[one]}) for one, two in zip(group, group[1:]))
    tables = [name for name in names if name.endswith("embed_positions.weight")]
    yield from ((one, {one: weights[two], two: weights[one]}) for one, two in zip(tables, tables[1:]))


@every_family
def test_the_check_bites(golden):
    inputs, reference = golden.part("ragged/inputs/"), golden.part("ragged/outputs/")
    reference = {name: value for name, value in reference.items() if not name.startswith("gradient")}
    mutations = list(_mutations(golden.weights))
    assert len(mutations) > 20
    try:
        for name, change in mutations:
            golden.load({**golden.weights, **change})
            found = steps(golden.model, golden.config, inputs)
            assert deviation(found, reference, inputs) > 100 * TOLERANCE, name
    finally:
        golden.load(golden.weights)


@pytest.mark.live
@pytest.mark.parametrize("name", NAMES)
def test_live(name):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    theirs = generator.build(name, seed=11)
    settings = theirs.config.to_dict()
    facts, config = find_family(settings).huggingface, config_of(settings)
    model = build_model(config)
    assign(addresses(model), ArraySource(generator.weights_of(theirs)), facts.table)
    for seed, lengths in enumerate(generator.LENGTHS.values()):
        inputs = generator.batch(name, lengths, seed=seed)
        found = {**steps(model, config, inputs), **gradients(model, facts, name, inputs)}
        assert deviation(found, generator.outputs(name, theirs, inputs), inputs) < TOLERANCE
