"""The compiled loops of scoring: one pass of counting, surface codes, and an exact distance transform at query points.

Every function takes C-contiguous three-dimensional arrays; an image of shape (H, W) is passed as (1, H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numba
import numpy as np

SEARCH_BUDGET = 4  # looks per voxel of a plane that cost as much as its envelopes
NO_SOURCE = np.uint16(65535)  # marks a line without any source; axes are therefore limited to 65,534 voxels


def compiled(function: Callable) -> Callable:
    """Compile with numba, caching on disk where any cache folder is writable.

    numba raises when neither the package folder nor the user's cache folder can be written (a read-only site with
    no home); scoring must still work there, only with a compilation of some seconds per process.
    """
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:
        return numba.njit(function)


@compiled
def count_labels(reference: np.ndarray, prediction: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Count every label of both maps, their overlap and their bounding boxes in one pass.

    Runs of equal (reference, prediction) pairs along the last axis are counted at once.

    Returns:
        counts [3, size]: voxels in the reference, in the prediction, in both; boxes [2, size, 3, 2]: first and last
        index per axis of the label in reference (0) and prediction (1), `last < first` where it does not occur.
    """
    counts = np.zeros((3, size), np.int64)
    boxes = np.empty((2, size, 3, 2), np.int64)
    boxes[..., 0] = np.iinfo(np.int64).max
    boxes[..., 1] = -1
    planes, rows, columns = reference.shape
    for i in range(planes):
        for j in range(rows):
            start = 0
            while start < columns:
                first, second = reference[i, j, start], prediction[i, j, start]
                stop = start + 1
                while stop < columns and reference[i, j, stop] == first and prediction[i, j, stop] == second:
                    stop += 1
                counts[0, first] += stop - start
                counts[1, second] += stop - start
                if first == second:
                    counts[2, first] += stop - start
                if first > 0:
                    _extend(boxes[0, first], i, j, start, stop - 1)
                if second > 0:
                    _extend(boxes[1, second], i, j, start, stop - 1)
                start = stop
    return counts, boxes


@compiled
def _extend(box: np.ndarray, i: int, j: int, start: int, last: int) -> None:
    box[0, 0] = min(box[0, 0], i)
    box[0, 1] = max(box[0, 1], i)
    box[1, 0] = min(box[1, 0], j)
    box[1, 1] = max(box[1, 1], j)
    box[2, 0] = min(box[2, 0], start)
    box[2, 1] = max(box[2, 1], last)


@compiled
def corner_codes(labels: np.ndarray, label: int, start: Sequence[int], stop: Sequence[int]) -> np.ndarray:
    """Eight-bit code of the 2×2×2 neighbourhood around every voxel corner of the box [start, stop).

    Bit 7 is the voxel before the corner on all axes, bit 0 the voxel after it on all axes (axis 0 is worth 4 bits,
    axis 1 two, axis 2 one). Voxels outside the box count as background. The first layer alone holds the four-bit codes
    of a two-dimensional map.

    Returns:
        uint8 array of one more corner than voxels per axis; a surface passes where the code is neither 0 nor 255.
    """
    planes, rows, columns = stop[0] - start[0], stop[1] - start[1], stop[2] - start[2]
    codes = np.zeros((planes + 1, rows + 1, columns + 1), np.uint8)
    for i in range(planes):
        for j in range(rows):
            line = labels[start[0] + i, start[1] + j]
            for k in range(columns):
                if line[start[2] + k] != label:
                    continue
                codes[i, j, k] |= 1
                codes[i, j, k + 1] |= 2
                codes[i, j + 1, k] |= 4
                codes[i, j + 1, k + 1] |= 8
                codes[i + 1, j, k] |= 16
                codes[i + 1, j, k + 1] |= 32
                codes[i + 1, j + 1, k] |= 64
                codes[i + 1, j + 1, k + 1] |= 128
    return codes


@compiled
def edge_voxels(labels: np.ndarray, label: int, start: Sequence[int], stop: Sequence[int], planar: bool) -> np.ndarray:
    """1 at voxels of the label with a face neighbour that is not (outside the array counts as not), else 0.

    The same as `mask ^ binary_erosion(mask)` with the smallest structuring element. With `planar` neighbours along the
    first axis are not looked at.
    """
    shape = (stop[0] - start[0], stop[1] - start[1], stop[2] - start[2])
    edges = np.zeros(shape, np.uint8)
    last = (labels.shape[0] - 1, labels.shape[1] - 1, labels.shape[2] - 1)
    for i in range(start[0], stop[0]):
        for j in range(start[1], stop[1]):
            for k in range(start[2], stop[2]):
                if labels[i, j, k] != label:
                    continue
                inside = 0 < j < last[1] and 0 < k < last[2] and (planar or 0 < i < last[0])
                if inside:
                    inside = (
                        labels[i, j, k - 1] == label
                        and labels[i, j, k + 1] == label
                        and labels[i, j - 1, k] == label
                        and labels[i, j + 1, k] == label
                        and (planar or (labels[i - 1, j, k] == label and labels[i + 1, j, k] == label))
                    )
                if not inside:
                    edges[i - start[0], j - start[1], k - start[2]] = 1
    return edges


@compiled
def distances_to_sources(sources: np.ndarray, queries: np.ndarray, full: int, spacing: np.ndarray) -> np.ndarray:
    """Distance from every query element to the nearest source element, both in the same box.

    Elements are the positions whose code lies strictly between 0 and `full`. An exact Euclidean transform, evaluated
    only where there is a query: a scan along axis 0 for all voxels, then, plane by plane, whichever is cheaper: a
    search outward from each query that stops at the best distance found, or the lower envelopes of parabolas of
    Felzenszwalb and Huttenlocher (Theory of Computing 2012) along axes 1 and 2. It needs two bytes per voxel and the
    temporary arrays of one plane.

    Args:
        sources, queries: uint8 arrays of one shape; sources must hold at least one element.
        full: the code from which on a position is no element any more.
        spacing: three float64, in the unit wanted.

    Returns:
        float64 distances in the C order of the query elements.
    """
    planes, rows, columns = sources.shape
    steps = _steps_along_first_axis(sources, full)
    found = np.empty(_count_elements(queries, full), np.float64)
    position = 0
    for i in range(planes):
        count = _count_elements(queries[i], full)
        if count == 0:
            continue
        part = found[position : position + count]
        if not _search_plane(steps[i], queries[i], full, spacing, part, SEARCH_BUDGET * rows * columns):
            _transform_plane(steps[i], queries[i], full, spacing, part)
        position += count
    return found


@compiled
def _search_plane(
    steps: np.ndarray, queries: np.ndarray, full: int, spacing: np.ndarray, found: np.ndarray, budget: int
) -> bool:
    """Search outward from every query of a plane; False where more than `budget` looks would be needed."""
    rows, columns = steps.shape
    position = 0
    looks = 0
    for j in range(rows):
        for k in range(columns):
            if not 0 < queries[j, k] < full:
                continue
            best = np.inf
            for away in range(rows):
                row_square = (away * spacing[1]) ** 2
                if row_square >= best or looks > budget:
                    break
                for row in (j - away, j + away):
                    if row < 0 or row >= rows:
                        continue
                    best, spent = _search_row(steps[row], k, row_square, best, spacing)
                    looks += spent
            if looks > budget:
                return False
            found[position] = np.sqrt(best)
            position += 1
    return True


@compiled
def _search_row(
    steps: np.ndarray, middle: int, row_square: float, best: float, spacing: np.ndarray
) -> tuple[float, int]:
    """The smallest squared distance from column `middle` to a source seen from one row, if below `best`, and looks."""
    columns = len(steps)
    beside = 0
    while beside < columns:
        square = (beside * spacing[2]) ** 2
        if row_square + square >= best:
            break
        for column in (middle - beside, middle + beside):
            if 0 <= column < columns and steps[column] != NO_SOURCE:
                # added up axis by axis, as scipy does, so that equal distances come out equal
                best = min(best, ((steps[column] * spacing[0]) ** 2 + row_square) + square)
        beside += 1
    return best, beside + 1


@compiled
def _transform_plane(steps: np.ndarray, queries: np.ndarray, full: int, spacing: np.ndarray, found: np.ndarray) -> None:
    """Lower envelopes along both axes of a plane, the second only in rows with a query."""
    rows, columns = steps.shape
    plane = np.empty((rows, columns), np.float64)
    squares = np.empty(rows, np.float64)
    centres = np.empty(max(rows, columns), np.int64)
    borders = np.empty(max(rows, columns), np.float64)
    for k in range(columns):
        for j in range(rows):
            squares[j] = np.inf if steps[j, k] == NO_SOURCE else (steps[j, k] * spacing[0]) ** 2
        count = _lower_envelope(squares, spacing[1], centres, borders)
        piece = 0
        for j in range(rows):
            while piece + 1 < count and borders[piece + 1] < j:
                piece += 1
            offset = (j - centres[piece]) * spacing[1]
            plane[j, k] = squares[centres[piece]] + offset * offset if count else np.inf
    position = 0
    for j in range(rows):
        if _count_elements(queries[j], full) == 0:
            continue
        count = _lower_envelope(plane[j], spacing[2], centres, borders)
        piece = 0
        for k in range(columns):
            if not 0 < queries[j, k] < full:
                continue
            while piece + 1 < count and borders[piece + 1] < k:
                piece += 1
            offset = (k - centres[piece]) * spacing[2]
            found[position] = np.sqrt(plane[j, centres[piece]] + offset * offset)
            position += 1


@compiled
def _count_elements(codes: np.ndarray, full: int) -> int:
    count = 0
    for code in codes.flat:
        if 0 < code < full:
            count += 1
    return count


@compiled
def _steps_along_first_axis(sources: np.ndarray, full: int) -> np.ndarray:
    planes, rows, columns = sources.shape
    steps = np.empty(sources.shape, np.uint16)
    for i in range(planes):
        for j in range(rows):
            for k in range(columns):
                if 0 < sources[i, j, k] < full:
                    steps[i, j, k] = 0
                elif i > 0 and steps[i - 1, j, k] != NO_SOURCE:
                    steps[i, j, k] = steps[i - 1, j, k] + 1
                else:
                    steps[i, j, k] = NO_SOURCE
    for i in range(planes - 2, -1, -1):
        for j in range(rows):
            for k in range(columns):
                after = steps[i + 1, j, k]
                if after != NO_SOURCE and after + 1 < steps[i, j, k]:
                    steps[i, j, k] = after + 1
    return steps


@compiled
def _lower_envelope(squares: np.ndarray, step: float, centres: np.ndarray, borders: np.ndarray) -> int:
    """Parabolas that form the lower envelope of (step·(x - q))² + squares[q]; infinite squares take no part.

    Writes the envelope's parabolas to `centres` and where each begins to `borders`, both in index units.

    Returns:
        how many there are; 0 where all squares are infinite.
    """
    count = 0
    scale = step * step
    for q in range(len(squares)):
        if squares[q] == np.inf:
            continue
        begin = -np.inf
        while count > 0:
            p = centres[count - 1]
            begin = (squares[q] - squares[p]) / (2.0 * scale * (q - p)) + 0.5 * (q + p)
            if begin > borders[count - 1]:
                break
            count -= 1
            begin = -np.inf
        centres[count] = q
        borders[count] = begin
        count += 1
    return count
