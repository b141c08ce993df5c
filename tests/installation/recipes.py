"""The two container recipes, read as the steps that a builder does, and done in a clean root of Debian."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DOCKER = re.compile(r"^(FROM|COPY|RUN|ENV) (.*)$", re.MULTILINE)
LIMIT = 900.0  # seconds of one step, on a machine that does much else
NOTHING: Mapping[str, Path] = {}
SECTION = re.compile(r"^%(\w+)\n((?:    .*\n|\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Recipe:
    """What a recipe does, in its own order.

    Attributes:
        base: image of Docker Hub that it starts from.
        files: of the repository, copied into `folder`.
        commands: run by sh as root.
        path: PATH of everything that is started in the image.
        check: run in the image at last.
    """

    base: str
    files: tuple[str, ...]
    folder: str
    commands: tuple[str, ...]
    path: str
    check: str


def of_definition(text: str) -> Recipe:
    """Of an Apptainer definition; every line of it has to be one that is known here."""
    head, parts = dict(re.findall(r"^(Bootstrap|From): (.*)$", text, re.MULTILINE)), dict(SECTION.findall(text))
    known = re.sub(r"^(#|Bootstrap: |From: ).*\n", "", SECTION.sub("", text), flags=re.MULTILINE)
    assert not known.strip() and set(parts) == {"files", "post", "environment", "test"}
    assert head["Bootstrap"] == "docker"
    lines = {name: [line.strip() for line in part.splitlines() if line.strip()] for name, part in parts.items()}
    (copied,), (exported,), (check,) = lines["files"], lines["environment"], lines["test"]
    *files, folder = copied.split()
    return Recipe(
        head["From"], tuple(files), folder, tuple(lines["post"]), exported.removeprefix("export PATH="), check
    )


def of_dockerfile(text: str) -> Recipe:
    """Of a Dockerfile: FROM, COPY, RUN…, ENV PATH, and RUN of the check."""
    steps = DOCKER.findall(text)
    assert len(steps) == len([line for line in text.splitlines() if line.strip() and not line.startswith("#")])
    assert [name for name, _ in steps] == ["FROM", "COPY", *["RUN"] * (len(steps) - 4), "ENV", "RUN"]
    *files, folder = steps[1][1].split()
    commands = tuple(step for _, step in steps[2:-2])
    return Recipe(steps[0][1], tuple(files), folder, commands, steps[-2][1].removeprefix("PATH="), steps[-1][1])


def run_in(root: Path, command: str, there: Mapping[str, Path] = NOTHING, **variables: str) -> str:
    """What a command says, run by sh as root in that root, with mounts, processes and variables of its own.

    Folders that are to be `there` (path in the root → folder of this machine) can be read, not written.
    """
    mounts = [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
    for path, folder in there.items():
        (root / path.lstrip("/")).mkdir(exist_ok=True)
        mounts += [f"mount --bind {folder} {root}{path}", f"mount -o remount,bind,ro {root}{path}"]
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **variables}
    script = " && ".join([*mounts, f'exec chroot {root} /usr/bin/env -i "$@"'])
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]
    words = [*(f"{name}={value}" for name, value in environment.items()), "/bin/sh", "-c", command]
    done = subprocess.run([*apart, *words], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


def debian(root: Path, base: str) -> None:
    """A root with the packages of Debian's own small image, and nothing else."""
    suite = base.removeprefix("debian:").removesuffix("-slim")
    command = ["debootstrap", "--variant=minbase", suite, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    shutil.copy("/etc/resolv.conf", root / "etc")
    (root / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")  # as in Debian's own image


def build(recipe: Recipe, repository: Path, root: Path, **variables: str) -> str:
    """Do the recipe's steps in a root; what the last command and the check say. `variables` are for pip."""
    target = root / recipe.folder.lstrip("/")
    target.mkdir(parents=True)
    for name in recipe.files:
        shutil.copy(repository / name, target)
    said = [run_in(root, command, **variables) for command in recipe.commands]
    path = recipe.path.replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
    return said[-1] + run_in(root, recipe.check, PATH=path)
