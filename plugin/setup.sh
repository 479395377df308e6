# shellcheck shell=bash
# What install.sh and uninstall.sh share: places, words, and putting files in place and taking them away.
#
# A release is a directory /opt/ocsp-stapling/releases/NAME: a private virtual environment, and in it `files/`, a tree
# that mirrors every file the release wants elsewhere (files/usr/local/sbin/ocsp-stapling ...). That tree is the list
# of what is ours: installing puts it in place, uninstalling takes it away, `ocsp-stapling doctor` compares it.
# shellcheck disable=SC2034  # the variables are used by the scripts that read this file

NAME=ocsp-stapling
HOME_DIR=/opt/ocsp-stapling
SHIELD_DIR=/var/lib/ocsp-stapling-shield
SHIELD_UNIT=ocsp-stapling-shield.service
RELEASES=$HOME_DIR/releases
CURRENT=$HOME_DIR/current
PREVIOUS=$HOME_DIR/previous
MADE=$HOME_DIR/made-directories
CONFIG_DIR=/etc/ocsp-stapling
STATE_DIR=/var/lib/ocsp-stapling
RUN_DIR=/run/ocsp-stapling
SETUP_DIR=/run/ocsp-stapling-setup  # nobody but root may make anything in it: the lock, and the log of the last run
LOCK=$SETUP_DIR/lock
CPANEL=/usr/local/cpanel
APP=/var/cpanel/apps/$NAME.conf
PATHS_CONF=/etc/cpanel/ea4/paths.conf
UNITS=/etc/systemd/system
SUFFIX=.new-$NAME
LOG=$SETUP_DIR/log
CHILD=''

# The caller's environment may be odd in any way; what root runs here must not depend on it.
clean_environment() {
    umask 022
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
    unset IFS CDPATH BASH_ENV ENV TMPDIR GREP_OPTIONS PYTHONPATH PYTHONHOME PYTHONSTARTUP LD_PRELOAD LD_LIBRARY_PATH
    cd /
}

say() { printf '%s\n' "$*" 2>/dev/null || true; }
refuse() { printf '%s: %s\n' "${PROGRAM}" "$*" >&2; exit 1; }

# One line for a step that has begun.
step() { say "  $*"; }

# Run a command that may take long: quiet, a dot every two seconds on a terminal, its words shown only if it fails.
quietly() {
    local ticks=0 code=0
    "$@" >>"$LOG" 2>&1 </dev/null &
    CHILD=$!
    while kill -0 "$CHILD" 2>/dev/null; do
        sleep 0.1
        ticks=$((ticks + 1))
        if [ -t 1 ] && [ $((ticks % 20)) -eq 0 ]; then printf '.'; fi
    done
    if [ -t 1 ] && [ "$ticks" -ge 20 ]; then printf '\n'; fi
    wait "$CHILD" || code=$?
    CHILD=''
    return "$code"
}

# One name for every run's log: a run that was killed leaves nothing that the next one does not take away.
open_log() { rm -f "$LOG" && (umask 077 && : >"$LOG"); }
show_log() { if [ -s "$LOG" ]; then { say "  What was said on the way:"; tail -n 60 "$LOG" | sed 's/^/    /'; } >&2; fi; }

# One installation or removal at a time. The lock is held through file descriptor 9 by what is started from here, too
# (so that a repeated run waits for what a killed one left running), but not by programs that start daemons: 9>&-.
take_lock() {
    while :; do
        (umask 077 && mkdir -p "$SETUP_DIR")
        [ "$(stat -c '%F %u %a' "$SETUP_DIR")" = 'directory 0 700' ] ||
            refuse "$SETUP_DIR is not a directory of root's alone. Remove it, then try again."
        exec 9>"$LOCK"
        if ! flock -n 9; then
            say "Waiting for another installation or removal to end ..."
            flock -w 60 9 || refuse "another installation or removal is still running. Try again when it has ended."
        fi
        if [ "$LOCK" -ef /proc/self/fd/9 ]; then return; fi  # else a removal took it away while this run waited
    done
}

systemctl() { command systemctl "$@" 9>&-; }

# The release that `current` or `previous` means; nothing if there is none. (Not readlink -f: /opt may be a link.)
release_behind() { if [ -L "$1" ] && [ -d "$1" ]; then printf '%s/%s' "$HOME_DIR" "$(readlink "$1")"; fi; }

# The files of a release, as paths relative to /.
files_of() { if [ -d "$1/files" ]; then (cd "$1/files" && find . \( -type f -o -type l \) -printf '%P\0'); fi; }

# Whether what stands at a path is exactly the release's file.
same_file() {
    if [ -L "$1" ]; then [ -L "$2" ] && [ "$(readlink "$1")" = "$(readlink "$2")" ]; return; fi
    [ ! -L "$2" ] && cmp -s "$1" "$2" && [ "$(stat -c '%a %u %g' "$1")" = "$(stat -c '%a %u %g' "$2")" ]
}

# Make a directory with those above it, noting which were not there, so that uninstalling can take them away again.
make_directories() {
    local directory=$1
    [ -d "$directory" ] && return 0
    make_directories "$(dirname "$directory")"
    printf '%s\n' "$directory" >>"$MADE"
    mkdir -m 0755 "$directory"
}

place_file() {
    local from=$1 to=$2
    same_file "$from" "$to" && return 0
    make_directories "$(dirname "$to")"
    cp -P --preserve=mode "$from" "$to$SUFFIX"
    mv -fT "$to$SUFFIX" "$to"
}

place_files() {
    local path
    while IFS= read -r -d '' path; do place_file "$1/files/$path" "/$path"; done < <(files_of "$1")
}

# Take away the files of a release, but those that another release (if given) has as well.
remove_files() {
    local path
    while IFS= read -r -d '' path; do
        rm -f "/$path$SUFFIX"
        if [ -n "${2:-}" ] && { [ -e "$2/files/$path" ] || [ -L "$2/files/$path" ]; }; then continue; fi
        rm -f "/$path"
    done < <(files_of "$1")
}

# The units of a release by their ending; those that are to be started (services are started by these).
units_of() { if [ -d "$1/files$UNITS" ]; then (cd "$1/files$UNITS" && find . -name "$2" -printf '%P\n' | sort); fi; }
started_units() { { units_of "$1" '*.socket'; units_of "$1" '*.timer'; } | sort; }

stop_units() {
    local unit
    for unit in $(started_units "$1"); do
        systemctl --quiet disable --now "$unit" >>"$LOG" 2>&1 || true
    done
    for unit in $(units_of "$1" '*.service'); do
        systemctl stop "$unit" >>"$LOG" 2>&1 || true
        # What failed stays on systemd's list, and the system degraded, even when its unit is gone.
        systemctl reset-failed "$unit" >>"$LOG" 2>&1 || true
    done
    systemctl --quiet disable "$SHIELD_UNIT" >>"$LOG" 2>&1 || true
    rm -rf "$UNITS/$SHIELD_UNIT.d"
}

# Directories that installing made go if nothing is in them; the last made first.
remove_made_directories() {
    local directory
    [ -f "$MADE" ] || return 0
    while IFS= read -r directory; do
        if [ -d "$directory" ]; then rmdir --ignore-fail-on-non-empty "$directory"; fi
    done < <(tac "$MADE")
}

# WHM's events after which a certificate is another one (category and event): root's installation, AutoSSL's, an account
# holder's own. The watch would see it within five minutes anyway, so WHM's not knowing them is no failure.
HOOK=$CURRENT/hooks/certificates-changed
HOOK_EVENTS=('Whostmgr SSL::installssl' 'Whostmgr AutoSSL::installssl' 'Cpanel UAPI::SSL::install_ssl')

# In how many of WHM's hooks our script stands; counted to the end, so that the list meets no broken pipe.
hooks_registered() { "$CPANEL/bin/manage_hooks" list 2>/dev/null </dev/null 9>&- | grep -cF "$HOOK" || true; }

manage_hooks() {
    local each options
    for each in "${HOOK_EVENTS[@]}"; do
        options=(--manual --category "${each% *}" --event "${each#* }" --stage post)
        # An account holder's event is the account's; a look is root's alone. The hook throws away what it is sent.
        if [ "${each% *}" = Cpanel ]; then options+=(--escalateprivs 1); fi
        "$CPANEL/bin/manage_hooks" "$1" script "$HOOK" "${options[@]}" >>"$LOG" 2>&1 </dev/null 9>&- || true
    done
}

# Have WHM call our hook. One that is registered in part, or twice, is registered from the beginning.
add_hooks() {
    if ! [ -x "$CPANEL/bin/manage_hooks" ] || [ "$(hooks_registered)" -eq ${#HOOK_EVENTS[@]} ]; then return 0; fi
    remove_hooks
    manage_hooks add
}

remove_hooks() {
    if [ -x "$CPANEL/bin/manage_hooks" ] && [ "$(hooks_registered)" -gt 0 ]; then manage_hooks delete; fi
}

# Root's processes that run a program of ours: started by hand, or left behind by a run that was killed.
own_programs() {
    local process first
    for process in /proc/[0-9]*; do
        IFS= read -r -d '' first 2>/dev/null <"$process/cmdline" || continue
        case $first in "$HOME_DIR"/*) if [ -O "$process" ]; then printf '%s ' "${process##*/}"; fi ;; esac
    done
}

# What they write after they were removed would stay on the server.
await_own_programs() {
    local running ticks=0
    while running=$(own_programs) && [ -n "$running" ]; do
        if [ "$ticks" -eq 0 ]; then say "Waiting for the plugin's programs to end (process ${running% }) ..."; fi
        if [ "$ticks" -ge 300 ]; then say "They did not end in 30 seconds; what they write now may stay."; return; fi
        sleep 0.1
        ticks=$((ticks + 1))
    done
}

# Take everything away that any installed release put anywhere; /opt/ocsp-stapling itself goes last, so that an
# interrupted removal can be repeated.
remove_plugin() {
    local release
    for release in "$RELEASES"/*/; do
        [ -d "${release}files" ] && stop_units "${release%/}"
    done
    await_own_programs
    for release in "$RELEASES"/*/; do remove_files "${release%/}"; done
    remove_hooks
    systemctl daemon-reload >>"$LOG" 2>&1 || true
    if [ -e "$APP" ]; then
        "$CPANEL/bin/unregister_appconfig" "$NAME" >>"$LOG" 2>&1 </dev/null 9>&- || true
        rm -f "$APP"
    fi
    remove_made_directories
    rm -rf "$RUN_DIR"
    rm -rf "$HOME_DIR"
}
