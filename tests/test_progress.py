"""Progress bars: what they write, where, and how often."""

import io

import pytest

from tftransformer import progress as module
from tftransformer.progress import Progress, progress


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def run(clock, stream, steps=100, seconds=1.0, **kwargs):
    with Progress(stream=stream, **kwargs) as bar:
        for _ in range(steps):
            clock.now += seconds
            bar.update()
    return stream.getvalue()


def test_lines_without_a_terminal_come_every_ten_seconds(clock):
    lines = run(clock, io.StringIO(), total=100, description="counting").splitlines()
    assert lines[0] == "counting  10/100  10 %  0:10  1/s  1:30 left"
    assert lines[-1] == "counting  100/100 100 %  1:40  1/s"
    assert len(lines) == 11


def test_short_work_is_silent_without_a_terminal(clock):
    assert run(clock, io.StringIO(), steps=5, total=5) == ""


def test_a_terminal_gets_one_line_drawn_over_at_most_ten_times_a_second(clock):
    text = run(clock, Terminal(), steps=1000, seconds=0.01, total=1000, description="counting")
    assert text.count("\n") == 1 and text.endswith("\n")
    assert 90 <= text.count("\r") <= 102
    last = text.split("\r")[-1]
    assert "[========================]" in last and "1,000/1,000 100 %" in last
    assert len({len(line.rstrip("\n")) for line in text.split("\r")[1:]}) == 1


def test_unknown_total_shows_the_count_and_the_note(clock):
    stream = io.StringIO()
    with Progress(description="reading", stream=stream) as bar:
        clock.now += 7200
        bar.update(1500, note="loss 6.46")
    assert stream.getvalue().splitlines()[0] == "reading  1,500  2:00:00  0.208/s  loss 6.46"


def test_progress_yields_every_item_and_takes_the_length(clock):
    stream = Terminal()
    assert list(progress(["a", "b"], description="d", stream=stream)) == ["a", "b"]
    assert "2/2 100 %" in stream.getvalue()
    assert list(progress(iter("ab"), stream=Terminal())) == ["a", "b"]


def test_breaking_out_or_raising_ends_the_line(clock):
    stream = Terminal()
    for item in progress(range(10), stream=stream):
        if item == 3:
            break
    del item
    assert stream.getvalue().endswith("\n") and "3/10" in stream.getvalue()
    with pytest.raises(RuntimeError), Progress(3, stream=(stream := Terminal())):
        raise RuntimeError
    assert stream.getvalue().endswith("\n")


def test_more_steps_than_expected_stay_at_all_of_them(clock):
    assert "12/10 100 %" in run(clock, Terminal(), steps=12, total=10)


def test_closing_twice_writes_once(clock):
    stream = Terminal()
    bar = Progress(2, stream=stream)
    bar.close()
    bar.close()
    assert stream.getvalue().count("\n") == 1


def test_a_broken_stream_does_not_end_the_work(clock):
    stream = Terminal()
    stream.close()
    assert list(progress(range(3), stream=stream)) == [0, 1, 2]


def test_results_on_stdout_stay_clean(capsys):
    list(progress(range(3), description="d"))
    assert capsys.readouterr().out == ""
