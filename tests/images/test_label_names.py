"""Label names in every form that dataset.json is found in."""

from __future__ import annotations

import json

import pytest

from benchmark.errors import InputError
from benchmark.images.label_names import LabelNames, read_labels_file, with_ignore

WHOLE = {"labels": {"background": 0, "liver": 1, "spleen": 2}}
TEXT = json.dumps(WHOLE)
READ = {
    "version 2": TEXT.encode(),
    "version 1": json.dumps({"labels": {"0": "background", "1": "liver", "2": "spleen"}}).encode(),
    "byte-order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 big-endian": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "UTF-32": TEXT.encode("utf-32"),
    "trailing comma": TEXT.replace("2}", "2,}").encode(),
    "tabs and newlines": json.dumps(WHOLE, indent="\t").encode().replace(b"\n", b"\r\n"),
    "whole floats": TEXT.replace("1,", "1.0,").encode(),
    "texts": TEXT.replace("1", '"1"').encode(),
    "regions of one": TEXT.replace("1,", "[1],").encode(),
    "comments": b"# ours\n1: liver\n2: spleen\n",
}
REFUSED = {
    "labels as a list": b'{"labels": ["background", "liver"]}',
    "a list": b"[1, 2]",
    "regions": b'{"labels": {"background": 0, "whole": [1, 2], "core": [2]}}',
    "an empty region": b'{"labels": {"background": 0, "whole": []}}',
    "one value twice": b'{"labels": {"background": 0, "liver": 1, "spleen": 1}}',
    "one name twice": b'{"labels": {"liver": 1, "liver": 2}}',
    "one name for two values": b'{"1": "liver", "2": "liver"}',
    "fractions": b'{"labels": {"liver": 1.5}}',
    "negative": b'{"labels": {"liver": -1}}',
    "true": b'{"labels": {"liver": true}}',
    "null": b'{"labels": {"liver": null}}',
    "too large": b'{"labels": {"liver": 99999999999}}',
    "nothing": b"",
    "labels missing": b'{"channel_names": {"0": "CT"}}',
    "no class": b'{"labels": {"background": 0}}',
    "binary": bytes(range(256)),
    "latin-1": TEXT.replace("liver", "för").encode("latin-1"),
    "deep": b"[" * 100_000,
    "ignore is not the highest": b'{"labels": {"background": 0, "ignore": 1, "liver": 2}}',
    "ignore alone": b'{"labels": {"background": 0, "ignore": 1}}',
}


@pytest.mark.parametrize("content", READ.values(), ids=list(READ))
def test_forms_that_are_read(tmp_path, content):
    path = tmp_path / "dataset.json"
    path.write_bytes(content)
    assert read_labels_file(path) == LabelNames({1: "liver", 2: "spleen"})


@pytest.mark.parametrize("content", REFUSED.values(), ids=list(REFUSED))
def test_forms_that_are_refused_by_name(tmp_path, content):
    path = tmp_path / "dataset.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"dataset\.json"):
        read_labels_file(path)


@pytest.mark.parametrize("text", ['{"labels": {"liver": 1, "ignore": 2}}', '{"1": "liver", "2": "Ignore"}'])
def test_the_ignore_label_is_no_class(tmp_path, text):
    path = tmp_path / "dataset.json"
    path.write_text(text)
    labels = read_labels_file(path)
    assert labels == LabelNames({1: "liver"}, 2)
    assert with_ignore(labels, None, where=path) == with_ignore(labels, 2, where=path) == labels
    assert with_ignore(LabelNames({1: "liver"}), 9, where=path).ignore == 9
    for value in (1, 3):
        with pytest.raises(InputError, match="contradicts"):
            with_ignore(labels, value, where=path)
