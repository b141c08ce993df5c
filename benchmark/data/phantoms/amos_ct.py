"""AMOS22, CT alone: the layout of the whole."""

from __future__ import annotations

from dataclasses import replace

from benchmark.data.phantoms import amos_ct_mri

CT = amos_ct_mri.scans(amos_ct_mri.CT, "ct")
phantom = replace(amos_ct_mri.phantom, name="amos_ct", subjects=7, smallest=4, scans=CT)
