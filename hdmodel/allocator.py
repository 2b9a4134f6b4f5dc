"""Memory allocation: keep the C library from giving every tensor back to the kernel.

A forward or backward pass frees and asks again for the same large buffers. With the default
settings of glibc each of them is a fresh mapping whose pages the kernel must clear.
"""

import ctypes
import platform
from functools import cache

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3

_MIB = 1 << 20


@cache
def tune_allocator() -> bool:
    """Make glibc keep freed tensor memory in the process; call it before work with torch.

    The process then holds its peak of memory until it ends. Calling it again does nothing.

    Returns:
        Whether it was done: False on anything but Linux with glibc.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = (
        (_M_MMAP_THRESHOLD, 1024 * _MIB),
        (_M_TRIM_THRESHOLD, 2**31 - 1),
        (_M_TOP_PAD, 256 * _MIB),
    )
    return all([mallopt(name, value) == 1 for name, value in settings])
