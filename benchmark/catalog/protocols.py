"""protocols.yaml: the protocols of a paper, what each of them extends, and the recipe that it is of another.

`extends` names what a protocol takes over: one name or several, the later over the earlier, and what the protocol says
itself over all of them. Each is another protocol of the file, or one of its `parts` (values that several protocols
share, of which each says where it comes from), and extends nothing itself: a value stands in the protocol or in what
the protocol names, and nowhere else. A folder of one's own may also name `<paper>/<name>`, a protocol or part of one of
our papers: it is taken as it stands there, with all that it extends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.catalog.papers import Protocol
from benchmark.catalog.provenance import Origin, merge, split_tags
from benchmark.catalog.reading import pick, read_yaml, validate
from benchmark.datasets import get_dataset
from benchmark.errors import InputError, did_you_mean
from benchmark.settings.folds import fold_name

Tree = dict[str, Any]
PARTS = "parts"
UNTAGGED = ("dataset", "demo", "recipe_of")  # names, and what is ours


class Sheet(NamedTuple):
    """A protocols.yaml as it is written."""

    path: Path
    protocols: dict[str, Tree]
    parts: dict[str, Tree]


def load_protocols(path: Path, others: Mapping[str, Path], default: Origin | None) -> dict[str, Protocol]:
    """The protocols of a file by name, each whole.

    Args:
        others: folders of the papers whose protocols may be extended, as <paper>/<name>.
        default: origin of values without a tag, and such a file may be absent; None: each has a tag.

    Raises:
        InputError: a value is wrong or has no tag, or `extends` names what there is not, or what extends something.
    """
    if default is not None and not path.is_file():
        return {}
    read = cache(_read)  # another paper's file is read once, however many protocols extend it
    sheet = read(path)
    return {name: _load(name, _whole(name, sheet, others, read), path, default) for name in sheet.protocols}


def _read(path: Path) -> Sheet:
    trees = read_yaml(path)
    parts = trees.pop(PARTS, {})
    for name, tree in [*trees.items(), *(parts.items() if isinstance(parts, dict) else [(PARTS, parts)])]:
        if not isinstance(tree, dict):
            raise InputError("a mapping was expected", where=f"{path}: {name}", found=tree)
    for name, tree in parts.items():
        if name in trees:
            raise InputError(f"{name!r} is the name of a part and of a protocol", where=path, remedy="rename one")
        if taken := sorted({"extends", "recipe_of"} & set(tree)):
            raise InputError("a part is values alone", where=f"{path}: {PARTS}: {name}", found=" and ".join(taken))
    return Sheet(path, trees, parts)


def _whole(name: str, sheet: Sheet, others: Mapping[str, Path], read: Callable[[Path], Sheet]) -> Tree:
    """The tree of a protocol over those that it extends."""
    where = f"{sheet.path}: {name}"
    below: Tree = {}
    for base in _bases(sheet.protocols[name], where):
        paper, _, other = base.rpartition("/")
        if paper:
            tree = _of_another_paper(paper, other, others, read, where)
        else:
            tree = _of_this_file(name, base, sheet, where)
        # What a protocol is a recipe of holds for itself, and for what stands in its place in a folder of one's own.
        below = merge(below, {key: value for key, value in tree.items() if key != "recipe_of" or other == name})
    return merge(below, {key: value for key, value in sheet.protocols[name].items() if key != "extends"})


def _bases(tree: Tree, where: str) -> list[str]:
    """The names in `extends`."""
    named = tree.get("extends", [])
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("`extends` is a name or a list of names", where=where, found=named)
    return names


def _of_this_file(name: str, base: str, sheet: Sheet, where: str) -> Tree:
    tree = pick({**sheet.parts, **sheet.protocols}, base, "protocol or part in `extends`", where)
    if further := _bases(tree, f"{sheet.path}: {base}"):
        raise InputError(
            f"protocols extend one deep, and {name!r} extends {base!r}, which extends something itself",
            where=where,
            expected="what extends nothing",
            found=f"{name} → {base} → {' and '.join(further)}",
            remedy=f"name what {base!r} extends beside it in `extends`, and put what both need of it into `{PARTS}`",
        )
    return tree


def _of_another_paper(
    paper: str, name: str, others: Mapping[str, Path], read: Callable[[Path], Sheet], where: str
) -> Tree:
    sheet = read(pick(others, paper, "paper in `extends`", where) / "protocols.yaml")
    pick({**sheet.parts, **sheet.protocols}, name, f"protocol or part of {paper} in `extends`", where)
    return sheet.parts[name] if name in sheet.parts else _whole(name, sheet, {}, read)


def _load(name: str, tree: Tree, path: Path, default: Origin | None) -> Protocol:
    tagged = {key: value for key, value in tree.items() if key not in UNTAGGED}
    values, origins = split_tags(tagged, where=str(path), key="", default=default)
    plain = {key: tree[key] for key in UNTAGGED if key in tree}
    fields = {"name": name, "labels": None, "dataset": None, **plain, **values}
    return validate(Protocol, {**fields, "origins": origins}, where=f"{path}: {name}")


def recipes_of(protocols: Mapping[str, Protocol], known: Iterable[str], path: Path) -> dict[str, dict[str, str]]:
    """Protocol → recipe → the protocol that is this recipe of it, as their `recipe_of` says.

    Args:
        known: names that may stand in `recipe_of`.

    Raises:
        InputError: a name is not known, or two protocols are one recipe.
    """
    choices = dict.fromkeys(known)
    found: dict[str, dict[str, str]] = {}
    for name, protocol in protocols.items():
        for base, recipe in protocol.recipe_of.items():
            pick(choices, base, "protocol in `recipe_of`", f"{path}: {name}")
            taken = found.setdefault(base, {}).setdefault(recipe, name)
            if taken != name:
                raise InputError(
                    f"two protocols are the recipe {recipe!r} of {base!r}", where=path, found=f"{taken} and {name}"
                )
    return found


def pick_recipe(recipes: Mapping[str, str], recipe: str, protocol: str, where: Path) -> str:
    """The protocol that is this recipe of another.

    Args:
        recipes: recipe → protocol, of the other.

    Raises:
        InputError: there is no such recipe.
    """
    if recipe not in recipes:
        raise InputError(
            f"unknown recipe {recipe!r} of the protocol {protocol}{did_you_mean(recipe, recipes)}",
            where=where,
            expected="one of " + ", ".join(sorted(recipes)) if recipes else "none: no protocol is a recipe of it",
            remedy=f"a protocol becomes one by saying `recipe_of: {{{protocol}: {recipe}}}`",
        )
    return recipes[recipe]


def base_protocol(protocols: Mapping[str, Protocol], name: str) -> str:
    """The protocol that a protocol is a recipe of in the end, be it as a fold of a recipe; itself where it is of none.

    Args:
        protocols: of the paper. A base that is not among them, because it is another paper's, is taken as it is.
    """
    passed = {name}
    while name in protocols and (base := next(iter(protocols[name].recipe_of), name)) not in passed:
        passed.add(name := base)
    return name


def fold_names(protocol: Protocol) -> tuple[str, ...]:
    """Names of the protocols by which a protocol that cross-validates trains, one per fold."""
    dataset = get_dataset(protocol.dataset)
    return tuple(f"{protocol.name}-fold{fold}" for fold in range(dataset.fold_count))


def fold_protocols(protocol: Protocol, path: Path) -> dict[str, Protocol]:
    """Name → protocol for every fold: the same, on the fold of the data set.

    Raises:
        InputError: it does not train by itself.
    """
    if protocol.trained_by is not None or protocol.joint or protocol.pretraining:
        raise InputError(
            "a protocol that cross-validates trains by itself, and on one data set",
            where=f"{path}: {protocol.name}",
            found="trained_by, joint or pretraining",
        )
    return {
        name: protocol.model_copy(
            update={
                "name": name,
                "dataset": fold_name(protocol.dataset, fold),
                "cross_validate": False,
                "recipe_of": {protocol.name: f"fold{fold}"},
            }
        )
        for fold, name in enumerate(fold_names(protocol))
    }
