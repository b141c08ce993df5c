"""Provenance tags: every value of a protocol says where it comes from.

In yaml a leaf is `{value: …, paper: …}`, `{value: …, code: …}` or `{value: …, assumed: …}`; the text names the section,
the released file, or the reason. `split_tags` parts such a tree into plain values and their origins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmark.errors import InputError

KINDS = ("paper", "code", "assumed")


class Origin(NamedTuple):
    """Where a value comes from: `kind` is paper, code or assumed; `text` is the place or the reason.

    Of a folder whose paper.yaml says `source: ours`, values without a tag are of the kind ours.
    """

    kind: str
    text: str


def split_tags(tree: Any, *, where: str, key: str = "", default: Origin | None = None) -> tuple[Any, dict[str, Origin]]:
    """Plain values of a tagged tree, and the origin of each leaf by dotted key.

    Args:
        tree: mappings down to tagged leaves.
        where: the file, for messages.
        key: of the tree in that file.
        default: origin of leaves without a tag; None: each leaf has one.

    Raises:
        InputError: a leaf has no tag, more than one tag, or an empty tag text.
    """
    if isinstance(tree, dict) and "value" in tree:
        return tree["value"], {key: _origin(tree, where=where, key=key)}
    if not isinstance(tree, dict) or (default and not tree):
        if default is not None:
            return tree, {key: default}
        raise InputError(
            f"{key}: a value without provenance",
            where=where,
            expected="{value: …, paper|code|assumed: where it comes from}",
            found=tree,
        )
    values, origins = {}, {}
    for name, branch in tree.items():
        path = f"{key}.{name}" if key else str(name)
        values[name], found = split_tags(branch, where=where, key=path, default=default)
        origins.update(found)
    return values, origins


def _origin(leaf: dict[str, Any], *, where: str, key: str) -> Origin:
    tags = [name for name in leaf if name != "value"]
    if len(tags) != 1 or tags[0] not in KINDS or not isinstance(leaf[tags[0]], str) or not leaf[tags[0]].strip():
        raise InputError(
            f"{key}: exactly one provenance tag with a text is needed",
            where=where,
            expected=" or ".join(KINDS),
            found=tags,
        )
    return Origin(tags[0], leaf[tags[0]].strip())


def merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `override` replaced; only mappings without a value of their own merge."""
    merged = dict(base)
    for name, value in override.items():
        mergeable = isinstance(value, dict) and isinstance(base.get(name), dict) and "value" not in value
        merged[name] = merge(base[name], value) if mergeable else value
    return merged
