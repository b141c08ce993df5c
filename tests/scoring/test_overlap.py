from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.masks import label_maps, mask_pairs
from hypothesis import given, settings
from medpy.metric import binary
from monai.metrics import compute_dice, compute_iou

from benchmark.scoring.overlap import dsc, iou, measure_overlap


@settings(max_examples=150, deadline=None)
@given(label_maps())
def test_counts_and_boxes_equal_those_counted_one_class_at_a_time(maps):
    reference, prediction = maps
    overlap = measure_overlap(reference, prediction, size=8)
    for label in range(8):
        masks = reference == label, prediction == label
        expected = [int(masks[0].sum()), int(masks[1].sum()), int((masks[0] & masks[1]).sum())]
        assert [int(side[label]) for side in (overlap.reference, overlap.prediction, overlap.both)] == expected
        if label and any(expected[:2]):
            found = np.argwhere(masks[0] | masks[1])
            start, stop = overlap.box(label)
            assert start[-reference.ndim :].tolist() == found.min(axis=0).tolist()
            assert stop[-reference.ndim :].tolist() == (found.max(axis=0) + 1).tolist()


@settings(max_examples=150, deadline=None)
@given(mask_pairs())
def test_dice_and_iou_agree_with_monai_and_medpy(masks):
    reference, prediction, _ = masks
    overlap = measure_overlap(reference.astype(np.uint8), prediction.astype(np.uint8), size=2)
    tensors = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    values = float(dsc(overlap)[1]), float(iou(overlap)[1])
    if not reference.any() and not prediction.any():
        assert np.isnan(values).all()
        return
    assert values == pytest.approx((binary.dc(prediction, reference), binary.jc(prediction, reference)), abs=1e-12)
    monai = [metric(*tensors, ignore_empty=False).item() for metric in (compute_dice, compute_iou)]
    assert values == pytest.approx(monai, abs=1e-6)


def test_by_hand():
    reference = np.array([[1, 1, 2], [0, 2, 2]])
    prediction = np.array([[1, 0, 2], [0, 0, 3]])
    overlap = measure_overlap(reference, prediction)
    assert dsc(overlap)[1:].tolist() == pytest.approx([2 / 3, 2 / 4, 0.0])
    assert iou(overlap)[1:].tolist() == pytest.approx([1 / 2, 1 / 3, 0.0])


def test_arrays_in_any_memory_order_count_alike():
    random = np.random.default_rng(0)
    reference, prediction = random.integers(0, 4, (2, 5, 6, 7))
    plain = measure_overlap(reference, prediction)
    fortran = measure_overlap(np.asfortranarray(reference), prediction[:, ::-1][:, ::-1])
    assert (plain.both == fortran.both).all() and (plain.boxes == fortran.boxes).all()


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((4,), (4,)), ((1, 1, 1, 1), (1, 1, 1, 1))])
def test_other_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match="equal shape"):
        measure_overlap(*(np.zeros(shape, np.uint8) for shape in shapes))
