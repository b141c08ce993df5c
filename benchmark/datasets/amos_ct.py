"""AMOS22, its CT: facts and layout are in amos22."""

from __future__ import annotations

from benchmark.datasets.amos22 import view

dataset = view("amos_ct", "CT")
