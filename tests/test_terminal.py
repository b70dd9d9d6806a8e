"""What a command says: with the time where nobody watches, and as it is where programs read it."""

import io
import itertools
import os
import re

import pytest
from command_line import call
from rich.console import Console

from qsit_ray.terminal import BETWEEN_SECONDS, QUIET_SECONDS, Bar, Terminal, in_words, quiet

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "


def terminal(is_terminal, **how):
    output = io.StringIO()
    return Terminal(Console(file=output, force_terminal=is_terminal, width=80), **how), output


def test_what_is_said_of_work_has_the_time_in_a_log_and_none_at_a_terminal():
    long = "a line is never wrapped [in a log] " * 9
    logged, output = terminal(False, stamped=True)
    logged.say(long)
    assert re.fullmatch(STAMP + re.escape(long) + "\n", output.getvalue())
    shown, output = terminal(True, stamped=True)
    shown.say("at work")
    assert output.getvalue() == "at work\n"


def test_results_have_no_time():
    logged, output = terminal(False)
    logged.say("SRCC 0.9")
    logged.table("Results", ["result", "value"], [("SRCC", "0.9")])
    assert output.getvalue().startswith("SRCC 0.9\n")
    assert not re.search(STAMP, output.getvalue())


def test_a_verb_that_shows_results_prints_them_as_they_are(tmp_path):
    done = call("config", "write", "--preset", "demo", "--out", tmp_path / "mine.yaml")
    assert done.stdout.startswith(f"{tmp_path / 'mine.yaml'}: written")


def test_a_command_at_work_on_a_run_says_when(tmp_path):
    words = ["--preset", "rehearsal"]
    done = call("data", "build", tmp_path / "run", *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines and all(re.match(STAMP, line) for line in lines)


def test_a_bar_in_a_log_is_lines_without_control_characters():
    logged, output = terminal(False)
    with logged.bar("Search") as bar:
        bar.update(1, 8, "ratio=1 seed=0", "2 running")
        bar.update(2, 8, "ratio=2 seed=0")
        bar.update(8, 8, "ratio=3 seed=0")
    texts = ["Search ...", "Search: 1 of 8, ratio=1 seed=0, 2 running",
             "Search: 8 of 8, ratio=3 seed=0"]  # fmt: skip
    lines = "".join(f"{STAMP}{re.escape(text)}\n" for text in texts)
    assert re.fullmatch(lines, output.getvalue())


def test_the_state_at_an_error_is_told():
    logged, output = terminal(False)
    with pytest.raises(ValueError), logged.bar("Search") as bar:
        bar.update(1, 8)
        bar.update(2, 8)
        raise ValueError
    assert "Search: 2 of 8" in output.getvalue().splitlines()[-1]


def test_lines_of_a_bar_have_a_distance():
    """Of a second each: work that ends every 10 s, and figures that change all the time."""
    now, told = 0, []
    bar = Bar("Search", lambda text: told.append(now), clock=lambda: now)
    for now in range(600):
        bar.update(now // 10, 60, f"trial {now // 10}", f"{now} s")
    assert told[0] == 0
    assert {b - a for a, b in itertools.pairwise(told)} == {BETWEEN_SECONDS}


def test_figures_alone_are_told_now_and_then():
    now, told = 0, []
    bar = Bar("Train", lambda text: told.append((now, text)), clock=lambda: now)
    for now in range(1_000):
        bar.update(1 + now, 100_000, figures=f"loss {now}")
    assert [at for at, _ in told] == [0, *range(int(QUIET_SECONDS), 1_000, int(QUIET_SECONDS))]
    assert told[-1][1] == "Train: 901 of 100000, loss 900, about 28 h left"


def test_the_time_left_is_that_of_the_pace_since_the_work_went_on():
    now, told = 0, []
    bar = Bar("Train", told.append, clock=lambda: now)
    for moment, done in ((0, 600), (400, 610), (800, 620)):
        now = moment
        bar.update(done, 1_000)
    bar.tell()
    assert told == ["Train: 600 of 1000", "Train: 610 of 1000, about 4 h left",
                    "Train: 620 of 1000, about 4 h left"]  # fmt: skip
    bar.update(621, 1_000, left=50)
    bar.update(1_000, 1_000)
    bar.tell()
    assert told[3:] == ["Train: 1000 of 1000"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "120 min"), (7_200, "2 h"),
     (172_800, "2 d"), (1e6, "12 d")],
)  # fmt: skip
def test_a_duration_in_words(seconds, text):
    assert in_words(seconds) == text


def test_a_terminal_shows_what_is_said_below_the_bar_and_cuts_it():
    shown, output = terminal(True)
    with shown.bar("Search") as bar:
        bar.update(3, 8, "ratio 2.42 seed 1: score 0.61" + " and more" * 9, "2 running", left=600)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue()).splitlines()
    assert any("3/8" in line and "Search" in line for line in last)
    (note,) = {line.strip() for line in last if "ratio 2.42" in line}
    assert note.endswith("…") and len(note) <= 80
    assert any(line.strip() == "2 running, about 10 min left" for line in last)


def test_nothing_is_painted_where_the_output_of_a_command_goes_to_a_file(tmp_path, capfd):
    with quiet(tmp_path / "log") as logged:
        os.write(1, b"a library\n")
        with logged.bar("Work") as bar:
            bar.update(1, 1)
    shown = capfd.readouterr()
    assert re.fullmatch(f"{STAMP}Work ...\n{STAMP}Work: 1 of 1\n", shown.out)
    assert (tmp_path / "log").read_text() == "a library\n"
