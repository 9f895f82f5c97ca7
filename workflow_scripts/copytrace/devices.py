"""Which device computes, and in which precision."""

from __future__ import annotations

import ctypes

import torch


def pick_device() -> torch.device:
    """The first CUDA device, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(wanted: str) -> str:
    """`auto` → bf16 where the processor or GPU computes in it, else fp32; anything else as it is."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if processor_has_bf16() else "fp32"


def processor_has_bf16() -> bool:
    """Whether the processor multiplies in bf16 itself, which is then faster than fp32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def keep_freed_memory() -> None:
    """Ask glibc to reuse the large blocks that activations take instead of giving them back after every layer.

    For inference on a processor, where they are asked for again at once, and every page of them would be cleared
    again. Without glibc nothing happens.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_max, 0)  # blocks of their own for large requests are given back; the threshold for them ends at 32 MB
    mallopt(trim_threshold, 2**31 - 1)


def autocast(wanted: str, device: torch.device) -> torch.autocast:
    """The autocast context for inference on `device` in fp32, bf16, fp16 or auto."""
    chosen = choose_precision(wanted)
    dtype = torch.float16 if chosen == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=chosen != "fp32")
