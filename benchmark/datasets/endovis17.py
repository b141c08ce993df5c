"""Endoscopy: Dataset704_Endovis17 of U-Mamba, frames of the MICCAI EndoVis 2017 instrument challenge."""

from __future__ import annotations

from benchmark.datasets.nnunet_raw import NnUnetRaw

dataset = NnUnetRaw.from_yaml(__file__)
