"""The 7B's shape in small: matrices that ZeRO partitions, an untied head, any-resolution tiles.

Rows with and without an image; all weights, adapters, or some of them; every stage gives the same.
"""

import pytest
import torch
import wide_model
from ranks import checkpoint
from safetensors.torch import load_file

TRAINED = {
    "all": [],
    "adapters": ["lora={rank: 4, alpha: 8}"],
    "no projector": ["frozen=[projector]"],
    "no language model": ["frozen=[language]"],
}
PRECISION = {"fp32": 1e-4, "bf16": 2e-2}
# One of the table; the rest is slow.
QUICK = {("adapters", 3, "fp32")}
CASES = [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
    for case in (
        (trained, stage, precision)
        for trained in TRAINED
        for stage in (0, 1, 2, 3)
        for precision in PRECISION
    )
]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return wide_model.write(tmp_path_factory.mktemp("wide") / "base")


@pytest.fixture(scope="module")
def alone(steps, wide):
    """The same training on one rank, without ZeRO; once for each kind."""
    known = {}

    def run(trained):
        if trained not in known:
            known[trained] = steps(
                1, last=3, settings=["zero_stage=0", *TRAINED[trained]], base=wide
            )
        return known[trained]

    return run


def exported(results):
    return load_file(results["folder"] / "model" / "model.safetensors")


@pytest.mark.parametrize(("trained", "stage", "precision"), CASES)
def test_every_stage_trains_validates_and_exports_the_same(
    steps, wide, alone, trained, stage, precision
):
    """Bound on bf16: its weights have eight bits."""
    settings = [f"zero_stage={stage}", f"precision={precision}", *TRAINED[trained]]
    together = steps(2, last=3, settings=settings, base=wide)
    whole, tolerance = alone(trained), PRECISION[precision]
    assert together["losses"] == pytest.approx(whole["losses"], rel=tolerance)
    for moment in ("early", "measured"):
        for loss in ("loss_scoring", "loss_interpreting"):
            assert together[moment][loss] == pytest.approx(whole[moment][loss], rel=tolerance)
    found, base = exported(together), load_file(f"{wide}/model.safetensors")
    # Adam's steps have the size of the rate whatever the gradient: rounding may turn a few.
    for name, weights in exported(whole).items():
        torch.testing.assert_close(
            found[name].float(), weights, rtol=tolerance, atol=max(1e-3, tolerance)
        )
    assert {name: w.shape for name, w in found.items()} == {n: w.shape for n, w in base.items()}
    assert all(torch.isfinite(weights.float()).all() for weights in found.values())
    changed = {n for n, w in found.items() if not torch.equal(w, base[n].to(w.dtype))}
    parts = {name: name.split(".")[0] for name in changed}
    kept = {"no projector": "multi_modal_projector", "no language model": "language_model"}
    assert changed
    assert kept.get(trained) not in parts.values()


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("trained", ["all", "adapters"])
def test_a_training_resumes_bit_for_bit(steps, wide, trained, stage):
    settings = [f"zero_stage={stage}", *TRAINED[trained]]
    whole = steps(2, last=4, settings=settings, base=wide)
    folder = checkpoint(steps(2, last=2, settings=settings, base=wide))
    rest = steps(2, first=2, last=4, settings=settings, base=wide, resume=folder)
    assert rest["losses"] == whole["losses"][2:]
    assert rest["measured"] == whole["measured"]
    assert all(torch.equal(w, exported(whole)[n]) for n, w in exported(rest).items())
