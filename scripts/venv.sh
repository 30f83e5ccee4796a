# shellcheck shell=bash
# Sourced by scripts/probe and scripts/test: `ready probe` or `ready test` returns with a complete .venv in the
# checkout, made with $PYTHON (python3 if unset). All it says goes to stderr. What it cannot go on without it names in
# one line, and exits 69, which stands for no verdict.

checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$checkout/.venv
python=${PYTHON:-python3}
log=

say() { printf '%s: %s\n' "scripts/${0##*/}" "$*" >&2; }
stop() {
    say "$@"
    exit 69
}

# The same for as long as .venv still fits: what it was made for, where, from what and with which Python. The install is
# editable, so sources may change without it.
fingerprint() {
    { echo "$1 $checkout $python $(readlink -f -- "$venv/bin/python")" && cat -- "$checkout/pyproject.toml"; } | sha256sum
}

# The stamp is written last: without it, whatever lies there is half-made.
is_ready() {
    local stamp purpose
    [[ -x $venv/bin/python && -s $venv/stamp ]] || return 1
    read -r stamp <"$venv/stamp"
    for purpose in "$1" test; do # what was made for tests serves the probe, too
        [[ $(fingerprint "$purpose") == "$stamp" ]] && return
    done
    return 1
}

ready() {
    is_ready "$1" && return
    # On Ctrl-C pip and apt end in good order, which would look as if they had failed by themselves.
    trap 'rm -f -- "$log"; exit 130' INT
    trap 'rm -f -- "$log"; exit 143' TERM
    local lock
    exec {lock}<"$checkout"
    flock --nonblock "$lock" || { say "waiting for another run, which makes .venv" && flock "$lock"; }
    is_ready "$1" || make_venv "$1"
    exec {lock}<&- # or the lock would live on in whatever is executed next
    trap - INT TERM
}

make_venv() {
    local version extra=
    [[ $1 == test ]] && extra='[test]'
    version=$("$python" -V 2>&1) || stop "$python does not run: install Python 3.11 or newer (PYTHON=... chooses another)"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "$version is too old: install Python 3.11 or newer (PYTHON=... chooses another)"
    can_make_venv || { [[ $EUID == 0 ]] && apt_install python3-venv && can_make_venv; } ||
        stop "$version cannot make a virtual environment: install its venv module (Debian, Ubuntu: python3-venv)"

    say "making .venv with $version, which happens once and takes up to a minute"
    log=$(mktemp "${TMPDIR:-/tmp}/userns-probe-install.XXXXXX")
    {   # pip's scratch files lie in .venv, where an interrupted run leaves them for the next one to clear
        "$python" -m venv --clear -- "$venv" && mkdir -- "$venv/tmp" &&
            TMPDIR=$venv/tmp "$venv/bin/python" -m pip --disable-pip-version-check install --editable "$checkout$extra"
    } >"$log" 2>&1 </dev/null || stop "installing failed: $(last_words) (all of it: $log)"
    fingerprint "$1" >"$venv/stamp"
    rm -rf -- "$log" "$venv/tmp"
    say "made .venv in ${SECONDS} s"
}

can_make_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }

# Install packages where there is an apt-get to do it; false where there is none.
apt_install() {
    command -v apt-get >/dev/null || return
    say "installing with apt-get: $*"
    log=$(mktemp "${TMPDIR:-/tmp}/userns-probe-install.XXXXXX")
    # A fresh machine has no package lists yet, or old ones that name packages the mirror no longer has.
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@"; } \
        >"$log" 2>&1 </dev/null || stop "installing $* failed: $(last_words) (all of it: $log)"
    rm -f -- "$log"
}

# The line of the log that says most: for pip, a broken connection, which it ends up calling a missing distribution.
last_words() {
    sed -n "s/.*after connection broken by '\(.*\)'.*/the package index cannot be reached: \1/p" "$log" | tail -n 1 | grep . ||
        sed -nE 's/^ *((E:|ERROR:) .*)/\1/p' "$log" | tail -n 1 | grep . || tail -n 1 "$log"
}
