"""Greedy and beam search against Hugging Face's, token for token, on random weights: committed goldens, and live."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tftransformer.config import TransformerConfig
from tftransformer.models import build_decoder
from tftransformer.models.generation import (
    Banned,
    BeamSearch,
    Greedy,
    MinLength,
    NoRepeatNgrams,
    RepetitionPenalty,
    generate,
)
from tftransformer.patterns import addresses

_spec = importlib.util.spec_from_file_location("generation_peer", Path(__file__).parent / "generation_peer.py")
peer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(peer)


@pytest.fixture(scope="module")
def model():
    model = build_decoder(TransformerConfig("gpt2", max_sequence_length=peer.LENGTH, **peer.SIZES))
    variables = addresses(model)
    for name, value in peer.weights_of({name: tuple(v.shape) for name, v in variables.items()}).items():
        variables[name].assign(value)
    return model


def parts_of(options):
    """Their arguments as our parts."""
    beams, texts = options.get("num_beams", 1), options.get("num_return_sequences", 1)
    judged = {key: options[key] for key in ("length_penalty", "early_stopping") if key in options}
    search = Greedy() if beams == 1 else BeamSearch(beams, num_texts=texts, **judged)
    constraints = []
    if "repetition_penalty" in options:
        constraints.append(RepetitionPenalty(options["repetition_penalty"]))
    if "no_repeat_ngram_size" in options:
        constraints.append(NoRepeatNgrams(options["no_repeat_ngram_size"]))
    if "bad_words_ids" in options:
        constraints.append(Banned([word for (word,) in options["bad_words_ids"]]))
    if "min_new_tokens" in options:
        constraints.append(MinLength(options["min_new_tokens"]))
    return {"search": search, "constraints": constraints}


def check(model, case, expected):
    width = max(map(len, peer.PROMPTS))
    ids = np.array([row + [peer.PAD] * (width - len(row)) for row in peer.PROMPTS])
    found = generate(
        model, ids, ids != peer.PAD, max_new_tokens=peer.NEW_TOKENS, end_tokens=peer.END, **parts_of(peer.CASES[case])
    )
    texts = [
        [text[:length].tolist() for text, length in zip(*row, strict=True)]
        for row in zip(np.array(found.token_ids), np.array(found.lengths), strict=True)
    ]
    assert texts == expected["texts"]
    if expected["scores"]:
        np.testing.assert_allclose(found.scores, expected["scores"], atol=1e-4)


@pytest.mark.parametrize("case", peer.CASES)
def test_texts_are_hugging_faces(model, case):
    check(model, case, json.loads(peer.GOLDENS.read_text())[case])


def test_the_cases_end_early_and_late():
    """Else the rules about the end would not be compared."""
    lengths = {
        len(text) for case in json.loads(peer.GOLDENS.read_text()).values() for row in case["texts"] for text in row
    }
    assert min(lengths) < 4 and max(lengths) == peer.NEW_TOKENS and len(lengths) > 4


@pytest.mark.live
def test_goldens_are_what_is_installed_gives(model):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    weights = {name: np.array(variable) for name, variable in addresses(model).items()}
    for case, expected in peer.generate(weights).items():
        check(model, case, expected)
