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
    local script=${BASH_SOURCE[0]:-}
    # Through a pipe it has no path, and what bash calls it then is not the same in each version.
    case $script in *uninstall.sh) ;; *) script=./uninstall.sh ;; esac
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

# A directory of EasyApache's, by its key in paths.conf; else what EasyApache 4 has by default.
apache_directory() {
    local found=''
    if [ -r "$PATHS_CONF" ]; then found=$(sed -n "s/^$1=//p" "$PATHS_CONF" | tail -n 1); fi
    printf '%s' "${found:-/etc/apache2/conf.d/$2}"
}

# Apache's includes in which our block stands: for the server, and for single sites.
includes_with_block() {
    local includes userdata
    includes=$(apache_directory dir_conf_includes includes)
    userdata=$(apache_directory dir_conf_userdata userdata)
    grep -ls "^$BEGIN" "$includes"/{pre,post}_virtualhost_{global,2}.conf || true
    find "$userdata" -name 'zzz_ocsp_stapling*.conf' -exec grep -ls "^$BEGIN" {} + 2>/dev/null || true
}

# A change that was killed half way is brought to its end first: forward or back, verified, nothing of it left over.
finish_interrupted() {
    [ -x "$CURRENT/bin/$NAME" ] || return 0
    "$CURRENT/bin/$NAME" watch --recover </dev/null 9>&- || refuse \
        "an interrupted change could not be brought to its end (see above), so nothing was removed." \
        "Mend it and try again."
}

# Files of single sites that are empty by now, kept while httpd.conf named their directory: cPanel names it no more when
# it writes httpd.conf anew. Until then they must be there, or Apache would not start; so they come back if it fails.
tidy_sites() {
    local found file userdata
    userdata=$(apache_directory dir_conf_userdata userdata)
    found=$(find "$userdata" -name 'zzz_ocsp_stapling*.conf' -empty -printf '%P\n' 2>/dev/null || true)
    [ -n "$found" ] || return 0
    while IFS= read -r file; do rm -f "$userdata/$file"; done <<<"$found"
    if "$CPANEL/scripts/rebuildhttpdconf" >>"$LOG" 2>&1 </dev/null 9>&-; then
        while IFS= read -r file; do
            (cd "$userdata" && rmdir -p --ignore-fail-on-non-empty "${file%/*}" 2>/dev/null) || true
        done <<<"$found"
    else
        while IFS= read -r file; do (umask 077 && : >"$userdata/$file"); done <<<"$found"
        say "cPanel could not rebuild httpd.conf, so these empty files stay in $userdata: ${found//$'\n'/ }"
    fi
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
    local command=(on --overrides)
    if [ -e "$STATE_DIR/shield.json" ]; then command=(shield off); fi
    "$CURRENT/bin/$NAME" "${command[@]}" --yes --reason "removal of the plugin" </dev/null 9>&- || refuse \
        "stapling could not be turned on again (see above), so nothing was removed." \
        "Mend it and try again, or use --keep-off."
    if [ "${command[0]}" = shield ] && [ -n "$(includes_with_block)" ]; then
        "$CURRENT/bin/$NAME" on --overrides --yes --reason "removal of the plugin" </dev/null 9>&- || true
    fi
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
    for directory in "$CONFIG_DIR" "$STATE_DIR" "$SHIELD_DIR"; do if [ -e "$directory" ]; then kept+=("$directory"); fi; done
    if [ ${#kept[@]} -gt 0 ]; then say "Kept: ${kept[*]} (settings, history, backups, the shield's answers). --purge removes them."; fi
}

uninstall_plugin() {
    [ "$(id -u)" -eq 0 ] || refuse "this must be run as root. Log in as root, or use sudo."
    take_lock
    open_log
    trap 'rm -f "$LOG"' EXIT
    if [ -e "$HOME_DIR" ]; then
        finish_interrupted
        settle_stapling
        if [ -z "$KEEP_OFF" ]; then tidy_sites; fi
        remove_plugin
        say "OCSP Stapling for WHM is removed."
    else
        say "OCSP Stapling for WHM is not installed."
    fi
    if [ -n "$PURGE" ]; then purge; else what_stays; fi
    rm -rf "$SETUP_DIR"
}

main "$@"
