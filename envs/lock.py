"""`make lock`: the lists of packages in pyproject.toml, resolved to exact versions with hashes: envs/*.lock.

    base.lock   scoring, audit, tables, figures, pages
    train.lock  everything that runs, base.lock included, but for torch
    cuda.lock   torch as the public index serves it for Linux, its CUDA libraries and the triton that it pins
    dev.lock    tests and lint, beside train.lock

A version that a lock has stays; `--upgrade NAME` moves one, `--upgrade-all` every one. Needs uv, which dev.lock has.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parent / "pyproject.toml"
OLDEST = "3.11"
SELECTIONS = {"base": [], "train": ["--all-extras"], "dev": ["--all-extras", "--group", "dev"]}  # the last has all
PLATFORM = re.compile(r"(?: ;| and) sys_platform == 'linux'")
HEADER = (
    "# Written by `make lock` from pyproject.toml; do not edit.\n"
    "# {count} packages, {megabytes} MB to download (Linux x86_64, Python {python}).\n"
)


def uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", *arguments], check=True, stdout=subprocess.DEVNULL)


def read_lock(path: Path) -> dict[str, str]:
    """Package → its entry, a line with the version and one per hash; empty if there is no such file."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    entries = re.split(r"^(?=\w)", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    return {re.split("[=@ ]", entry, maxsplit=1)[0]: entry for entry in entries if entry.strip()}


def belongs_to_torch(package: str) -> bool:
    return package in ("torch", "triton") or package.startswith(("nvidia-", "cuda-"))


def resolve(selection: str, seed: str, upgrade: list[str], folder: Path) -> dict[str, str]:
    """Entries of everything that a selection needs, at the versions of `seed` where these fit."""
    out = folder / f"{selection}.txt"
    out.write_text(seed, encoding="utf-8")
    uv("pip", "compile", str(PROJECT), *SELECTIONS[selection], "--universal", "--python-version", OLDEST,
       "--generate-hashes", "--no-annotate", "--no-header", "--fork-strategy", "fewest", *upgrade,
       "--output-file", str(out))  # fmt: skip
    return read_lock(out)


def file_sizes(entries: dict[str, str], folder: Path) -> dict[str, int]:
    """Bytes of the file that Linux x86_64 takes of each package, as the index states them."""
    pins = [entry.split("\\")[0].strip() for entry in entries.values()]
    project = {"name": "sizes", "version": "0", "requires-python": f"=={OLDEST}.*", "dependencies": pins}
    settings = {
        "environments": ["sys_platform == 'linux' and platform_machine == 'x86_64'"],
        "override-dependencies": tomllib.loads(PROJECT.read_text())["tool"]["uv"]["override-dependencies"],
    }
    lines: list[str] = []
    for table, values in (("project", project), ("tool.uv", settings)):
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    (folder / "pyproject.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    uv("lock", "--project", str(folder), "--quiet")
    packages = tomllib.loads((folder / "uv.lock").read_text(encoding="utf-8"))["package"]
    return {package["name"]: chosen_size(package) for package in packages if "registry" in package["source"]}


def chosen_size(package: dict) -> int:
    """The wheel for this platform, or the sources where there is none."""
    tag = OLDEST.replace(".", "")
    fits = re.compile(rf"-(cp{tag}-cp{tag}|cp3\d+-abi3|py3|py2\.py3)\S*-(any|\S*linux\S*x86_64)\.whl$")
    fitting = [wheel.get("size", 0) for wheel in package.get("wheels", []) if fits.search(wheel["url"])]
    return fitting[0] if fitting else package.get("sdist", {}).get("size", 0)


def write_lock(name: str, entries: dict[str, str], sizes: dict[str, int]) -> None:
    megabytes = round(sum(sizes.get(package, 0) for package in entries) / 1e6)
    text = HEADER.format(count=len(entries), megabytes=megabytes, python=OLDEST) + "".join(entries.values())
    (FOLDER / f"{name}.lock").write_text(text, encoding="utf-8")
    print(f"envs/{name}.lock: {len(entries)} packages, {megabytes} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="append", default=[], metavar="NAME", help="move this package")
    parser.add_argument("--upgrade-all", action="store_true", help="move every package")
    arguments = parser.parse_args()
    upgrade = [word for name in arguments.upgrade for word in ("--upgrade-package", name)]
    upgrade += ["--upgrade"] if arguments.upgrade_all else []
    seed = "".join(entry for name in ("train", "dev", "cuda") for entry in read_lock(FOLDER / f"{name}.lock").values())
    with tempfile.TemporaryDirectory() as temporary:
        everything = resolve("dev", seed, upgrade, Path(temporary))
        seed = "".join(everything.values())
        chosen = {name: resolve(name, seed, [], Path(temporary)) for name in ("base", "train")}
        sizes = file_sizes(everything, Path(temporary))
    tidy = {package: PLATFORM.sub("", entry) for package, entry in everything.items()}
    run = {package for package in chosen["train"] if not belongs_to_torch(package)}
    torch = {package for package in chosen["train"] if belongs_to_torch(package)}
    # Tests interpret the GPU kernels on a CPU, where torch brings no triton: the same version stands in both.
    dev = set(tidy) - run - (torch - {"triton"})
    for name, packages in {"base": set(chosen["base"]), "train": run, "cuda": torch, "dev": dev}.items():
        write_lock(name, {package: tidy[package] for package in sorted(packages)}, sizes)


if __name__ == "__main__":
    main()
