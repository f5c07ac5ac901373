"""Fills of dense inputs against answers on paper and a loop."""

import pytest
import torch

from sgt_hf.masking.dense import FILLS, DenseFacts, replace_dropped

VALUES = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [9.0, 90.0]])[None]  # one sample, N=4, C=2


def facts(values=VALUES, *, padded=0, **settings):
    real = torch.ones(*values.shape[:2], 1, dtype=torch.bool)
    real[:, values.shape[1] - padded :] = False
    return DenseFacts(real, torch.tensor(settings.pop("constant", 0.0)), **settings)


def dropped(*cells, shape=VALUES.shape):
    drop = torch.zeros(shape, dtype=torch.bool)
    for cell in cells:
        drop[(0, *cell)] = True
    return drop


def test_constant_takes_one_value_per_channel():
    out = replace_dropped(VALUES, dropped((0, 0), (3, 1)), FILLS["constant"], facts(constant=[-1.0, -2.0]))
    assert out.tolist() == [[[-1, 10], [2, 20], [4, 40], [9, -2]]]


def test_channel_mean_leaves_padding_out():
    out = replace_dropped(VALUES, dropped((0, 0), (1, 1)), FILLS["channel_mean"], facts(padded=1))
    assert out[0, 0, 0].item() == pytest.approx(7 / 3)
    assert out[0, 1, 1].item() == pytest.approx(70 / 3)


def test_the_mean_of_a_large_image_does_not_overflow_in_half_precision():
    values = torch.full((1, 224 * 224, 1), 2.6, dtype=torch.float16)  # whose sum is 130,000
    mean = FILLS["channel_mean"](values, torch.zeros_like(values).bool(), facts(values))
    assert mean.dtype == torch.float16
    assert torch.equal(mean, values)


def test_constant_refuses_another_number_of_channels():
    with pytest.raises(ValueError, match="has 3 values, and its input has 2 channel"):
        replace_dropped(VALUES, dropped((0, 0)), FILLS["constant"], facts(constant=[-1.0, -2.0, -3.0]))


def test_previous_copies_the_last_kept_value_and_before_it_the_first_kept():
    drop = dropped((0, 0), (1, 0), (3, 0), (1, 1), (2, 1))
    out = replace_dropped(VALUES, drop, FILLS["previous"], facts())
    assert out[0, :, 0].tolist() == [4, 4, 4, 4]
    assert out[0, :, 1].tolist() == [10, 10, 10, 90]


def test_previous_falls_back_on_the_constant_where_a_channel_keeps_nothing():
    drop = torch.zeros(VALUES.shape, dtype=torch.bool)
    drop[:, :, 0] = True
    out = replace_dropped(VALUES, drop, FILLS["previous"], facts(constant=[7.0, 8.0]))
    assert out[0, :, 0].tolist() == [7, 7, 7, 7]
    assert torch.equal(out[0, :, 1], VALUES[0, :, 1])


def test_previous_agrees_with_a_loop():
    generator = torch.Generator().manual_seed(0)
    values, drop = torch.rand(5, 7, 3, generator=generator), torch.rand(5, 7, 3, generator=generator) < 0.5
    real = (torch.arange(7) < torch.tensor([7, 3, 1, 5, 6])[:, None])[..., None]
    drop &= real
    out = replace_dropped(values, drop, FILLS["previous"], DenseFacts(real, torch.tensor(0.5)))
    for b, n, c in drop.nonzero().tolist():
        kept = [i for i in range(7) if real[b, i, 0] and not drop[b, i, c]]
        before = [i for i in kept if i < n]
        expected = values[b, before[-1] if before else kept[0], c] if kept else 0.5
        assert out[b, n, c] == expected
    assert torch.equal(out[~drop], values[~drop])


def test_uniform_stays_in_the_range_of_its_own_sample_and_channel():
    values = torch.cat([VALUES, VALUES + 1000])
    drop = torch.ones(values.shape, dtype=torch.bool)
    known = facts(values, padded=1)
    drawn = torch.stack([replace_dropped(values, drop, FILLS["uniform"], known) for _ in range(200)])
    low, high = values[:, :3].amin(1), values[:, :3].amax(1)  # the last position is padding
    assert (drawn.amin((0, 2)) >= low).all()
    assert (drawn.amax((0, 2)) <= high).all()
    assert torch.allclose(drawn.mean((0, 2)), (low + high) / 2, rtol=0.1)


def test_uniform_takes_the_range_of_the_data_set_where_it_is_given():
    known = facts(low=torch.tensor([5.0, -1.0]), high=torch.tensor([6.0, 0.0]))
    out = replace_dropped(VALUES, torch.ones(1, 4, 1, dtype=torch.bool), FILLS["uniform"], known)
    assert ((out[..., 0] >= 5) & (out[..., 0] < 6)).all()
    assert ((out[..., 1] >= -1) & (out[..., 1] < 0)).all()


@pytest.mark.parametrize("name", sorted(FILLS))
def test_what_is_kept_stays_and_the_input_is_unchanged(name):
    before, drop = VALUES.clone(), dropped((1, 0), (2, 0), (2, 1))
    torch.manual_seed(0)
    out = replace_dropped(VALUES, drop, FILLS[name], facts())
    assert torch.equal(out[~drop], VALUES[~drop])
    assert torch.equal(VALUES, before)
    half = replace_dropped(VALUES.half(), drop, FILLS[name], facts(VALUES.half()))
    assert half.dtype == torch.float16
