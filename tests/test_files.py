"""Atomic writes, strict JSON, checksums and locks."""

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from tftransformer import files
from tftransformer.errors import TransformerError


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("write", [files.write_bytes, files.write_text, files.write_json])
def test_a_write_leaves_the_file_and_nothing_else(tmp_path, write):
    content = b"abc" if write is files.write_bytes else "abc"
    assert write(tmp_path / "x", content) == tmp_path / "x"
    assert os.listdir(tmp_path) == ["x"]
    expected = b'"abc"\n' if write is files.write_json else b"abc"
    assert (tmp_path / "x").read_bytes() == expected


def test_files_get_the_permissions_of_any_new_file(tmp_path):
    files.write_text(tmp_path / "ours", "")
    (tmp_path / "theirs").write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "theirs")}
    assert len(modes) == 1


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch, step):
    files.write_text(tmp_path / "x", "old")
    monkeypatch.setattr(files.os, step, no_space)
    with pytest.raises(TransformerError, match=r"^cannot write .*x: No space left on device$"):
        files.write_text(tmp_path / "x", "new")
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_text() == "old"


def test_disk_errors_knows_a_full_disk_in_another_librarys_words():
    with pytest.raises(TransformerError, match=r"^cannot write model: No space left on device$"):
        with files.disk_errors("model"):
            raise RuntimeError("SafetensorError: Io error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="other"):
        with files.disk_errors("model"):
            raise RuntimeError("other")
    with pytest.raises(TransformerError, match="^as it was$"):
        with files.disk_errors("model"):
            raise TransformerError("as it was")


def test_a_file_missing_elsewhere_is_not_called_a_failure_to_write(tmp_path):
    with pytest.raises(FileNotFoundError):
        with files.atomic_folder(tmp_path / "new" / "model"):
            open(tmp_path / "elsewhere")
    assert os.listdir(tmp_path / "new") == []


def test_a_missing_parent_is_one_line(tmp_path):
    with pytest.raises(TransformerError, match="No such file or directory"):
        files.write_text(tmp_path / "no" / "x", "")


def test_an_interrupted_write_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with files.atomic_file(tmp_path / "x") as temporary:
            temporary.write_text("half")
            assert files.is_partial(temporary.name)
            raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"


def test_half_a_surrogate_pair_can_be_written(tmp_path):
    files.write_text(tmp_path / "x", "a\udc80b")
    assert (tmp_path / "x").read_text(encoding="utf-8") == "a\\udc80b"
    files.write_json(tmp_path / "y", {"text": "a\udc80b"})
    assert json.loads((tmp_path / "y").read_bytes())["text"] == "a\udc80b"


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_json_is_strict(tmp_path):
    value = {
        "nan": float("nan"),
        "infinity": np.float32("-inf"),
        1: np.int64(3),
        "array": np.array([[1.5, np.nan]]),
        "path": tmp_path,
        "set": {"b", "a"},
        "tuple": (True, None, "ü\n"),
        "empty": [[], {}],
    }
    files.write_json(tmp_path / "x.json", value)
    assert strict((tmp_path / "x.json").read_text("utf-8")) == {
        "nan": None,
        "infinity": None,
        "1": 3,
        "array": [[1.5, None]],
        "path": str(tmp_path),
        "set": ["a", "b"],
        "tuple": [True, None, "ü\n"],
        "empty": [[], {}],
    }


def test_what_json_cannot_hold_is_named(tmp_path):
    with pytest.raises(TransformerError, match=r"^value\.a\[1\] must be something that JSON can hold; got object$"):
        files.write_json(tmp_path / "x", {"a": [1, object()]})
    assert os.listdir(tmp_path) == []


def test_atomic_folder(tmp_path):
    with files.atomic_folder(tmp_path / "a" / "b") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "a" / "b").exists()
    assert os.listdir(tmp_path / "a") == ["b"] and (tmp_path / "a" / "b" / "x").read_text() == "1"
    with pytest.raises(TransformerError, match="must be a new or empty folder"):
        with files.atomic_folder(tmp_path / "a" / "b"):
            pass
    with pytest.raises(TransformerError, match="must be a folder; .* is a file"):
        with files.atomic_folder(tmp_path / "a" / "b" / "x"):
            pass
    with files.atomic_folder(tmp_path / "a" / "b", overwrite=True) as folder:
        (folder / "y").write_text("2")
    assert os.listdir(tmp_path / "a") == ["b"] and os.listdir(tmp_path / "a" / "b") == ["y"]


def test_a_folder_that_fails_leaves_what_was_there(tmp_path):
    with files.atomic_folder(tmp_path / "b") as folder:
        (folder / "x").write_text("old")
    with pytest.raises(TransformerError, match="^cannot write .*b: No space left on device$"):
        with files.atomic_folder(tmp_path / "b", overwrite=True) as folder:
            (folder / "x").write_text("new")
            no_space()
    assert os.listdir(tmp_path) == ["b"] and (tmp_path / "b" / "x").read_text() == "old"


def test_a_folder_whose_last_rename_fails_is_put_back(tmp_path, monkeypatch):
    with files.atomic_folder(tmp_path / "b") as folder:
        (folder / "x").write_text("old")
    rename, calls = os.rename, []

    def second_fails(source, target):
        calls.append(source)
        no_space() if len(calls) == 2 else rename(source, target)

    monkeypatch.setattr(files.os, "rename", second_fails)
    with pytest.raises(TransformerError):
        with files.atomic_folder(tmp_path / "b", overwrite=True) as folder:
            (folder / "x").write_text("new")
    assert os.listdir(tmp_path) == ["b"] and (tmp_path / "b" / "x").read_text() == "old"


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(TransformerError, match="^cannot read .*y: No such file"):
        files.sha256(tmp_path / "y")


def test_a_lock_keeps_others_out_and_leaves_no_file(tmp_path):
    with files.Lock(tmp_path):
        with pytest.raises(TransformerError, match="is in use by another process$"):
            files.Lock(tmp_path)
    lock = files.Lock(tmp_path)
    lock.release()
    lock.release()
    assert os.listdir(tmp_path) == []
    with pytest.raises(TransformerError, match="No such file"):
        files.Lock(tmp_path / "none")


def test_a_lock_keeps_other_processes_out_and_dies_with_its_process(tmp_path):
    code = "import sys; from tftransformer.files import Lock; Lock(sys.argv[1])"
    with files.Lock(tmp_path):
        other = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
        assert other.returncode == 1 and "is in use by another process" in other.stderr
    assert subprocess.run([sys.executable, "-c", code + "; import os; os._exit(9)", tmp_path]).returncode == 9
    files.Lock(tmp_path).release()
