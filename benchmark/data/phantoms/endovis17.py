"""Endoscopy (Dataset704 of U-Mamba): frames of robotic surgery in nnU-Net's raw layout, PNG in colour.

Instruments enter from the border with a shaft and a wrist of the same form, and differ in the tip: in its form and in
its colour, which tints the wrist. As in the challenge the whole instrument has the number of its type, the first eight
sequences have training and test frames, and the last two are for testing alone. Some frames have no instrument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.data.phantoms.base import Phantom, Subject, count_splits, seed_of
from benchmark.data.phantoms.pictures import smooth_field, to_bytes, write_picture
from benchmark.datasets import get_dataset
from benchmark.files import write_json

HEIGHT, WIDTH = 192, 320  # 3:5, as the crops of 384 × 640 that the papers train on
SHAFT, WRIST_LENGTH, TIP_LENGTH = 13.0, 26.0, 64.0  # half width and lengths in pixels
METAL = np.array([0.62, 0.64, 0.68])
SEQUENCES, TRAIN_SEQUENCES, FIRST_TEST_FRAME = 10, 8, 225
EMPTY_PERIOD = 9  # every ninth frame of a split shows no instrument


@dataclass(frozen=True)
class Tip:
    """Form of a tip.

    Attributes:
        jaws: how many.
        opening: angle of each jaw from the axis, radians.
        length: share of the longest.
        width: half width at the root, pixels.
        curve: how far the end bends aside, pixels.
        window: half width of the hole in each jaw, 0 for none.
        colour: of the tip.
    """

    jaws: int
    opening: float
    length: float
    width: float
    colour: tuple[float, float, float]
    curve: float = 0.0
    window: float = 0.0


TIPS = {
    "bipolar_forceps": Tip(2, 0.30, 0.95, 7.0, (0.92, 0.92, 0.66), curve=12.0),
    "prograsp_forceps": Tip(2, 0.26, 0.75, 10.0, (0.50, 0.62, 0.95), window=4.0),
    "large_needle_driver": Tip(2, 0.12, 0.55, 11.0, (0.95, 0.78, 0.10)),
    "vessel_sealer": Tip(1, 0.0, 0.85, 12.0, (0.10, 0.25, 0.85)),
    "grasping_retractor": Tip(2, 0.42, 1.0, 10.0, (0.20, 0.80, 0.55), window=4.0),
    "monopolar_curved_scissors": Tip(2, 0.16, 0.7, 7.5, (0.98, 0.45, 0.02), curve=20.0),
    "ultrasound_probe": Tip(1, 0.0, 0.7, 20.0, (0.95, 0.95, 1.0)),
}


class EndoVisPhantom(Phantom):
    """Every frame shows up to two instruments of different types."""

    version = 1

    def plan(self, subjects: int, seed: int = 0) -> list[Subject]:
        """Frames of the sequences in turn; the kinds are pairs of types, each type as often as the others."""
        train, _, test = count_splits(subjects, with_validation=False)
        plan: list[Subject] = []
        for split, count, first, sequences in (
            ("train", train, 0, TRAIN_SEQUENCES),
            ("test", test, FIRST_TEST_FRAME, SEQUENCES),
        ):
            for index in range(count):
                name = f"seq_{index % sequences + 1}_frame{first + index // sequences:03d}"
                plan.append(Subject(name, split, seed_of(seed, len(plan)), _instruments(index)))
        return plan

    def write_subject(self, root: Path, spacing: float | None, subject: Subject) -> None:
        picture, labels = generate(subject)
        part = {"train": "Tr", "test": "Ts"}[subject.split]
        write_picture(root / f"images{part}" / f"{subject.id}_0000.png", picture)
        write_picture(root / f"labels{part}" / f"{subject.id}.png", labels)

    def write_tables(self, root: Path, plan: Sequence[Subject]) -> None:
        labels = {"background": 0, **get_dataset(self.name).class_numbers}
        train = sum(subject.split == "train" for subject in plan)
        channels = {str(index): channel for index, channel in enumerate("RGB")}
        facts = {"channel_names": channels, "labels": labels, "numTraining": train, "file_ending": ".png"}
        write_json(root / "dataset.json", facts)


def _instruments(index: int) -> str:
    """Two types, joined by "+"; neighbours in the list of pairs have no type in common, so that few frames show all."""
    if index % EMPTY_PERIOD == EMPTY_PERIOD - 1:
        return ""
    names, apart = list(TIPS), 1 + index // len(TIPS) % 3
    first = index * 2 % len(names)
    return f"{names[first]}+{names[(first + apart) % len(names)]}"


def generate(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """One frame: (RGB uint8 [H, W, 3], labels uint8 [H, W])."""
    generator = subject.generator()
    picture, labels = _tissue(generator), np.zeros((HEIGHT, WIDTH), np.uint8)
    names = [name for name in subject.kind.split("+") if name]
    sides = generator.permutation([-1, 1])[: len(names)]
    for name, side in zip(names, sides, strict=True):
        mask = _draw_instrument(picture, TIPS[name], int(side), generator)
        labels[mask] = get_dataset("endovis17").class_numbers[name]
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    picture *= (1 - 0.45 * np.clip(np.hypot(0.8 * x, 0.8 * y), 0, 1) ** 2)[..., None]  # the light is in the middle
    picture += generator.normal(0, 0.012, picture.shape)
    return to_bytes(picture), labels


def _tissue(generator: np.random.Generator) -> np.ndarray:
    """Moist red tissue [H, W, 3] with folds, fat, vessels and reflections."""
    shape = (HEIGHT, WIDTH)
    folds, fat, vessel = (smooth_field(shape, scale, generator) for scale in (18, 26, 11))
    picture = np.array([0.66, 0.27, 0.24]) * (1 + 0.16 * folds)[..., None]
    share = np.clip(fat - 0.5, 0, 1)[..., None]
    picture = picture * (1 - share) + share * np.array([0.80, 0.62, 0.38])
    line = np.exp(-((vessel / 0.09) ** 2))[..., None]
    picture = picture * (1 - 0.5 * line) + 0.5 * line * np.array([0.45, 0.06, 0.08])
    shine = np.clip(smooth_field(shape, 4, generator) * (folds > 0.4) - 2.0, 0, 1)
    return picture + shine[..., None]


def _draw_instrument(picture: np.ndarray, tip: Tip, side: int, generator: np.random.Generator) -> np.ndarray:
    """Paint an instrument that comes from the left (-1) or right (1) border; returns its mask [H, W]."""
    end = np.array([WIDTH * (0.5 + side * generator.uniform(0.04, 0.24)), HEIGHT * generator.uniform(0.3, 0.75)])
    angle = generator.uniform(-0.55, 0.55) + (np.pi if side > 0 else 0)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    along = (x - end[0]) * np.cos(angle) + (y - end[1]) * np.sin(angle)  # 0 at the end of the tip, negative behind it
    across = -(x - end[0]) * np.sin(angle) + (y - end[1]) * np.cos(angle)
    root = -TIP_LENGTH * tip.length
    shaft = (np.abs(across) <= SHAFT) & (along <= root - WRIST_LENGTH)
    wrist = (np.abs(across) <= 0.72 * SHAFT) & (along > root - WRIST_LENGTH) & (along <= root)
    jaws = _jaws(tip, along - root, across)
    light = np.exp(-(((across + 0.35 * SHAFT) / (0.5 * SHAFT)) ** 2))  # a long reflection, off the middle
    for mask, colour, dark in (
        (shaft, 0.45 * METAL, 0.6),
        (wrist, 0.4 * METAL + 0.6 * np.array(tip.colour), 0.75),
        (jaws, np.array(tip.colour), 0.85),
    ):
        picture[mask] = (colour * (dark + 0.55 * light)[..., None])[mask]
    seam = wrist & (np.abs(along - root + WRIST_LENGTH / 2) < 2)
    picture[seam] = 0.12
    return shaft | wrist | jaws


def _jaws(tip: Tip, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Mask [H, W] of the tip; `along` grows from its root."""
    length = TIP_LENGTH * tip.length
    mask = np.zeros(along.shape, bool)
    for sign in (-1, 1) if tip.jaws == 2 else (0,):
        turn = sign * tip.opening
        u = along * np.cos(turn) + across * np.sin(turn)
        v = -along * np.sin(turn) + across * np.cos(turn) - tip.curve * np.clip(u / length, 0, 1) ** 2
        share = np.clip(u / length, 0, 1)
        width = tip.width * (np.sqrt(1 - 0.85 * share) if tip.jaws == 2 else np.sqrt(np.clip(1 - share**6, 0, 1)))
        jaw = (u >= -2) & (u <= length) & (np.abs(v) <= width)
        hole = (np.abs(share - 0.45) < 0.22) & (np.abs(v) < tip.window)
        mask |= jaw & ~hole
    return mask


phantom = EndoVisPhantom(name="endovis17", subjects=36, smallest=14)
