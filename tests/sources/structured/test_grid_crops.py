"""Overlaps with a grid: by hand, against counted voxels, and as the targets of a batch."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch
from litotes.sources.structured.grid_crops import GridCrops, overlap_labels


@pytest.mark.parametrize(
    ("centre", "wanted"),
    [
        ((96, 96), {4: 1.0}),
        ((64, 64), {0: 0.25, 1: 0.25, 3: 0.25, 4: 0.25}),
        ((32, 32), {0: 1.0}),
        ((80, 32), {0: 0.25, 3: 0.75}),
    ],
)
def test_overlaps_by_hand(centre, wanted):
    found = overlap_labels(torch.tensor([centre]), 64, (3, 3))[0]
    assert {k: v for k, v in enumerate(found.tolist()) if v} == pytest.approx(wanted)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 4), st.integers(0, 99))
def test_rows_sum_to_one_and_more_axes_are_products(grid, half, seed):
    cell, random = 2 * half, torch.Generator().manual_seed(seed)
    centres = torch.stack([torch.randint(half, g * cell - half + 1, (5,), generator=random) for g in grid], dim=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = overlap_labels(centres, cell, grid)
    assert torch.allclose(found.sum(1), torch.ones(5)) and ((found > 0).sum(1) <= 2 ** len(grid)).all()
    product = torch.ones(5, 1)
    for axis, g in enumerate(grid):
        along = overlap_labels(centres[:, axis : axis + 1], cell, [g])
        product = (product[:, :, None] * along[:, None]).flatten(1)
    assert torch.allclose(found, product)


@given(st.integers(0, 99), st.booleans())
def test_crops_hold_what_their_labels_say(seed, depth):
    cells = torch.arange(6).reshape(2, 3).repeat_interleave(4, 0).repeat_interleave(4, 1)  # each voxel: its cell
    volume = cells[None, :, :, None].expand(1, 8, 12, 5) if depth else cells[None]
    part = GridCrops(cell=4, grid=[2, 3], crops=3)
    cut = part.cut(volume, torch.Generator().manual_seed(seed))
    assert cut.bases.shape == (6, 1, 4, 4, *([5] if depth else []))
    assert [base.unique().tolist() for base in cut.bases] == [[k] for k in range(6)]
    for crop, label in zip(cut.crops, cut.labels, strict=True):
        count = torch.bincount(crop.flatten(), minlength=6) / crop.numel()
        assert torch.allclose(count, label)
    assert (cut.centres >= 2).all() and (cut.centres < torch.tensor([6, 10])).all()
    again = part.cut(volume, torch.Generator().manual_seed(seed))
    assert torch.equal(again.crops, cut.crops)


def test_as_a_source_it_writes_targets_and_signs_within_a_volume():
    part = GridCrops(cell=64)
    centre = torch.tensor([[80, 32], [96, 96]])
    cell, volume = torch.arange(9).repeat(2), torch.arange(2).repeat_interleave(9)
    blank = torch.full((2, 18), -1, dtype=torch.int8)
    batch = SignedBatch(
        None,
        blank,
        torch.ones(2, 18),
        torch.randn(2, 3),
        torch.randn(18, 3),
        rows={"centre": centre, "volume": torch.tensor([1, 0])},
        columns={"cell": cell, "volume": volume},
    )
    made = part(batch)
    assert made.sign[0].tolist() == [0] * 9 + [1, -1, -1, 1, -1, -1, -1, -1, -1]
    assert made.sign[1].tolist() == [-1] * 4 + [1] + [-1] * 4 + [0] * 9
    assert made.pairs["target"][0, 9:].tolist() == [0.25, 0, 0, 0.75, 0, 0, 0, 0, 0]
    assert made.pairs["target"][1].sum() == 1 and (made.weight == 1).all()
    alone = batch.replace(rows={"centre": centre}, columns={"cell": cell})
    assert (part(alone).sign != 0).all()


def test_crops_out_of_the_grid_are_told_and_bad_arguments_are_named():
    with pytest.warns(UserWarning, match="1 of 2 crops reach out of the grid"):
        overlap_labels(torch.tensor([[10, 32], [32, 32]]), 64, (3, 3))
    with pytest.raises(ValueError, match="cell must be an even whole number"):
        GridCrops(cell=3)
    with pytest.raises(ValueError, match="grid must be one to three whole numbers"):
        GridCrops(grid=[])
    with pytest.raises(ValueError, match="crops must be a whole number >= 1"):
        GridCrops(crops=0)
    with pytest.raises(ValueError, match=r"volume must be \[C, 12, 12, ...\], got \[1, 12, 9\]"):
        GridCrops(cell=4).cut(torch.zeros(1, 12, 9))
    with pytest.raises(ValueError, match=r"centres must be \[n, 2\]"):
        overlap_labels(torch.zeros(4, 3), 64, (3, 3))
    with pytest.raises(ValueError, match='needs rows\\["centre"\\]'):
        GridCrops()(SignedBatch(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.int8), torch.ones(1, 1)))
