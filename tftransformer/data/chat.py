"""Chats as texts: the template that turns messages into a prompt with its answer, and back, and histories that fit.

A message is (role, content). In a text each one stands behind its role's mark, `<|user|>`, `<|assistant|>` or `<|system|>`; the
mark of the user is left out where a text begins with it, so that a prompt with an answer is a chat of one turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tftransformer.data.dedup import well_formed
from tftransformer.data.readers.columns import Table
from tftransformer.data.readers.jsonl import MISSING
from tftransformer.errors import TransformerError, check_choice

SYSTEM, USER, ASSISTANT = ROLES = ("system", "user", "assistant")
MARKS = {role: f"<|{role}|>" for role in ROLES}
_ANY_MARK = re.compile("|".join(map(re.escape, MARKS.values())))

Message = tuple[str, str]


def render_chat(messages: Iterable[Message]) -> str:
    """The text of messages; the answer of the assistant, or its next one, comes behind it.

    Raises:
        TransformerError: A role is unknown, a content is empty or holds a mark, or a message of the system is not the first.

    Example:
        >>> render_chat([("user", "Hello"), ("assistant", "Hi!"), ("user", "How are you?")])
        'Hello<|assistant|>Hi!<|user|>How are you?'
    """
    messages = [_checked(*message) for message in messages]
    if any(role == SYSTEM for role, _ in messages[1:]):
        raise TransformerError("a message of the system must be the first one; got one behind others")
    text = "".join(f"{MARKS[role]}{content}" for role, content in messages)
    return text.removeprefix(MARKS[USER])


def parse_chat(text: str) -> list[Message]:
    """The messages of a text: the inverse of `render_chat`.

    Example:
        >>> parse_chat("<|system|>Be brief.<|user|>Hello")
        [('system', 'Be brief.'), ('user', 'Hello')]
    """
    if not text:
        return []
    marks = list(_ANY_MARK.finditer(text))
    if not marks or marks[0].start():
        return [
            (USER, text[: marks[0].start()] if marks else text),
            *parse_chat(text[marks[0].start() :] if marks else ""),
        ]
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [(mark[0][2:-2], text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]


def without_marks(text: str) -> str:
    """A text without the template's marks, as `render_chat` wants contents.

    Example:
        >>> without_marks("Yes.<|user|>And")
        'Yes.And'
    """
    while _ANY_MARK.search(text):  # taking one out may join another
        text = _ANY_MARK.sub("", text)
    return text.strip()


def answers_of(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Each answer of the assistant behind the text of what was said before: pairs (history, answer).

    A message of the assistant that comes before all others is only history.

    Example:
        >>> answers_of([("user", "Hello"), ("assistant", "Hi!"), ("user", "Bye"), ("assistant", "See you.")])
        [('Hello', 'Hi!'), ('Hello<|assistant|>Hi!<|user|>Bye', 'See you.')]
    """
    places = [place for place, (role, _) in enumerate(messages) if role == ASSISTANT and place]
    return [(render_chat(messages[:place]), messages[place][1].strip()) for place in places]


def shortened(messages: Sequence[Message], fits: Callable[[str], bool]) -> list[Message] | None:
    """The messages without as many of the oldest as it takes to fit; the system's stays, and so does the last one.

    The remaining messages begin with one of the user, after the system's.

    Args:
        messages: A history.
        fits: Whether its text, or a shorter one, is short enough.

    Returns:
        Messages, or None where not even the last one fits.

    Example:
        >>> shortened([("user", "One"), ("assistant", "1"), ("user", "Two")], lambda text: len(text) < 10)
        [('user', 'Two')]
    """
    messages = list(messages)
    head = messages[:1] if messages and messages[0][0] == SYSTEM else []
    turns = messages[len(head) :]
    starts = [0, *(place for place, (role, _) in enumerate(turns) if place and role == USER)]
    for start in starts:
        if fits(render_chat([*head, *turns[start:]])):
            return [*head, *turns[start:]]
    return None


def chats_of(table: Table) -> list[list[tuple[str, str]]]:
    """The pairs (history, answer) of each row of a table of prompts and answers, or of messages.

    Args:
        table: With the columns `prompt` and `answer`, texts; or with `messages`, lists of objects of `role` and `content`.

    Raises:
        TransformerError: With file and line: an unknown role, a message that is none, or one without content; no such columns,
            or no answer in all rows.

    Example:
        >>> chats_of(Table("chats.jsonl", ("prompt", "answer"), [["2+2", "4"]], [1]))
        [[('2+2', '4')]]
    """
    names = table.names or ()
    if "messages" in names:
        found = [answers_of(_messages(row[names.index("messages")], where)) for row, where in _rows(table)]
    elif {"prompt", "answer"} <= set(names):
        found = []
        for row, where in _rows(table):
            prompt, answer = (_text(row[names.index(name)], where, name) for name in ("prompt", "answer"))
            found.append([(_located(where, render_chat, [(USER, prompt)]), answer)])
    else:
        raise TransformerError(
            f"{table.path} must have the columns prompt and answer, or messages; it has {', '.join(names) or 'none'}"
        )
    if not any(found):
        raise TransformerError(f"{table.path} must have an answer of the assistant to learn; it has none")
    return found


def _rows(table: Table) -> Iterable[tuple[Sequence, str]]:
    return ((row, f"{table.path}:{line}") for row, line in zip(table.rows, table.lines, strict=True))


def _located(where: str, call: Callable, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except TransformerError as error:
        raise TransformerError(f"{where}: {error}") from None


def _messages(cell: Any, where: str) -> list[Message]:
    if not isinstance(cell, list) or not cell:
        raise TransformerError(f"{where}: messages must be a list of objects with role and content")
    messages = []
    for number, message in enumerate(cell, 1):
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise TransformerError(f"{where}: message {number} must be an object with role and content")
        content = _text(message["content"], f"{where}: message {number}", "content")
        messages.append(_located(f"{where}: message {number}", _checked, message["role"], content))
    _located(where, render_chat, messages)
    return messages


def _text(cell: Any, where: str, name: str) -> str:
    if cell is MISSING or not isinstance(cell, str) or not cell.strip():
        got = "none" if cell is MISSING or cell is None else repr(cell)
        raise TransformerError(f"{where}: {name} must be a text that is not empty; got {got:.60}")
    return well_formed(cell).strip()


def _checked(role: Any, content: str) -> Message:
    check_choice("role", role, ROLES)
    if not content.strip():
        raise TransformerError("content must be a text that is not empty")
    if mark := _ANY_MARK.search(content):
        raise TransformerError(f"content must not hold {mark[0]}, a mark of the template")
    return role, content.strip()
