"""The generation benchmark: a tiny run of the whole, and wrong flags."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_tiny_run_gives_a_table_and_a_wrong_flag_one_line(tmp_path):
    def run(*flags):
        return subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / "generation.py"), *flags],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=900,
            check=False,
        )  # fmt: skip

    done = run("--quick", "--beams=1,2", "--batch_sizes=2", "--output_dir=out")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "saved out" and "Traceback" not in done.stderr
    tables = json.loads((tmp_path / "out" / "generation.json").read_text())["tables"]
    assert [title.split(",")[0] for title in tables] == ["greedy", "2 beams"]
    for rows in tables.values():
        ours = next(row for row in rows if row["name"] == "ours")
        assert ours["failure"] is None and len(ours["turns"]) == 2
        assert ours["figures"]["tokens_per_second"]["median"] > 0
    assert (tmp_path / "out" / "generation.md").is_file() and (tmp_path / "out" / "generation.png").is_file()
    wrong = run("--beams=x")
    assert (
        wrong.returncode == 1 and wrong.stderr.splitlines()[-1] == "error: --beams must be a positive integer; got 'x'"
    )
