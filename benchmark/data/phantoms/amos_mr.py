"""AMOS22, MR alone, every third scan with coronal slices, in the layout of the whole."""

from __future__ import annotations

from dataclasses import replace

from benchmark.data.phantoms import amos_ct_mri as amos

phantom = replace(
    amos.phantom, name="amos_mr", subjects=8, smallest=4, scans=amos.scans(amos.MR, "mr", ("", amos.CORONAL, ""))
)
