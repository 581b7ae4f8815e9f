"""Progress: what is written, where, and how often."""

import io
import threading

import pytest
import tqdm.std

from tftransformer.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    return now


def run(clock, stream, steps=100, seconds=1.0, **kwargs):
    with Progress(stream=stream, **kwargs) as bar:
        for _ in range(steps):
            clock[0] += seconds
            bar.update()
    return stream.getvalue()


def test_lines_without_a_terminal_come_every_ten_seconds(clock):
    lines = run(clock, io.StringIO(), total=100, description="counting").splitlines()
    assert lines[0] == "counting  10/100  10 %  00:10   1.00/s  01:30 left"
    assert lines[-1].startswith("counting  100/100 100 %  01:40   1.00/s")
    assert len(lines) == 11 and all(lines)


def test_the_seconds_between_lines_may_be_others(clock):
    assert len(run(clock, io.StringIO(), total=100, line_seconds=50).splitlines()) == 3


def test_short_work_is_silent_without_a_terminal(clock):
    assert run(clock, io.StringIO(), steps=5, total=5) == ""


def test_a_terminal_gets_one_line_drawn_over_at_most_ten_times_a_second(clock):
    text = run(clock, Terminal(), steps=1000, seconds=0.01, total=1000, description="counting")
    assert text.count("\n") == 1 and text.endswith("\n")
    assert 90 <= text.count("\r") <= 102
    assert "counting: 100%" in text.split("\r")[-1] and "1000/1000" in text.split("\r")[-1]


def test_unknown_total_shows_the_count_and_the_note(clock):
    stream = io.StringIO()
    with Progress(description="reading", stream=stream) as bar:
        clock[0] += 7200
        bar.update(1500, note="loss 6.46")
    assert stream.getvalue().splitlines()[0] == "reading  1500  2:00:00   0.21/s, loss 6.46"


def test_raising_ends_the_line(clock):
    with pytest.raises(RuntimeError), Progress(3, stream=(stream := Terminal())):
        raise RuntimeError
    assert stream.getvalue().endswith("\n")


def test_more_steps_than_expected_are_counted_on(clock):
    assert "12" in run(clock, Terminal(), steps=12, total=10).split("\r")[-1]
    assert "12/?" in run(clock, io.StringIO(), steps=12, seconds=10, total=10).splitlines()[-1]


def test_closing_twice_writes_once(clock):
    stream = Terminal()
    bar = Progress(2, stream=stream)
    bar.close()
    bar.close()
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("error", [ValueError, BrokenPipeError])
@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_broken_stream_does_not_end_the_work(clock, kind, error):
    class Broken(kind):
        def write(self, text):
            raise error

    run(clock, Broken(), steps=30, total=30)
    closed = kind()
    closed.close()
    with Progress(3, stream=closed) as bar:
        clock[0] += 30
        bar.update()


def test_results_on_stdout_stay_clean_and_no_thread_is_left(capsys):
    before = threading.active_count()
    with Progress(3, "counting") as bar:
        bar.update(3)
    assert capsys.readouterr().out == "" and threading.active_count() == before
