"""Every family's numbers against keras-hub's on random weights: folders on disk, both directions, mutations."""

import keras
import numpy as np
import pytest

from tftransformer.checkpoints import ArraySource, KerasHubSource, load_preset
from tftransformer.checkpoints.assign import assign
from tftransformer.checkpoints.huggingface.settings import config_of, settings_of
from tftransformer.checkpoints.rules import to_source
from tftransformer.models.families import FAMILIES, families_of
from tftransformer.patterns import addresses
from tftransformer.tasks.text_classifier import TextClassifier
from tftransformer.text.sentencepiece_model import PieceType, UnigramModel, model_bytes

keras_hub = pytest.importorskip("keras_hub")

TOLERANCE = 1e-5
SIZE, CLASSES = 40, 3
LENGTHS = {"ragged": (20, 7, 1), "one": (1, 1), "seven": (7, 7)}
SIZES = {"num_layers": 2, "num_heads": 4, "hidden_dim": 24, "intermediate_dim": 40, "max_sequence_length": 20}
SPECIFIC = {
    "electra": {"vocab_size": SIZE, "embedding_dim": 12},
    "albert": {"vocabulary_size": SIZE, "embedding_dim": 12, "num_layers": 4, "num_groups": 2},
}
NAMES = tuple(families_of("keras_hub"))


def wordpiece(tokenizer):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return tokenizer(vocabulary=special + [f"piece{i}" for i in range(SIZE - 5)], lowercase=True)


def byte_bpe(tokenizer):
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *"abcĠ", "ab", "Ġc", "<mask>"]
    return tokenizer(vocabulary={token: i for i, token in enumerate(tokens)}, merges=["a b", "Ġ c"])


def sentencepiece(special):
    def build(tokenizer):
        kinds = [PieceType.UNKNOWN if piece == "<unk>" else PieceType.CONTROL for piece in special]
        pieces = [*special, "▁", "a", "b", "▁ab"]
        kinds += [PieceType.NORMAL] * 4
        scores = [0.0] * len(special) + [-3.0, -4.0, -4.0, -1.0]
        return tokenizer(proto=model_bytes(UnigramModel(tuple(pieces), tuple(scores), tuple(kinds))))

    return build


TOKENIZERS = {
    "roberta": byte_bpe,
    "xlm_roberta": sentencepiece(["<unk>", "<s>", "</s>"]),
    "albert": sentencepiece(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]),
}


class Hub:
    """A keras-hub model of a family with every weight random, its folder, and what we load from that."""

    def __init__(self, family, folder, build_model):
        self.family = family
        self.layout = FAMILIES[family].keras_hub
        models, classes = keras_hub.models, self.layout.classes
        sizes = {"vocabulary_size": SIZE, **SIZES} if family != "electra" else SIZES
        self.backbone = getattr(models, f"{classes}Backbone")(**{**sizes, **SPECIFIC.get(family, {})})
        classifier = getattr(models, f"{classes}TextClassifier", None)  # ELECTRA has none
        self.has_head = classifier is not None
        self.tokenizer = TOKENIZERS.get(family, wordpiece)(getattr(models, f"{classes}Tokenizer"))
        self.theirs = self.backbone
        if self.has_head:
            # keras-hub before 0.29 saves no classifier without one.
            preprocessor = getattr(models, f"{classes}TextClassifierPreprocessor")(self.tokenizer)
            self.theirs = classifier(self.backbone, CLASSES, preprocessor, dropout=0.3, compile=False)
        rng = np.random.default_rng(len(family))
        for variable in self.theirs.weights:
            noise = 0.3 * rng.normal(size=variable.shape)
            variable.assign((variable.path.endswith("gamma") + noise).astype("float32"))
        source = KerasHubSource(self.theirs)
        self.weights = {key: source.get(key) for key in source.keys()}
        self.theirs.save_to_preset(str(folder))
        self.tokenizer.save_to_preset(str(folder))
        self.preset = load_preset(folder)
        self.model = build_model(self.preset.config, CLASSES)
        optional = () if self.has_head else ("head/.*", "pooler/.*")
        self.summary = self.preset.load_into(self.model, optional=optional)

    def inputs(self, case):
        lengths = LENGTHS[case]
        rng = np.random.default_rng(5)
        real = np.arange(max(lengths))[None, :] < np.array(lengths)[:, None]
        ids = np.where(real, rng.integers(5, SIZE, real.shape), 0).astype("int32")
        found = {"token_ids": ids, "padding_mask": real.astype("int32")}
        if "segment_ids" in self.backbone.input:
            found["segment_ids"] = (real & (ids % 2 == 1)).astype("int32")
        return found

    def found(self, inputs, model=None):
        """What our model gives."""
        model = self.model if model is None else model
        hidden = model.encoder(inputs)
        pooled = model.pooler(hidden)
        return {"hidden": hidden, "pooled": pooled, "logits": model.head(pooled)}

    def outputs(self, inputs):
        """What keras-hub's models give of it."""
        output = self.backbone(inputs)
        found = {}
        if isinstance(output, dict):
            if self.has_head:  # ELECTRA's pooler is not the one that its classifiers have
                found["pooled"] = output["pooled_output"]
            output = output["sequence_output"]
        found["hidden"] = output
        if self.has_head:
            found["logits"] = self.theirs(inputs)
        return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


@pytest.fixture(scope="module")
def hub(request, tmp_path_factory, build_model, cache={}):
    if request.param not in cache:
        cache[request.param] = Hub(request.param, tmp_path_factory.mktemp("hub"), build_model)
    return cache[request.param]


every_family = pytest.mark.parametrize("hub", NAMES, indirect=True)


def test_every_family_of_the_table_is_compared():
    assert set(NAMES) == {name for name, family in FAMILIES.items() if family.keras_hub is not None}


@every_family
@pytest.mark.parametrize("case", LENGTHS)
def test_a_folder_computes_what_keras_hub_does(hub, case, deviation):
    inputs = hub.inputs(case)
    reference = hub.outputs(inputs)
    assert ("logits" in reference) == (hub.family != "electra")
    assert deviation(hub.found(inputs), reference, inputs["padding_mask"]) < TOLERANCE


@every_family
def test_every_variable_is_used(hub):
    ignored = {key for key in hub.weights if hub.family == "electra" and key.startswith("pooled_dense/")}
    assert sorted(hub.summary.loaded.values()) == sorted(set(hub.weights) - ignored)
    assert set(hub.summary.ignored) == ignored
    assert {address.split("/")[0] for address in hub.summary.newly_initialized} == (
        set() if hub.has_head else {"head", "pooler"}
    )


@every_family
def test_the_preset_says_what_was_loaded(hub):
    preset = hub.preset
    assert (preset.origin, preset.config.family, preset.pooling, preset.pooler) == (
        "keras_hub",
        hub.family,
        "cls",
        True,
    )
    assert preset.labels == (("LABEL_0", "LABEL_1", "LABEL_2") if hub.has_head else None)
    assert preset.head == ({"multi_label": False, "head_dropout": 0.3} if hub.has_head else {})
    if hub.family != "xlm_roberta" or hasattr(hub.tokenizer, "_vocabulary_prefix"):  # older ones cannot list it
        assert list(preset.tokenizer.vocabulary) == _in_order(hub.tokenizer)


def _in_order(tokenizer):
    vocabulary = tokenizer.get_vocabulary()
    return sorted(vocabulary, key=tokenizer.token_to_id)


@pytest.mark.parametrize("hub", ["bert", "roberta", "xlm_roberta", "albert"], indirect=True)
def test_texts_become_the_same_ids(hub):
    texts = {"roberta": ["ab cab", "b", "abc c"], "xlm_roberta": ["ab ba", "b z"], "albert": ["ab ba", "b z"]}
    texts = texts.get(hub.family, ["Piece3 piece11, q", "piece0"])
    ours = hub.preset.tokenizer.build()
    assert ours.tokenize(texts).to_list() == [np.asarray(hub.tokenizer(text)).tolist() for text in texts]
    theirs = hub.tokenizer
    assert (ours.start_id, ours.separator_id, ours.pad_id) == (
        theirs.start_token_id,
        theirs.end_token_id,
        theirs.pad_token_id,
    )
    assert ours.mask_id == theirs.mask_token_id


@every_family
def test_writing_back_is_bit_equal(hub):
    heads = hub.preset.config.num_heads
    back = dict(
        to_source(hub.layout.table, address, keras.ops.convert_to_numpy(variable), heads)
        for address, variable in addresses(hub.model).items()
        if address in hub.summary.loaded
    )
    assert sorted(back) == sorted(set(hub.weights) - set(hub.summary.ignored))
    for name, value in back.items():
        np.testing.assert_array_equal(value, hub.weights[name])


def _mutations(weights):
    """A changed query, two swapped biases, two swapped norms and blocks: by names that every family has."""

    def named(ending):
        return [name for name in weights if name.endswith(ending)]

    query = named("query/kernel")[1]
    flat = weights[query].reshape(24, 24)
    yield "query transposed", {query: np.ascontiguousarray(flat.T).reshape(24, 4, 6)}
    for first, second in (
        (named("attention_output/bias")[1], named("feedforward_output_dense/bias")[1]),
        (named("self_attention_layer_norm/gamma")[1], named("feedforward_layer_norm/gamma")[1]),
        (named("feedforward_output_dense/kernel")[0], named("feedforward_output_dense/kernel")[1]),
    ):
        yield f"swapped {first}", {first: weights[second], second: weights[first]}


@every_family
def test_the_check_bites(hub, deviation):
    inputs = hub.inputs("ragged")
    reference = {"hidden": hub.outputs(inputs)["hidden"]}
    variables = addresses(hub.model)
    for name, change in _mutations(hub.weights):
        touched = {a: variables[a] for a, key in hub.summary.loaded.items() if key in change}
        try:
            assign(touched, ArraySource(change), hub.layout.table)
            assert deviation(hub.found(inputs), reference, inputs["padding_mask"]) > 100 * TOLERANCE, name
        finally:
            assign(touched, ArraySource({key: hub.weights[key] for key in change}), hub.layout.table)


@pytest.mark.parametrize("hub", ["bert"], indirect=True)
def test_keras_hubs_weights_through_a_hugging_face_folder(hub, write_folder, build_model, deviation):
    """keras-hub -> ours -> Hugging Face's names on disk -> ours: both tables, both ways."""
    settings = settings_of(hub.preset.config)
    assert config_of(settings) == hub.preset.config
    tensors = dict(
        to_source(FAMILIES["bert"].huggingface.table, address, keras.ops.convert_to_numpy(variable), 4, prefix="bert.")
        for address, variable in addresses(hub.model).items()
    )
    again = build_model(hub.preset.config, CLASSES)
    load_preset(write_folder(settings, tensors)).load_into(again)
    inputs = hub.inputs("ragged")
    assert deviation(hub.found(inputs, again), hub.outputs(inputs), inputs["padding_mask"]) < TOLERANCE


@pytest.mark.slow
@every_family
def test_raw_texts_get_keras_hubs_probabilities(hub):
    """Tokenizer, special tokens of single texts and pairs, encoder and head, from a folder alone."""
    if not hub.has_head:
        pytest.skip("keras-hub has no classifier of this family")
    short = ("ab", "b ab", "ba", "a b ab", "b")
    words = ("piece3", "Piece1 piece2, q", "piece4", "piece5 piece7", "piece6")
    texts = short if hub.family in TOKENIZERS else words
    preprocessor = getattr(keras_hub.models, f"{hub.layout.classes}TextClassifierPreprocessor")
    hub.theirs.preprocessor = preprocessor(hub.tokenizer, sequence_length=16)
    pairs = list(zip(texts, texts[1:]))
    columns = tuple(np.array(column, object) for column in zip(*pairs))
    try:
        for ours, theirs in ((list(texts), list(texts)), (pairs, columns)):
            classifier = TextClassifier.from_preset(hub.preset)
            reference = keras.ops.softmax(hub.theirs.predict(theirs, verbose=0))
            np.testing.assert_allclose(classifier.predict(ours, verbose=0), reference, atol=TOLERANCE)
    finally:
        hub.theirs.preprocessor = None
