from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import assert_checksums, assert_counts, assert_parity, fill_by_recipe, read_keys, shapes
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.models import build
from benchmark.models.layers.dynamic_head import dynamic_head, parameter_count
from benchmark.models.registry import model_entry


@pytest.mark.parametrize(
    ("encoding", "classes"), [("word_embedding", 118), ("word_embedding", 32), ("rand_embedding", 118)]
)
def test_counts_and_keys_equal_the_release(encoding, classes, reference):
    text = "from_checkpoint" if encoding == "word_embedding" else None
    with torch.device("meta"):
        model = build(
            "universal_model",
            in_channels=1,
            out_channels=classes,
            spatial_shape=(128,) * 3,
            encoding=encoding,
            text_features=text,
        )
    label = f"swinunetr {encoding} out{classes}"
    facts = json.loads(reference("models/universal_model.json").read_text())["configurations"][label]
    assert_counts(model, facts)
    assert sum(b.numel() for b in model.buffers() if b.is_floating_point()) == facts["float_buffer_elements"]
    keys = read_keys(reference("models/universal_model.keys.json.gz"))
    if label in keys:
        assert shapes(model) == keys[label]


@pytest.mark.parity
def test_parity_with_the_released_network_through_its_recipe(parity):
    fixture = parity("universal_model_rand_embedding")
    options = {"encoding": "rand_embedding", "class_chunk": 2}
    model = build("universal_model", in_channels=1, out_channels=5, spatial_shape=(64,) * 3, **options)
    model.load_state_dict(fill_by_recipe(model.state_dict(), fixture["weights_gain"]))
    assert_checksums(model.state_dict(), fixture["state_dict_checksums"])
    assert_parity(model, fixture)


def test_dynamic_head_equals_grouped_convolutions():
    """The form of the release: one sample at a time, its features repeated, convolutions grouped by class."""
    torch.manual_seed(0)
    widths, batch, groups = (4, 3, 5, 2), 2, 6
    features, parameters = torch.randn(batch, 4, 3, 4, 5), torch.randn(batch, groups, parameter_count(widths))
    wanted = []
    for sample in range(batch):
        hidden = features[sample].repeat(groups, 1, 1, 1)[None]
        sizes = [3 * 4, 5 * 3, 2 * 5, 3, 5, 2]
        parts = parameters[sample].split(sizes, dim=1)
        for layer in range(3):
            weight = parts[layer].reshape(groups * widths[layer + 1], widths[layer], 1, 1, 1)
            hidden = functional.conv3d(hidden, weight, parts[3 + layer].flatten(), groups=groups)
            hidden = functional.relu(hidden) if layer < 2 else hidden
        wanted.append(hidden)
    for chunk, checkpointing in ((1, False), (4, True), (6, False)):
        found = dynamic_head(features, parameters, widths, chunk=chunk, checkpointing=checkpointing)
        torch.testing.assert_close(found, torch.cat(wanted), rtol=1e-5, atol=1e-5)


def small(**options):
    torch.manual_seed(0)
    options = dict(model_entry("universal_model").demo) | options
    return build("universal_model", in_channels=1, out_channels=3, spatial_shape=(32,) * 3, **options)


def test_text_features_are_read_from_the_authors_file(tmp_path):
    features = torch.randn(3, 512).half()
    torch.save(features, tmp_path / "txt_encoding.pth")
    model = small(encoding="word_embedding", text_features=str(tmp_path / "txt_encoding.pth"))
    assert torch.equal(model.organ_embedding, features.float()) and "organ_embedding" in model.state_dict()
    assert not any("organ_embedding" in name for name, _ in model.named_parameters())
    model(torch.zeros(1, 1, 32, 32, 64)).mean().backward()
    assert model.text_to_vision.weight.grad.abs().sum() > 0
    torch.save(torch.randn(32, 512), tmp_path / "txt_encoding.pth")
    with pytest.raises(InputError, match="not those of these classes"):
        small(encoding="word_embedding", text_features=str(tmp_path / "txt_encoding.pth"))
    with pytest.raises(InputError, match=r"txt_encoding\.pth from github"):
        small(encoding="word_embedding", text_features=str(tmp_path / "absent.pth"))


def test_a_word_code_is_the_rectified_projection_of_its_text_feature(tmp_path):
    """So a learned code of that value gives the same network (facts: ReLU(Linear(512 -> code)))."""
    torch.save(torch.randn(3, 512), tmp_path / "txt_encoding.pth")
    words = small(encoding="word_embedding", text_features=str(tmp_path / "txt_encoding.pth")).eval()
    learned, shared = small().eval(), words.state_dict()
    projection, features = shared.pop("text_to_vision.weight"), shared.pop("organ_embedding")
    codes = (features @ projection.T + shared.pop("text_to_vision.bias")).clamp_min(0)
    learned.load_state_dict(shared | {"organ_embedding.weight": codes}, strict=True)
    image = torch.randn(1, 1, 32, 32, 64)
    torch.testing.assert_close(words(image), learned(image))


@pytest.mark.parametrize(
    "options",
    [{"encoding": "word_embedding"}, {"encoding": "bert"}, {"text_features": "from_checkpoint"}],
    ids=str,
)
def test_illegal_options_are_named(options):
    with pytest.raises(InputError, match="universal_model cannot be built"):
        small(**options)
