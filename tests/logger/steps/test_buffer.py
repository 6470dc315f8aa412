"""The buffer of losses and rates: what goes in comes out, in one reduction."""

import math

import pytest
import torch

from lightning_lr.logger.steps.buffer import StepBuffer


def filled(*batches):
    buffer = StepBuffer()
    for step, loss, scale in batches:
        tensor = None if loss is None else torch.tensor(loss)
        buffer.add_batch(step, tensor, scale=scale, weight=8)
    return buffer


def losses(records):
    return {record.step: record.losses for record in records}


def test_batches_of_a_step_stay_together_and_are_scaled():
    records = filled((0, 0.5, 2), (0, 1.5, 2), (1, 3.0, 1)).drain()
    assert losses(records) == {0: [1.0, 3.0], 1: [3.0]}
    assert [record.weights for record in records] == [[8, 8], [8]]


def test_steps_that_are_not_complete_stay():
    buffer = filled((0, 1.0, 1), (1, 2.0, 1), (1, 3.0, 1))
    buffer.add_rates(1, ["lr/SGD"], [0.1])
    assert losses(buffer.drain(before=1)) == {0: [1.0]}
    [record] = buffer.drain()
    assert (record.losses, record.rates) == ([2.0, 3.0], {"lr/SGD": 0.1})
    assert buffer.drain() == []


def test_a_batch_without_loss_leaves_none():
    assert losses(filled((0, None, 1), (1, 2.0, 1)).drain()) == {0: [], 1: [2.0]}
    assert losses(filled((0, None, 1)).drain()) == {0: []}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_losses_that_are_not_finite_are_kept(value):
    [record] = filled((0, value, 1)).drain()
    assert record.losses == [pytest.approx(value, nan_ok=True)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_any_floating_dtype_and_one_element_shape(dtype, shape):
    buffer = StepBuffer()
    buffer.add_batch(0, torch.full(shape, 0.5, dtype=dtype), scale=1, weight=1)
    buffer.add_batch(1, torch.tensor(0.25), scale=1, weight=1)
    assert losses(buffer.drain()) == {0: [0.5], 1: [0.25]}


def test_ranks_are_averaged_in_one_reduction():
    calls = []

    def reduce(values):
        """Add another rank: losses 3 and 5, and none in the third batch."""
        calls.append(values.shape)
        return values + torch.tensor([3.0, 5.0, 0.0, 1.0, 1.0, 0.0])

    found = losses(filled((0, 1.0, 1), (1, None, 1), (2, None, 1)).drain(reduce=reduce))
    assert found == {0: [2.0], 1: [5.0], 2: []}
    assert calls == [(6,)]


@pytest.mark.parametrize(
    "loss", [None, 1.0, torch.tensor(1.0, dtype=torch.bfloat16), torch.tensor(1.0).double()]
)
def test_ranks_reduce_the_same_type_whatever_losses_they_have(loss):
    types = []

    def reduce(values):
        types.append(values.dtype)
        return values

    buffer = StepBuffer()
    buffer.add_batch(0, loss if loss is None else torch.as_tensor(loss), scale=1, weight=1)
    buffer.drain(reduce=reduce)
    assert types == [torch.float64]


def test_an_empty_buffer_reduces_nothing():
    assert StepBuffer().drain(reduce=pytest.fail) == []


def test_a_rate_that_is_a_tensor_is_kept_as_it_was():
    rate = torch.tensor(0.5)
    buffer = StepBuffer()
    buffer.add_rates(0, ["lr/pg1"], [rate])
    buffer.add_rates(0, ["lr/pg2"], [0.1])
    rate.fill_(7.0)
    [record] = buffer.drain()
    assert record.rates == {"lr/pg1": 0.5, "lr/pg2": 0.1}


def test_a_step_that_was_interrupted_keeps_its_rate():
    buffer = filled((0, 1.0, 1))
    buffer.add_rates(1, ["lr/SGD"], [0.1])
    records = buffer.drain()
    assert [(record.step, record.losses, record.rates) for record in records] == [
        (0, [1.0], {}),
        (1, [], {"lr/SGD": 0.1}),
    ]
