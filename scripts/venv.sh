# shellcheck shell=bash
# Sourced by scripts/probe, scripts/test and scripts/image: `ready probe` or `ready test` returns with a complete virtual
# environment in $venv, made with $PYTHON (else python3, else the newest of python3.14 to python3.11). A new environment is
# built beside the old one and takes its place when it is complete. Everything here goes to stderr; an error is one line
# and exit code 69, which is no verdict.

checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=${USERNS_PROBE_VENV:-}
python=

say() { printf '%s: %s\n' "scripts/${0##*/}" "$*" >&2; }
stop() {
    say "$@"
    exit 69
}

# Python without the current directory, PYTHON* variables and packages of the user: none of them is ours.
isolated() { "$venv/bin/python" -I "$@"; }

# The environment lies in the checkout, or where that cannot be written in the user's cache. USERNS_PROBE_VENV moves it.
place() {
    [[ -z $venv ]] || return 0
    venv=$checkout/.venv
    [[ -w $checkout ]] || is_ready probe ||
        venv=${XDG_CACHE_HOME:-$HOME/.cache}/userns-probe/venv-$(printf '%s' "$checkout" | sha256sum | cut -c 1-12)
}

# What an environment is made for and from; equal lines: it still fits. Sources are not in it: they are used in place.
fingerprint() {
    { echo "$1 $checkout $2" && cat -- "$checkout/pyproject.toml"; } | sha256sum | cut -d ' ' -f 1
}

# The stamp is written last. An environment for tests serves the probe, too.
is_ready() {
    local stamp base purpose
    [[ -s $venv/stamp ]] && read -r stamp base <"$venv/stamp" || return 1
    [[ -z ${PYTHON-} || $(readlink -f -- "$(command -v -- "$PYTHON")") == "$base" ]] || return 1
    isolated -S -c '' 2>/dev/null || return 1 # its Python may be gone, or of an older release
    for purpose in "$1" test; do
        [[ $(fingerprint "$purpose" "$base") == "$stamp" ]] && return
    done
    return 1
}

no_place() { stop "$venv cannot be made: USERNS_PROBE_VENV=DIRECTORY chooses another place"; }

ready() {
    local lock
    place
    is_ready "$1" && return
    mkdir -p -- "${venv%/*}" 2>/dev/null || no_place
    exec {lock}<"${venv%/*}"
    # On Ctrl-C pip and apt end in good order, which would look as if they had failed by themselves.
    trap 'exit 130' INT
    trap 'exit 143' TERM
    flock --nonblock "$lock" || { say "another run is making ${venv##*/}, waiting" && flock "$lock"; }
    is_ready "$1" || make_venv "$1"
    exec {lock}<&- # or the lock would live on in whatever is executed next
    trap - INT TERM
}

make_venv() {
    local version purpose=$1 new=$venv.new base log
    find_python
    version=$("$python" -I -V 2>&1)
    can_make_venv || { apt_install python3-venv && can_make_venv; } ||
        stop "$version has no module venv: install it (Debian, Ubuntu: apt-get install python3-venv)"
    # The environment of the tests has all that the probe needs: it is never replaced by a smaller one.
    [[ $purpose == test || ! -e $venv/for-tests ]] || purpose="test"
    base=$(readlink -f -- "$(command -v -- "$python")")

    say "making ${venv##*/} with $version, once; it takes half a minute to two minutes"
    rm -rf -- "$new"
    mkdir -- "$new" 2>/dev/null || no_place
    log=$new/install.log
    fill "$purpose" "$new" >"$log" 2>&1 </dev/null || stop "installing failed: $(reason <"$log") (log: $log)"
    fingerprint "$purpose" "$base" | tr '\n' ' ' >"$new/stamp" && echo "$base" >>"$new/stamp"
    rm -rf -- "$new/tmp" "$venv.old"
    [[ ! -e $venv ]] || mv -- "$venv" "$venv.old"
    mv -- "$new" "$venv" && rm -rf -- "$venv.old"
    say "made ${venv##*/} in ${SECONDS} s"
}

# Dependencies from pyproject.toml, the checkout itself by its path, and the command. pip's scratch files lie inside, so
# that an interrupted run leaves nothing elsewhere.
fill() {
    local purpose=$1 new=$2 packages compile=--compile
    [[ $purpose != test ]] || compile=--no-compile # tests keep byte code elsewhere: see PYTHONPYCACHEPREFIX in scripts/test
    "$python" -I -m venv -- "$new" && mkdir -- "$new/tmp" || return
    "$new/bin/python" -I -c '
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
print(*project["dependencies"], *project["optional-dependencies"].get(sys.argv[2], ()), sep="\n")
' "$checkout/pyproject.toml" "$purpose" >"$new/requirements.txt" || return
    TMPDIR=$new/tmp "$new/bin/python" -I -m pip --disable-pip-version-check --retries 1 --timeout 20 \
        install "$compile" --requirement "$new/requirements.txt" || return
    packages=$("$new/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || return
    echo "$checkout" >"$packages/userns-probe.pth"
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nexec "$(dirname -- "$(readlink -f -- "$0")")/python" -I -m probe "$@"\n' >"$new/bin/userns-probe"
    chmod +x -- "$new/bin/userns-probe"
    [[ $purpose != test ]] || : >"$new/for-tests"
    # Scripts name the interpreter by its path, which is about to change.
    grep --null -rlIF -- "$new" "$new/bin" "$new/pyvenv.cfg" | xargs -0 -r sed -i "s|$new|$venv|g"
}

find_python() {
    local name too_old=
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        command -v -- "$name" >/dev/null || continue
        is_new_enough "$name" && python=$name && return
        too_old=$("$name" -I -V 2>&1) || too_old="$name, which does not start"
    done
    if [[ -n ${PYTHON-} ]]; then
        stop "PYTHON=$PYTHON is no Python 3.11 or newer${too_old:+: $too_old}"
    elif [[ -z $too_old ]] && apt_install python3 python3-venv && is_new_enough python3; then
        python=python3
    else
        stop "needs Python 3.11 or newer, found ${too_old:-none}: install one; PYTHON=/path/to/python3 chooses it"
    fi
}

is_new_enough() { "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

can_make_venv() { "$python" -I -c 'import ensurepip, venv' 2>/dev/null; }

# Install packages as root where there is an apt-get; false elsewhere.
apt_install() {
    local said
    [[ $EUID == 0 ]] && command -v apt-get >/dev/null || return
    say "installing with apt-get: $*"
    # A fresh machine has no package lists yet, or old ones that name packages the mirror no longer has.
    said=$({ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@"; } \
        2>&1 </dev/null) || stop "installing $* failed: $(reason <<<"$said")"
}

# The line of pip's or apt's output that names the cause, or the cause and the variable that changes it.
reason() {
    local text
    text=$(cat)
    case $text in
        *CERTIFICATE_VERIFY_FAILED*)
            echo "the package index has a certificate of an unknown authority; PIP_CERT=/path/to/ca.pem makes it known" ;;
        *'connection broken by'* | *'establish a new connection'*)
            echo "the package index cannot be reached; PIP_INDEX_URL names another one, https_proxy a proxy, PIP_CERT its authority" ;;
        *) sed -nE 's/^ *((E:|ERROR:) .*)/\1/p' <<<"$text" | tail -n 1 | grep . || tail -n 1 <<<"$text" ;;
    esac
}
