"""Each process draws its own random replacements, all from the seed, and the generators go on undisturbed."""

import pytest
import torch

from sgt_hf.masking.draws import own_draws

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def drawn(process, device, seed=0):
    torch.manual_seed(seed)
    with own_draws(process, torch.device(device)):
        return torch.rand(4, device=device).tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_processes_differ_and_each_repeats_with_the_seed(device):
    first = [drawn(process, device) for process in range(3)]
    assert len({tuple(values) for values in first}) == 3
    assert first == [drawn(process, device) for process in range(3)]
    assert drawn(0, device, seed=1) != first[0]


@pytest.mark.parametrize("device", DEVICES)
def test_successive_draws_differ(device):
    torch.manual_seed(0)
    found = set()
    for _ in range(5):
        with own_draws(0, torch.device(device)):
            found.add(torch.rand((), device=device).item())
    assert len(found) == 5


def test_the_global_generator_gives_one_number_whatever_is_drawn_also_after_an_exception():
    torch.manual_seed(0)
    torch.randint(2**62, ())
    expected = torch.rand(3)
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match="inside"), own_draws(1, torch.device("cpu")):
        torch.rand(100)
        raise RuntimeError("inside")
    assert torch.equal(torch.rand(3), expected)
