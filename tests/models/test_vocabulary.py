"""A tokenizer that is not the model's own is refused before anything is trained."""

import copy

import pytest

from qsit_ray.errors import InputError
from qsit_ray.models import load
from qsit_ray.models.vocabulary import check_vocabulary


@pytest.fixture
def saved(checkpoint, tmp_path):
    load.save(checkpoint.model, checkpoint.processor, tmp_path)
    return str(tmp_path)


def refused(processor, saved, said):
    with pytest.raises(InputError, match=said) as error:
        check_vocabulary(processor, saved)
    assert saved in str(error.value)


def test_a_models_own_tokenizer_passes(saved):
    check_vocabulary(load.load_processor(saved), saved)


def test_a_larger_vocabulary_is_another_models(saved):
    processor = load.load_processor(saved)
    processor.tokenizer.add_tokens([f"<{n}>" for n in range(1000)])
    refused(processor, saved, "another model's tokenizer")


def test_a_missing_image_token_is_named(checkpoint, saved):
    processor = copy.copy(load.load_processor(saved))
    config = processor.tokenizer.backend_tokenizer.to_str().replace("<image>", "<picture>")
    processor.tokenizer = type(processor.tokenizer)(
        tokenizer_object=type(processor.tokenizer.backend_tokenizer).from_str(config)
    )
    refused(processor, saved, "no token <image>")


def test_another_number_of_the_image_token_is_named(checkpoint, saved):
    processor = load.load_processor(saved)
    model = copy.deepcopy(checkpoint.model)
    model.config.image_token_id = 77
    model.config.image_token_index = 77
    model.config.save_pretrained(saved)
    refused(processor, saved, "the model expects 77")
