"""Whitening, preprocessing and descriptor files."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from copytrace import descriptor_files, descriptors
from copytrace.errors import InputError
from copytrace.networks.model import CopyModel
from copytrace.networks.registry import create_backbone
from copytrace.parts import fixed_query_parts, parts_table
from copytrace.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, cut_to_scale, to_network_input
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
    return parts_table([fixed_query_parts(width, height, kinds)], pd.Series(["q"]), kinds)


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
