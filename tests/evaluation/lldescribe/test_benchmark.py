"""Table VI's arithmetic, the rule that reads a reply, and the command."""

import gzip
import json
import random

import pytest
import typer
from planted_judge import DESCRIBED, GOLDEN, by_content, run
from typer.testing import CliRunner

from qsit_ray.cli import lldescribe
from qsit_ray.endpoint import Endpoint
from qsit_ray.errors import InputError
from qsit_ray.evaluation.intervals import Bootstrap, cluster_numbers
from qsit_ray.evaluation.lldescribe import benchmark
from qsit_ray.evaluation.lldescribe.rubric import DIMENSIONS, read_score


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        *[(text, 2) for text in ("2", " 2\n", "**2**", "Score: 2.", "I'd say 2", "２", "Score=2")],
        *[('{"score": 1}', 1), ("<think>2 flaws, 3 hits</think>\n1", 1), ("0 - nothing", 0)],
        *[(text, None) for text in ("", "3", "12", "-1", "1.5", "1/2", "1 or 2", "0-2", "2%")],
        *[(text, None) for text in ("two", "not 2", "It isn't a 2", "<think> 2", "2nd", "none")],
    ],
)
def test_the_rule_that_reads_a_reply(reply, score):
    assert read_score(reply) == score


def test_images_with_one_text_only_are_listed(served, tmp_path):
    golden = {"a.jpg": "Sharp.", "b.jpg": "Soft.", "c.jpg": "", "e.jpg": "Dark."}
    described = {"a.jpg": "Soft.", "c.jpg": "Soft.", "d.jpg": "Soft.", "e.jpg": ""}
    result = run(served(by_content), tmp_path, golden=golden, described=described)
    assert result["images"] == 1
    assert result["missing"] == {
        "without_golden": ["c.jpg", "d.jpg"],
        "without_description": ["b.jpg", "e.jpg"],
    }
    with pytest.raises(InputError, match="no image has both"):
        run("http://localhost/v1", tmp_path, golden={"a": "x"}, described={"b": "x"})


def test_descriptions_are_read_strictly(tmp_path):
    path = tmp_path / "texts.jsonl"
    records = [{"img_path": "a", "description": " x\u2028y "}, {"img_path": "b", "other": 1}]
    path.write_text("\n\n".join(json.dumps(r, ensure_ascii=False) for r in records), "utf-8-sig")
    assert benchmark.read_descriptions(path) == {"a": "x\u2028y", "b": ""}
    path = tmp_path / "texts.json"
    for records, wrong in [
        ([{"image": "a", "description": "x"}] * 2, "'a' in row 1 .* and row 2"),
        ([{"image": "a"}], "no column 'description'"),
        ([{"image": "a", "img_path": "b", "description": "x"}], "one column img_path"),
        ([{"image": "a", "description": "x"}, {"description": "x"}], "missing in 1 rows"),
        ([{"image": "a", "description": 3}], "row 1 .* expected a string, got 3"),
        (["a"], "expected a record, got 'a'"),
        ({"a": "x"}, "one column img_path"),
    ]:
        path.write_text(json.dumps(records))
        with pytest.raises(InputError, match=wrong):
            benchmark.read_descriptions(path)


@pytest.mark.parametrize(
    "url",
    [
        "host/v1",
        "ftp://host/v1",
        "https://",
        "https://me:hunter2@host/v1",
        "https://h/v1?k=hunter2",
        "http://[::1/hunter2",
        "http://h:99999/hunter2",
    ],
)
def test_a_bad_address_is_refused_and_not_repeated(url):
    with pytest.raises(InputError, match="base URL") as refused:
        Endpoint("judge", url, "judge-1")
    assert "hunter2" not in str(refused.value)


def test_aggregates_of_real_judgements(shared_data):
    with gzip.open(shared_data / "judge_scores_sample.json.gz") as stream:
        models = json.load(stream)
    expected = {
        "co-instruct": {"completeness": (0.022, 0.43, 0.548), "preciseness": (0.168, 0.114, 0.718),
                        "relevance": (0.004, 0.114, 0.882)},
        "depictqa": {"completeness": (0.402, 0.502, 0.096), "preciseness": (0.726, 0.064, 0.21),
                     "relevance": (0.272, 0.41, 0.318)},
    }  # fmt: skip
    for model, shares in expected.items():
        found = benchmark.aggregate(models[model]["scores"])
        for name, (p0, p1, p2) in shares.items():
            entry = found.dimensions[name]
            assert (entry.p0, entry.p1, entry.p2) == (p0, p1, p2)
            assert entry.score == pytest.approx(p1 + 2 * p2, abs=1e-12)
            assert entry.judgements == 500 and entry.invalid == 0
            low, high = entry.interval
            assert low < entry.score < high
        assert found.sum == pytest.approx({"co-instruct": 4.954, "depictqa": 2.224}[model])
        assert found.images == 100


def test_intervals_resample_images_and_leave_invalid_judgements_out():
    rng = random.Random(3)
    scores = {
        name: {f"{i:02}": [rng.choice([0, 1, 2, 2, None]) for _ in range(5)] for i in range(30)}
        for name in DIMENSIONS
    }
    bootstrap = Bootstrap(4, 0.9)
    found = benchmark.aggregate(scores, bootstrap)
    for name, by_image in scores.items():
        valid = [(image, s) for image, row in by_image.items() for s in row if s is not None]
        values, images = [s for _, s in valid], [image for image, _ in valid]
        entry = found.dimensions[name]
        assert entry.score == pytest.approx(sum(values) / len(values))
        assert entry.invalid == 150 - len(values)
        ends = bootstrap.mean_interval(values, cluster_numbers(images, len(images)))
        assert entry.interval == pytest.approx(ends)
    turned = {
        name: {image: row[::-1] for image, row in reversed(by_image.items())}
        for name, by_image in scores.items()
    }
    assert benchmark.aggregate(turned, bootstrap) == found
    for bad in (3, "2", True, 1.5, -1):
        with pytest.raises(InputError, match="is not 0, 1 or 2"):
            benchmark.aggregate({"relevance": {"a": [1, bad]}})


def test_the_command_prints_one_object_and_its_mistakes_are_input_errors(served, tmp_path):
    app = typer.Typer()
    lldescribe.register(app)
    for name, texts in (("golden", GOLDEN), ("model", DESCRIBED)):
        records = [{"image": i, "description": t} for i, t in texts.items()]
        (tmp_path / f"{name}.json").write_text(json.dumps(records))
    files = ["--golden", str(tmp_path / "golden.json")]
    files += ["--descriptions", str(tmp_path / "model.json")]

    def call(*more, **variables):
        return CliRunner().invoke(app, ["lldescribe", *files, *more], env=variables)

    judge = served(by_content)
    environment = {"QSIT_JUDGE_URL": judge.url + "/", "QSIT_JUDGE_MODEL": "[/red] judge"}
    done = call("--json", **environment)
    assert done.exit_code == 0 and len(judge.prompts) == 45
    result = json.loads(done.stdout)
    assert set(result["dimensions"]) == set(DIMENSIONS) and result["rounds"] == 5
    assert result["cost"]["all_runs"]["price"] is None
    assert result["replies"] == str(tmp_path / "model.replies.jsonl")
    shown = call(**environment)
    assert shown.exit_code == 0 and len(judge.prompts) == 45 and "[/red] judge" in shown.stdout

    for more, wrong in [
        ([], "QSIT_JUDGE_URL"),
        (["--base-url", judge.url], "QSIT_JUDGE_MODEL"),
        (["--base-url", judge.url, "--model", "m", "--prompt-price", "1"], "--completion-price"),
        (["--base-url", judge.url, "--model", "m", "--rounds", "0"], "rounds 0"),
        (["--base-url", judge.url, "--model", "m", "--concurrency", "0"], "concurrency 0"),
        (["--base-url", judge.url, "--model", "m", "--timeout", "nan"], "timeout nan"),
        (["--base-url", judge.url, "--model", "m", "--confidence", "1"], "confidence 1"),
    ]:
        failed = call(*more)
        assert isinstance(failed.exception, InputError) and wrong in str(failed.exception)
        assert not failed.output

    down = served(lambda n, text: (429, {"Retry-After": "9999"}, b"[/quota] spent"))
    left = call("--json", "--base-url", down.url, "--model", "other", "--concurrency", "1")
    assert left.exit_code == 1 and json.loads(left.stdout)["unanswered"] == 45
    assert "45 judgements got no reply (status 429" in left.stderr
