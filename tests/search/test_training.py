"""A proxy training ends at a plateau, evaluates its best weights, and resumes exactly."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.data import catalog, writing
from qsit_ray.mixture import Mixture
from qsit_ray.models import load
from qsit_ray.models.trainable import trained_weights
from qsit_ray.search import training
from qsit_ray.search.training import Bench, ProxyTraining
from qsit_ray.search.trials import Task
from qsit_ray.stages.tokens import count_tokens
from qsit_ray.terminal import Terminal

LEVELS = ("bad", "poor", "fair", "good", "excellent")
MIXTURE = Mixture.of(6, 6, 2)


def row(domain, number, question, answer):
    return {
        "id": f"{domain}-{number}",
        "domain": domain,
        "images": [{"path": f"images/{number % 3}.png", "height": 64, "width": 64}],
        "conversation": [
            {"from": "human", "value": f"<image>\n{question}"},
            {"from": "gpt", "value": answer},
        ],
        "mos": None,
        "level": None,
        "photograph": str(number % 3),
    }


def rows(count):
    scoring = [
        row("scoring", n, "Rate it.", f"The quality is {LEVELS[n % 5]}.") for n in range(count)
    ]
    interpreting = [row("interpreting", n, "Is it blurred?", "yes") for n in range(count)]
    return scoring + interpreting + [row("general", n, "What is it?", "a cat") for n in range(4)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = RunFolder(tmp_path_factory.mktemp("run"))
    folder = run.catalog
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        pixels = rng.integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    images = [{"image": f"images/{n}.png", "mos": float(n), "photograph": str(n)} for n in range(3)]
    questions = [
        {
            "img_path": f"images/{n}.png",
            "question": "Blurred?",
            "candidates": ["yes", "no"],
            "correct_ans": "yes",
        }
        for n in range(3)
    ]
    content = catalog.Content(rows(8), rows(2), {"validation": images}, {"validation": questions})
    writing.write(folder, content)
    return run


@pytest.fixture(scope="module")
def base(tmp_path_factory, checkpoint):
    folder = tmp_path_factory.mktemp("base")
    load.save(checkpoint.model, checkpoint.processor, folder)
    return str(folder)


@pytest.fixture
def bench(run, base):
    def make(*assignments):
        settings = [
            f"models.proxy={base}",
            f"models.primary={base}",
            "search.training.batch_size=4",
            "search.evaluate_every=2",
            "search.max_steps=20",
            "search.patience=2",
            *assignments,
        ]
        config = override(presets.demo(), settings)
        count_tokens(run, config, Terminal())
        return Bench(Task(run, config, run.path / "search", lambda ratio: MIXTURE, "interpreting"))

    return make


@pytest.fixture
def planted(monkeypatch):
    """Validation losses by evaluation instead of the real ones, the same for both tasks."""

    def plant(*losses):
        twice = itertools.chain.from_iterable((loss, loss) for loss in losses)
        monkeypatch.setattr(training, "evaluate_loss", lambda model, batches: next(twice))

    return plant


def train(training):
    ends = 0
    while not training.advance():
        ends += 1
    return training.result()


def test_a_plateau_ends_it_and_the_best_weights_are_evaluated(bench, planted):
    planted(3.0, 1.0, 1.5, 1.2, 0.1)
    training = ProxyTraining(bench(), MIXTURE, 0)
    kept = []
    while not training.advance():
        weights = trained_weights(training.bench.model)
        kept.append({name: weight.clone() for name, weight in weights.items()})
    result = training.result()
    assert (result.steps, result.best_step, result.stopped) == (8, 4, "plateau")
    assert result.losses["scoring"] == 1.0
    held = trained_weights(training.bench.model)
    assert all(torch.equal(held[name], weight) for name, weight in kept[1].items())
    assert not all(torch.equal(held[name], weight) for name, weight in kept[2].items())


def test_a_small_improvement_does_not_count(bench, planted):
    planted(3.0, 2.99, 2.98, 2.97)
    training = ProxyTraining(bench("search.min_improvement=0.1"), MIXTURE, 0)
    result = train(training)
    assert (result.steps, result.stopped) == (6, "plateau")


def test_without_a_plateau_it_ends_at_the_most_steps(bench, planted):
    planted(*np.linspace(3, 1, 10))
    result = train(ProxyTraining(bench(), MIXTURE, 0))
    assert (result.steps, result.best_step, result.stopped) == (20, 20, "max_steps")


@pytest.mark.parametrize("setting", ["search.max_epochs=2", "search.max_steps=7"])
def test_the_shorter_limit_holds(bench, planted, setting):
    planted(*np.linspace(3, 1, 10))
    result = train(ProxyTraining(bench(setting), MIXTURE, 0))
    # Fourteen rows are four steps of four rows.
    assert result.steps == (8 if "epochs" in setting else 7)


def test_final_proxies_train_their_epochs_past_every_plateau(bench, planted):
    planted(*np.linspace(1, 3, 12))
    ready = bench("search.proxy_epochs=6")
    ready.search = ready.search.final
    result = train(ProxyTraining(ready, MIXTURE, 0))
    # Six epochs of four steps; the first evaluation was the best.
    assert (result.steps, result.best_step, result.stopped) == (24, 2, "max_steps")
    assert result.looks[-1].epochs == 6


def test_a_loss_that_is_not_finite_ends_the_trial(bench, planted):
    planted(float("nan"))
    with pytest.raises(FloatingPointError, match="step 2"):
        ProxyTraining(bench(), MIXTURE, 0).advance()


def test_an_interrupted_training_resumes_to_the_same_result(bench, tmp_path):
    once = bench("search.max_steps=6")
    whole = train(ProxyTraining(once, MIXTURE, 3))
    cut = ProxyTraining(once, MIXTURE, 3)
    cut.advance()
    cut.snapshot()(tmp_path)
    train(ProxyTraining(once, Mixture.of(1, 1, 1), 0))  # another trial of the process in between
    again = ProxyTraining(bench("search.max_steps=6"), MIXTURE, 3)
    again.load(tmp_path)
    assert train(again) == whole


@pytest.mark.parametrize("losses", [(3, 2, 1, 1), (1, 2, 3, 3), (2, 1, 3, 3)])
def test_the_best_weights_survive_an_interruption(bench, planted, tmp_path, losses):
    """Also where the latest are not the best, and where they are and only once written."""
    planted(*losses)
    whole = ProxyTraining(bench("search.max_steps=6"), MIXTURE, 3)
    expected = train(whole)
    planted(*losses)
    cut = ProxyTraining(bench("search.max_steps=6"), MIXTURE, 3)
    cut.advance()
    cut.advance()
    cut.snapshot()(tmp_path)
    latest = losses[1] < losses[0]
    keys = load_file(tmp_path / "training.safetensors")
    assert any(key.startswith("best/") for key in keys) != latest
    again = ProxyTraining(bench("search.max_steps=6"), MIXTURE, 3)
    again.load(tmp_path)
    planted(*losses[2:])
    assert train(again) == expected


def test_each_step_has_a_line_that_a_resumed_training_goes_on_with(bench, tmp_path):
    once = ProxyTraining(bench("search.max_steps=6"), MIXTURE, 3)
    train(once)
    cut = ProxyTraining(bench("search.max_steps=6"), MIXTURE, 3)
    cut.advance()
    cut.snapshot()(tmp_path)
    again = ProxyTraining(bench("search.max_steps=6"), MIXTURE, 3)
    again.load(tmp_path)
    train(again)
    clock = {"time": "", "seconds": 1.0, "stall_seconds": 0.0}
    whole, resumed = ([replace(li, **clock) for li in run.lines] for run in (once, again))
    assert resumed == whole
    # Fourteen rows an epoch, in steps of four: the last has two.
    assert [(line.epoch, line.step) for line in whole] == [(0, n) for n in range(4)] + [
        (1, 0),
        (1, 1),
    ]
    assert [line.rows for line in whole] == [4, 4, 4, 2, 4, 4]
    tokens = once.bench.counted.tokens
    assert sum(line.tokens for line in whole[:4]) == sum(tokens[once._plan(0).rows])
    for line in whole:
        losses = [line.losses["scoring"], line.losses["interpreting"], line.losses["general"]]
        known = [loss for loss in losses if loss is not None]
        assert min(known) - 1e-6 <= line.loss <= max(known) + 1e-6
        assert line.gradient_norm > 0


@pytest.mark.parametrize("loss", ["token_mean", "row_mean"])
def test_parts_of_a_batch_give_the_loss_of_the_whole(bench, loss):
    settings = ("search.max_steps=4", f"loss={loss}")
    whole = train(ProxyTraining(bench(*settings), MIXTURE, 0))
    for bound in ("search.micro_batch=1", "search.micro_tokens=200"):
        cut = bench(*settings, bound)
        assert len(cut.micro_batches(np.arange(14))) > 1
        parts = train(ProxyTraining(cut, MIXTURE, 0))
        assert parts.losses["scoring"] == pytest.approx(whole.losses["scoring"], abs=1e-4)


def test_encoding_ahead_in_threads_changes_nothing(bench, tmp_path):
    settings = ("search.max_steps=6", "search.micro_batch=2", "models.remember_features=false")
    inline = train(ProxyTraining(bench(*settings), MIXTURE, 3))
    several = bench(*settings, "search.cpus_per_trial=3")
    assert train(ProxyTraining(several, MIXTURE, 3)) == inline
    cut = ProxyTraining(several, MIXTURE, 3)
    cut.advance()
    cut.snapshot()(tmp_path)
    again = ProxyTraining(bench(*settings, "search.cpus_per_trial=3"), MIXTURE, 3)
    again.load(tmp_path)
    assert train(again) == inline


def test_checkpointed_activations_change_nothing_and_bf16_little(bench):
    plain, lean, half = (
        train(ProxyTraining(bench("search.max_steps=4", *extra), MIXTURE, 0))
        for extra in (
            (),
            ("search.activation_checkpointing=true",),
            ("search.precision=bf16", "models.remember_features=false"),
        )
    )
    assert lean.losses["scoring"] == pytest.approx(plain.losses["scoring"], abs=1e-5)
    assert half.losses["scoring"] == pytest.approx(plain.losses["scoring"], rel=0.02)
    assert half.losses["scoring"] != plain.losses["scoring"]


def test_base_weights_are_restored_exactly_whether_kept_in_bf16_or_not(bench):
    kept = bench()
    before = {name: weight.clone() for name, weight in trained_weights(kept.model).items()}
    train(ProxyTraining(kept, MIXTURE, 0))
    kept.restore()
    assert all(torch.equal(before[n], w) for n, w in trained_weights(kept.model).items())
    exact = torch.tensor([0.5, -2.0])
    assert training._smallest(exact).dtype == torch.bfloat16
    assert torch.equal(training._smallest(torch.tensor([0.1])), torch.tensor([0.1]))
