# Wiring only: the typed configuration and the catalog. What a rule asks of them is in benchmark/catalog/wiring.py.
import sys

from benchmark.catalog.wiring import Wiring, set_job_environment
from benchmark.errors import InputError

set_job_environment()
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
