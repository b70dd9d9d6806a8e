"""Batches arrive on the device as they were, in their order."""

import pytest
import torch

from qsit_ray.models.batch import on_device

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_every_batch_arrives_once_and_whole(device, number):
    """Also while the device still works with those before."""
    chance = torch.Generator().manual_seed(0)
    batches = [
        {
            "input_ids": torch.randint(0, 1000, (2, 7000), generator=chance),
            "pixel_values": torch.randint(0, 256, (31, 3, 384, 384), generator=chance).byte(),
        }
        for _ in range(number)
    ]
    arrived, busy = [], torch.ones(512, 512, device=device)
    for batch in on_device(iter(batches), device):
        busy = busy @ busy / 512
        arrived.append({name: tensor.clone() for name, tensor in batch.items()})
        assert {tensor.device.type for tensor in batch.values()} == {device}
    assert len(arrived) == number
    for found, batch in zip(arrived, batches, strict=True):
        assert all(torch.equal(found[name].cpu(), tensor) for name, tensor in batch.items())
