"""torch: the memory of the primary's training, validation, evaluation and export, by arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn import Module
from transformers import PretrainedConfig, Qwen2Config, SiglipVisionConfig

from qsit_ray.config.config import Config
from qsit_ray.config.train import Train
from qsit_ray.models.architectures import has_vision, most_tiles
from qsit_ray.models.trainable import part_of

# Answer tokens of the longest row; each costs a row of logits over the vocabulary.
LONGEST_ANSWER = 1024
# Candidates of a question.
CANDIDATES = 4
# Bytes of one number of an image as it arrives on the GPU, before it is normalised.
PIXEL = 1
# DeepSpeed's own settings, in numbers: gradients reduced together, weights gathered at once.
REDUCE_BUCKET, LIVE_WEIGHTS = 500_000_000, 1_000_000_000


@dataclass(frozen=True)
class Peaks:
    """Bytes on one GPU at the peak of each phase, without what `reserved` covers; `export_host`:
    in rank 0's host memory."""

    training: int
    optimizer_step: int
    validation: int
    evaluation: int
    export: int
    export_host: int

    @property
    def gpu(self) -> int:
        return max(
            self.training, self.optimizer_step, self.validation, self.evaluation, self.export
        )


def peaks(config: Config, shape: PretrainedConfig, weights: Weights, gpus: int) -> Peaks:
    """The peaks of a run of `config` on `gpus` GPUs, with rows of `models.max_length` tokens and
    images of the most tiles.

    Evaluation has the whole model on one GPU. The export of ZeRO stage 3 gathers the 16-bit model
    in rank 0's host memory, one module at a time on the GPU; adapters are merged into a copy.
    """
    train, longest = config.train, config.models.max_length
    size = number_size(train)
    held = state_bytes(weights, train, gpus)[0] + buffer_bytes(weights, train)
    row = Row(shape, weights, size, longest)
    forward = evaluation_bytes(row, config.evaluate.batch_tokens)
    whole = size * weights.total
    gathered = train.zero_stage == 3 or train.lora is not None
    return Peaks(
        training=held + training_bytes(row, train),
        optimizer_step=held,
        validation=held + forward,
        evaluation=whole + forward,
        export=held,
        export_host=whole * (gathered + (train.lora is not None)),
    )


def number_size(train: Train) -> int:
    """Bytes of a weight or an activation."""
    return 4 if train.precision == "fp32" else 2


@dataclass(frozen=True)
class Weights:
    """Numbers of weights: all, trained, of the largest layer. `vision`: the tower is trained."""

    total: int
    trained: int
    largest_layer: int
    vision: bool

    @classmethod
    def of(cls, model: Module) -> Weights:
        """Count a model's weights, tied ones once; it may be on the meta device.

        DeepSpeed's own count compares addresses, and all weights of the meta device have the same.
        """
        named = list(model.named_parameters())
        return cls(
            sum(p.numel() for _, p in named),
            sum(p.numel() for _, p in named if p.requires_grad),
            max(sum(p.numel() for p in m.parameters(recurse=False)) for m in model.modules()),
            any(p.requires_grad for name, p in named if part_of(name) == "vision"),
        )


def state_bytes(weights: Weights, train: Train, gpus: int) -> tuple[int, str]:
    """Bytes of weights, gradients and optimiser states on each of `gpus` GPUs, and their source:
    DeepSpeed's estimator where there is one, otherwise bytes for each weight.

    Weights that are not trained have neither gradients nor states.
    """
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    stage, size = train.zero_stage, number_size(train)
    frozen = size * (weights.total - weights.trained) // (gpus if stage == 3 else 1)
    if stage and train.precision == "bf16" and not train.bf16_states:
        if stage == 3:
            _, found, _ = estimate_zero3_model_states_mem_needs(
                weights.trained,
                weights.largest_layer,
                num_gpus_per_node=gpus,
                cpu_offload=train.offload_optimizer,
                cpu_offload_params=False,
            )
            return found + frozen, "deepspeed's estimate_zero3_model_states_mem_needs"
        _, found = estimate_zero2_model_states_mem_needs(
            weights.trained, num_gpus_per_node=gpus, cpu_offload=train.offload_optimizer
        )
        return found + frozen, "deepspeed's estimate_zero2_model_states_mem_needs"
    # A weight and its gradient, the optimiser's own copy and its two moments. In bf16 without
    # ZeRO DeepSpeed also adds gradients up in float32.
    gradient = 6 if train.precision == "bf16" and not stage else size
    optimiser = 6 if train.bf16_states else 8 if train.precision == "fp32" and not stage else 12
    if train.offload_optimizer:
        optimiser = 0
    whole = {0: size + gradient + optimiser, 1: size + gradient, 2: size, 3: 0}[stage]
    shared = {0: 0, 1: optimiser, 2: gradient + optimiser, 3: size + gradient + optimiser}[stage]
    found = whole * weights.trained + shared * weights.trained // gpus
    gathered = 2 * size * weights.largest_layer if stage == 3 else 0
    return found + gathered + frozen, f"{whole} + {shared}/{gpus} bytes a trained weight"


def buffer_bytes(weights: Weights, train: Train) -> int:
    """Bytes of DeepSpeed's buffers: gradients that are reduced together, twice because the next are
    collected meanwhile; at stage 3 also gathered weights beyond those of the largest layer."""
    stage, size = train.zero_stage, number_size(train)
    if not stage:
        return 0
    reduced = 2 * size * min(REDUCE_BUCKET, weights.trained)
    live = min(LIVE_WEIGHTS, weights.total) - weights.largest_layer if stage == 3 else 0
    return reduced + size * max(0, live)


@dataclass(frozen=True)
class Row:
    """The longest row: `tokens` of text and image, images of the most tiles, in numbers of `size`
    bytes."""

    shape: PretrainedConfig
    weights: Weights
    size: int
    tokens: int

    @property
    def vision(self) -> SiglipVisionConfig:
        """The tower; of a model of text alone one without layers or width."""
        if has_vision(self.shape):
            tower: SiglipVisionConfig = self.shape.vision_config
            return tower
        return SiglipVisionConfig(hidden_size=0, intermediate_size=0, num_hidden_layers=0)

    @property
    def answers(self) -> int:
        return min(LONGEST_ANSWER, self.tokens)

    @property
    def patches(self) -> int:
        """Patches that the tower sees."""
        vision = self.vision
        return most_tiles(self.shape) * (vision.image_size // vision.patch_size) ** 2

    @property
    def numbers(self) -> int:
        """Numbers of the image's tiles."""
        return 3 * self.vision.image_size**2 * most_tiles(self.shape)

    @property
    def pixels(self) -> int:
        """The image as it arrives, in the model's type, and its tiles laid out for the tower."""
        return (PIXEL + 2 * self.size) * self.numbers


def training_bytes(row: Row, train: Train) -> int:
    """Bytes of activations on one GPU at the peak of a micro-batch, gradients of activations
    included."""
    return train.rows_at_once(row.tokens) * max(backward_stages(row, train).values())


def backward_stages(row: Row, train: Train) -> dict[str, int]:
    """Bytes of a row where the backward pass begins, in the last decoder layer and in the tower.

    Checkpointed layers keep their inputs, and one at a time is recomputed. Each layer has, beside
    what it keeps, the gradients of its widest two activations.
    """
    text, vision, size = row.shape.get_text_config(), row.vision, row.size
    decoder = text_layer_bytes(text, size) * row.tokens
    tower = tower_layer_bytes(vision, size) * row.patches if row.weights.vision else 0
    if train.activation_checkpointing:
        of_decoder = size * text.hidden_size * row.tokens
        of_tower = size * vision.hidden_size * row.patches if row.weights.vision else 0
    else:
        of_decoder, of_tower, decoder, tower = decoder, tower, 0, 0
    # The tower's output, the projector's two layers with the activation between.
    projector = size * (vision.hidden_size + 2 * text.hidden_size) * row.patches
    # The last norm in float32, its output, the embeddings and the places of the image in them.
    ends = (5 + 2 * size) * text.hidden_size * row.tokens
    below = row.pixels + projector + ends + vision.num_hidden_layers * of_tower
    kept = below + text.num_hidden_layers * of_decoder
    wide = 2 * size
    return {
        # Logits in float32, their softmax and its gradient.
        "head": kept + 12 * text.vocab_size * row.answers,
        "decoder": kept + decoder + wide * text.intermediate_size * row.tokens,
        "tower": below + tower + wide * vision.intermediate_size * row.patches,
    }


def evaluation_bytes(row: Row, batch_tokens: int) -> int:
    """Bytes of activations on one GPU at the peak of a forward pass without gradients, over rows
    and questions of at most `batch_tokens` tokens; a longer row goes alone."""
    rows = max(1, batch_tokens // row.tokens)
    return rows * max(forward_stages(row).values())


def forward_stages(row: Row) -> dict[str, int]:
    """Bytes of a row in each part of the model; `candidates`: in the second pass of a question,
    whose keys and values are there for each candidate."""
    text, vision, size = row.shape.get_text_config(), row.vision, row.size
    hidden, seen = size * text.hidden_size * row.tokens, size * row.patches
    head = text.hidden_size // text.num_attention_heads
    cached = 2 * size * head * text.num_key_value_heads * row.tokens
    inside = row.pixels + 3 * hidden + seen * vision.hidden_size
    layer = 4 * hidden + 3 * size * text.intermediate_size * row.tokens
    return {
        "tower": row.pixels + seen * (4 * vision.hidden_size + 2 * vision.intermediate_size),
        "projector": row.pixels + seen * (vision.hidden_size + 3 * text.hidden_size),
        "decoder": inside + layer,
        "question": inside + layer + text.num_hidden_layers * cached,
        # One layer's are extended and repeated for each query head as well.
        "candidates": size * row.numbers
        + hidden
        + CANDIDATES * ((text.num_hidden_layers + 1) * cached + 2 * hidden),
        "head": 2 * hidden + 8 * text.vocab_size * row.answers,
    }


def text_layer_bytes(text: Qwen2Config, size: int) -> int:
    """Bytes that one Qwen2 layer keeps for each token."""
    hidden = text.hidden_size
    # Each norm works in float32: its input, the normalised values and its output.
    norms = 2 * (4 + 2 * size) * hidden
    # Queries, and keys and values repeated for each query head; attention's output.
    attention = size * 4 * hidden
    return norms + attention + size * 4 * text.intermediate_size


def tower_layer_bytes(vision: SiglipVisionConfig, size: int) -> int:
    """Bytes that one SigLIP layer keeps for each patch."""
    # Two norms' inputs and outputs, queries, keys, values and attention's output; the wide layer
    # before and after its activation.
    return size * (8 * vision.hidden_size + 2 * vision.intermediate_size)
