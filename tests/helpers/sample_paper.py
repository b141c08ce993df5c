"""A protocol of one's own on three structures of the TotalSegmentator sample: three steps of training."""

from __future__ import annotations

LABELS = ["liver", "colon", "small_bowel"]
PROTOCOL = f"""\
sample:
  dataset: totalseg
  labels: {{value: [{", ".join(LABELS)}], assumed: three large structures}}
  convention: {{value: swin_smt, assumed: any}}
  preparation:
    spacing: {{value: [12.0, 12.0, 12.0], assumed: small}}
    clip: {{value: [-200, 300], assumed: soft tissue}}
  training:
    patch: {{value: [16, 16, 16], assumed: small}}
    batch: {{value: 1, assumed: small}}
    epochs: {{value: 1, assumed: short}}
    iterations_per_epoch: {{value: 3, assumed: short}}
    optimiser:
      name: {{value: adamw, assumed: any}}
      learning_rate: {{value: 1.0e-3, assumed: any}}
    schedule:
      name: {{value: constant, assumed: any}}
  inference:
    overlap: {{value: 0.5, assumed: any}}
"""
