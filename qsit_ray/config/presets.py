"""pure: presets: functions that return a whole configuration; a variant changes a field or two."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from qsit_ray import arms
from qsit_ray.config.config import Config, Evaluate, Mix, Models, Pretraining
from qsit_ray.config.data import DemoData, LlavaData, RehearsalData, Rows
from qsit_ray.config.files import RUN_ENTRIES, merged, read_yaml, validated
from qsit_ray.config.search import Rehearsal, Search, Space
from qsit_ray.config.train import Controller, Train, Training
from qsit_ray.errors import InputError

EXTENDS = "extends"


def space(name: str) -> Space:
    """A file of search_spaces/ by its name."""
    path = Path(str(files("qsit_ray.search_spaces"))) / f"{name}.yaml"
    return validated(Space, read_yaml(path), str(path))


def demo() -> Config:
    """All of Algorithm 1 in minutes on two CPU cores: small models on real photographs."""
    return Config(
        preset="demo",
        data=DemoData(
            scoring=400,
            interpreting=2400,
            general=2400,
            validation_scoring=100,
            validation_interpreting=120,
            validation_images=100,
            validation_questions=480,
            test_images=300,
            test_questions=480,
        ),
        models=Models(
            proxy="demo/proxy", primary="demo/primary", remember_features=True, max_length=512
        ),
        pretraining=Pretraining(
            tower_steps=800, alignment_steps=200, crops=10_000, alignment_crops=3_000
        ),
        # With a row mean its search finds nearly no D2, and the primary answers as by guessing.
        loss="token_mean",
        search=Search(
            interpreting_general=space("demo_interpreting_general"),
            interpreting_scoring=space("demo_interpreting_scoring"),
            training=Training(batch_size=16, learning_rate=5e-3),
            max_steps=288,
            # A trial of the widest mix ends long before it uses a row as often.
            max_repeats=8,
            evaluate_every=96,
            patience=2,
            proxy_epochs=3,
        ),
        train=Train(
            training=Training(batch_size=16, learning_rate=1e-3),
            epochs=3,
            workers=2,
            micro_batch=8,
            zero_stage=2,
            # The ratio of both models rises with training, and D1 has no unused rows: repeated ones
            # cost SRCC (docs/CONTROLLER.md).
            controller=Controller(reference="epoch", shrink=True, min_growth=0.5, exhausted="hold"),
        ),
    )


# The paper's result, and its pools as they are (section IV).
FOUND: Mix = {"scoring": 1.0, "interpreting": 2.5, "general": 1.04}
POOLS = Rows(scoring=15_943, interpreting=150_000, general=157_712)
ALL_ROWS: Mix = {
    "scoring": 1.0,
    "interpreting": POOLS.interpreting / POOLS.scoring,
    "general": POOLS.general / POOLS.scoring,
}


def paper() -> Config:
    """The paper's search and primary run on its own models; docs/PAPER_DATA.md lists the data."""
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
            expected_rows=POOLS,
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
            micro_batch=16,
            micro_tokens=32_768,
            precision="bf16",
            activation_checkpointing=True,
            cpus_per_trial=4.0,
            gpus_per_trial=1.0,
            nodes={"qsit": "proxy"},
        ),
        train=Train(
            training=Training(batch_size=64, learning_rate=1e-5),
            epochs=3,
            workers=8,
            micro_batch=8,
            micro_tokens=16_384,
            zero_stage=3,
            use_gpu=True,
            nodes={"qsit": "primary"},
            # The primary's node has many cores, which its ranks leave to the encoding.
            cpu_nodes={"qsit": "in(cpu, primary)"},
            precision="bf16",
            activation_checkpointing=True,
        ),
        evaluate=Evaluate(cpus=4),
    )


def rehearsal() -> Config:
    """The paper's whole search with trials that only pretend to train: the same grid and GPUs,
    scaled durations, and the paper's optima and λ planted."""
    real = paper()
    sizes = real.expected_sizes or {}
    search = real.search.model_copy(
        update={
            "interpreting_general": space("rehearsal_interpreting_general"),
            "interpreting_scoring": space("rehearsal_interpreting_scoring"),
            "cpus_per_trial": 1.0,  # nothing is encoded
            "rehearsal": Rehearsal(
                interpreting_general=2.42,
                interpreting_scoring=3.54,
                loss_ratio=1 / 4.66,
                noise=0.003,
                rows_per_second=200_000.0,
            ),
        }
    )
    data = RehearsalData.model_validate(sizes)
    return real.model_copy(update={"preset": "rehearsal", "data": data, "search": search})


def papers() -> dict[str, Config]:
    """The paper's run and its variants, by the names that --preset takes.

    Table VII: without a domain, the searched ratio, the adjustment, or both; without scoring or
    interpreting rows there is no balance to keep, so nothing is adjusted. Table IV: scoring trained
    on KonIQ, on SPAQ, or on both. Last the training sets of Q-Align (scoring rows only) and of
    Q-Instruct (interpreting rows only).
    """
    koniq, spaq = "data/scoring_koniq.json", "data/scoring_spaq.json"
    only_scoring: Mix = {"scoring": 1.0, "interpreting": 0.0, "general": 0.0}
    only_interpreting = ALL_ROWS | {"scoring": 0.0, "general": 0.0}
    _, *variants = arms.domains(paper(), FOUND, ALL_ROWS)
    presets = {
        "paper": paper(),
        **{f"paper-{arm.name}": arm.config for arm in variants},
        # Its mix is searched, as the paper's is.
        "paper-without-fine-adjustment": arms.fixed(paper(), None),
        "paper-trained-on-koniq": arms.trained_on(paper(), koniq),
        "paper-trained-on-spaq": arms.trained_on(paper(), spaq),
        "paper-trained-on-both": arms.trained_on(paper(), koniq, spaq),
        "paper-q-align-like": arms.fixed(paper(), only_scoring),
        "paper-q-instruct-like": arms.fixed(paper(), only_interpreting),
    }
    return {n: config.model_copy(update={"preset": n}) for n, config in presets.items()}


def resolve(name_or_file: str) -> Config:
    """A preset by its name, or a configuration file by its path.

    A file has every setting, as a run's config.yaml has, or says `extends: NAME` (a preset, or a
    file beside it) and what it changes. Raises InputError naming the file and what is wrong in it.
    """
    presets = {"demo": demo(), "rehearsal": rehearsal(), **papers()}
    if name_or_file in presets:
        return presets[name_or_file]
    if Path(name_or_file).suffix not in {".yaml", ".yml"}:
        raise InputError(
            f"--preset {name_or_file}: unknown; expected {', '.join(presets)} or a YAML file"
        )
    values = _values(Path(name_or_file), presets, ())
    return validated(Config, values, name_or_file, every=True)


def _values(file: Path, presets: Mapping[str, Config], before: tuple[Path, ...]) -> Any:
    """The values of a file, over those of what it extends. `before`: the files that led to it."""
    values = read_yaml(file)
    if not isinstance(values, dict):
        return values
    settings = {key: value for key, value in values.items() if key not in RUN_ENTRIES}
    base = settings.pop(EXTENDS, None)
    if base is None:
        return settings
    if isinstance(base, str) and base in presets:
        below = presets[base].model_dump(mode="json")
    elif isinstance(base, str) and Path(base).suffix in {".yaml", ".yml"}:
        other = file.parent / base
        if other.resolve() in (each.resolve() for each in (*before, file)):
            raise InputError(f"{file}: {EXTENDS}: {base} extends this file itself")
        below = _values(other, presets, (*before, file))
    else:
        known = ", ".join(presets)
        raise InputError(f"{file}: {EXTENDS}: {base!r} is unknown; expected {known} or a YAML file")
    return merged(below, settings)
