"""Synapse multi-organ CT: the scans of BTCV in the same layout, called case0001 as TransUNet's lists do."""

from __future__ import annotations

from dataclasses import replace

from benchmark.data.phantoms import btcv

phantom = replace(
    btcv.phantom,
    name="synapse",
    scans=[replace(scan, id=scan.id.replace("img", "case")) for scan in btcv.phantom.scans],
)
