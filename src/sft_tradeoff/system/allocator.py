"""Memory that is kept, and memory that is given back.

What tensors free is kept in the C library for the next tensors.

By default glibc gives every large block back to the kernel, which clears its pages again when the
next tensor of the same size needs them: up to half of the time of an element-wise operation.
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
    """Keep freed memory in the process, in one pool; without effect where libc is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, NEVER)
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_ARENA_MAX, 1)


def drop_pages(tensor: Tensor) -> None:
    """Give the memory of a tensor on the CPU back to the kernel, whoever else holds the tensor.

    Of a tensor that lies in a mapped file, a later reader gets the file's content again; of any
    other one, zeros. Only for what nobody reads again. Without effect elsewhere than on Linux.
    """
    if sys.platform != "linux":
        return
    page = mmap.PAGESIZE
    start = -(-tensor.data_ptr() // page) * page  # whole pages that hold nothing else
    end = (tensor.data_ptr() + tensor.nbytes) // page * page
    if start < end:
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        madvise(start, end - start, mmap.MADV_DONTNEED)
