"""How the OpenSSL of this system behaves where that differs between versions: Apache uses the same one."""

from __future__ import annotations

import ctypes
import functools
import ssl

_COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_char_p))


@functools.cache
def finding_sorts() -> bool:
    """Say whether looking for something in a stack (OPENSSL_sk_find) sorts that: seen in 3.0, no longer in 3.5.

    It is tried out, on the libcrypto of the Python that the distribution brings. Where there is none to try, the
    answer is that of OpenSSL 3.0, which most servers have.
    """
    try:
        library = ctypes.CDLL("libcrypto.so.3" if ssl.OPENSSL_VERSION_INFO[0] >= 3 else "libcrypto.so.1.1")
        return _tried(library)
    except (OSError, AttributeError, MemoryError):  # the last one under confinement: no callbacks
        return True


def _tried(library: ctypes.CDLL) -> bool:
    """Look for the second of two words in the wrong order; say whether they stand in the right one then."""
    for name, result, arguments in (
        ("OPENSSL_sk_new", ctypes.c_void_p, [_COMPARE]),
        ("OPENSSL_sk_push", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
        ("OPENSSL_sk_find", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
        ("OPENSSL_sk_value", ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int]),
        ("OPENSSL_sk_free", None, [ctypes.c_void_p]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    first, second = b"b", b"a"  # a stack keeps pointers: the words live as long
    compare = _COMPARE(lambda one, other: (one[0] > other[0]) - (one[0] < other[0]))
    stack = library.OPENSSL_sk_new(compare)
    if not stack:
        return True
    try:
        for word in (first, second):
            library.OPENSSL_sk_push(stack, word)
        library.OPENSSL_sk_find(stack, second)
        return bool(library.OPENSSL_sk_value(stack, 0) == second)
    finally:
        library.OPENSSL_sk_free(stack)
