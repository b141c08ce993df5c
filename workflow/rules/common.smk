# Wiring only: the typed configuration and the catalog. What a rule asks of them is in benchmark/catalog/wiring.py.
import os
import sys
from pathlib import Path

from benchmark.catalog.wiring import Wiring
from benchmark.errors import InputError

# Rules call `python`: that of this Snakemake, also where the environment is not activated and in cluster jobs.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ["PATH"]]
)

try:
    wiring = Wiring(config)
except InputError as error:
    sys.exit(f"error: {error}")

RESULTS = wiring.layout.root
DEMO = wiring.is_demo


wildcard_constraints:
    dataset="[a-z0-9_]+",
    preparation="[0-9a-f]{16}",
    run=r"[\w.+-]+/[\w.+-]+/[\w.+-]+/seed\d+",
    target="|".join(wiring.catalog.targets),
