"""What one part of the interactive page hands to the page."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        identifier: anchor of the part in the address, and the key of its data; letters, digits and hyphens.
        title: heading, and word in the navigation.
        html: what the part shows before any script runs, escaped already.
        data: what its script reads, embedded as JSON under the identifier.
        script: name of a file in benchmark/page/static/; empty where the part needs none.
    """

    identifier: str
    title: str
    html: str
    data: dict[str, object] = field(default_factory=dict)
    script: str = ""
