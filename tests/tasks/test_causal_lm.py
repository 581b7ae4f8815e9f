"""Language models: what they learn of texts and of answers, and what prompts, batches, saving and export must not change."""

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tftransformer as tt
from tftransformer.data.pipeline import token_batches
from tftransformer.errors import TransformerError
from tftransformer.models import generation
from tftransformer.patterns import addresses

TEXTS = ["one two three four five", "red green blue black", "spring summer autumn winter", "north east south west"]
PROMPTS = ["2+2", "3+3", "4+4", "1+1", "2+1", "3+1"]
ANSWERS = ["four", "six", "eight", "two", "three", "four"]


@pytest.fixture(scope="module")
def tokenizer():
    return tt.text.train_byte_bpe([*TEXTS, *PROMPTS, *ANSWERS] * 2, 320)


def build(tokenizer, sequence_length=24, num_layers=1, **options):
    keras.utils.set_random_seed(0)
    config = tt.TransformerConfig(
        "gpt2", vocabulary_size=tokenizer.vocabulary_size, num_layers=num_layers, hidden_dim=32, num_heads=2, intermediate_dim=64,
        max_sequence_length=32, dropout=0.0,
    )  # fmt: skip
    return tt.CausalLM(config, tokenizer, sequence_length=sequence_length, **options)


@pytest.fixture(scope="module")
def trained(tokenizer):
    task = build(tokenizer)
    task.compile(learning_rate=1e-2, warmup=10)
    # The rows many times over: an epoch costs as much as ten of these updates.
    task.fit(TEXTS * 20, epochs=4, batch_size=2, verbose=0)
    return task


@pytest.fixture(scope="module")
def answering(tokenizer):
    task = build(tokenizer)
    task.compile(learning_rate=1e-2, warmup=10)
    task.fit(PROMPTS * 5, ANSWERS * 5, epochs=24, batch_size=3, verbose=0)
    return task


def test_it_goes_on_with_texts(trained):
    firsts, rests = zip(*(text.split(" ", 1) for text in TEXTS), strict=True)
    assert [text.strip() for text in trained.generate(firsts)] == list(rests)
    together = trained.generate([TEXTS[0][:7], "red", ""], max_new_tokens=5)
    assert [trained.generate([prompt], max_new_tokens=5)[0] for prompt in (TEXTS[0][:7], "red", "")] == together


def test_a_model_without_special_tokens_to_ban_takes_one_prompt(tokenizer):
    """Of one row, whose number is known, and of lengths that are not."""
    spec = tokenizer.spec()
    one = dict.fromkeys((n for n in spec.settings if n.endswith("_token")), spec.settings["separator_token"])
    model = build(dataclasses.replace(spec, settings={**spec.settings, **one}).build())
    assert model.never_written() == ()
    assert [len(model.generate([text], max_new_tokens=3)) for text in ("one", "one two", "a")] == [1, 1, 1]


def test_a_prompt_and_what_comes_behind_it_are_one_text(trained):
    prompts = [TEXTS[0][:7], "red", ""]
    found = [prompt + text for prompt, text in zip(prompts, trained.generate(prompts), strict=True)]
    assert found[:2] == TEXTS[:2] and found[2] and not found[2].startswith(" ")
    assert "red" + "".join(trained.stream("red")) == TEXTS[1]
    beams = trained.generate(prompts, search=generation.BeamSearch(3, num_texts=2))
    assert [prompt + text for prompt, (text, _) in zip(prompts, beams, strict=True)][:2] == TEXTS[:2]


def test_it_answers_prompts(answering):
    assert answering.text_pairs and answering.generate(PROMPTS) == ANSWERS
    assert answering.predict(PROMPTS).tolist() == ANSWERS


def test_a_stream_is_the_text_piece_by_piece(trained, answering):
    for task, prompt in ((trained, "red"), (answering, "3+3")):
        assert "".join(task.stream(prompt)) == task.generate([prompt])[0]
    search = generation.Sampling(temperature=3.0, seed=5)
    pieces = list(trained.stream("red", search=search, max_new_tokens=12))
    assert "".join(pieces) == trained.generate(["red"], search=search, max_new_tokens=12)[0]


def test_the_next_token_is_the_target_and_prompts_do_not_count(tokenizer):
    task = build(tokenizer)
    x, y, weights = next(iter(token_batches(task.preprocess(PROMPTS, ANSWERS), 6, shuffle=False)))
    ids, y, weights = x["token_ids"].numpy(), y.numpy(), weights.numpy()
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        counted = y[row][weights[row] > 0].tolist()
        assert counted == [*tokenizer.encode(answer), tokenizer.separator_id]
        first = int(np.flatnonzero(weights[row])[0])
        begin = [tokenizer.start_id, *tokenizer.encode(prompt), tokenizer.separator_id]
        assert ids[row, : first + 1].tolist() == begin


def test_long_texts_are_learned_whole(tokenizer):
    text = " ".join(TEXTS * 4)
    examples = build(tokenizer, sequence_length=8).preprocess([text, "red"])
    whole = [[tokenizer.start_id, *tokenizer.encode(t), tokenizer.separator_id] for t in (text, "red")]
    assert examples.lengths.max() == 8 and len(examples) == sum(-(-(len(ids) - 1) // 8) for ids in whole)
    assert examples.tokens.token_ids.tolist() == [i for ids in whole for i in ids[:-1]]
    assert examples.targets.items.values.tolist() == [i for ids in whole for i in ids[1:]]


def test_perplexities_are_of_one_sum(trained):
    found = trained.perplexities(TEXTS, batch_size=3)
    tokens = sum(len(trained.tokenizer.encode(text)) + 1 for text in TEXTS)
    words, size = sum(len(text.split()) for text in TEXTS), sum(map(len, TEXTS))
    total = tokens * np.log(found["token"])
    assert words * np.log(found["word"]) == pytest.approx(total)
    assert size * np.log(found["byte"]) == pytest.approx(total)


def test_perplexities_of_pairs_are_those_of_the_answers(answering):
    pairs = list(zip(PROMPTS, ANSWERS, strict=True))
    found = answering.perplexities(pairs)
    tokens = sum(len(answering.tokenizer.encode(answer)) + 1 for answer in ANSWERS)
    total = tokens * np.log(found["token"])
    assert len(ANSWERS) * np.log(found["word"]) == pytest.approx(total)
    assert sum(map(len, ANSWERS)) * np.log(found["byte"]) == pytest.approx(total)
    examples = answering.preprocess(pairs)
    x, y, weights = next(iter(token_batches(examples, 6, shuffle=False)))
    scores = tf.nn.log_softmax(answering(x, training=False))
    gold = tf.gather(scores, tf.maximum(y, 0), batch_dims=2)
    assert total == pytest.approx(-float(tf.reduce_sum(gold * weights)), rel=1e-4)
    with pytest.raises(TransformerError, match="pairs must fit in sequence_length, 24 tokens"):
        answering.perplexities([("2+2", "four " * 40)])


@pytest.mark.slow  # tests/runs/test_generation.py serves one
def test_saved_and_exported_it_writes_the_same(trained, answering, tmp_path):
    for name, task, prompts in (("texts", trained, ["red", "one two"]), ("answers", answering, PROMPTS)):
        wanted = task.generate(prompts, max_new_tokens=8)
        task.save_to_preset(tmp_path / name)
        task.save(tmp_path / f"{name}.keras")
        for loaded in (tt.load(tmp_path / name), keras.models.load_model(tmp_path / f"{name}.keras")):
            assert loaded.generate(prompts, max_new_tokens=8) == wanted and loaded.text_pairs == task.text_pairs
            for address, value in addresses(task).items():
                np.testing.assert_array_equal(addresses(loaded)[address], value)
        task.export(tmp_path / "served" / name)
        served = tf.saved_model.load(tmp_path / "served" / name).signatures["serving_default"]
        found = [text.decode() for text in served(text=tf.constant(prompts))["text"].numpy()]
        assert found == task.generate(prompts, max_new_tokens=12)


# Of a decoder with two blocks: what each method may move, and that it moves some of it.
METHODS = {
    "lora:4": "decoder_block_./self_attention/(query|value)/lora/.*",
    "freeze:1": "decoder_(block_1|final_norm)/.*",
    "layerwise:0.5": ".*",
    "unfreeze": ".*",
}


@pytest.mark.by_default("lora:4", "freeze:1", "unfreeze")
@pytest.mark.parametrize("method", METHODS)
def test_methods_apply(tokenizer, method):
    task = build(tokenizer, num_layers=2)
    task.apply(method)
    task.compile(learning_rate=1e-2)
    before = {name: np.array(value) for name, value in addresses(task).items()}
    task.fit(TEXTS, epochs=3 if method == "unfreeze" else 1, verbose=0)
    moved = {name for name, value in addresses(task).items() if (np.array(value) != before[name]).any()}
    assert moved and all(re.fullmatch(METHODS[method], name) for name in moved)


def test_rates_and_stages_of_a_decoder_go_down_its_blocks(tokenizer):
    task = build(tokenizer, num_layers=2)
    factors = tt.LayerwiseRates(0.5).multipliers(task)
    assert {name: factors[f"{name}/.*"] for name in ("decoder_block_1", "decoder_block_0", "decoder_embeddings")} == {
        "decoder_block_1": 1.0, "decoder_block_0": 0.5, "decoder_embeddings": 0.25,
    }  # fmt: skip
    stages = tt.GradualUnfreezing(start="block").stages(task, epochs=2)
    assert [stage.names[-1].split("/")[0] for stage in stages] == ["decoder_block_1", "decoder_embeddings"]
    with pytest.raises(TransformerError, match="layers must be between 0 and 2, the number of blocks; got 3"):
        task.apply("freeze:3")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda t: build(t, sequence_length=64), "sequence_length must be between 4 and 32"),
        (lambda t: build(t).generate(["one " * 60]), "a prompt must leave room in sequence_length, 24 tokens; row 0"),
        (lambda t: build(t).generate(["one"], max_new_tokens=40), "max_new_tokens must be at most 22.*got 40"),
        (lambda t: build(t).generate([3]), "a prompt must be a text; got int in row 0"),
        (lambda t: build(t).generate(["one"], search=generation.BeamSearch(999)), "num_beams must be at most"),
        (lambda t: build(t).preprocess(PROMPTS, [1] * 6), "an answer must be a text; got int"),
        (lambda t: build(t).preprocess(list(zip(PROMPTS, ANSWERS)), ANSWERS), "y must be None where x holds pairs"),
        (lambda t: build(t, text_pairs=True).fit(TEXTS), "trained on pairs of texts; got single texts"),
        (lambda t: build(t).fit(tf.data.Dataset.from_tensor_slices(TEXTS)), "not in a tf.data.Dataset"),
        (lambda t: tt.CausalLM.from_preset("bert_12x192_en_uncased"), "a CausalLM needs a preset with a decoder"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(tokenizer, make, told):
    with pytest.raises(TransformerError, match=told) as raised:
        make(tokenizer)
    assert "\n" not in str(raised.value)
