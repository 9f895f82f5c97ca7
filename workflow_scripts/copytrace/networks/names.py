"""What is known of the registry's networks without torch, for Snakemake to check while it parses the workflow."""

from __future__ import annotations

from copytrace.errors import InputError
from copytrace.suggestions import hint

TIMM_PREFIX = "timm:"

#: Width of the feature that each network of the registry ends with.
FEATURE_WIDTHS = {
    "resnet50": 2048,
    "resnet152": 2048,
    "resnet50_ibn_a": 2048,
    "resnet10_half": 256,
    "resnet10_half_ibn_a": 256,
    "resnet12_half": 256,
    "resnet10_tiny": 64,
    "resnet10_tiny_ibn_a": 64,
    "resnet12_tiny": 64,
    "mobilenet_v2": 1280,
}
#: Those without the stages that a WaveBlock follows.
WITHOUT_STAGES = ("mobilenet_v2",)


def check_name(name: str) -> None:
    """Raise InputError for a name that is neither the registry's nor of the form timm:NAME."""
    if name not in FEATURE_WIDTHS and (not name.startswith(TIMM_PREFIX) or name == TIMM_PREFIX):
        raise InputError(
            f"there is no network {name!r} ({TIMM_PREFIX}NAME is one of timm); {hint(name, FEATURE_WIDTHS)}"
        )


def check_width(backbone: str, network: str, width: int, dimensions: int) -> None:
    """Raise InputError if a backbone's feature of `width` can't be whitened to so many `dimensions`."""
    if dimensions > width:
        raise InputError(
            f"whitening.dimensions is {dimensions}, but the feature of backbone {backbone} ({network}) has only {width}"
        )
