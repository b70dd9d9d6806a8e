"""Every command of the pages is run: here, by another test that is named, or, where it needs what
no test has, its words are read by the command line that they are for."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from page_commands import ROOT, blocks, commands, inline
from typer.testing import CliRunner

from qsit_ray.cli import command_line
from qsit_ray.cli.app import app
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies.__main__ import app as studies

QSIT = typer.main.get_command(app)

# What a page writes for what a reader fills in.
PLACEHOLDERS = {
    "--tokens-per-second N": "--tokens-per-second 9000",
    "--epoch N": "--epoch 0",
    " FILE": " other.yaml",
}
# Folders of other machines, and where the fixture `place` has them.
ABSOLUTE = {"/data/": "databases/", "=/models/": "=models/"}

# Run below, in a folder that has their files.
HERE = (
    r"qsit config (show|write|diff) ",
    r"qsit show ",
    r"qsit search show ",
    r"qsit train show ",
    r"qsit search estimate ",
    r"qsit train plan ",
    r"qsit fit ",
    r"qsit data (init|read|import|levels|select) ",
    r"qsit data convert attributes ",
    r"qsit evaluate (iqa|llvisionqa|compare|rating-style) ",
)

# By another test, of the same verb on files of its own: they need a model, Ray, a server, or
# minutes. Those of USE.md run as the page has them.
ELSEWHERE = {
    r"docs/USE\.md:\d+: qsit (?!serve)(?!.*--output)": (
        "tests/cli/test_rating.py::test_the_commands_of_the_page_run"
    ),
    r"docs/USE\.md:\d+: qsit score --input": (
        "tests/rating/test_job.py::"
        "test_a_job_whose_driver_and_actors_are_killed_ends_with_each_image_once"
    ),
    r"qsit score .*--profile RUN": (
        "tests/rating/test_profiles.py::test_a_server_is_asked_with_the_file"
    ),
    r"qsit run --preset prompts\.yaml ": (
        "tests/test_own_words.py::test_a_run_in_other_words_scores_with_them"
    ),
    r"qsit score .*--selftest": (
        "tests/cli/test_rating.py::test_the_selftest_tells_another_models_weights"
    ),
    r"qsit score .*--model (RUN|runs/)": (
        "tests/cli/test_rating.py::test_a_runs_folder_stands_for_its_model"
    ),
    r"qsit score .*--out ": (
        "tests/cli/test_rating.py::test_a_file_has_all_scores_and_what_they_depend_on"
    ),
    r"qsit ask ": "tests/cli/test_rating.py::test_questions_and_choices",
    r"qsit serve ": "tests/service/test_serve.py::test_a_service_from_start_to_end",
    r"curl ": ("tests/service/test_serve.py::test_curl_gets_a_score_and_ctrl_c_ends_the_service"),
    r"qsit data build ": "tests/test_own_data.py::test_own_data_end_in_a_report",
    r"qsit data audit ": "tests/test_own_data.py::test_own_data_end_in_a_report",
    r"qsit data unpack ": (
        "tests/data/test_unpacking.py::test_each_form_gives_the_same_records_and_the_images_bytes"
    ),
    r"qsit data export ": (
        "tests/data/test_export.py::test_an_exported_mix_has_exactly_the_plans_rows"
    ),
    r"qsit data convert pathway .*--dry-run": (
        "tests/data/test_pathway.py::test_a_dry_run_asks_nothing_and_knows_what_is_left"
    ),
    r"qsit data convert pathway ": (
        "tests/data/test_pathway.py::"
        "test_every_feedback_is_converted_once_or_rejected_also_after_a_kill"
    ),
    r"qsit data distort ": (
        "tests/data/test_distorting.py::test_a_folder_is_distorted_once_and_goes_on_where_it_stopped"
    ),
    r"qsit run --from ": (
        "tests/test_fork.py::test_only_what_depends_on_a_changed_setting_is_run_again"
    ),
    r"qsit run --preset pools\.yaml ": (
        "tests/test_generality.py::test_pools_of_text_are_mixed_from_files_to_a_report"
    ),
    r"qsit run --preset rehearsal ": (
        "tests/search/test_rehearsal.py::test_the_planted_optima_are_found_within_the_stated_interval"
    ),
    r"qsit run (.* )?--out ": "tests/test_pipeline.py::test_the_report_and_the_ledger_are_written",
    r"qsit search run RUN$": (
        "tests/search/test_interrupt.py::test_a_stopped_search_is_finished_by_the_same_command"
    ),
    r"qsit search run RUN --set": (
        "tests/search/test_extension.py::test_ratios_and_seeds_are_added_to_a_finished_search"
    ),
    r"qsit search end RUN$": (
        "tests/search/test_end.py::test_the_finished_trials_are_all_of_the_axis"
    ),
    r"qsit search merge-check ": (
        "tests/search/test_merging.py::test_a_check_trains_and_merges_and_keeps_what_it_trained"
    ),
    r"qsit train run RUN --workers ": (
        "tests/train/test_interrupted.py::test_a_training_resumes_with_fewer_workers"
    ),
    r"qsit train run RUN --set train\.micro": (
        "tests/test_pipeline.py::test_settings_of_memory_patience_and_reporting_change_in_mid_run"
    ),
    r"qsit train run RUN --set train\.min_workers": (
        "tests/train/test_elastic.py::"
        "test_a_training_goes_on_without_a_node_and_takes_it_in_when_it_returns"
    ),
    r"qsit export ": "tests/test_own_data.py::test_own_data_end_in_a_report",
    r"qsit report ": (
        "tests/train/test_interrupted.py::test_evaluation_and_report_run_as_single_stages"
    ),
    r"qsit ablate ": "tests/test_ablation.py::test_arms_are_trained_compared_and_kept",
    r"python -m evaluation\.studies ablation ": (
        "tests/test_ablation.py::test_arms_are_trained_compared_and_kept"
    ),
    r"qsit evaluate efficiency ": (
        "tests/evaluation/test_efficiency.py::test_the_command_prints_one_object"
    ),
    r"qsit evaluate lldescribe ": (
        "tests/evaluation/lldescribe/test_benchmark.py::"
        "test_the_command_prints_one_object_and_its_mistakes_are_input_errors"
    ),
    r"qsit submit ": (
        "tests/cluster/test_jobs.py::test_a_job_runs_to_its_end_and_tells_what_it_was"
    ),
    r"ray job submit ": (
        "tests/cluster/test_jobs.py::"
        "test_rays_own_command_does_the_same_and_says_that_the_revision_is_unknown"
    ),
    r"make bench-smoke$": (
        "tests/benchmarks/test_suite.py::"
        "test_a_smoke_run_tells_that_both_sides_are_the_same_and_no_speed"
    ),
    r"make demo$": "tests/test_wheel.py::test_a_small_demo_runs",
}

# Only read: what they need no test has, or they are the tests.
READ = {
    r"make \w+( ONLY=\w+)?$": "a target of the Makefile, which is looked up",
    r"python -m evaluation\.studies first-batch": "minutes of Ray alone; its study is looked up",
    r"(\.venv/bin/)?pre-commit install": "tests/test_packaging.py has what its checks run",
    r"(python3\.11 -m venv|source|pip install|pip download) ": "an environment, from an index",
    r"QSIT_QWEN_VOCABULARY=": "the vocabulary is a download",
    r"ray (job (logs|list|stop)|up|down|dashboard|start|get-auth-token)\b": "a cluster of machines",
    r"kubectl ": "a Kubernetes cluster; tests/cluster has its manifests",
    r"mkdir -p ": "beside them, on a cluster",
    r"export ": "variables of the commands after it",
    r"(prometheus|grafana-server) ": "programs of others",
    r"vllm serve ": "GPUs; tests/support/vllm_server.py answers in its place",
}


def way_of(command):
    """HERE, the test that runs it, or the reason why it is only read; None where nothing does."""
    if any(re.match(pattern, command.text) for pattern in HERE) and "USE.md" not in command.page:
        return "here"
    for table in (ELSEWHERE, READ):
        for pattern, answer in table.items():
            if re.match(pattern, command.text) or re.match(pattern, str(command)):
                return answer
    return None


def test_every_command_is_run_or_read():
    assert len(commands()) > 150
    assert not [str(command) for command in commands() if way_of(command) is None]


def test_no_entry_is_for_nothing():
    texts = [name for command in commands() for name in (command.text, str(command))]
    unused = [
        pattern
        for pattern in (*HERE, *ELSEWHERE, *READ)
        if not any(re.match(pattern, text) for text in texts)
    ]
    assert not unused


@pytest.mark.parametrize("named", sorted(set(ELSEWHERE.values())))
def test_the_tests_that_run_commands_are_there(named):
    file, _, function = named.partition("::")
    assert f"\ndef {function}(" in (ROOT / file).read_text()


def parsed(words):
    """The words after `qsit`, read as the command line does."""
    return command_line.parsed(QSIT, words)


def words_of(text):
    text = re.sub(r"\[(--[^\]]*)\]", r"\1", text)  # what is in brackets may be left out
    for written, filled in PLACEHOLDERS.items():
        text = text.replace(written, filled)
    return shlex.split(text.partition(" > ")[0])


def qsit_words(text):
    """The words after each `qsit` of a command, those of a job too."""
    words = words_of(text)
    if words[:3] == ["ray", "job", "submit"]:
        words = words[words.index("qsit") :]
    if words[0] == "qsit":
        yield words[1:]
        if words[1] == "submit":
            yield words[words.index("--") + 1 :]


OF_QSIT = [
    command for command in commands() if command.text.startswith(("qsit ", "ray job submit"))
]


@pytest.mark.parametrize("command", OF_QSIT, ids=str)
def test_the_command_line_takes_its_words(command):
    for words in qsit_words(command.text):
        parsed(words)


@pytest.mark.parametrize("command", [c for c in OF_QSIT if "--set" in c.text], ids=str)
def test_settings_that_a_command_changes_may_have_these_values(command):
    """Of one preset or another: those of a file or a run are not known here."""
    *_, words = qsit_words(command.text)
    wrong = []
    for preset in ("demo", "paper"):
        try:
            override(presets.resolve(preset), parsed(words).values["assignments"])
        except InputError as error:
            wrong.append(str(error))
    assert len(wrong) < 2, wrong


def options_of(words):
    """The options that a verb has; None where the words name no verb."""
    found = QSIT
    for word in words:
        if not hasattr(found, "commands"):
            break
        found = found.commands.get(word)
        if found is None:
            return None
    return {name for each in found.params for name in (*each.opts, *each.secondary_opts)}


def test_options_that_the_text_names_exist():
    """Of `qsit verb --option` within sentences and tables, where more may be left out."""
    assert len(inline()) > 100
    wrong = []
    for command in inline():
        text = command.text.split("--command")[0]
        own = text.partition(" -- ")[0].split()[1:]
        verbs = [word for word in own if re.fullmatch(r"[a-z][a-z-]*", word)]
        known = options_of(verbs)
        used = {word.split("=")[0] for word in own if re.match(r"--[a-z]", word)}
        if known is None or used - known - {"--help", "--version"}:
            wrong.append(f"{command}: {sorted(used - (known or set()))}")
    assert not wrong


def test_targets_of_make_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {c.text.split()[1] for c in commands() if c.text.startswith("make ")}
    assert named and not named - targets


def test_studies_exist():
    known = set(typer.main.get_command(studies).commands)
    pages = {page: (ROOT / page).read_text() for page in {c.page for c in commands()}}
    named = {
        (page, name)
        for page, text in pages.items()
        for name in re.findall(r"evaluation\.studies ([a-z][\w-]*)", text)
    }
    assert len(named) > 15
    assert not [each for each in sorted(named) if each[1] not in known]


def by_page():
    """Commands that run here, in the order of their pages: later ones need what earlier made."""
    found = {}
    for command in commands():
        if way_of(command) == "here":
            found.setdefault(command.page, []).append(command)
    return found


@pytest.mark.parametrize("page", by_page())
def test_the_commands_of_a_page_run(page, place, monkeypatch):
    monkeypatch.chdir(place)
    for made in ("mine.yaml", "my_run.yaml", "rows.parquet"):
        Path(made).unlink(missing_ok=True)
    for written, file in (("SEARCH", "mine.yaml"), ("PROMPTS", "prompts.yaml")):
        if page == f"docs/HOWTO_{written}.md":
            ((_, text),) = blocks(ROOT / page, ("yaml",))
            Path(file).write_text(text)
    if page == "docs/TUTORIAL.md":
        ((_, program),) = blocks(ROOT / page, ("python",))
        subprocess.run([sys.executable, "-c", program], check=True)
    for command in by_page()[page]:
        text = command.text
        for written, there in ABSOLUTE.items():
            text = text.replace(written, there)
        words = words_of(text)
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, (str(command), done.output, done.exception)
        assert done.output, str(command)
