"""Chats as texts: every chat comes back from its text, histories lose their oldest turns alone, and rows that are none are told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tftransformer.data.chat import (
    MARKS,
    ROLES,
    answers_of,
    chats_of,
    parse_chat,
    render_chat,
    shortened,
    without_marks,
)
from tftransformer.data.readers.jsonl import read_jsonl
from tftransformer.errors import TransformerError

CONTENT = (
    st.text(alphabet="ab<|>\n user", min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda text: text and not any(mark in text for mark in MARKS.values()))
)
CHATS = st.lists(st.tuples(st.sampled_from(ROLES[1:]), CONTENT), min_size=1, max_size=6)
HEADS = st.lists(st.tuples(st.just("system"), CONTENT), max_size=1)
CHAT = [
    ("system", "Brief."),
    ("user", "One"),
    ("assistant", "1"),
    ("user", "Two"),
    ("assistant", "2"),
    ("user", "Three"),
]


@given(HEADS, CHATS)
def test_every_chat_comes_back_from_its_text(head, turns):
    chat = [*head, *turns]
    text = render_chat(chat)
    # A content's end and the next mark must not make another mark: then the template would be read otherwise.
    assert parse_chat(text) == chat


def test_a_prompt_is_a_chat_of_one_message():
    assert render_chat([("user", "2+2")]) == "2+2" and parse_chat("2+2") == [("user", "2+2")] and parse_chat("") == []


def test_every_answer_stands_behind_what_was_said_before():
    pairs = answers_of(CHAT)
    assert [answer for _, answer in pairs] == ["1", "2"]
    assert [parse_chat(history) for history, _ in pairs] == [CHAT[:2], CHAT[:4]]
    assert answers_of([("assistant", "Hello"), ("user", "Hi")]) == []


@given(st.integers(0, 120))
def test_the_oldest_turns_go_and_the_system_stays(room):
    found = shortened(CHAT, lambda text: len(text) <= room)
    endings = [[CHAT[0], *CHAT[start:]] for start in (1, 3, 5)]
    fitting = [chat for chat in endings if len(render_chat(chat)) <= room]
    assert found == (fitting[0] if fitting else None)


def test_marks_that_a_model_writes_are_taken_out():
    assert without_marks("a<|us<|user|>er|>b<|system|>") == "ab"


def read(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return chats_of(read_jsonl(path))


def test_rows_of_both_kinds_are_read(tmp_path):
    assert read(tmp_path, {"prompt": " 2+2 ", "answer": "4"}, {"prompt": "1+1", "answer": "2"}) == [
        [("2+2", "4")], [("1+1", "2")],
    ]  # fmt: skip
    said = {"messages": [{"role": role, "content": content} for role, content in CHAT]}
    assert read(tmp_path, said) == [answers_of(CHAT)]


def messages(*found):
    return {"messages": [{"role": role, "content": content} for role, content in found]}


GOOD = messages(("user", "Hi"), ("assistant", "Oh"))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (messages(("user", "Hi"), ("asistant", "Oh")), "message 2: role must be one of system, user, assistant; got 'asistant'; did"),
        (messages(("user", "Hi"), ("system", "Oh")), "a message of the system must be the first one"),
        (messages(("user", " ")), "message 1: content must be a text that is not empty"),
        (messages(("user", "a<|user|>b")), "message 1: content must not hold <.user.>"),
        ({"messages": [{"role": "user"}]}, "message 1 must be an object with role and content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "message 1: content must be a text"),
        ({"messages": "Hi"}, "messages must be a list of objects"),
        ({"messages": []}, "messages must be a list of objects"),
    ],
)  # fmt: skip
def test_a_row_that_is_no_chat_is_told_with_its_line(tmp_path, row, told):
    with pytest.raises(TransformerError, match=rf"rows.jsonl:2: {told}") as raised:
        read(tmp_path, GOOD, row)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"prompt": "a", "answer": ""}], "rows.jsonl:1: answer must be a text that is not empty; got ''"),
        ([{"prompt": "a", "answer": "b"}, {"prompt": "a"}], "rows.jsonl:2: answer must be a text that is not empty; got none"),
        ([{"prompt": "<|user|>", "answer": "b"}], "rows.jsonl:1: content must not hold"),
        ([{"question": "a"}], "must have the columns prompt and answer, or messages; it has question"),
        ([messages(("user", "Hi"))], "must have an answer of the assistant to learn; it has none"),
    ],
)  # fmt: skip
def test_a_file_without_answers_is_told(tmp_path, rows, told):
    with pytest.raises(TransformerError, match=told) as raised:
        read(tmp_path, *rows)
    assert "\n" not in str(raised.value)
