"""The configuration is strict, described field by field, and read back from its own YAML."""

import pytest

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import files, presets
from qsit_ray.config.changes import changes
from qsit_ray.config.section import Section, descriptions
from qsit_ray.errors import InputError
from qsit_ray.run_config import RunConfig


def sections(kind=Section):
    for section in kind.__subclasses__():
        yield section
        yield from sections(section)


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_field_has_a_description(section):
    assert section.model_fields
    assert set(descriptions(section)) == set(section.model_fields)


TRACKERS = "train.trackers=[{mlflow: {tracking_uri: 'http://x'}}, {wandb: {mode: offline}}]"
LORA = "train.lora={rank: 8, targets: [q_proj, v_proj]}"


@pytest.mark.parametrize(
    ("name", "assignments"),
    [
        ("demo", []),
        ("demo", ["search.adaptive={trials: 9}", TRACKERS, LORA, "train.controller=null"]),
        ("paper", []),
        ("paper", ["data.test_questions='a: b # c'", "search.adaptive={}"]),
        ("paper-without-general", []),
        ("rehearsal", []),
    ],
)
def test_yaml_reads_back_as_the_same_configuration(name, assignments, tmp_path):
    config = files.override(presets.resolve(name), assignments)
    for text in (files.dump(config), files.dump_described(config)):
        (tmp_path / "mine.yaml").write_text(text)
        again = presets.resolve(str(tmp_path / "mine.yaml"))
        assert again == config
        assert files.dump(again) == files.dump(config)  # mappings keep their order


def test_descriptions_are_comments_above_their_keys():
    lines = files.dump_described(files.override(presets.demo(), [TRACKERS])).splitlines()
    assert lines[1] == "preset: demo"
    above = lines[lines.index("        tracking_uri: http://x") - 1]
    assert above.startswith("        # Address of the tracking server")
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("serch.max_steps=3", "serch: unknown key"),
        ("search.max_step=3", "search.max_step: unknown key"),
        ("search.max_steps=0", "search.max_steps: .* got 0"),
        ("search.max_steps=many", "search.max_steps: .* got 'many'"),
        ("search.interpreting_general.ratios=[1, -2]", "ratios.1: .* greater than 0"),
        ("search.interpreting_general.ratios=[1, 1]", "ratios: values repeat"),
        ("search.interpreting_general.axis=interpreting_scoring", "interpreting_general: its axis"),
        ("train.workers=17", "train: training.batch_size 16 has fewer rows than the 17 workers"),
        ("train.min_workers=3", "train: min_workers 3 is more than the 2 workers"),
        ("train.min_workers=1", "train: min_workers needs one_node false: the ranks of one node"),
        ("data.general=0", "data.general"),
        ("search.adaptive={trials: 500}", r"adaptive.trials: 500; the \d seeds of interpreting_g"),
        ("train.epochs", "expected key=value"),
        ("train.epochs={", "not YAML"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_dotted_name(assignment, words):
    with pytest.raises(InputError, match=words):
        files.override(presets.demo(), [assignment])


ELASTIC = ["train.one_node=false", "train.min_workers=1"]


@pytest.mark.parametrize(
    "counted", ["loss=micro_batch_mean", "levels={target: soft, ranking_weight: 0.1}"]
)
def test_ranks_that_results_depend_on_do_not_change_in_number(counted):
    assert files.override(presets.demo(), ELASTIC).train.least(2) == 1
    with pytest.raises(InputError, match=r"train.min_workers: results depend on the number of wor"):
        files.override(presets.demo(), [*ELASTIC, counted])
    files.override(presets.demo(), [*ELASTIC, counted, "train.min_workers=null"])


def test_an_override_changes_one_setting():
    demo = presets.demo()
    other = files.override(demo, ["train.controller.step=0.3", "seed=4"])
    assert other.train.controller.step == 0.3
    keys = [change.key for change in changes(demo, other)]
    assert keys == ["seed", "train.controller.step"]


def test_a_file_with_an_error_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: [")
    with pytest.raises(InputError, match=r"mine.yaml: not YAML"):
        presets.resolve(str(path))
    path.write_text("preset: mine")
    with pytest.raises(InputError) as found:
        presets.resolve(str(path))
    lines = str(found.value).splitlines()
    assert lines[0].endswith("mine.yaml: 4 mistakes")
    assert sorted(line.strip() for line in lines[1:]) == [
        f"{name}: Field required" for name in ("data", "models", "search", "train")
    ]


def test_a_file_changes_what_it_extends(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("extends: demo\nseed: 3\ntrain: {epochs: 9}\n")
    second.write_text("extends: first.yaml\ntrain: {workers: 1}\ndata: {scoring: 7}\n")
    expected = files.override(
        presets.demo(), ["seed=3", "train.epochs=9", "train.workers=1", "data.scoring=7"]
    )
    assert presets.resolve(str(second)) == expected


def test_another_source_of_data_replaces_the_extended_one(tmp_path):
    file = tmp_path / "mine.yaml"
    wanted = presets.resolve("rehearsal").data
    rows = f"scoring: {wanted.scoring}, interpreting: {wanted.interpreting}"
    file.write_text(
        f"extends: demo\ndata: {{source: rehearsal, {rows}, general: {wanted.general}}}\n"
    )
    assert presets.resolve(str(file)).data == wanted


@pytest.mark.parametrize(
    "base", ["mine.yaml", "other.yaml", "sub/../mine.yaml", "nothing", "[demo]"]
)
def test_what_cant_be_extended_is_named(base, tmp_path):
    file = tmp_path / "mine.yaml"
    (tmp_path / "other.yaml").write_text("extends: mine.yaml\n")
    (tmp_path / "sub").mkdir()
    file.write_text(f"extends: {base}\n")
    with pytest.raises(InputError, match=r"(mine|other).yaml: extends: "):
        presets.resolve(str(file))


def test_a_runs_own_configuration_is_a_preset(tmp_path):
    run = RunFolder(tmp_path)
    RunConfig(presets.demo(), {"qsit_ray": "0"}, [{"time": "now", "changed": {}}]).write(run)
    assert presets.resolve(str(run.config)) == presets.demo()


def test_a_repeated_key_is_refused(tmp_path):
    """YAML would take the second axis of one name and drop the first."""
    file = tmp_path / "mine.yaml"
    file.write_text("search:\n  interpreting_general: {}\n  interpreting_general: {}\n")
    with pytest.raises(InputError, match=r"interpreting_general occurs twice.*line 3"):
        files.read_yaml(file)


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(InputError, match="demo"):
        presets.resolve("demoo")


def test_the_demos_grids_span_the_papers_ranges():
    demo = presets.demo()
    for axis in ("interpreting_general", "interpreting_scoring"):
        space = demo.space(axis)
        assert len(space.ratios) >= 6
        assert len(space.seeds) == 3
        assert min(space.ratios) <= 0.1
        assert max(space.ratios) >= 10.0


def test_numbers_with_an_exponent_are_numbers_everywhere(tmp_path):
    """YAML 1.1 reads 1e-3 as a word."""
    ratios = "search.interpreting_general.ratios=[1e-1, 2.5E0, 1, 3, 1e1]"
    config = files.override(presets.demo(), ["train.training.learning_rate=1e-3", ratios])
    assert config.train.training.learning_rate == 0.001
    assert config.search.interpreting_general.ratios == (0.1, 2.5, 1.0, 3.0, 10.0)
    file = tmp_path / "mine.yaml"
    file.write_text("[1e-3, 1e3, -2.E+1, 1e, 1e-3x]")
    assert files.read_yaml(file) == [0.001, 1000.0, -20.0, "1e", "1e-3x"]


def test_a_key_named_as_a_source_of_data_keeps_its_name():
    with pytest.raises(InputError, match=r"--set: search.rehearsal.noise: "):
        files.override(presets.rehearsal(), ["search.rehearsal.noise=-1"])


@pytest.mark.parametrize(
    ("budget", "tokens", "rows"),
    [("null", 8_192, 8), ("16384", 8_192, 2), ("16384", 3_000, 5), ("16384", 20_000, 1)],
)
def test_a_token_budget_bounds_the_rows_of_a_micro_batch(budget, tokens, rows):
    config = files.override(
        presets.paper(), [f"train.micro_tokens={budget}", "train.micro_batch=8"]
    )
    assert config.train.rows_at_once(tokens) == rows


@pytest.mark.parametrize("key", ["train.micro_batch", "search.micro_batch"])
def test_a_ranking_without_pairs_is_refused(key):
    with pytest.raises(InputError, match=rf"ranking_weight: .*{key} 1 leaves none"):
        files.override(presets.demo(), ["levels.ranking_weight=0.5", f"{key}=1"])
