"""Indexes of all but empty wheels: a public one with torch's CUDA build, and PyTorch's own with the CPU build."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# In-tree build backend of the stub project, so that nothing has to be there to build it.
BACKEND = """
from pathlib import Path
import stub_index
def build_editable(directory, config_settings=None, metadata_directory=None):
    return stub_index.write_wheel(Path(directory), "retable", "0").name
"""


NO_MODULES: Mapping[str, str] = {}


def write_wheel(
    folder: Path, name: str, version: str, requires: Sequence[str] = (), modules: Mapping[str, str] = NO_MODULES
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", "\n".join(metadata) + "\n")
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
        for file, code in modules.items():
            wheel.writestr(file, code)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def publish(
    index: Path, name: str, version: str, requires: Sequence[str] = (), modules: Mapping[str, str] = NO_MODULES
) -> str:
    """Add a wheel to an index, empty but for `modules` (file → code); its entry in a lock."""
    folder = index / name
    path = write_wheel(folder, name, version, requires, modules)
    links = [f'<a href="{wheel.name}#sha256={digest(wheel)}">{wheel.name}</a>' for wheel in folder.glob("*.whl")]
    (folder / "index.html").write_text("<!DOCTYPE html>" + "\n".join(links))
    return f"{name}=={version} \\\n    --hash=sha256:{digest(path)}\n"
