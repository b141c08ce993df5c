"""The compiled loops of scoring: one pass of counting, surface codes, and an exact distance transform at query points.

Every function takes C-contiguous three-dimensional arrays; an image of shape (H, W) is passed as (1, H, W).
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

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
def count_labels(reference, prediction, size):
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
def _extend(box, i, j, start, last):
    box[0, 0] = min(box[0, 0], i)
    box[0, 1] = max(box[0, 1], i)
    box[1, 0] = min(box[1, 0], j)
    box[1, 1] = max(box[1, 1], j)
    box[2, 0] = min(box[2, 0], start)
    box[2, 1] = max(box[2, 1], last)


@compiled
def corner_codes(labels, label, start, stop):
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
def edge_voxels(labels, label, start, stop, planar):
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
def distances_to_sources(sources, queries, full, spacing):
    """Distance from every query element to the nearest source element, both in the same box.

    Elements are the positions whose code lies strictly between 0 and `full`. Exact Euclidean transform in the
    separable form of Felzenszwalb and Huttenlocher (Theory of Computing 2012): a scan along axis 0 for all voxels,
    then lower envelopes of parabolas along axes 1 and 2, evaluated only in planes, rows and positions that hold a
    query. Thus it needs two bytes per voxel and the temporary arrays of one plane.

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
    plane = np.empty((rows, columns), np.float64)
    squares = np.empty(max(rows, columns), np.float64)
    centres = np.empty(max(rows, columns), np.int64)
    borders = np.empty(max(rows, columns) + 1, np.float64)
    wanted = np.empty(rows, np.bool_)
    position = 0
    for i in range(planes):
        wanted_any = False
        for j in range(rows):
            wanted[j] = False
            for k in range(columns):
                if 0 < queries[i, j, k] < full:
                    wanted[j] = wanted_any = True
                    break
        if not wanted_any:
            continue
        for k in range(columns):
            for j in range(rows):
                step = steps[i, j, k]
                squares[j] = np.inf if step == NO_SOURCE else (step * spacing[0]) ** 2
            count = _lower_envelope(squares, rows, spacing[1], centres, borders)
            _evaluate_wanted(squares, spacing[1], centres, borders, count, wanted, plane, k)
        for j in range(rows):
            if not wanted[j]:
                continue
            values = plane[j]
            count = _lower_envelope(values, columns, spacing[2], centres, borders)
            piece = 0
            for k in range(columns):
                if 0 < queries[i, j, k] < full:
                    while piece + 1 < count and borders[piece + 1] < k:
                        piece += 1
                    offset = (k - centres[piece]) * spacing[2]
                    found[position] = np.sqrt(values[centres[piece]] + offset * offset)
                    position += 1
    return found


@compiled
def _count_elements(codes, full):
    count = 0
    for code in codes.flat:
        if 0 < code < full:
            count += 1
    return count


@compiled
def _steps_along_first_axis(sources, full):
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
def _lower_envelope(squares, length, step, centres, borders):
    """Parabolas that form the lower envelope of (step·(x - q))² + squares[q]; infinite squares take no part.

    Writes the envelope's parabolas to `centres` and where each begins to `borders`, both in index units.
    """
    count = 0
    scale = step * step
    for q in range(length):
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


@compiled
def _evaluate_wanted(squares, step, centres, borders, count, wanted, plane, column):
    piece = 0
    for j in range(plane.shape[0]):
        if not wanted[j]:
            continue
        if count == 0:
            plane[j, column] = np.inf
            continue
        while piece + 1 < count and borders[piece + 1] < j:
            piece += 1
        offset = (j - centres[piece]) * step
        plane[j, column] = squares[centres[piece]] + offset * offset
