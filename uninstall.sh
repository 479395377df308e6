#!/bin/bash
# OCSP Stapling for WHM: removal. Takes away everything that install.sh put on this server, and nothing else.
#   ./uninstall.sh              asks what to do if this plugin has turned stapling off (default: turn it on again first)
#   ./uninstall.sh --yes        asks nothing: turns stapling on again, verified, then removes
#   ./uninstall.sh --keep-off   leaves stapling off: our block stays in Apache's includes, with a note in it
#   ./uninstall.sh --purge      removes the settings, the history and the backups as well
set -euo pipefail

PROGRAM=uninstall.sh
ASK=yes
KEEP_OFF=''
PURGE=''
BEGIN='# BEGIN OCSP Stapling for WHM'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

find_here() {
    local script=${BASH_SOURCE[0]:-./uninstall.sh}
    script=$(readlink -f "$script")
    HERE=${script%/*}
    if [ -r "$HERE/plugin/setup.sh" ]; then return; fi
    echo "uninstall.sh: run it from the unpacked release, or as /opt/ocsp-stapling/current/uninstall.sh." >&2
    exit 1
}

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$HERE/uninstall.sh"; }

main() {
    find_here
    # shellcheck source=plugin/setup.sh
    . "$HERE/plugin/setup.sh"
    clean_environment
    local word
    for word in "$@"; do
        case "$word" in
            --yes) ASK='' ;;
            --keep-off) KEEP_OFF=yes ASK='' ;;
            --purge) PURGE=yes ;;
            -h | --help) usage; exit 0 ;;
            *) usage >&2; exit 2 ;;
        esac
    done
    uninstall_plugin
}

# Apache's includes in which our block stands.
includes_with_block() {
    local directory=/etc/apache2/conf.d/includes found=''
    if [ -r "$PATHS_CONF" ]; then found=$(sed -n 's/^dir_conf_includes=//p' "$PATHS_CONF" | tail -n 1); fi
    grep -ls "^$BEGIN" "${found:-$directory}"/pre_virtualhost_{global,2}.conf || true
}

# What becomes of stapling, if it is off by us.
settle_stapling() {
    local includes answer
    includes=$(includes_with_block)
    if [ -z "$includes" ]; then return 0; fi
    say "This plugin decides on stapling on this server; its block stands in:"
    printf '  %s\n' "${includes//$'\n'/$'\n  '}"
    if [ -n "$ASK" ]; then
        [ -t 0 ] || refuse "without a terminal to ask on, say --yes (turn stapling on again first) or --keep-off."
        read -r -p "Turn stapling on again before removing the plugin? [Y/n] " answer
        case "$answer" in [nN]*) KEEP_OFF=yes ;; esac
    fi
    if [ -n "$KEEP_OFF" ]; then keep_off "$includes"; else turn_on; fi
}

turn_on() {
    [ -x "$CURRENT/bin/$NAME" ] || refuse \
        "the plugin's program is damaged and cannot turn stapling on again, so nothing was removed." \
        "Run install.sh again first, or use --keep-off."
    local command=(on)
    if [ -e "$STATE_DIR/shield.json" ]; then command=(shield off); fi
    "$CURRENT/bin/$NAME" "${command[@]}" --yes --reason "removal of the plugin" </dev/null 9>&- || refuse \
        "stapling could not be turned on again (see above), so nothing was removed." \
        "Mend it and try again, or use --keep-off."
    if [ -n "$(includes_with_block)" ]; then refuse "our block still stands in Apache's includes; nothing was removed."; fi
}

# The block stays and does what it does without us; a note says how to be rid of it.
keep_off() {
    local file note
    note="# The plugin was removed on $(date +%F); to turn stapling on again delete this block and restart Apache."
    while IFS= read -r file; do
        if ! grep -qi '^ *SSLUseStapling *off' "$file" || grep -qi '^ *SSLStaplingForceURL' "$file"; then
            refuse "the block in $file does more than turn stapling off and needs the plugin; nothing was removed."
        fi
    done <<<"$1"
    while IFS= read -r file; do
        cp -p "$file" "$file$SUFFIX"
        sed "/^$BEGIN/a $note" "$file" >"$file$SUFFIX"
        sync "$file$SUFFIX"
        mv -fT "$file$SUFFIX" "$file"
    done <<<"$1"
    say "Stapling stays off; a note in the block says how to turn it on again."
}

purge() {
    rm -rf "$CONFIG_DIR" "$STATE_DIR" "$SHIELD_DIR"
    say "Settings, history and backups are removed, too."
}

what_stays() {
    local kept=() directory
    for directory in "$CONFIG_DIR" "$STATE_DIR"; do if [ -e "$directory" ]; then kept+=("$directory"); fi; done
    if [ ${#kept[@]} -gt 0 ]; then say "Kept: ${kept[*]} (settings, history, backups). --purge removes them."; fi
}

uninstall_plugin() {
    [ "$(id -u)" -eq 0 ] || refuse "this must be run as root. Log in as root, or use sudo."
    take_lock
    open_log
    trap 'rm -f "$LOG"' EXIT
    if [ -e "$HOME_DIR" ]; then
        settle_stapling
        remove_plugin
        say "OCSP Stapling for WHM is removed."
    else
        say "OCSP Stapling for WHM is not installed."
    fi
    if [ -n "$PURGE" ]; then purge; else what_stays; fi
    rm -f "$LOCK"
}

main "$@"
