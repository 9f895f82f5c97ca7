"""Whitening, preprocessing and descriptor files."""

import dataclasses
import platform
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from copytrace import descriptor_files, descriptors
from copytrace.devices import keep_freed_memory
from copytrace.errors import InputError
from copytrace.imaging import load_image
from copytrace.networks.model import CopyModel
from copytrace.networks.registry import create_backbone
from copytrace.parts import fixed_query_parts, parts_table, whole_pictures
from copytrace.preprocessing import CUT, IMAGENET_MEAN, IMAGENET_STD, Preprocessing, cut_to_scale, to_network_input
from copytrace.whitening import fit_whitening


def test_full_whitening_gives_unit_covariance():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(500, 12)) @ rng.normal(size=(12, 12)) + rng.normal(size=12)).astype(np.float32)
    whitening = fit_whitening(features, 8, -0.5)
    projected = (features - whitening.mean) @ whitening.matrix
    np.testing.assert_allclose(projected.T @ projected / len(features), np.eye(8), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(whitening.apply(features), axis=1), 1, atol=1e-5)


def test_power_zero_is_a_rotation():
    features = np.random.default_rng(1).normal(size=(200, 6)).astype(np.float32)
    matrix = fit_whitening(features, 6, 0.0).matrix
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(6), atol=1e-5)


def test_whitening_refuses_more_dimensions_than_pictures():
    with pytest.raises(InputError, match=r"less than the number of training pictures \(5\)"):
        fit_whitening(np.zeros((5, 8), np.float32), 5, -0.5)


def picture(height=60, width=90):
    return np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)


def query_parts(width, height, kinds):
    table = parts_table([fixed_query_parts(width, height, kinds)], pd.Series(["q"]), kinds)
    return table[CUT].to_numpy(int)


def test_parts_are_cut_then_turned_then_mirrored():
    image = Preprocessing().apply(picture())
    parts = query_parts(90, 60, ["whole", "rotation", "mirror", "centre"])
    cut = cut_to_scale(image, parts, 32)
    whole = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC))
    for turns in range(4):
        assert (cut[turns] == np.rot90(whole, turns)).all()
    assert (cut[4] == whole[:, ::-1]).all()
    centre = image.crop((22, 15, 67, 45)).resize((32, 32), Image.Resampling.BICUBIC)
    assert (cut[5] == np.asarray(centre)).all()


def test_turning_before_or_after_the_resize_is_the_same():
    image = Image.fromarray(picture())
    parts = query_parts(90, 60, ["whole", "rotation"])
    turned_first = image.transpose(Image.Transpose.ROTATE_90).resize((32, 32), Image.Resampling.BICUBIC)
    difference = cut_to_scale(image, parts, 32)[1].astype(int) - np.asarray(turned_first)
    assert np.abs(difference).max() <= 2  # Pillow rounds between its two passes


def test_grey_has_three_equal_channels_and_blur_scales_with_the_picture():
    parts = query_parts(90, 60, ["whole"])
    grey = cut_to_scale(Preprocessing(grey=True).apply(picture()), parts, 48)
    assert (grey[..., :1] == grey).all()
    absolute = np.asarray(Preprocessing(blur=2).apply(picture()))
    scaled = np.asarray(Preprocessing(blur=20, reference_side=900).apply(picture()))
    assert (absolute == scaled).all()


def test_network_input_is_normalised():
    batch = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8)
    x = to_network_input(batch, torch.device("cpu"))
    expected = (batch[1, 2, 3, 0].item() / 255 - IMAGENET_MEAN[0]) / IMAGENET_STD[0]
    assert x.shape == (2, 3, 5, 4)
    assert x[1, 0, 2, 3].item() == pytest.approx(expected, abs=1e-5)
    mean, std = (np.array(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    every = (batch.numpy().transpose(0, 3, 1, 2) / 255 - mean) / std
    np.testing.assert_allclose(x, every, atol=1e-5)
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def described(tmp_path):
    rows = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
        rows.append((f"image {number}", str(path), 50, 40))
    manifest = pd.DataFrame(rows, columns=["image_id", "path", "width", "height"])
    kinds = ["whole", "rotation", "half"]
    parts = parts_table([fixed_query_parts(manifest.width, manifest.height, kinds)], manifest.image_id, kinds)
    models = [
        descriptors.LoadedModel(name, CopyModel(create_backbone("resnet10_tiny")).eval(), p, "w", "0")
        for name, p in (("a.x", Preprocessing()), ("b.x", Preprocessing(grey=True)))
    ]
    settings = descriptors.DescriptorSettings("feature", "published", "fp32", batch=7)
    return manifest, parts, models, settings


def test_every_part_is_described_in_order_whatever_the_batch(described):
    manifest, parts, models, settings = described
    together = descriptors.describe(manifest, parts, models, [32, 48], settings, threads=1)
    assert set(together) == {(m, s) for m in ("a.x", "b.x") for s in (32, 48)}
    one = descriptors.DescriptorSettings("feature", "published", "fp32", batch=1)
    alone = descriptors.describe(manifest, parts, models, [32, 48], one, threads=1)
    for key, vectors in together.items():
        assert vectors.shape == (len(parts), models[0].network.backbone.feature_dim)
        np.testing.assert_allclose(vectors, alone[key], rtol=1e-3, atol=1e-4)


def test_other_processes_load_the_same_with_few_open_files(described):
    """Each tensor that a process hands over takes an open file, and systems allow few: 1,024 by default."""
    manifest, _, models, settings = described
    many = pd.concat([manifest] * 30, ignore_index=True)
    many["image_id"] = [f"{number}" for number in many.index]
    parts = whole_pictures(many)
    batch = dataclasses.replace(settings, batch=100)
    expected = descriptors.describe(many, parts, models, [32, 48], batch, threads=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 100, hard))
    try:
        loaded = descriptors.describe(many, parts, models, [32, 48], batch, threads=1, workers=2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for key, vectors in expected.items():
        np.testing.assert_array_equal(loaded[key], vectors)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_are_full_and_in_order_however_many_load(described, workers):
    manifest, parts, _, _ = described
    variants = [(Preprocessing(), 32), (Preprocessing(grey=True), 48)]
    batches = list(descriptors.load_parts(manifest, parts, variants, 7, workers))
    assert [len(batch[0]) for batch in batches] == [7] * 5 + [5]
    rows = parts[CUT].to_numpy()
    for number, (preprocessing, scale) in enumerate(variants):
        joined = torch.cat([batch[number] for batch in batches]).numpy()
        for row, (image_id, path) in enumerate(zip(parts.image_id, np.repeat(manifest.path, 8))):
            assert image_id == manifest.image_id[manifest.path == path].item()
            image = preprocessing.apply(load_image(path))
            np.testing.assert_array_equal(joined[row], cut_to_scale(image, rows[row : row + 1], scale)[0])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have no such setting")
def test_freed_memory_is_used_again():
    """Maps of 64 MB, more than glibc keeps by itself: soon a network runs without a page that has to be cleared."""
    keep_freed_memory()
    network = CopyModel(create_backbone("resnet10_half")).eval()
    pictures = torch.zeros(128, 3, 128, 128)
    pages = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        network.descriptor(pictures)
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(pages) < 2**26 / resource.getpagesize() / 10


def test_batches_are_whitened_as_all_are_together(described):
    manifest, parts, models, settings = described
    raw = descriptors.describe(manifest, parts, models, [32, 48], settings, threads=1)
    whitenings = {key: fit_whitening(vectors, 5, -0.5) for key, vectors in raw.items()}
    finishing = {key: whitening.apply for key, whitening in whitenings.items()}
    whitened = descriptors.describe(manifest, parts, models, [32, 48], settings, threads=1, finishing=finishing)
    for key, vectors in whitened.items():
        np.testing.assert_allclose(vectors, whitenings[key].apply(raw[key]), atol=1e-5)
    none = descriptors.describe(manifest[:0], parts[:0], models, [32, 48], settings, threads=1, finishing=finishing)
    assert {vectors.shape for vectors in none.values()} == {(0, 5)}


def test_descriptor_files_round_trip(described, tmp_path):
    manifest, parts, models, settings = described
    vectors = descriptors.describe(manifest, parts, models, [32], settings, threads=1)
    path = str(tmp_path / "d.h5")
    descriptor_files.write_descriptors(path, parts, vectors, {m.name: m.attributes() for m in models})
    rows = descriptor_files.read_rows([path])
    assert (rows.image_id == parts.image_id.to_numpy()).all()
    assert (rows.part == parts.part.to_numpy()).all()
    assert (descriptor_files.read_vectors(path, "a.x", 32) == vectors["a.x", 32]).all()


def test_a_truncated_descriptor_file_is_named(tmp_path):
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(20))
    with pytest.raises(InputError, match=r"broken\.h5 can't be read"):
        descriptor_files.read_rows([str(broken)])
