"""What every convention scores in the empty situations, typed by hand from the released evaluations."""

from __future__ import annotations

import math

SKIP, WORST = math.nan, -1.0
SITUATIONS = ("both_empty", "empty_reference", "empty_prediction", "missing_prediction")

# What each released evaluation gives, in the order of SITUATIONS (docs/scoring.md says it in words).
EXPECTED = {
    ("canonical", "dsc"): (SKIP, WORST, WORST, WORST),
    ("canonical", "hd95"): (SKIP, WORST, WORST, WORST),
    ("umamba_abdomen", "dsc"): (1, 0, 0, SKIP),
    ("umamba_abdomen", "nsd"): (1, 0, 0, SKIP),
    ("umamba_endoscopy", "dsc"): (SKIP, 0, 0, SKIP),
    ("umamba_endoscopy", "nsd"): (SKIP, 0, 0, SKIP),
    ("umamba_microscopy", "f1"): (0, 0, 0, SKIP),
    ("transunet", "dsc"): (0, 1, 0, SKIP),
    ("transunet", "hd95"): (0, 0, 0, SKIP),
    ("m4oe", "dsc"): (0, 1, 0, SKIP),
    ("m4oe", "iou"): (0, 1, 0, SKIP),
    ("m4oe", "hd95"): (0, 0, 0, SKIP),
    ("esam", "dsc"): (1, 0, 0, SKIP),
    ("esam", "hd95"): (0, 0, 0, SKIP),
    ("esam_network", "dsc"): (1, 0, 0, SKIP),
    ("sam_med2d", "dsc"): (1, 0, 0, SKIP),
    ("sam_med2d", "iou"): (1, 0, 0, SKIP),
    ("esam_network", "hd95"): (0, 0, 0, SKIP),
    ("totalsegmentator", "dsc"): (SKIP, SKIP, 0, SKIP),
    ("totalsegmentator", "nsd"): (SKIP, SKIP, 0, SKIP),
    ("nnunet", "dsc"): (SKIP, 0, 0, SKIP),
    ("swin_smt", "dsc"): (SKIP, SKIP, 0, SKIP),
    ("monai", "dsc"): (SKIP, SKIP, 0, SKIP),
    ("monai", "nsd"): (SKIP, 0, 0, SKIP),
    ("monai", "hd95"): (SKIP, SKIP, SKIP, SKIP),
    ("monai", "assd"): (SKIP, math.inf, math.inf, SKIP),
    ("medpy", "dsc"): (1, 0, 0, SKIP),
    ("medpy_0_4", "dsc"): (0, 0, 0, SKIP),
    ("medpy_numpy2", "dsc"): (SKIP, 0, 0, SKIP),
    ("surface_distance", "dsc"): (SKIP, 0, 0, SKIP),
    ("surface_distance", "nsd"): (SKIP, 0, 0, SKIP),
    ("surface_distance", "hd95"): (math.inf, math.inf, math.inf, SKIP),
}
