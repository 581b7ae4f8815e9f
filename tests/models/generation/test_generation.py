"""Laws of generation: the cache, padding, the batch and the graph change nothing; searches find what they promise."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.config import POSITIONS, TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models import build_decoder, build_encoder_decoder
from tftransformer.models.generation import (
    Banned,
    BeamSearch,
    Forced,
    Greedy,
    MinLength,
    NoRepeatNgrams,
    RepetitionPenalty,
    Sampling,
    generate,
    stream,
)
from tftransformer.models.generation.constraints import Progress
from tftransformer.models.walk import stack_of, walk

END = 1


def config(family="gpt2", position="learned", **changes):
    sizes = dict(vocabulary_size=12, num_layers=2, hidden_dim=16, num_heads=4, intermediate_dim=24)
    return TransformerConfig(family, position=position, max_sequence_length=16, **{**sizes, **changes})


def randomised(model, seed=5):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape) * 0.6)
    return model


@pytest.fixture(scope="module")
def model():
    return randomised(build_decoder(config()))


PROMPTS = [[5, 6, 7, 3], [8, 9], [3]]


def batch(rows, side="right", extra=0):
    """Prompts (B, P) and their mask, padded on a side."""
    width = max(map(len, rows)) + extra
    ids, mask = np.zeros((2, len(rows), width), "int32")
    for number, row in enumerate(rows):
        columns = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[number, columns], mask[number, columns] = row, 1
    return ids, mask


def log_probabilities(model, ids):
    """(T, V) of the whole model, without a cache."""
    ids = np.array([ids])
    logits = model({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    return keras.ops.convert_to_numpy(keras.ops.log_softmax(logits[0]))


def by_hand(model, prompt, tokens):
    """The greedy continuation without cache, batch or graph, and its log-probability."""
    text, score = list(prompt), 0.0
    for _ in range(tokens):
        scores = log_probabilities(model, text)[-1]
        text.append(int(scores.argmax()))
        score += scores.max()
        if text[-1] == END:
            break
    return text[len(prompt) :], score


def texts_of(generated):
    """Lists of the new tokens, the end token counted."""
    ids, lengths = np.array(generated.token_ids), np.array(generated.lengths)
    return [[row[:n].tolist() for row, n in zip(*texts, strict=True)] for texts in zip(ids, lengths, strict=True)]


SEARCHES = (Greedy(), BeamSearch(3, num_texts=2), Sampling(seed=3, top_k=5))


@pytest.mark.by_default("learned", "rotary")
@pytest.mark.parametrize("position", POSITIONS)
def test_greedy_is_the_likeliest_token_of_the_whole_model(position):
    model = randomised(build_decoder(config(position=position)))
    for side in ("left", "right"):
        generated = generate(model, *batch(PROMPTS, side), max_new_tokens=6, end_tokens=[END])
        for row, prompt in enumerate(PROMPTS):
            text, score = by_hand(model, prompt, 6)
            assert texts_of(generated)[row] == [text]
            assert float(generated.scores[row, 0]) == pytest.approx(score, abs=1e-4)
            assert not np.array(generated.token_ids)[row, 0, len(text) :].any(), "padding behind the end"


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_the_graph_the_batch_and_padding_change_nothing(model, search):
    options = dict(max_new_tokens=5, end_tokens=[END], search=search)
    found = generate(model, *batch(PROMPTS), **options)

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)] * 2)
    def in_graph(ids, mask):
        return generate(model, ids, mask, **options)

    for side, extra in (("right", 0), ("left", 0), ("right", 3), ("left", 2)):
        again = in_graph(*batch(PROMPTS, side, extra))
        np.testing.assert_array_equal(again.token_ids, found.token_ids)
        np.testing.assert_allclose(again.scores, found.scores, atol=1e-4)
    if not isinstance(search, Sampling):  # a draw belongs to a place in the batch
        for row, prompt in enumerate(PROMPTS):
            alone = in_graph(*batch([prompt]))
            np.testing.assert_array_equal(alone.token_ids[0], found.token_ids[row])


def test_one_beam_is_greedy_where_longer_is_not_better(model):
    one = generate(model, *batch(PROMPTS), max_new_tokens=5, search=BeamSearch(1, length_penalty=0.0))
    greedy = generate(model, *batch(PROMPTS), max_new_tokens=5)
    np.testing.assert_array_equal(one.token_ids, greedy.token_ids)
    np.testing.assert_allclose(one.scores, greedy.scores, atol=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beams_that_miss_nothing_find_the_best_of_all_texts(penalty):
    small = randomised(build_decoder(config(vocabulary_size=5)), seed=2)
    texts = [
        text
        for length in range(1, 4)
        for text in itertools.product(range(5), repeat=length)
        if END not in text[:-1] and (length == 3 or text[-1] == END)
    ]
    # All beginnings at once: [first, second, place, token] log-probabilities.
    ids = np.array([[3, 2, *start] for start in itertools.product(range(5), repeat=2)])
    logits = small({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    scores = np.array(keras.ops.log_softmax(logits[:, 1:])).reshape(5, 5, 3, 5)
    judged = []
    for text in texts:
        first, second = (*text, 0)[:2]
        total = sum(scores[first, second, place, token] for place, token in enumerate(text))
        judged.append(total / len(text) ** penalty)
    best = np.argsort(judged)[::-1][:4]
    search = BeamSearch(25, length_penalty=penalty, num_texts=4, early_stopping="never")
    found = generate(small, [[3, 2]], max_new_tokens=3, end_tokens=[END], search=search)
    assert texts_of(found)[0] == [list(texts[number]) for number in best]
    np.testing.assert_allclose(found.scores[0], np.array(judged)[best], atol=1e-5)


def diverse_by_hand(model, prompt, tokens, beams, groups, strength):
    """Diverse beam search as its paper has it, on lists; the texts and scores of all groups."""
    width, done = beams // groups, [[] for _ in range(groups)]
    live = [[(0.0, [])] for _ in range(groups)]
    for place in range(tokens):
        taken = np.zeros(12)
        for group in range(groups):
            if len(done[group]) >= width and live[group][0][0] / max(place, 1) <= min(done[group])[0]:
                continue
            found = []
            for score, text in live[group]:
                scores = log_probabilities(model, prompt + text)[-1] - strength * taken
                found += [(score + scores[token], [*text, token]) for token in range(12)]
            found = sorted(found, reverse=True)[: 2 * width]
            ends = [text[-1] == END or place + 1 == tokens for _, text in found]
            done[group] += [(score / (place + 1), text) for (score, text), end in list(zip(found, ends))[:width] if end]
            done[group] = sorted(done[group], reverse=True)[:width]
            live[group] = ([beam for beam, end in zip(found, ends) if not end] or found)[:width]
            for _, text in live[group]:
                taken[text[-1]] += 1
    return sorted((text for group in done for text in group), reverse=True)


@pytest.mark.parametrize(("beams", "groups"), [(4, 2), (3, 3)])
def test_groups_of_beams_keep_away_from_what_former_ones_took(model, beams, groups):
    search = BeamSearch(beams, num_texts=beams, num_groups=groups, diversity_penalty=1.5)
    prompts, mask = batch(PROMPTS, side="left")
    found = generate(model, prompts, mask, max_new_tokens=4, end_tokens=[END], search=search)
    plain = generate(
        model, prompts, mask, max_new_tokens=4, end_tokens=[END], search=BeamSearch(beams, num_texts=beams)
    )
    for number, prompt in enumerate(PROMPTS):
        wanted = diverse_by_hand(model, prompt, 4, beams, groups, 1.5)
        assert texts_of(found)[number] == [text for _, text in wanted]
        np.testing.assert_allclose(found.scores[number], [score for score, _ in wanted], atol=1e-5)
    firsts = [[len({text[0] for text in texts}) for texts in texts_of(each)] for each in (found, plain)]
    assert sum(firsts[0]) > sum(firsts[1])


def test_an_encoder_decoder_reads_its_source():
    settings = config("transformer", "sinusoidal", scale_embeddings=False)
    model = randomised(build_encoder_decoder(settings))
    sources, mask = batch([[4, 5, 6], [7, 8]])
    stack = stack_of(model, settings)
    memory = walk(stack, {"token_ids": sources, "padding_mask": mask})
    start = np.full((2, 1), 2, "int32")
    given = dict(max_new_tokens=4, memory=memory, memory_padding_mask=mask)
    greedy = generate(model, start, **given)
    text = [2]
    for _ in range(4):
        ids = np.array([text])
        inputs = {"encoder_token_ids": sources[1:, :2], "encoder_padding_mask": mask[1:, :2]}
        logits = model({**inputs, "decoder_token_ids": ids, "decoder_padding_mask": np.ones_like(ids)})
        text.append(int(np.argmax(logits[0, -1])))
    assert texts_of(greedy)[1] == [text[1:]]
    beams = generate(model, start, search=BeamSearch(3), **given)
    alone = generate(model, start[1:], max_new_tokens=4, memory=memory[1:, :2], search=BeamSearch(3))
    np.testing.assert_array_equal(beams.token_ids[1], alone.token_ids[0])


# What may come.


def constrained(constraint, scores, rows, generated=2):
    """Scores after a constraint; the rows end with what is generated, and there is room behind."""
    ids, mask = batch(rows, "left")
    room = np.zeros((len(rows), 2), "int32")
    ids, written = np.concatenate([ids, room], 1), np.concatenate([mask, room], 1) > 0
    index = max(map(len, rows))
    return np.array(constraint(np.array(scores, "float32"), Progress(ids, written, index, generated, (END,))))


def test_a_penalty_is_for_what_was_there():
    scores = [[2.0, 1.0, -1.0, 0.5], [2.0, 1.0, -1.0, 0.5]]
    found = constrained(RepetitionPenalty(2.0), scores, [[3, 2, 2], [1]])
    np.testing.assert_allclose(found, [[2.0, 1.0, -2.0, 0.25], [2.0, 0.5, -1.0, 0.5]])


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_no_ngram_comes_twice(n):
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 4, length).tolist() for length in (8, 8, 7, 3, 1)]
    found = constrained(NoRepeatNgrams(n), np.zeros((5, 4)), rows)
    for row, scores in zip(rows, found, strict=True):
        before = {tuple(row[i : i + n]) for i in range(len(row) - n + 1)}
        # Where the text is shorter than n - 1 tokens nothing can repeat.
        tail = tuple(row[len(row) - n + 1 :]) if n > 1 else ()
        banned = {token for token in range(4) if (*tail, token) in before}
        assert {int(token) for token in np.flatnonzero(np.isinf(scores))} == banned


def test_ends_bans_and_what_is_forced():
    scores = np.zeros((1, 4))
    assert np.isinf(constrained(MinLength(3), scores, [[3]])).tolist() == [[False, True, False, False]]
    assert not np.isinf(constrained(MinLength(2), scores, [[3]])).any()
    assert np.isinf(constrained(Banned([0, 2]), scores, [[3]])).tolist() == [[True, False, True, False]]
    assert np.isinf(constrained(Forced([1, 1, 3]), scores, [[3]])).tolist() == [[True, True, True, False]]
    assert not np.isinf(constrained(Forced([1, 3]), scores, [[3]])).any()


@pytest.mark.parametrize("search", SEARCHES[:2], ids=lambda search: type(search).__name__)
def test_constraints_hold_in_every_search(model, search):
    constraints = [Forced([4]), NoRepeatNgrams(1), Banned([6, 7]), MinLength(4)]
    options = dict(max_new_tokens=5, end_tokens=[END], search=search, constraints=constraints)
    for texts, prompt in zip(texts_of(generate(model, *batch(PROMPTS), **options)), PROMPTS, strict=True):
        for text in texts:
            assert text[0] == 4 and len(text) >= 4 and not {6, 7} & set(text)
            assert len({*prompt, *text}) == len({*prompt}) + len(text)


# Draws.


@pytest.mark.parametrize(
    ("search", "left"),
    [
        (Sampling(), [0.4, 0.3, 0.2, 0.1]),
        (Sampling(top_k=2), [0.4, 0.3, 0, 0]),
        (Sampling(top_p=0.69), [0.4, 0.3, 0, 0]),
        (Sampling(top_p=0.71), [0.4, 0.3, 0.2, 0]),
        (Sampling(min_p=0.6), [0.4, 0.3, 0, 0]),
        (Sampling(temperature=0.5), [0.16, 0.09, 0.04, 0.01]),
        (Sampling(top_k=3, top_p=0.5, temperature=2.0), [0.4**0.5, 0.3**0.5, 0, 0]),
    ],
    ids=str,
)
def test_tokens_are_drawn_by_their_probability(search, left):
    order = [2, 0, 3, 1]  # of the tokens, the likeliest first
    scores = np.zeros(4)
    scores[order] = np.log([0.4, 0.3, 0.2, 0.1])
    uniform = (np.arange(10_000, dtype="float32") + 0.5) / 10_000
    drawn = np.array(search.draw(np.tile(scores.astype("float32"), (10_000, 1)), uniform))
    shares = np.bincount(drawn, minlength=4)[order] / 10_000
    np.testing.assert_allclose(shares, np.array(left) / sum(left), atol=2e-4)


def test_a_seed_gives_one_text_and_another_one_another(model):
    def texts(seed, **options):
        search = Sampling(seed=seed, **options)
        return np.array(generate(model, *batch(PROMPTS * 4), max_new_tokens=6, search=search).token_ids)

    np.testing.assert_array_equal(texts(1), texts(1))
    assert (texts(1) != texts(2)).any()
    greedy = generate(model, *batch(PROMPTS * 4), max_new_tokens=6).token_ids
    np.testing.assert_array_equal(texts(1, top_k=1), greedy)
    np.testing.assert_array_equal(texts(1, top_p=1e-6), greedy)


@pytest.mark.parametrize("search", [Greedy(), Sampling(seed=3)], ids=lambda search: type(search).__name__)
def test_a_stream_is_the_text_token_by_token(model, search):
    prompts = batch(PROMPTS)
    end = int(generate(model, *prompts, max_new_tokens=5, search=search).token_ids[1, 0, 1])
    given = dict(max_new_tokens=5, search=search, end_tokens=[end], constraints=[RepetitionPenalty(1.1)])
    streamed, found = list(stream(model, *prompts, **given)), generate(model, *prompts, **given)
    np.testing.assert_array_equal(np.stack(streamed, axis=1), found.token_ids[:, 0, : len(streamed)])
    assert len(streamed) == np.max(found.lengths)
    with pytest.raises(TransformerError, match="search must be Greedy or Sampling to stream; got BeamSearch"):
        stream(model, *prompts, **{**given, "search": BeamSearch()})


# What each token costs, and what is refused.


def test_a_token_costs_one_position(model, monkeypatch):
    """The prompt runs once, and then one column a token, however long the text is."""
    from tftransformer.models.generation import decoder_run

    widths, step = [], decoder_run.decode_step

    def counted(model, token_ids, *args, **options):
        widths.append(token_ids.shape[1])
        return step(model, token_ids, *args, **options)

    monkeypatch.setattr(decoder_run, "decode_step", counted)
    generate(model, *batch(PROMPTS), max_new_tokens=5)
    assert widths == [4, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be a positive integer; got 0"),
        ({"max_new_tokens": 13}, "length must be at most 16, .*; got 17"),
        ({"token_ids": [[]]}, "token_ids must be prompts"),
        ({"token_ids": [3]}, "token_ids must be prompts"),
        ({"padding_mask": [[1, 1]]}, "padding_mask must be of the shape of token_ids"),
        ({"end_tokens": [-1]}, "end_tokens must be an integer of at least 0; got -1"),
        ({"constraints": [Banned([12])]}, "token id 12 is not in the model's vocabulary of 12"),
    ],
)
def test_what_cannot_be_is_refused(model, options, message):
    with pytest.raises(TransformerError, match=message):
        generate(model, **{"token_ids": [[5, 6, 7, 3]], "max_new_tokens": 3, **options})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sampling(temperature=0), "temperature must be a positive number; got 0"),
        (lambda: Sampling(top_k=0), "top_k must be a positive integer; got 0"),
        (lambda: Sampling(top_p=1.2), "top_p must be above 0 and at most 1; got 1.2"),
        (lambda: Sampling(min_p=1), "min_p must be at least 0 and below 1; got 1"),
        (lambda: Sampling(seed=-1), "seed must be an integer of at least 0; got -1"),
        (lambda: BeamSearch(0), "num_beams must be a positive integer; got 0"),
        (lambda: BeamSearch(2, num_texts=3), "num_texts must be at most num_beams, 2; got 3"),
        (lambda: BeamSearch(2, length_penalty="1"), "length_penalty must be a finite number; got '1'"),
        (lambda: BeamSearch(2, early_stopping="soon"), "early_stopping must be True, False or \"never\"; got 'soon'"),
        (lambda: BeamSearch(4, num_groups=3, diversity_penalty=0.5), "num_groups must divide num_beams, 4; got 3"),
        (lambda: BeamSearch(4, num_groups=2), "diversity_penalty must be a positive number; got 0.0"),
        (lambda: BeamSearch(4, diversity_penalty=0.5), "diversity_penalty must be 0 where num_groups is 1; got 0.5"),
        (lambda: RepetitionPenalty(0), "penalty must be a positive number; got 0"),
        (lambda: NoRepeatNgrams(0), "n must be a positive integer; got 0"),
        (lambda: MinLength(0), "tokens must be a positive integer; got 0"),
        (lambda: Banned([]), r"token_ids must be a list of token ids; got \[\]"),
        (lambda: Forced(3), "token_ids must be a list of token ids; got 3"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(TransformerError, match=message):
        make()


def test_more_beams_than_there_are_tokens_to_choose_from(model):
    small = randomised(build_decoder(config(vocabulary_size=2)))
    with pytest.raises(TransformerError, match="num_beams must leave 9 continuations .* 3 beams for a vocabulary of 2"):
        generate(small, [[1]], max_new_tokens=2, end_tokens=[0, 1], search=BeamSearch(3))
