"""Files of weights at real size that take no room: a header each, and nothing written after it."""

import json
import math
import struct

from qsit_ray.models.architectures import architecture, on_meta


def old_name(name):
    """The name of a weight in the released checkpoints, which are older than today's classes."""
    if name.startswith("model.language_model."):
        return name.replace("model.language_model.", "language_model.model.", 1)
    if name.startswith("model.vision_tower."):
        return name.replace("model.vision_tower.", "vision_tower.vision_model.", 1)
    return f"language_model.{name}" if name == "lm_head.weight" else name.removeprefix("model.")


def shapes(size):
    """The weights of a released model, by their names there."""
    config = architecture(size)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    state = on_meta(config).state_dict()
    return {old_name(n): tuple(w.shape) for n, w in state.items() if n not in tied}


def write(folder, size, change=lambda shapes: shapes, files=4):
    """The configuration and the weights of a released model, all zero, in BF16."""
    folder.mkdir()
    architecture(size).save_pretrained(folder)
    changed = change(shapes(size))
    names, weight_map = sorted(changed), {}
    for number in range(files):
        file = f"model-{number + 1:05}-of-{files:05}.safetensors"
        part, start, header = names[number::files], 0, {}
        for name in part:
            end = start + 2 * math.prod(changed[name])
            header[name] = {
                "dtype": "BF16",
                "shape": list(changed[name]),
                "data_offsets": [start, end],
            }
            start = end
            weight_map[name] = file
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as stream:
            stream.write(struct.pack("<Q", len(text)) + text)
            stream.truncate(8 + len(text) + start)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder
