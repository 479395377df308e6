"""A wrong clock for every process that a machine starts from now on.

Linux has one real-time clock for all namespaces, so a library that is loaded before all others shifts what the C
library tells of it: to Apache, OpenSSL, Python and date alike. Waiting goes by another clock and is not touched.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.machine.machine import Machine

_LIBRARY = "/usr/lib/shifted-clock.so"
_SOURCE = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, at);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += SHIFT;
    return failed;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


def shift(machine: Machine, seconds: int) -> None:
    """Set the clock of a machine wrong, fast by so many seconds (negative: slow). Needs a C compiler."""
    library = Path(machine.path(_LIBRARY))
    options = ("-x", "c", "-shared", "-fPIC", f"-DSHIFT=({seconds})", "-o", str(library), "-", "-ldl")
    subprocess.run(["cc", *options], input=_SOURCE, text=True, check=True)
    machine.path("/etc/ld.so.preload").write_text(f"{_LIBRARY}\n")
