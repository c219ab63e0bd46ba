"""Keep memory that tensors free in the C library, or return it to the kernel.

By default glibc returns every large block to the kernel, which clears the pages again for the next
tensor of the same size: up to half of the time of an element-wise operation.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep freed memory in the process, in one pool; no effect unless libc is glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, NEVER)
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_ARENA_MAX, 1)


def drop_pages(tensor: Tensor) -> None:
    """Return the memory of a CPU tensor to the kernel, even if others still refer to the tensor.

    Only for tensors that are not read again: a tensor in a mapped file would have the file's
    content, any other zeros. No effect except on Linux.
    """
    if sys.platform != "linux":
        return
    page = mmap.PAGESIZE
    start = -(-tensor.data_ptr() // page) * page  # only pages that hold nothing else
    end = (tensor.data_ptr() + tensor.nbytes) // page * page
    if start < end:
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        madvise(start, end - start, mmap.MADV_DONTNEED)
