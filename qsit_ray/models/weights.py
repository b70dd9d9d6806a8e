"""torch: a checkpoint's weights compared with the model of its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    LlavaOnevisionForConditionalGeneration,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.models import headers
from qsit_ray.models.architectures import has_vision

KIND = "llava_onevision"
TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


def read_config(folder: Path) -> Any:
    """The configuration of a checkpoint: LLaVA-OneVision's, or that of a language model, which
    reads text alone.

    Raises InputError naming the folder when there is none, or it is another model's.
    """
    if not (folder / "config.json").is_file():
        missing = "its config.json is missing" if folder.is_dir() else "no such folder"
        raise InputError(f"{folder}: {missing}; expected a LLaVA-OneVision checkpoint")
    values = artifacts.read_json(folder / "config.json")
    # Read here first: of a type that transformers does not know it says a page.
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind != KIND and kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise InputError(
            f"{folder}: its model type is {kind}; expected {KIND}, or a language model's for text "
            "alone"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # each kind of wrong value ends in its own
        reason = " ".join(str(error).split())
        raise InputError(f"{folder}: its config.json can't be read: {reason}") from error
    # Some models of images are among transformers' language models.
    if kind != KIND and config.get_text_config() is not config:
        raise InputError(
            f"{folder}: a {kind} reads more than text; of such models only {KIND} is known"
        )
    return config


def model_class(config: Any) -> Any:
    """The class of transformers that a configuration's weights are loaded into."""
    if has_vision(config):
        return LlavaOnevisionForConditionalGeneration
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def check_weights(folder: Path, config: Any) -> None:
    """Compare all names, shapes and types of the weights with the model's, from the headers alone.

    transformers itself loads the headers into a model on the meta device, so that its renamings of
    older layouts and its ties count. Raises InputError naming the folder and weights that are
    missing, of another shape or type, or not the model's: one that is missing would otherwise be
    random, without a word. Not to be called where ZeRO stage 3 partitions new models.
    """
    found = headers.read(folder)
    wrong = {"of another type": sorted(n for n, each in found.items() if each.dtype not in TYPES)}
    on_meta = {
        name: torch.empty(each.shape, dtype=TYPES.get(each.dtype, torch.float32), device="meta")
        for name, each in found.items()
    }
    try:
        model, loading = model_class(config).from_pretrained(
            None,
            config=config,
            state_dict=on_meta,
            device_map={"": "meta"},
            ignore_mismatched_sizes=True,  # to name them below
            output_loading_info=True,
        )
    except Exception as error:  # a configuration may be wrong in as many ways as it has values
        reason = " ".join(str(error).split())
        raise InputError(f"{folder}: its config.json gives no model: {reason}") from error
    if not hasattr(model, "model") or not hasattr(model, "lm_head"):
        raise InputError(f"{folder}: a {config.model_type} has no decoder apart from its head")
    wrong["missing"] = sorted(loading["missing_keys"])
    wrong["of another shape"] = sorted(key[0] for key in loading["mismatched_keys"])
    wrong["not the model's"] = sorted(loading["unexpected_keys"])
    _refuse(folder, wrong)


def check_values(folder: Path) -> None:
    """Read each weight in a checkpoint's files once.

    Raises InputError naming the folder and weights that are NaN or infinite.
    """
    bad = []
    for path in headers.weight_files(folder):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (not a dict)
                if not _is_finite(tensors.get_tensor(name)):
                    bad.append(name)
    _refuse(folder, {"not finite": bad})


def check_loaded(folder: Path, model: Any) -> None:
    """Raises InputError naming the folder and weights of the loaded model that are NaN or infinite.

    At ZeRO stage 3 a rank looks at its own part of them.
    """
    bad = [name for name, weight in model.named_parameters() if not _is_finite(_held(weight))]
    _refuse(folder, {"not finite": bad})


def _held(weight: Any) -> torch.Tensor:
    """What this process holds of a weight: all of it, unless ZeRO stage 3 has parted it."""
    part = getattr(weight, "ds_tensor", None)
    if part is None:
        return weight.detach()
    # The end of the last rank's part may be a filling that nobody has written.
    return part.flatten()[: max(0, weight.ds_numel - part.numel() * dist.get_rank())]


def _is_finite(values: torch.Tensor) -> bool:
    # Least and greatest are NaN where any is; one pass, thirty times as fast as torch.isfinite.
    return not values.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(values))).all())


def _refuse(folder: Path, wrong: dict[str, list[str]]) -> None:
    """Raises InputError where there are names of weights, by what is wrong with them."""
    said = [
        f"weights {kind}: {len(names)}, such as {names[0]}"
        for kind, names in wrong.items()
        if names
    ]
    if said:
        raise InputError(f"{folder}: not a sound checkpoint; {'; '.join(said)}")
