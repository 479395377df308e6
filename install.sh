#!/bin/bash
# OCSP Stapling for WHM: installer.
#   ./install.sh                         install or upgrade on a cPanel & WHM server (root)
#   ./install.sh --wheelhouse DIR        the same without internet: Python packages come from DIR
#   sudo ./install.sh --sandbox          try it without cPanel, on a machine shaped like a WHM server (Debian, Ubuntu)
#   sudo ./install.sh --sandbox --serve  the same without a shell in it: only WHM in the browser, until Ctrl-C
#   sudo ./install.sh --sandbox --tour   watch it: the outage, measured, and its end
# It can be run again at any time, also after it was interrupted. ./uninstall.sh takes everything away again.
set -euo pipefail

PROGRAM=install.sh
MINIMUM_WHM=110
PYTHON_NAMES=(python3.13 python3.12 python3.11 python3 python3.14)
WHEELHOUSE=''
NEW=''       # the release that is being installed
BUILT=''     # yes once it was built by this run
OLD=''       # the release that was in force before, if any
SWITCHED=''  # yes while the new one is in force without having passed its check
FRESH=()     # directories of settings and state that this run made
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

find_here() {
    local script=${BASH_SOURCE[0]:-}
    # Through a pipe it has no path, and what bash calls it then is not the same in each version.
    case $script in */install.sh) ;; *) script=./install.sh ;; esac
    HERE=$(CDPATH='' cd -- "${script%/*}/" && pwd)
    if [ -r "$HERE/plugin/setup.sh" ]; then return; fi
    echo "install.sh: unpack the release and run install.sh from there; it needs the files beside it." >&2
    exit 1
}

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$HERE/install.sh"; }

main() {
    find_here
    # shellcheck source=plugin/setup.sh
    . "$HERE/plugin/setup.sh"
    local given=$PWD
    clean_environment
    while [ $# -gt 0 ]; do
        case "$1" in
            --sandbox) shift; sandbox "$@" ;;
            --wheelhouse)
                [ -n "${2:-}" ] || refuse "--wheelhouse needs the directory that holds the wheels."
                WHEELHOUSE=$(cd "$given" && cd "$2" 2>/dev/null && pwd) || refuse "there is no directory $2."
                shift 2 ;;
            -h | --help) usage; exit 0 ;;
            *) usage >&2; exit 2 ;;
        esac
    done
    install_plugin
}

# -- the sandbox -------------------------------------------------------------------------------------------------------

sandbox() {
    case "${1:-}" in -h | --help) usage; exit 0 ;; esac
    [ "$(id -u)" -eq 0 ] || refuse "the sandbox needs root for its namespaces: sudo ./install.sh --sandbox"
    unshare --mount --net --pid --fork true 2>/dev/null || refuse \
        "this system does not allow mount, network and PID namespaces, of which the sandbox is made." \
        "In a container, grant them: docker run --privileged ..."
    [ -x "$HERE/tests/run" ] || refuse "the sandbox needs the directory tests/ of the release."
    command -v apt-get >/dev/null || refuse "the sandbox needs Debian or Ubuntu, for it is made with their Apache."
    cd "$HERE"
    tests/run --sandbox >&2
    exec .venv/bin/python -m tests.machine.sandbox "$@"
}

# -- may it be installed here? -----------------------------------------------------------------------------------------

check_server() {
    [ "$(id -u)" -eq 0 ] || refuse "this must be run as root. Log in as root, or use sudo."
    local sandbox="To try it elsewhere: sudo ./install.sh --sandbox"
    [ -r "$CPANEL/version" ] || refuse "this is not a cPanel & WHM server: $CPANEL/version does not exist. $sandbox"
    check_whm_version "$(head -c 64 "$CPANEL/version")"
    [ -r "$PATHS_CONF" ] || refuse "EasyApache 4 is not set up here: $PATHS_CONF does not exist."
    local httpd
    httpd=$(sed -n 's/^bin_httpd=//p' "$PATHS_CONF" | tail -n 1)
    [ -x "${httpd:-/usr/sbin/httpd}" ] || refuse "Apache is not installed: ${httpd:-/usr/sbin/httpd} is missing."
    if ! [ -d /run/systemd/system ] || ! command -v systemctl >/dev/null; then refuse "this server is not run by systemd."; fi
    [ "$(uname -sm)" = "Linux x86_64" ] || refuse "only Linux on x86-64 is supported, not $(uname -sm)."
    local tool
    for tool in whmapi1 register_appconfig unregister_appconfig; do
        [ -x "$CPANEL/bin/$tool" ] || refuse "cPanel's own $CPANEL/bin/$tool is missing."
    done
}

# A version looks like 11.132.0.9; people call that 132.
check_whm_version() {
    local major
    major=$(printf '%s' "$1" | sed -n 's/^11\.\([0-9]\{1,4\}\)\..*/\1/p')
    [ -n "$major" ] || refuse "the version of cPanel & WHM in $CPANEL/version is not understood."
    [ "$major" -ge "$MINIMUM_WHM" ] || refuse "cPanel & WHM $MINIMUM_WHM or newer is needed; this is $major."
}

# Before the first installation nothing of another origin may stand where our files will.
check_places() {
    local path
    if [ -L "$CURRENT" ]; then return 0; fi
    while IFS= read -r -d '' path; do
        if [ -e "/$path" ] || [ -L "/$path" ]; then
            refuse "/$path exists and does not belong to this plugin. Move it away first."
        fi
    done < <(files_of "$1")
}

# -- Python ------------------------------------------------------------------------------------------------------------

# Can this interpreter, so called, make the private environment? The code must be understood by Python 3.6, too.
python_fits() {
    "$@" -I -c 'import sys
if not (3, 11) <= sys.version_info[:2] < (3, 15) or sys.maxsize < 2**32: sys.exit(1)
import ensurepip, sqlite3, ssl, venv' >/dev/null 2>&1 </dev/null
}

as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

# One that anybody can run comes first: the shield's relay has a user of its own, whom root's own directories keep out.
find_python() {
    local caller name path
    for caller in as_nobody command; do
        for name in "${PYTHON_NAMES[@]}"; do
            path=$(command -v "$name") || continue
            if python_fits "$caller" "$path"; then PYTHON=$path; return 0; fi
        done
    done
    return 1
}

# Install a Python beside the system's own, which stays what it is.
install_python() {
    local version
    if command -v dnf >/dev/null; then
        for version in 3.12 3.11; do
            quietly dnf -y -q install "python$version" && find_python && return 0
        done
    elif command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        quietly apt-get -q update || true
        for version in 3.12 3.11; do
            quietly apt-get -y -q --no-install-recommends install "python$version" "python$version-venv" \
                && find_python && return 0
        done
    fi
    refuse "Python 3.11 or newer is needed and could not be installed from the distribution's packages."
}

# -- a new release, built beside the present one -----------------------------------------------------------------------

python_identity() { "$PYTHON" -I -c 'import sys; print(sys.executable, sys.version)'; }

# Name of the release: its version, and a digest of everything that goes into it.
release_name() {
    local version digest
    version=$(sed -n 's/^__version__ = "\([0-9A-Za-z.+-]*\)"$/\1/p' "$HERE/plugin/ocsp_stapling/__init__.py")
    [ -n "$version" ] || refuse "this release is damaged: it does not say its version."
    digest=$(
        cd "$HERE"
        {
            find plugin uninstall.sh whm_app.conf -type f ! -path '*/__pycache__/*' ! -path '*.egg-info/*' -print0 |
                sort -z | xargs -0 sha256sum
            python_identity
        } | sha256sum
    )
    printf '%s-%s' "$version" "${digest:0:10}"
}

# Is every file of a release as it was built?
intact() { [ -f "$1/manifest" ] && (cd "$1" && sha256sum --check --quiet --status manifest); }

# Can the new release take over the Python environment of that one?
reusable() {
    [ -n "$1" ] && cmp -s "$1/plugin/requirements.lock" "$HERE/plugin/requirements.lock" &&
        cmp -s "$1/python" <(python_identity) && intact "$1"
}

build_release() {
    local base target
    base=$RELEASES/$(release_name)
    target=$base
    rm -rf "$RELEASES"/.new-*
    for number in 2 3 4 5 6 7 8 9; do
        if ! [ -e "$target" ]; then break; fi
        if intact "$target"; then NEW=$target; return 0; fi
        target=$base-$number
    done
    ! [ -e "$target" ] || refuse "there are too many damaged copies of this release in $RELEASES."
    local work=$RELEASES/.new-$$
    mkdir -p "$RELEASES"
    if reusable "$OLD"; then
        step "Python packages, taken over from $(basename "$OLD"), for they are the same"
        cp -a "$OLD" "$work"
        rm -rf "$work"/{files,plugin,manifest} "$work"/lib/python*/site-packages/ocsp_stapling
    else
        step "Private Python environment ($("$PYTHON" -I -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])'))"
        quietly "$PYTHON" -I -m venv "$work" || refuse "the private Python environment could not be made."
        install_packages "$work"
        python_identity >"$work/python"
    fi
    step "The plugin itself"
    install_code "$work" "$target"
    collect_files "$work"
    (cd "$work" && find . -type f ! -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum) >"$work.manifest"
    mv "$work.manifest" "$work/manifest"
    sync -f "$work"
    mv -T "$work" "$target"
    NEW=$target BUILT=yes
}

install_packages() {
    local argv=("$1/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input --no-cache-dir
        --no-deps --only-binary :all: --retries 2 --require-hashes --requirement "$HERE/plugin/requirements.lock")
    if [ -z "$WHEELHOUSE" ] && [ -d "$HERE/wheels" ]; then WHEELHOUSE=$HERE/wheels; fi
    if [ -n "$WHEELHOUSE" ]; then
        step "Python packages from $WHEELHOUSE"
        # No configuration of this server may bring the network back in.
        PIP_CONFIG_FILE=/dev/null quietly "${argv[@]}" --no-index --find-links "$WHEELHOUSE" ||
            refuse "the Python packages could not be installed from $WHEELHOUSE."
    else
        step "Python packages"
        quietly "${argv[@]}" || refuse \
            "the Python packages could not be fetched. On a server without internet use the release with wheels," \
            "or --wheelhouse DIR."
    fi
    # What is needed only to install has no business in a program that runs as root.
    quietly "$1/bin/python" -I -m pip uninstall --quiet --yes pip setuptools
    rm -f "$1"/bin/pip* "$1"/bin/[aA]ctivate*
}

# The package goes in as it is (nothing is built on a server); the command starts it isolated from the environment.
install_code() {
    local work=$1 target=$2 site
    site=$("$work/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cp -R "$HERE/plugin/ocsp_stapling" "$site/"
    find "$site/ocsp_stapling" -name __pycache__ -prune -exec rm -rf {} +
    printf '#!%s/bin/python -I\nfrom ocsp_stapling.cli import program\n\nprogram()\n' "$target" \
        >"$work/bin/$NAME"
    chmod 0755 "$work/bin/$NAME"
    install -D -m 0755 "$HERE/plugin/hooks/certificates-changed" "$work/hooks/certificates-changed"
    mkdir -p "$work/plugin"
    cp "$HERE/uninstall.sh" "$HERE/whm_app.conf" "$work/"
    cp "$HERE/plugin/setup.sh" "$HERE/plugin/config.toml" "$HERE/plugin/requirements.lock" "$work/plugin/"
    chmod -R u=rwX,go=rX "$site/ocsp_stapling" "$work/plugin" "$work/whm_app.conf"
    chmod 0755 "$work/uninstall.sh"
    quietly "$work/bin/python" -I -m compileall -q "$site"
}

# Everything the release wants outside of its own directory, in a tree that mirrors /.
collect_files() {
    local work=$1 cgi=$1/files$CPANEL/whostmgr/docroot/cgi/$NAME driver=$1/files$CPANEL/Cpanel/Config/ConfigObj/Driver
    install -D -m 0755 "$HERE/plugin/index.cgi" "$cgi/index.cgi"
    "$work/bin/python" -I -m ocsp_stapling.web.assets "$cgi/static" >>"$LOG"
    install -D -m 0644 "$HERE/plugin/icon.png" "$1/files$CPANEL/whostmgr/docroot/addon_plugins/$NAME.png"
    mkdir -p "$driver"
    cp -R "$HERE/plugin/acl/." "$driver/"
    mkdir -p "$1/files$UNITS"
    cp "$HERE"/plugin/systemd/* "$1/files$UNITS/"
    local share=$1/files/usr/local/share sbin=$1/files/usr/local/sbin
    mkdir -p "$sbin" "$share/man/man8" "$share/bash-completion/completions" "$share/zsh/site-functions"
    ln -s "$CURRENT/bin/$NAME" "$sbin/$NAME"
    "$work/bin/python" -I -m ocsp_stapling.cli.manual >"$share/man/man8/$NAME.8"
    completion "$work" bash >"$share/bash-completion/completions/$NAME"
    completion "$work" zsh >"$share/zsh/site-functions/_$NAME"
    find "$1/files" -type d -exec chmod 0755 {} +
    find "$1/files" -type f ! -name index.cgi -exec chmod 0644 {} +
    chown -R root:root "$1/files"
}

completion() {
    _OCSP_STAPLING_COMPLETE=$2_source "$1/bin/python" -I -c \
        'from ocsp_stapling.cli import group; group(prog_name="ocsp-stapling")' 2>>"$LOG"
}

# -- the switch to it --------------------------------------------------------------------------------------------------

switch_to() {
    ln -sfn "releases/$(basename "$1")" "$CURRENT$SUFFIX"
    mv -fT "$CURRENT$SUFFIX" "$CURRENT"
}

keep_previous() {
    if [ -z "$OLD" ] || [ "$OLD" = "$NEW" ]; then return 0; fi
    ln -sfn "releases/$(basename "$OLD")" "$PREVIOUS$SUFFIX"
    mv -fT "$PREVIOUS$SUFFIX" "$PREVIOUS"
}

settings_and_state() {
    local directory
    for directory in "$CONFIG_DIR" "$STATE_DIR"; do [ -e "$directory" ] || FRESH+=("$directory"); done
    if ! [ -e "$CONFIG_DIR/config.toml" ]; then
        mkdir -p "$CONFIG_DIR"
        install -m 0600 "$HERE/plugin/config.toml" "$CONFIG_DIR/config.toml$SUFFIX"
        mv -fT "$CONFIG_DIR/config.toml$SUFFIX" "$CONFIG_DIR/config.toml"
    fi
    install -d -m 0700 -o root -g root "$STATE_DIR"
}

# Put a release's files in place, have systemd and WHM take notice; the files only `$2` had go.
put_in_force() {
    local release=$1 other=${2:-} unit
    place_files "$release"
    if [ -n "$other" ] && [ -d "$other" ]; then
        for unit in $(comm -13 <(started_units "$release") <(started_units "$other")); do
            systemctl --quiet disable --now "$unit" >>"$LOG" 2>&1 || true
        done
        remove_files "$other" "$release"
    fi
    systemctl daemon-reload >>"$LOG" 2>&1
    # systemd refuses to start a socket whose service still runs: first all stop, then all start.
    # One that cannot be stopped (an administrator's drop-in spoils it) is the doctor's to judge.
    for unit in $(started_units "$release") $(units_of "$release" '*.service'); do
        systemctl stop "$unit" >>"$LOG" 2>&1 || true
    done
    # A release that failed may have used up the starts that systemd allows in a while.
    for unit in $(units_of "$release" '*'); do systemctl reset-failed "$unit" >>"$LOG" 2>&1 || true; done
    for unit in $(started_units "$release"); do systemctl --quiet enable --now "$unit" >>"$LOG" 2>&1; done
    # The relay runs only where the shield was turned on.
    if systemctl --quiet is-enabled "$SHIELD_UNIT" >>"$LOG" 2>&1; then systemctl start "$SHIELD_UNIT" >>"$LOG" 2>&1 || true; fi
    if ! cmp -s "$release/whm_app.conf" "$APP"; then
        "$CPANEL/bin/register_appconfig" "$release/whm_app.conf" >>"$LOG" 2>&1 </dev/null 9>&-
    fi
    if [ -x "$HOOK" ]; then add_hooks; else remove_hooks; fi
}

# Runs whenever this script ends: before the switch nothing is in force and what was begun is thrown away; after it,
# the release from before comes back.
ending() {
    local code=$?
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "$CHILD" ]; then kill "$CHILD" 2>/dev/null && wait "$CHILD"; fi
    if [ "$code" -ne 0 ]; then
        show_log
        if [ -n "$SWITCHED" ]; then roll_back; fi
        rm -rf "$RELEASES/.new-$$"*
        if [ -n "$BUILT" ] && [ "$(release_behind "$CURRENT")" != "$NEW" ]; then rm -rf "$NEW"; fi
        rmdir "$RELEASES" "$HOME_DIR" 2>/dev/null || true
    fi
    rm -f "$LOG"
    exit "$code"
}

roll_back() {
    set +e
    if [ -n "$OLD" ] && [ "$OLD" != "$NEW" ]; then
        switch_to "$OLD"
        put_in_force "$OLD" "$NEW"
        rm -rf "$NEW" "$PREVIOUS"
        say "The version from before is back in force: $(basename "$OLD")." >&2
    elif [ -n "$OLD" ]; then
        say "It is still in force; ocsp-stapling doctor says what to mend." >&2
    else
        remove_plugin
        if [ ${#FRESH[@]} -gt 0 ]; then rm -rf "${FRESH[@]}"; fi
        say "Nothing stays installed." >&2
    fi
    set -e
}

forget_older_releases() {
    local release keep
    keep=$(release_behind "$PREVIOUS")
    for release in "$RELEASES"/*; do
        if [ "$release" != "$NEW" ] && [ "$release" != "$keep" ]; then rm -rf "$release"; fi
    done
}

install_plugin() {
    check_server
    take_lock
    open_log
    trap ending EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    trap '' PIPE  # nobody reads on: no reason to stop half-way
    say "OCSP Stapling for WHM: installing"
    if ! find_python; then
        step "Python 3.11 or newer, from the distribution (the system's own python3 stays as it is)"
        install_python
    fi
    OLD=$(release_behind "$CURRENT")
    build_release
    check_places "$NEW"
    step "Putting it in force"
    keep_previous
    SWITCHED=yes
    switch_to "$NEW"
    settings_and_state
    put_in_force "$NEW" "$(release_behind "$PREVIOUS")"
    step "Checking the installation (ocsp-stapling doctor)"
    "$CURRENT/bin/$NAME" doctor >>"$LOG" 2>&1 </dev/null ||
        refuse "the installation does not pass its own check (ocsp-stapling doctor)."
    SWITCHED=
    forget_older_releases
    finish
}

finish() {
    say "Installed: $(basename "$NEW"). Nothing of Apache was changed."
    say "In WHM:    Plugins > OCSP Stapling   (search for \"ocsp\"; reload WHM if it is open)"
    say "Over ssh:  ocsp-stapling status"
    say "Settings:  $CONFIG_DIR/config.toml      Remove: $CURRENT/uninstall.sh"
}

main "$@"
