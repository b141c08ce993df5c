"""AMOS22, CT alone, in the layout of the whole."""

from __future__ import annotations

from dataclasses import replace

from benchmark.data.phantoms import amos_ct_mri as amos

phantom = replace(amos.phantom, name="amos_ct", subjects=8, smallest=4, scans=amos.scans(amos.CT, "ct"))
