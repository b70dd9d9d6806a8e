"""pure: presets are functions that return a whole configuration; a variant changes two fields."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from qsit_ray.config.config import Config, Mix, Models, Pretraining
from qsit_ray.config.data import DemoData, LlavaData, RehearsalData, Rows
from qsit_ray.config.files import load, read_yaml, validated
from qsit_ray.config.search import Rehearsal, Search, Space
from qsit_ray.config.train import Train, Training
from qsit_ray.errors import InputError


def space(name: str) -> Space:
    """A file of search_spaces/ by its name."""
    path = Path(str(files("search_spaces"))) / f"{name}.yaml"
    return validated(Space, read_yaml(path), str(path))


def demo() -> Config:
    """All of Algorithm 1 in minutes on two CPU cores: small models on real photographs."""
    return Config(
        preset="demo",
        data=DemoData(
            scoring=200,
            interpreting=2400,
            general=2400,
            validation_scoring=100,
            validation_interpreting=120,
            validation_images=100,
            validation_questions=240,
            test_images=300,
            test_questions=480,
        ),
        models=Models(
            proxy="demo/proxy",
            primary="demo/primary",
            remember_features=True,
            max_length=512,
        ),
        pretraining=Pretraining(
            tower_steps=800, alignment_steps=200, crops=10_000, alignment_crops=3_000
        ),
        search=Search(
            interpreting_general=space("demo_interpreting_general"),
            interpreting_scoring=space("demo_interpreting_scoring"),
            training=Training(batch_size=16, learning_rate=5e-3),
            max_steps=144,
            evaluate_every=48,
            patience=2,
        ),
        train=Train(
            training=Training(batch_size=16, learning_rate=1e-3),
            epochs=3,
            workers=2,
            micro_batch=8,
            zero_stage=2,
        ),
    )


def paper() -> Config:
    """The paper's search and primary run on its own models; data where docs/PAPER_DATA.md says."""
    return Config(
        preset="paper",
        data=LlavaData(
            images="data/images",
            scoring=("data/scoring_koniq.json", "data/scoring_spaq.json"),
            interpreting=("data/interpreting.json",),
            general=("data/general.json",),
            validation_questions="data/llvisionqa_dev.json",
            test_images={
                name: f"data/{name}.csv"
                for name in ("koniq", "spaq", "livec", "agiqa3k", "kadid10k")
            },
            expected_rows=Rows(scoring=15_943, interpreting=150_000, general=157_712),
        ),
        models=Models(
            proxy="llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
            primary="llava-hf/llava-onevision-qwen2-7b-ov-hf",
            freeze_vision=False,
            max_length=8192,
        ),
        search=Search(
            interpreting_general=space("paper_interpreting_general"),
            interpreting_scoring=space("paper_interpreting_scoring"),
            training=Training(batch_size=64, learning_rate=1e-5),
            max_epochs=3,
            evaluate_every=200,
            patience=3,
            micro_batch=8,
            precision="bf16",
            activation_checkpointing=True,
            gpus_per_trial=1.0,
        ),
        train=Train(
            training=Training(batch_size=64, learning_rate=1e-5),
            epochs=3,
            workers=8,
            micro_batch=2,
            zero_stage=3,
            use_gpu=True,
            precision="bf16",
            activation_checkpointing=True,
        ),
    )


def rehearsal() -> Config:
    """The paper's whole search with trials that only pretend to train: the same grid, the same
    resources asked, durations scaled down, and the paper's optima and λ planted."""
    real = paper()
    sizes = real.expected_sizes or {}
    search = real.search.model_copy(
        update={
            "interpreting_general": space("rehearsal_interpreting_general"),
            "interpreting_scoring": space("rehearsal_interpreting_scoring"),
            "rehearsal": Rehearsal(
                interpreting_general=2.42,
                interpreting_scoring=3.54,
                loss_ratio=1 / 4.66,
                noise=0.003,
                rows_per_second=200_000.0,
            ),
        }
    )
    return real.model_copy(
        update={
            "preset": "rehearsal",
            "data": RehearsalData.model_validate(sizes),
            "search": search,
        }
    )


# The paper's answer, and its pools as they are: 15,943 scoring, 150,000 interpreting and 157,712
# general rows (section IV).
FOUND = Mix(scoring=1.0, interpreting=2.5, general=1.04)
_POOLS = Mix(scoring=1.0, interpreting=150_000 / 15_943, general=157_712 / 15_943)


def ablations() -> dict[str, Config]:
    """Table VII: the paper's run without a domain, the searched ratio, the adjustment, or both.

    Without scoring or interpreting rows there is no balance to keep, so nothing is adjusted.
    """
    return {
        "without-scoring": _fixed(FOUND.model_copy(update={"scoring": 0.0}), adjusted=False),
        "without-interpreting": _fixed(
            FOUND.model_copy(update={"interpreting": 0.0}), adjusted=False
        ),
        "without-general": _fixed(FOUND.model_copy(update={"general": 0.0})),
        "without-coarse-ratio": _fixed(_POOLS),
        "without-fine-adjustment": _changed(paper(), controller=None),
        "without-both": _fixed(_POOLS, adjusted=False),
    }


def training_sets() -> dict[str, Config]:
    """Table IV: scoring trained on KonIQ, on SPAQ, or on both."""
    return {
        f"trained-on-{name}": _scored_on(tuple(f"data/scoring_{part}.json" for part in parts))
        for name, parts in {
            "koniq": ("koniq",),
            "spaq": ("spaq",),
            "both": ("koniq", "spaq"),
        }.items()
    }


def baselines() -> dict[str, Config]:
    """What Q-Align (scoring rows only) and Q-Instruct (interpreting rows only) train on."""
    return {
        "q-align-like": _fixed(Mix(scoring=1.0, interpreting=0.0, general=0.0), adjusted=False),
        "q-instruct-like": _fixed(
            _POOLS.model_copy(update={"scoring": 0.0, "general": 0.0}), False
        ),
    }


def _changed(config: Config, **train: object) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update=train)})


def _fixed(mix: Mix, adjusted: bool = True) -> Config:
    """The paper's run at a given mix."""
    config = paper().model_copy(update={"mix": mix})
    return config if adjusted else _changed(config, controller=None)


def _scored_on(files: tuple[str, ...]) -> Config:
    config = paper()
    return config.model_copy(update={"data": config.data.model_copy(update={"scoring": files})})


def papers() -> dict[str, Config]:
    """The paper's run and its variants, by the names that --preset takes."""
    named = {**ablations(), **training_sets(), **baselines()}
    presets = {"paper": paper()} | {f"paper-{name}": config for name, config in named.items()}
    return {n: config.model_copy(update={"preset": n}) for n, config in presets.items()}


def resolve(name_or_file: str) -> Config:
    """A preset by its name, or a configuration file by its path."""
    if name_or_file in ("demo", "rehearsal"):
        return demo() if name_or_file == "demo" else rehearsal()
    presets = papers()
    if name_or_file in presets:
        return presets[name_or_file]
    if Path(name_or_file).suffix in {".yaml", ".yml"}:
        return load(Path(name_or_file))
    raise InputError(
        f"--preset {name_or_file}: unknown; expected demo, rehearsal, {', '.join(presets)} "
        "or a YAML file"
    )
