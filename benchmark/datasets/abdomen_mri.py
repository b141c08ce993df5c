"""AbdomenMRI: Dataset702_AbdomenMR of U-Mamba, abdominal MR of AMOS22 with new labels for 50 test scans."""

from __future__ import annotations

from benchmark.datasets.nnunet_raw import NnUnetRaw

dataset = NnUnetRaw.from_yaml(__file__)
