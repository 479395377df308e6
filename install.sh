#!/usr/bin/env bash
# OCSP Stapling for WHM: installer.
#   sudo ./install.sh --sandbox          try it on a machine shaped like a WHM server (Debian; nothing is installed
#                                        outside of this directory but Debian packages that are missing)
#   sudo ./install.sh --sandbox --tour   watch it: the outage, measured, and its end
set -euo pipefail
umask 022
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
cd "$(dirname "${BASH_SOURCE[0]}")"

refuse() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

sandbox() {
    [ "$(id -u)" -eq 0 ] || refuse "The sandbox needs root for its namespaces: sudo ./install.sh --sandbox"
    unshare --mount --net --pid --fork true 2>/dev/null || refuse \
        "This system does not allow mount, network and PID namespaces, of which the sandbox is made." \
        "In a container, grant them: docker run --privileged ..."
    tests/run --packages >&2
    tests/run --prepare >&2
    exec .venv/bin/python -m tests.machine.sandbox "$@"
}

case "${1:-}" in
    --sandbox) sandbox "${@:2}" ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' install.sh >&2; exit 2 ;;
esac
