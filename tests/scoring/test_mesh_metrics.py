"""Both definitions of a surface beside MeshMetrics, which measures between meshes: where they agree, and where not."""

from __future__ import annotations

import numpy as np
import pytest
from meshmetrics import DistanceMetrics
from scipy import ndimage

from benchmark.scoring.cases import score_case
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.images import Geometry, LabelMap
from benchmark.scoring.surface import SurfaceDistances, assd, hausdorff, nsd, surface_distances

DEFINITIONS = ("surface_elements", "voxel_edges")
Spacing = tuple[float, float, float]


def on_meshes(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> DistanceMetrics:
    found = DistanceMetrics()
    found.set_input(reference, prediction, spacing=spacing)
    return found


def ours(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing, definition: str) -> SurfaceDistances:
    maps = reference.astype(np.uint8), prediction.astype(np.uint8)
    return surface_distances(*maps, label=1, spacing=spacing, definition=definition)


def box(first: int) -> np.ndarray:
    mask = np.zeros((32, 32, 32), bool)
    mask[8:20, 8:20, first : first + 12] = True
    return mask


def ball(middle: float) -> np.ndarray:
    """Radius 12 voxels in a cube of 40."""
    x, y, z = np.ogrid[:40, :40, :40]
    return (x - middle) ** 2 + (y - 20) ** 2 + (z - 20) ** 2 <= 144


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 3.0)])
def test_flat_faces_are_as_far_apart_as_their_meshes(definition: str, spacing: Spacing) -> None:
    """A box moved by three voxels: every definition sees its faces 3 × spacing apart."""
    mesh, own = on_meshes(box(8), box(11), spacing), ours(box(8), box(11), spacing, definition)
    assert mesh.hd() == pytest.approx(3 * spacing[2], abs=1e-6)
    assert hausdorff(own) == pytest.approx(mesh.hd(), abs=1e-6)
    assert hausdorff(own, percentile=95) == pytest.approx(mesh.hd(95), abs=1e-6)


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 2.9)])
def test_differences_stay_within_the_voxel(definition: str, seed: int, spacing: Spacing) -> None:
    """Each of our surfaces lies within half a voxel's diagonal of the mesh: distances differ by a diagonal at most."""
    smooth = [ndimage.gaussian_filter(np.random.default_rng([seed, k]).normal(size=(28, 28, 28)), 3) for k in range(2)]
    reference, prediction = smooth[0] > 0.03, smooth[0] + 0.5 * smooth[1] > 0.03
    mesh, own = on_meshes(reference, prediction, spacing), ours(reference, prediction, spacing, definition)
    diagonal = float(np.linalg.norm(spacing))
    assert mesh.hd() > 0
    assert hausdorff(own) == pytest.approx(mesh.hd(), abs=diagonal)
    assert assd(own) == pytest.approx(mesh.assd(), abs=diagonal)
    wider, narrower = nsd(own, tolerance=1.5 * diagonal), mesh.nsd(0.5 * diagonal)
    assert wider >= narrower - 0.1  # shares are of areas, which the definitions weigh apart


def test_a_curved_surface_in_closed_form() -> None:
    """A ball moved by 2: distances are about |2 cos θ|, so 62.5 % of the surface lies within 1.25, and the mean is 1.

    The mesh comes near. Surface elements lie on voxel corners, from corner to corner, so that what is nearer than a
    voxel often counts as 0 or 1: more is within the tolerance (deepmind's package gives the same values). Voxels of the
    edge are all of weight 1, the many at a slanted surface included.
    """
    masks, spacing = (ball(20), ball(22)), (1.0, 1.0, 1.0)
    mesh, elements, edges = on_meshes(*masks, spacing), *(ours(*masks, spacing, name) for name in DEFINITIONS)
    assert mesh.nsd(1.25) == pytest.approx(0.625, abs=0.03)
    assert nsd(elements, tolerance=1.25) == pytest.approx(0.774, abs=1e-3)
    assert nsd(edges, tolerance=1.25) == pytest.approx(0.567, abs=1e-3)
    assert mesh.assd() == pytest.approx(1.0, abs=0.1)
    assert assd(elements) == pytest.approx(0.745, abs=1e-3)
    assert assd(edges) == pytest.approx(0.989, abs=1e-3)
    assert mesh.hd() == hausdorff(elements) == hausdorff(edges) == pytest.approx(2.0)


@pytest.mark.parametrize(("reference", "prediction"), [(False, False), (True, False), (False, True)])
def test_empty_masks_score_as_in_the_convention_of_surface_distance(reference: bool, prediction: bool) -> None:
    """One empty mask: infinitely far, in both. Two: MeshMetrics says 0, the convention says infinity too."""
    masks = [box(8) & full for full in (reference, prediction)]
    grid = Geometry(masks[0].shape, (1.0, 1.0, 1.0))
    (score,) = score_case(
        *(LabelMap(mask.astype(np.uint8), grid) for mask in masks), labels={1: "box"},
        conventions=[get_convention("surface_distance")], metrics=["hd95"],
    )  # fmt: skip
    assert score.value == np.inf
    assert on_meshes(*masks, (1.0, 1.0, 1.0)).hd(95) == (np.inf if reference or prediction else 0.0)
