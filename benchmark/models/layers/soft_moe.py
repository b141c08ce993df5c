"""Soft mixture of experts, in two forms: with the m × m routing matrices, and as two attentions without them.

Every slot is a convex combination of all tokens (dispatch), an expert maps its slots, and every token is a convex
combination of all slot outputs (combine). Both weights are softmaxes of one matrix of token · slot products, over its
tokens and over its slots. So dispatch is an attention of slots to tokens and combine an attention of tokens to slots,
with scale 1 in place of 1/√d, and a flash kernel computes them in O(m·d) memory. With as many slots as tokens, the
released form keeps several m × m matrices: 4.3 GB each in float32 at stage 2 of a 128³ patch (m = 32768).

Sources: Puigcerver et al., "From Sparse to Soft Mixtures of Experts"; Swin SMT section 2.2; MI2DataLab/SwinSMT
@f36f1fc, `soft_moe_with_dynamic_slots.py` and `soft_moe.py`, which are copies of soft-moe-pytorch (MIT).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

Form = Literal["auto", "materialised", "streamed"]
RouterNorm = Literal["rms", "layer", "none"]

# Tokens × slots from which `auto` streams on a CPU. Measured by speed/soft_moe.py (EPYC, one thread, d = 96, both
# passes, processor time): materialised / streamed is 0.86 at 768 tokens, 0.93 at 1024, 1.07 at 2048.
STREAM_FROM = 1536 * 1536


class RMSNorm(nn.Module):
    """x / ‖x‖ · √d · gain over the last axis; the key of the gain is `gamma`, as released."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=-1) * (self.gamma.numel() ** 0.5 * self.gamma)


class GainLayerNorm(nn.Module):
    """Layer norm with a learned gain and a constant zero shift (a buffer, as released)."""

    beta: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.register_buffer("beta", torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class GEGLU(nn.Module):
    """First half of the channels times GELU of the second half."""

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return value * functional.gelu(gate)


class SplitExperts(nn.Module):
    """[B, S, n·d] → [B, n, S, d]: the slot vectors of each expert."""

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_experts, -1)).transpose(1, 2)


def make_norm(dim: int, norm: RouterNorm) -> nn.Module:
    if norm not in get_args(RouterNorm):
        raise ValueError(f"norm has to be one of {get_args(RouterNorm)}, not {norm!r}")
    return {"rms": RMSNorm, "layer": GainLayerNorm}[norm](dim) if norm != "none" else nn.Identity()


def make_expert(dim: int, *, ratio: float = 4, dropout: float = 0.0, geglu: bool = False) -> nn.Sequential:
    """A two-layer perceptron of hidden width `ratio`·dim (two thirds of it, twice, for GEGLU)."""
    hidden = int(dim * ratio * 2 / 3) if geglu else int(dim * ratio)
    activation = GEGLU() if geglu else nn.GELU()
    widening = nn.Linear(dim, 2 * hidden if geglu else hidden)
    return nn.Sequential(widening, activation, nn.Dropout(dropout), nn.Linear(hidden, dim))


def run_experts(experts: nn.ModuleList, slots: Tensor) -> Tensor:
    """Each expert on its own slots: [B, n·s, d], expert by expert, → the same shape."""
    per_expert = slots.chunk(len(experts), dim=1)
    return torch.cat([expert(own) for expert, own in zip(experts, per_expert, strict=True)], dim=1)


def materialised(tokens: Tensor, readable: Tensor, slots: Tensor, experts: nn.ModuleList) -> Tensor:
    """The released form: one logit matrix [B, m', S] and both of its softmaxes. Arguments as for `streamed`."""
    logits = readable @ slots.transpose(1, 2)
    outputs = run_experts(experts, logits.softmax(dim=1).transpose(1, 2) @ readable)
    return logits[:, : tokens.shape[1]].softmax(dim=2) @ outputs


def streamed(tokens: Tensor, readable: Tensor, slots: Tensor, experts: nn.ModuleList) -> Tensor:
    """Dispatch and combine as two attentions.

    Args:
        tokens: [B, m, d], which receive an output.
        readable: [B, m', d], which the slots average over: the tokens, then padding where that takes part.
        slots: [B, n·s, d], expert by expert.
        experts: n modules on [B, s, d].

    Returns:
        [B, m, d].
    """
    outputs = run_experts(experts, attend(slots, readable, readable))
    return attend(tokens, slots, outputs)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query · keyᵀ) · value on [B, length, d], no temperature.

    PyTorch's CPU kernel gives a head to one core in its backward pass. Queries do not depend on each other, so there
    they are dealt out to as many heads as there are threads.
    """
    heads = math.gcd(query.shape[1], processor_threads()) if query.device.type == "cpu" else 1
    key, value = (x.unsqueeze(1).expand(-1, heads, -1, -1) for x in (key, value))
    parts = functional.scaled_dot_product_attention(query.unflatten(1, (heads, -1)), key, value, scale=1.0)
    return parts.flatten(1, 2)


@torch.compiler.assume_constant_result
def processor_threads() -> int:
    return torch.get_num_threads()


def choose_form(form: Form, tokens: Tensor, slots: Tensor) -> Form:
    """`auto` streams on any accelerator, and on a CPU from `STREAM_FROM` matrix entries on.

    On the meta device, where cost is counted, it is the released form: streaming computes the logits twice.
    """
    if form != "auto":
        return form
    if tokens.is_meta:
        return "materialised"
    large = tokens.shape[1] * slots.shape[1] >= STREAM_FROM
    return "streamed" if large or tokens.device.type != "cpu" else "materialised"


class SoftMoE(nn.Module):
    """What both routers share: `route` gives the tokens that slots read and the slots; the rest is the same."""

    norm: nn.Module

    def __init__(self, *, form: Form) -> None:
        super().__init__()
        if form not in get_args(Form):
            raise ValueError(f"form has to be one of {get_args(Form)}, not {form!r}")
        self.form = form

    def route(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[B, m, d] normalised tokens → readable tokens [B, m', d], slots [B, n·s, d]."""
        raise NotImplementedError

    def expert_list(self) -> nn.ModuleList:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """[B, m, d] → [B, m, d]; a feature map [B, *spatial, d] is read in raster order and keeps its shape."""
        tokens = self.norm(x.flatten(1, -2))
        readable, slots = self.route(tokens)
        compute = streamed if choose_form(self.form, readable, slots) == "streamed" else materialised
        return compute(tokens, readable, slots, self.expert_list()).view(x.shape)


class DynamicSoftMoE(SoftMoE):
    """Soft MoE of the released Swin SMT: the slots are computed from the input, there is no learned matrix Φ.

    Every n consecutive tokens are averaged, and one projection makes a slot of each expert from each average, so that
    there are about as many slots as tokens. Tokens and slots are RMS-normalised, so products range over ±d.

    Args:
        dim: width d of a token.
        num_experts: n.
        expert_ratio: hidden width of an expert over d.
        dropout: inside the experts.
        mask_padding: where n does not divide the tokens, zero tokens are appended. The release builds its mask after
            that, so they take part in averages and dispatch (False); soft-moe-pytorch 0.1.9 leaves them out of both
            (True). The same where n divides the tokens, as in a 128³ patch for every n of the paper.
        form: "materialised", "streamed" or "auto".
    """

    def __init__(
        self,
        dim: int,
        *,
        num_experts: int = 4,
        expert_ratio: float = 4,
        dropout: float = 0.0,
        mask_padding: bool = False,
        form: Form = "auto",
    ) -> None:
        super().__init__(form=form)
        self.num_experts, self.mask_padding = num_experts, mask_padding
        self.norm = RMSNorm(dim)
        projection = nn.Linear(dim, num_experts * dim, bias=False)
        self.to_slot_embeds = nn.Sequential(projection, SplitExperts(num_experts), RMSNorm(dim))
        self.experts = nn.ModuleList(make_expert(dim, ratio=expert_ratio, dropout=dropout) for _ in range(num_experts))

    def expert_list(self) -> nn.ModuleList:
        return self.experts

    def route(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        count = tokens.shape[1]
        padded = functional.pad(tokens, (0, 0, 0, -count % self.num_experts))
        groups = padded.unflatten(1, (-1, self.num_experts))
        if not self.mask_padding:
            return padded, self.to_slot_embeds(groups.mean(dim=2)).flatten(1, 2)
        sizes = torch.full((groups.shape[1], 1), self.num_experts, dtype=tokens.dtype, device=tokens.device)
        sizes[-1] = self.num_experts - (-count % self.num_experts)
        return tokens, self.to_slot_embeds(groups.sum(dim=2) / sizes).flatten(1, 2)


class Experts(nn.Module):
    """Only holds them, one level deeper, as the released keys have it."""

    def __init__(self, experts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)


class StaticSoftMoE(SoftMoE):
    """Soft MoE with learned slot vectors Φ, as the paper's equations 2 to 4 describe it.

    Args:
        dim: width d of a token.
        num_slots: s, slots of each expert (m / n in the paper).
        num_experts: n.
        expert_ratio: hidden width of an expert over d.
        geglu: gated experts (an option of the released class).
        dropout: inside the experts.
        norm: of tokens and Φ before their products: "rms" (released class), "layer" (its option) or "none" (equations).
        form: "materialised", "streamed" or "auto".
    """

    def __init__(
        self,
        dim: int,
        *,
        num_slots: int,
        num_experts: int = 4,
        expert_ratio: float = 4,
        geglu: bool = False,
        dropout: float = 0.0,
        norm: RouterNorm = "rms",
        form: Form = "auto",
    ) -> None:
        super().__init__(form=form)
        self.norm, self.slot_norm = make_norm(dim, norm), make_norm(dim, norm)
        # The release draws Φ with unit variance, which its norm rescales; without a norm, products keep unit variance.
        scale = 1 / math.sqrt(dim) if norm == "none" else 1.0
        self.slot_embeds = nn.Parameter(scale * torch.randn(num_experts, num_slots, dim))
        experts = (make_expert(dim, ratio=expert_ratio, dropout=dropout, geglu=geglu) for _ in range(num_experts))
        self.experts = Experts(experts)

    def expert_list(self) -> nn.ModuleList:
        return self.experts.experts

    def route(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        slots = self.slot_norm(self.slot_embeds).flatten(0, 1)
        return tokens, slots.expand(tokens.shape[0], -1, -1)
