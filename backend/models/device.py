"""Where models run: cores, GPU, number format, and what to do when memory runs out."""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from backend.errors import ModelError

T = TypeVar("T")
R = TypeVar("R")

# what torch says on Windows, on Linux and of cuBLAS, in exceptions that have no type of their own
NO_MEMORY = ("not enough memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def cores() -> int:
    """How many cores this process may use; where the system does not say, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_device(wanted: str) -> torch.device:
    """The device of the setting, ``auto``: a GPU if there is one. Raises ModelError for a GPU that is not there.

    With a GPU, attention is no longer left to cuDNN in this process: it failed for texts of many lengths when memory
    was short (https://github.com/pytorch/pytorch/issues/190321), and torch has other ways.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ModelError("DEVICE is cuda, and there is no CUDA device.", "Set DEVICE=auto.")
    if wanted == "cpu" or not there:
        return torch.device("cpu")
    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cuda")


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 on a GPU, nothing on a CPU."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch says that memory ran out, on the GPU or in its CPU allocator."""
    return isinstance(error, torch.OutOfMemoryError) or any(said in str(error) for said in NO_MEMORY)


def free_memory() -> None:
    """Give unused GPU memory back."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_halves(rows: Sequence[T], compute: Callable[[Sequence[T]], list[R]], alone: Callable[[T], Exception]) -> list[R]:
    """What is computed of rows; where memory runs out, of their halves. Raises ``alone`` where one is too much."""
    try:
        return compute(rows)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
    if len(rows) == 1:
        raise alone(rows[0])
    free_memory()
    half = len(rows) // 2
    return in_halves(rows[:half], compute, alone) + in_halves(rows[half:], compute, alone)
