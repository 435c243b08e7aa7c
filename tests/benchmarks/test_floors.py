"""Floors: operations counted against sums worked out by hand, and rates from a clock made up."""

import pytest
import torch
from torch import nn

from benchmarks import clock, floors, rates
from benchmarks.rates import Rates
from rslib.models.device import tf32

CPU = torch.device("cpu")
IMAGES = 7

# A convolution of 3 to 4 channels and 3x3 places on 4x4 pixels leaves 2x2 places; then 16 to 5.
CONVOLUTION = 2 * (3 * 3 * 3) * (4 * 2 * 2)
LINEAR = 2 * 16 * 5


@pytest.fixture
def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(16, 5))


@pytest.fixture
def x():
    return torch.rand(IMAGES, 3, 4, 4)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_forward_pass_is_counted_whatever_the_mode(net, x, mode):
    with mode():
        assert floors.operations(lambda: net(x)) == IMAGES * (CONVOLUTION + LINEAR)


def test_the_gradient_of_an_image_is_another_forward_pass(net, x):
    net.requires_grad_(False)

    def attacked():
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(net(leaf).sum(), leaf)

    assert floors.operations(attacked) == 2 * IMAGES * (CONVOLUTION + LINEAR)


def test_a_training_step_needs_no_gradient_of_the_image(net, x):
    def trained():
        net(x).sum().backward()

    assert floors.operations(trained) == IMAGES * (2 * CONVOLUTION + 3 * LINEAR)


def test_products_outside_of_any_net_are_counted_and_sums_are_not():
    a = torch.rand(3, 4, 4)
    row = a[:, :1]
    assert floors.operations(lambda: row @ a) == 3 * 2 * 4 * 4
    assert floors.operations(lambda: a + a.sum()) == 0


def test_operations_are_counted_on_a_device_without_data():
    net = nn.Linear(16, 5, device="meta")
    assert floors.operations(lambda: net(torch.empty(2, 16, device="meta"))) == 2 * LINEAR


def test_a_floor_is_its_arithmetic_or_its_traffic():
    ours = Rates(operations=1e9, bytes=1e8)
    busy, moving = floors.floor(3e6, 1e5, ours), floors.floor(5e5, 1e5, ours)
    assert busy == {"operations": 3e6, "bytes": 1e5, "milliseconds": pytest.approx(3.0)}
    assert moving["milliseconds"] == pytest.approx(1.0)
    # Of both in turn; not what both take at once, which would be 3.5.
    both = floors.total([busy, moving])
    assert both == {"operations": 3.5e6, "bytes": 2e5, "milliseconds": pytest.approx(4.0)}
    assert floors.total([busy, None]) is None


@pytest.fixture
def ticking(monkeypatch):
    """A clock that each reading moves on by so many seconds."""

    def set_to(seconds):
        now = [0.0]

        def read():
            now[0] += seconds
            return now[0]

        monkeypatch.setattr(clock.time, "perf_counter", read)

    return set_to


def test_rates_are_what_a_call_does_in_its_seconds(ticking):
    ticking(0.5)
    found = rates.measure(CPU, sides=[8, 16], numbers=[100, 200])
    # The smaller one takes long enough. A number of four bytes is read and written.
    assert found == Rates(operations=2 * 8**3 / 0.5, bytes=2 * 4 * 100 / 0.5)


def test_a_fast_device_gets_more_to_do(ticking):
    ticking(0.001)
    found = rates.measure(CPU, sides=[8, 16], numbers=[100, 200])
    assert found.operations == pytest.approx(2 * 16**3 / 0.001)
    assert found.bytes == pytest.approx(2 * 4 * 200 / 0.001)


def test_rates_are_of_full_precision(monkeypatch):
    seen = []

    def timed(work, device):
        seen.append(torch.backends.cuda.matmul.allow_tf32)
        return work(), 1.0

    monkeypatch.setattr(rates, "timed", timed)
    with tf32(True):
        rates.measure(CPU, sides=[8], numbers=[100])
        assert torch.backends.cuda.matmul.allow_tf32
    assert set(seen) == {False}


def test_a_gpu_is_done_before_the_clock_is_read(monkeypatch):
    order = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append("wait"))
    monkeypatch.setattr(clock.time, "perf_counter", lambda: order.append("read") or 0.0)
    answer, _ = clock.timed(lambda: order.append("work") or "done", torch.device("cuda"))
    assert answer == "done"
    assert order == ["wait", "read", "work", "wait", "read"]
    order.clear()
    clock.timed(lambda: order.append("work"), CPU)
    assert order == ["read", "work", "read"]
