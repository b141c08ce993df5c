"""M4oE: Swin-Unet whose feed-forward modules hold one expert per modality, with one head per dataset.

Paper: Jiang et al., "M4oE" (MICCAI 2024). Released: JefferyJiang-YF/M4oE at 4f8c343, without a licence, so that nothing
of it is used but facts; state-dict keys are its own, the stored attention masks apart.
Released weights: none. Swin-T of ImageNet fits all but the experts, gates and decoder; `load_expert` takes the encoder
of a Swin-MAE pre-training.
Paper and release differ in the gate (`gate`). No configuration has the 27.31 M parameters of Table 1 or grows by 10 M
per modality: the released network has 60,432,132 and grows by 15,651,456.
Deviations: as Swin-Unet.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.models.layers.fit import crop_to_shape, pad_to_multiple
from benchmark.models.layers.swin2d import MASKS, MULTIPLE, SwinUNet
from benchmark.models.layers.transformer import Perceptron, init_linear
from benchmark.models.registry import register
from benchmark.models.released import LoadReport

GATES = ("as_released", "as_written", "none")


class Experts(nn.Module):
    """[B, ..., channels] -> the same, by several perceptrons.

    Args:
        channels: of the features; each expert is four times as wide inside.
        experts: how many.
        gate: "as_released" scales the plain sum of all experts by a softmax over channels; "as_written" weighs the
            experts by a softmax over them (paper, equations 2 and 3); "none" gives each sample the expert of its route.
    """

    def __init__(self, channels: int, experts: int, gate: str) -> None:
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"gate is one of {GATES}, not {gate!r}")
        self.channels, self.gate = channels, gate
        self.experts = nn.ModuleList(self._make_expert() for _ in range(experts))
        if gate != "none":
            self.gating_network = nn.Linear(channels, channels if gate == "as_released" else experts)

    def _make_expert(self) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(self.channels, 4 * self.channels), nn.GELU(), nn.Linear(4 * self.channels, self.channels)
        )

    def forward(self, features: Tensor, route: Sequence[int]) -> Tensor:
        if self.gate == "none":
            return self._routed(features, route)
        weights = self.gating_network(features).softmax(dim=-1)
        if self.gate == "as_released":
            return weights * sum(expert(features) for expert in self.experts)
        parts = zip(weights.split(1, dim=-1), self.experts, strict=True)
        return sum(weight * expert(features) for weight, expert in parts)

    def _routed(self, features: Tensor, route: Sequence[int]) -> Tensor:
        if len(set(route)) == 1:
            return self.experts[route[0]](features)
        return torch.stack([self.experts[expert](sample) for expert, sample in zip(route, features, strict=True)])

    def add_expert(self) -> None:
        """One more expert; the parameters of the others stay as they are, the written gate gets one more output."""
        device = next(self.experts.parameters()).device
        self.experts.append(self._make_expert().to(device).apply(init_linear))
        if self.gate == "as_written":
            old = self.gating_network
            self.gating_network = nn.Linear(self.channels, len(self.experts), device=device).apply(init_linear)
            with torch.no_grad():
                self.gating_network.weight[:-1], self.gating_network.bias[:-1] = old.weight, old.bias


@register(
    "m4oe",
    demo={"width": 8, "attention_heads": (1, 2, 4, 8), "window": 4},
    spatial_dims=(2,),
    decoder="layers_up.0",
    channels_last=True,
    joint=True,
)
class M4oE(SwinUNet):
    """[B, in, H, W] -> [B, out, H, W]. Any H and W.

    Args:
        in_channels, out_channels: image channels, a single one repeated to three; classes of the head that `forward`
            uses by default, the first of `heads` with so many.
        spatial_shape: nominal input size, 224 x 224 in the paper; it fixes the windows of small maps.
        heads: classes of each dataset's head, such as (14, 3, 16); by default one head of `out_channels`.
        head: the only one that is used and trained; by default all are, by the datasets of the samples.
        experts: by default one per head, as released; without a gate there have to be as many.
        gate: see `Experts`.
        encoder_experts, decoder_experts: whether the blocks there have experts or one perceptron (Table 4).
        attention_heads: of each stage, `heads` of `SwinUNet`.
        **options: width, depths, window, drop_path of `SwinUNet`.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        heads: Sequence[int] | None = None,
        head: int | None = None,
        experts: int | None = None,
        gate: Literal["as_released", "as_written", "none"] = "as_released",
        encoder_experts: bool = True,
        decoder_experts: bool = True,
        attention_heads: Sequence[int] = (3, 6, 12, 24),
        **options: Any,
    ) -> None:
        heads = tuple(heads or (out_channels,))
        experts = experts or len(heads)
        if out_channels not in (heads if head is None else heads[head : head + 1]):
            raise ValueError(f"no head of {heads}, or not head {head}, has out_channels {out_channels}")
        if gate == "none" and experts < len(heads):
            raise ValueError(f"without a gate each of {len(heads)} datasets has its own expert, here are {experts}")

        def feed_forward(channels: int, encoder: bool) -> nn.Module:
            if encoder_experts if encoder else decoder_experts:
                return Experts(channels, experts, gate)
            return _Unrouted(channels)

        super().__init__(
            in_channels=in_channels,
            spatial_shape=spatial_shape,
            heads=attention_heads,
            feed_forward=feed_forward,
            **options,
        )
        self.outputs = nn.ModuleDict({str(i): nn.Conv2d(self.width, n, 1, bias=False) for i, n in enumerate(heads)})
        self.default = heads.index(out_channels) if head is None else head
        self.single = head is not None or len(heads) == 1

    @property
    def classes(self) -> tuple[int, ...]:
        """Of each head."""
        return tuple(len(weight) for weight in self.outputs.parameters())

    @property
    def unused_parameters(self) -> tuple[str, ...]:
        """Where only one head is used: the other heads and, without a gate, their experts."""
        if not self.single:
            return ()
        unused = [f"outputs.{head}.*" for head in self.outputs if int(head) != self.default]
        routed = [module for module in self.modules() if isinstance(module, Experts) and module.gate == "none"]
        if routed:
            unused += [f"*.mlp.experts.{i}.*" for i in range(len(routed[0].experts)) if i != self.default]
        return tuple(unused)

    def forward(
        self,
        image: Tensor,
        dataset_id: Sequence[int] | Tensor | None = None,
        predict_head: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """Logits [B, K, H, W], K the largest head used in the batch; a smaller head's other channels are 0.

        Args:
            image: [B, in, H, W].
            dataset_id: each sample's dataset, by default the one whose head has `out_channels` classes. Without a gate
                it chooses the expert.
            predict_head: each sample's head; by default the one of its dataset. `select` cuts off what it has not.
        """
        route = _as_list(dataset_id, [self.default] * len(image))
        used = _as_list(predict_head, route)
        padded = pad_to_multiple(image, MULTIPLE)
        features = self.features(padded, route).permute(0, 3, 1, 2)
        if len(set(used)) <= 1:
            logits = self.outputs[str(used[0] if used else self.default)](features)
        else:
            most = max(self.classes[head] for head in used)
            parts = [self.outputs[str(head)](features[i : i + 1]) for i, head in enumerate(used)]
            logits = torch.cat([functional.pad(part, (0, 0, 0, 0, 0, most - part.shape[1])) for part in parts])
        return crop_to_shape(logits, padded.shape[2:], image.shape[2:])

    def select(self, logits: Tensor, predict_head: Sequence[int] | Tensor) -> list[Tensor]:
        """Each sample's logits of its own classes, [classes, H, W] (the paper's dynamic selection)."""
        return [sample[: self.classes[head]] for sample, head in zip(logits, _as_list(predict_head), strict=True)]

    def parameters_added(self, classes: int) -> int:
        """How many parameters `add_modality` adds."""
        blocks = [module for module in self.modules() if isinstance(module, Experts)]
        experts = sum(parameter.numel() for block in blocks for parameter in block.experts[0].parameters())
        gates = sum(block.channels + 1 for block in blocks if block.gate == "as_written")
        return experts + gates + classes * self.width

    def add_modality(self, classes: int) -> int:
        """Add an expert to every block that has some, and a head; nothing else changes. Returns the new index."""
        for module in self.modules():
            if isinstance(module, Experts):
                module.add_expert()
        index = len(self.outputs)
        device = self.outputs["0"].weight.device
        self.outputs[str(index)] = nn.Conv2d(self.width, classes, 1, bias=False, device=device)
        return index

    def begin_from(self, part: str, state: dict[str, Tensor]) -> LoadReport:
        """Take over a Swin-MAE pre-training.

        Args:
            part: `encoder`, all that the release's loader takes (by name and shape, no gate, no decoder stage, so no
                perceptron where there are experts); `expert<k>`, the perceptrons of its encoder as expert k.
            state: of a `swin_mae`.

        Raises:
            InputError: there is no such part, or nothing of the file fits it.
        """
        own, reshaped = self.state_dict(), ()
        if part == "encoder":
            state, reshaped = self._widen_input(state)
            fitting = {key: value for key, value in self.adapt_released(state).items() if key in own}
            self.load_state_dict(fitting, strict=False)
            loaded = tuple(fitting)
        elif part.removeprefix("expert").isdecimal():
            loaded = self.load_expert(int(part.removeprefix("expert")), state)
        else:
            loaded = ()
        if not loaded:
            raise InputError(
                f"{part} of m4oe cannot begin from these weights",
                where="paper_tables: begins_from",
                expected="encoder, or expert<k> of a network with experts in the encoder, and weights of swin_mae",
                found=f"{len(state)} tensors, none of which fits",
            )
        return LoadReport(loaded, missing=tuple(key for key in own if key not in loaded), reshaped=reshaped)

    def _widen_input(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple]:
        """Grey patches for an input that repeats its one channel: a third of the weight for each, the same output."""
        key = "patch_embed.proj.weight"
        if self.repeat == 1 or state[key].shape[1] != 1:
            return state, ()
        wide = state[key].repeat(1, self.repeat, 1, 1) / self.repeat
        return state | {key: wide}, ((key, tuple(state[key].shape), tuple(wide.shape)),)

    @torch.no_grad()
    def load_expert(self, expert: int, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Copy the encoder's perceptrons of a Swin-MAE (`fc1`, `fc2`) into one expert; returns the keys written."""
        own, written = dict(self.named_parameters()), []
        for key, value in state.items():
            for name, layer in (("fc1", 0), ("fc2", 2)):
                target = key.replace(f".mlp.{name}.", f".mlp.experts.{expert}.{layer}.")
                if target != key and key.startswith("layers.") and target in own:
                    own[target].copy_(value)
                    written.append(target)
        return tuple(written)

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of a pre-trained encoder as the release: no gates, no decoder, only what fits. Stored masks are left in, for
        the report of the loading."""
        state = {key.removeprefix("swin_unet."): value for key, value in state.items()}
        if any(key.startswith("outputs.") for key in state):
            return state
        own = self.state_dict()
        return {
            key: value
            for key, value in state.items()
            if fnmatch(key, MASKS)
            or ("gating" not in key and "layers_up" not in key and key in own and own[key].shape == value.shape)
        }


class _Unrouted(Perceptron):
    """A perceptron in the place of experts."""

    def forward(self, features: Tensor, *route: Sequence[int]) -> Tensor:
        return super().forward(features)


def _as_list(indices: Sequence[int] | Tensor | None, default: Sequence[int] = ()) -> list[int]:
    if indices is None:
        return list(default)
    return indices.tolist() if isinstance(indices, Tensor) else list(indices)
