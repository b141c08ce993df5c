"""Soft Dice plus cross-entropy over many classes, without a one-hot target and without keeping the probabilities.

Both terms need only three statistics of the softmax per sample: the summed log-probability of the true class, and per
class the probability mass and the mass on the true class. One custom autograd function computes them chunk by chunk,
in cache, and recomputes the softmax in the backward pass, so that the peak is logits + gradient. The formulas are those
of MONAI's DiceCELoss(softmax=True, to_onehot_y=True); equality to it is tested for every option.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.functional import interpolate

from benchmark.data.resizing import zoomed_positions
from benchmark.errors import InputError
from benchmark.settings import Loss

CHUNK_VALUES = {"cpu": 2**18, "cuda": 2**26}  # about 1 MB stays in a core's cache; a GPU wants few large kernels


class _Context(Protocol):
    """What autograd hands from the forward pass to the backward pass."""

    squared: bool
    unlabelled: bool
    massless: bool

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]: ...

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _SoftmaxStatistics(torch.autograd.Function):
    """logits [B, K, N], targets [B, N] -> log-likelihood [B], intersection [B, K], mass [B, K].

    Targets of -1 have no class: they count in the mass alone, or with `massless` nowhere.
    """

    @staticmethod
    def forward(
        ctx: _Context, logits: Tensor, targets: Tensor, squared: bool, unlabelled: bool, massless: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, classes, voxels = logits.shape
        log_normaliser = logits.new_empty((batch, voxels), dtype=torch.float32)
        log_likelihood = logits.new_zeros(batch, dtype=torch.float64)
        intersection = logits.new_zeros((batch, classes), dtype=torch.float64)
        mass = torch.zeros_like(intersection)
        for sample, part in _chunks(batch, classes, voxels, logits.device):
            values = logits[sample, :, part].float()
            truth, known = _truth(targets[sample, part], unlabelled)
            highest = values.amax(dim=0)
            probabilities = (values - highest).exp_()
            total = probabilities.sum(dim=0)
            probabilities /= total
            normaliser = total.log_().add_(highest)
            log_normaliser[sample, part] = normaliser
            log_likelihood[sample] += ((values.gather(0, truth[None])[0] - normaliser) * known).sum()
            true_probability = probabilities.gather(0, truth[None])[0] * known
            intersection[sample] += torch.bincount(truth, weights=true_probability.double(), minlength=classes)
            probabilities = probabilities.square_() if squared else probabilities
            mass[sample] += (probabilities.mul_(known) if massless else probabilities).sum(dim=1)
        ctx.save_for_backward(logits, targets, log_normaliser)
        ctx.squared, ctx.unlabelled, ctx.massless = squared, unlabelled, massless
        return log_likelihood.float(), intersection.float(), mass.float()

    @staticmethod
    def backward(
        ctx: _Context, slope_likelihood: Tensor, slope_intersection: Tensor, slope_mass: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        # With p the softmax, t the true class and g = dL/dp: dL/dz_j = p_j (g_j - sum_k g_k p_k), where
        # g_k = slope_mass_k (times 2 p_k if squared) + slope_intersection_k [k = t]; the likelihood adds [j = t] - p_j.
        logits, targets, log_normaliser = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        batch, classes, voxels = logits.shape
        for sample, part in _chunks(batch, classes, voxels, logits.device):
            truth, known = _truth(targets[sample, part], ctx.unlabelled)
            probabilities = (logits[sample, :, part].float() - log_normaliser[sample, part]).exp_()
            slope = slope_mass[sample]
            at_truth = slope_intersection[sample][truth] * probabilities.gather(0, truth[None])[0] * known
            at_likelihood = slope_likelihood[sample] * known
            if ctx.squared:
                direct = 2 * slope[:, None] * probabilities
                common = (direct * probabilities).sum(dim=0) + at_truth + at_likelihood
                result = direct.sub_(common).mul_(probabilities)
            else:
                common = slope @ probabilities + at_truth + at_likelihood
                result = (slope[:, None] - common).mul_(probabilities)
            result.scatter_add_(0, truth[None], (at_truth + at_likelihood)[None])
            gradient[sample, :, part] = result.mul_(known) if ctx.massless else result
        return gradient, None, None, None, None


def _truth(targets: Tensor, unlabelled: bool) -> tuple[Tensor, Tensor | float]:
    """Class indices with 0 in place of -1, and 1 where there was a class, 0 elsewhere."""
    truth = targets.long()
    return (truth.clamp(min=0), (truth >= 0).float()) if unlabelled else (truth, 1.0)


def _chunks(batch: int, classes: int, voxels: int, device: torch.device) -> Iterator[tuple[int, slice]]:
    size = max(CHUNK_VALUES.get(device.type, CHUNK_VALUES["cuda"]) // classes, 1)
    with _one_thread() if device.type == "cpu" else nullcontext():
        for sample in range(batch):
            for start in range(0, voxels, size):
                yield sample, slice(start, start + size)


@contextmanager
def _one_thread() -> Iterator[None]:
    # Thousands of small operations are faster without a barrier after each (10 times, where cores are shared).
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _SumOverRanks(torch.autograd.Function):
    """Sum over processes. Every process derives the same loss from it and DDP averages gradients, hence the factor."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, slope: Tensor) -> Tensor:
        return slope * torch.distributed.get_world_size()


def _sum_over_ranks(values: Tensor) -> Tensor:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return _SumOverRanks.apply(values) if distributed and torch.distributed.get_world_size() > 1 else values


def dice_cross_entropy(logits: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Weighted sum of soft Dice loss (1 - Dice) and cross-entropy, both means.

    Args:
        logits: [B, K, *spatial], any floating type; computed in float32.
        targets: class indices [B, *spatial] in 0..K-1, any integer type, or `loss.ignore` where a voxel has no class.
        loss: weights and conventions; what is said of several outputs is not looked at here.

    Returns:
        Scalar. Dice is averaged over samples and classes, or over classes after summing over the batch and over all
        processes (`batch_dice`). A class absent from target and prediction scores
        smooth_numerator / smooth_denominator. A cross-entropy without any labelled voxel is NaN, or 0
        with `ignored_mass` false, as in nnU-Net.

    Raises:
        InputError: `targets` does not have the spatial shape of `logits`, or there is one class only.
    """
    if logits.shape[:1] + logits.shape[2:] != targets.shape or logits.shape[1] < 2:
        raise InputError(
            "logits and labels do not fit together",
            expected="logits [B, K, *spatial] with K >= 2 and labels [B, *spatial]",
            found=f"logits {list(logits.shape)}, labels {list(targets.shape)}",
        )
    logits, targets = logits.flatten(start_dim=2), targets.flatten(start_dim=1)
    unlabelled = loss.ignore is not None
    if loss.ignore is not None:
        targets = targets.long()  # before the comparison: as uint8, -1 would be 255
        targets = targets.masked_fill(targets == loss.ignore, -1)
    log_likelihood, intersection, mass = _SoftmaxStatistics.apply(
        logits, targets, loss.squared_denominator, unlabelled, unlabelled and not loss.ignored_mass
    )
    rows = [row[row >= 0] for row in targets] if unlabelled else list(targets)
    labelled = sum(row.numel() for row in rows)
    cross_entropy = -log_likelihood.sum() / (labelled if loss.ignored_mass else max(labelled, 1))
    truth = torch.stack([torch.bincount(row, minlength=logits.shape[1]) for row in rows]).to(mass)
    denominator = mass + truth
    if loss.batch_dice:
        intersection, denominator = _sum_over_ranks(torch.stack([intersection.sum(dim=0), denominator.sum(dim=0)]))
    dice = (2 * intersection + loss.smooth_numerator) / (denominator + loss.smooth_denominator)
    dice = dice if loss.include_background else dice[..., 1:]
    return loss.dice * (1 - dice).mean() + loss.cross_entropy * cross_entropy


class SegmentationLoss(nn.Module):
    """The training loss of one protocol, for single and for deeply supervised outputs.

    With `deep_supervision`, output i is compared with the labels brought to its size (`labels_at_outputs`; `nearest` is
    nnU-Net's) and weighted by entry i, as given; outputs of weight 0 cost nothing. With `rising`, the weights of two
    outputs follow the epoch. With `coarse_output`, the first output may be smaller than the labels as well.

    Raises:
        InputError: the network's outputs and the weights differ in number.
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor | Sequence[Tensor], targets: Tensor, *, epoch: int = 0) -> Tensor:
        """outputs: logits [B, K, *spatial] or a sequence of them, the finest first; targets [B, *spatial]."""
        outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        weights = output_weights(self.loss, epoch)
        if len(weights) != len(outputs):
            raise InputError(
                "deep supervision of network and loss do not agree",
                expected=f"{len(weights)} outputs, one per weight {list(weights)}",
                found=f"{len(outputs)} outputs of sizes {[tuple(output.shape[2:]) for output in outputs]}",
                remedy="set the network's deep_supervision option, or training.loss.deep_supervision, to match",
            )
        how = self.loss.labels_at_outputs
        levels = [downsampled(targets, output.shape[2:], how) for output in outputs]
        if not self.loss.coarse_output:
            levels[0] = targets
        terms = [
            weight * dice_cross_entropy(output, labels, self.loss)
            for output, labels, weight in zip(outputs, levels, weights, strict=True)
            if weight
        ]
        return torch.stack(terms).sum()


def output_weights(loss: Loss, epoch: int) -> tuple[float, ...]:
    """Weight of each output in an epoch (0-based)."""
    if loss.rising is None:
        return loss.deep_supervision or (1.0,)
    start, rate = loss.rising
    first = start ** (rate**epoch)
    return first, 1 - first


def downsampled(targets: Tensor, size: Sequence[int], how: str = "nearest") -> Tensor:
    """Labels [B, *spatial] at another size, by `Loss.labels_at_outputs`; the labels themselves where it is equal."""
    if tuple(targets.shape[1:]) == tuple(size):
        return targets
    if how == "nearest":
        return interpolate(targets[:, None].float(), size=tuple(size), mode="nearest-exact")[:, 0].to(targets.dtype)
    for axis, side in enumerate(size, start=1):
        positions = torch.from_numpy(zoomed_positions(targets.shape[axis], side))
        targets = torch.cat([torch.zeros_like(targets.narrow(axis, 0, 1)), targets], dim=axis)  # position 0
        targets = targets.index_select(axis, positions.to(targets.device))
    return targets
