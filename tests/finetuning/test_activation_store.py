"""The store of hidden vectors: exact, append-only, and never wrong after a crash, a damage or a race."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import activation_store
from tftransformer.finetuning.activation_store import ActivationStore, claim

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 4
# What another process runs: rows of which everything can be told from their number.
WRITER = """
import os, signal, sys
import numpy as np
from tftransformer.finetuning import activation_store
activation_store.SHARD_BYTES = 64
folder, first, last, die_at = sys.argv[1], *map(int, sys.argv[2:])

def batches():
    for number in range(first, last):
        if number == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        length = 1 + number % 3
        yield [number.to_bytes(16, "little")], [length], np.full((length, 4), number, "float32")

activation_store.ActivationStore(folder, 4, "float32").add(batches())
"""


def digest(number):
    return number.to_bytes(16, "little")


def rows(*numbers):
    for number in numbers:
        length = 1 + number % 3
        yield [digest(number)], [length], np.full((length, WIDTH), number, "float32")


def writer(folder, first, last, die_at=-1):
    command = [sys.executable, "-c", WRITER, str(folder), str(first), str(last), str(die_at)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=folder)


def held(folder, numbers=range(100)):
    """The numbers of the rows that a store holds, each of which has to hold what belongs to it."""
    store = ActivationStore(folder, WIDTH, "float32")
    found = [number for number in numbers if digest(number) in store]
    for number in found:
        values = store.padded([digest(number)], 3)[0]
        length = 1 + number % 3
        assert (values[:length] == number).all() and (values[length:] == 0).all()
    return found


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(activation_store, "SHARD_BYTES", 64)


def test_rows_come_back_as_they_were_whatever_their_order_and_shard(tmp_path, small_shards):
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 9, 40)
    values = [draw.normal(size=(length, WIDTH)).astype("float32") for length in lengths]
    store = ActivationStore(tmp_path, WIDTH, "float32")
    store.add(
        ([digest(i), digest(i + 1)], lengths[i : i + 2], np.concatenate(values[i : i + 2])) for i in range(0, 40, 2)
    )
    assert len(store) == 40 and len(list(tmp_path.iterdir())) > 5
    for opened in (store, ActivationStore(tmp_path, WIDTH, "float32")):
        order = draw.permutation(40)[:9]
        padded = opened.padded([digest(int(i)) for i in order], 11)
        for row, i in zip(padded, order):
            assert (row[: lengths[i]] == values[i]).all() and (row[lengths[i] :] == 0).all()
    with pytest.raises(KeyError):
        store.padded([digest(40)], 3)


def test_a_process_that_has_imported_nothing_else_knows_bfloat16(tmp_path):
    code = (
        "import sys; from pathlib import Path; "
        "from tftransformer.finetuning.activation_store import ActivationStore; "
        "assert ActivationStore(Path(sys.argv[1]), 4, 'bfloat16').numpy_dtype.name == 'bfloat16'"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=60)


def test_a_killed_writer_leaves_whole_shards_and_nothing_else(tmp_path):
    assert writer(tmp_path, 0, 100, die_at=50).wait(60) == -signal.SIGKILL
    assert any(name.endswith(".partial") for name in os.listdir(tmp_path))
    found = held(tmp_path)
    assert found == list(range(len(found))) and 30 < len(found) < 50
    ActivationStore(tmp_path, WIDTH, "float32").add(rows(*range(len(found), 100)))
    assert held(tmp_path) == list(range(100))


def test_two_processes_that_write_the_same_rows_do_no_harm(tmp_path):
    writers = [writer(tmp_path, 0, 70), writer(tmp_path, 30, 100)]
    assert [process.wait(60) for process in writers] == [0, 0]
    assert held(tmp_path) == list(range(100))


def break_values(shard):
    content = bytearray((shard / "values.npy").read_bytes())
    content[-3] ^= 1
    (shard / "values.npy").write_bytes(content)


def shorten_values(shard):
    os.truncate(shard / "values.npy", (shard / "values.npy").stat().st_size - 16)


def break_index(shard):
    content = bytearray((shard / "index.npy").read_bytes())
    content[-10] ^= 1
    (shard / "index.npy").write_bytes(content)


def forget_meta(shard):
    (shard / "shard.json").unlink()


def empty_meta(shard):
    (shard / "shard.json").write_text("{}")


def list_meta(shard):
    (shard / "shard.json").write_text("[1]")


def other_width(shard):
    meta = json.loads((shard / "shard.json").read_text())
    (shard / "shard.json").write_text(json.dumps({**meta, "width": 2}))


@pytest.mark.parametrize(
    "damage",
    [break_values, shorten_values, break_index, forget_meta, empty_meta, list_meta, other_width],
    ids=lambda f: f.__name__,
)
def test_a_damaged_shard_is_ignored_and_its_rows_are_computed_again(tmp_path, damage):
    store = ActivationStore(tmp_path, WIDTH, "float32")
    store.add(rows(0, 1, 2))
    (shard,) = tmp_path.iterdir()
    store.add(rows(3, 4))
    damage(shard)
    assert held(tmp_path) == [3, 4]
    ActivationStore(tmp_path, WIDTH, "float32").add(rows(0, 1, 2))
    assert held(tmp_path) == [0, 1, 2, 3, 4]


def test_refresh_sees_what_others_add_and_delete(tmp_path):
    store, other = (ActivationStore(tmp_path, WIDTH, "float32") for _ in range(2))
    other.add(rows(5))
    assert digest(5) not in store
    store.refresh()
    assert digest(5) in store
    for shard in tmp_path.iterdir():
        for file in shard.iterdir():
            file.unlink()
        shard.rmdir()
    store.refresh()
    assert len(store) == 0 and digest(5) not in store


def test_a_full_disk_is_one_line_and_keeps_what_was_stored(tmp_path, small_shards):
    def batches():
        yield from rows(*range(20))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = ActivationStore(tmp_path, WIDTH, "float32")
    with pytest.raises(TransformerError, match=r"^cannot write .*No space left on device$"):
        store.add(batches())
    found = held(tmp_path)
    assert found == list(range(len(found))) and 10 < len(found) < 20
    assert not any(name.endswith(".partial") for name in os.listdir(tmp_path))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    def refuse(path, **_):
        raise FileNotFoundError(2, "No such file or directory", str(path.parent))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(TransformerError, match="activation_cache: cannot write .*/a/b: No such file or directory"):
        claim(tmp_path / "a" / "b")
