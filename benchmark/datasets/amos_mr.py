"""AMOS22, its MRI, on which M4oE's third expert is pre-trained: facts and layout are in amos22."""

from __future__ import annotations

from benchmark.datasets.amos22 import view

dataset = view("amos_mr", "MR")
