#!/bin/bash
# Makes .venv from the lock and installs the project into it, editable. Does nothing, quickly, when that is done.
#
# .venv/complete holds what it was made from and is written last, so that a half-made one is never taken for a whole.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$root/.venv
lock=$root/requirements-dev.lock
mark=$venv/complete
oldest=11 newest=13 # of Python 3; as `requires-python` in pyproject.toml

say() { printf 'venv: %s\n' "$*"; }
fail() {
    printf 'venv: %s\n' "$@" >&2
    exit 1
}

# What a venv is made from. Its scripts name its own directory: a moved one has to be made again.
packages_key() { { echo "$venv"; cat "$lock"; } | sha256sum | cut -d ' ' -f 1; }
project_key() { sha256sum <"$root/pyproject.toml" | cut -d ' ' -f 1; }

minor_version() { "$1" -c 'import sys; print(sys.version_info[1] if sys.version_info[0] == 3 else 0)' 2>/dev/null; }
suitable() {
    local minor
    minor=$(minor_version "$1") && ((minor >= oldest && minor <= newest))
}

find_python() {
    if [[ -n ${PYTHON:-} ]]; then
        suitable "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.$oldest to 3.$newest: name one that is"
        command -v "$PYTHON"
        return
    fi
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if suitable "$name"; then
            command -v "$name"
            return
        fi
    done
}

install_debian_package() {
    local package=$1 log
    command -v apt-get >/dev/null ||
        fail "a Python 3.$oldest to 3.$newest with its venv module is needed: install one, or name it: PYTHON=…"
    ((EUID == 0)) || fail "a Python with its venv module is needed. Run: sudo apt-get install $package"
    say "$package is missing: installing it with apt-get"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # Seconds: another apt may be at work, as on a machine that has just started.
    local wait=(-o DPkg::Lock::Timeout=120)
    local install=(apt-get "${wait[@]}" install -qq --no-install-recommends "$package")
    if ! "${install[@]}" </dev/null >"$log" 2>&1; then
        # Perhaps only because the package lists are not there, or old.
        if ! { apt-get "${wait[@]}" update -qq && "${install[@]}"; } </dev/null >"$log" 2>&1; then
            cat "$log" >&2
            rm -f "$log"
            fail "apt-get could not install $package: see above"
        fi
    fi
    rm -f "$log"
}

can_make_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Finds a Python that can make a venv, installing Debian's package if that is all that is missing.
need_python() {
    python=$(find_python) || exit 1
    if [[ -z $python ]]; then
        install_debian_package python3-venv
        hash -r
        python=$(find_python)
        [[ -n $python ]] || fail "no Python 3.$oldest to 3.$newest here: install one, or name it: PYTHON=…"
    fi
    if ! can_make_venvs "$python"; then
        install_debian_package "python3.$(minor_version "$python")-venv"
        can_make_venvs "$python" || fail "$python has no venv module: name another one: PYTHON=…"
    fi
}

# Turns pip's lines on standard output into a few.
count_packages() {
    local total=$1 seen=0 line
    while IFS= read -r line; do
        case $line in
        Collecting\ * | Processing\ *)
            seen=$((seen + 1))
            if ((seen % 15 == 0)); then say "packages: $seen of $total fetched"; fi
            ;;
        Installing\ collected\ *) say "packages: installing" ;;
        esac
    done
}

# pip warns of much that is not wrong (an index without a package, say). Its errors pass.
pip_install() {
    {
        "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --root-user-action=ignore \
            --progress-bar=off --no-deps "$@" 2>&1 >&3 | sed '/^WARNING: /d' >&2
    } 3>&1
}

make_packages() {
    need_python
    if [[ -e $venv ]]; then say "the .venv that is here is not whole, or not of this lock: making it again"; fi
    say "making .venv with Python $("$python" -c 'import platform; print(platform.python_version())') ($python)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    local total
    total=$(grep -c '^[a-z0-9]' "$lock")
    say "packages: $total of requirements-dev.lock"
    pip_install --require-hashes -r "$lock" | count_packages "$total"
}

install_project() {
    say "packages: the project itself"
    # A mark that says less than the truth is repaired by the next run; one that says more never is.
    rm -f "$mark"
    pip_install --quiet --no-build-isolation --editable "$root"
    printf '%s\n%s\n' "$(packages_key)" "$(project_key)" >"$mark.partial"
    mv "$mark.partial" "$mark"
    say "ready"
}

same_python() { [[ -z ${PYTHON:-} ]] || [[ $(minor_version "$venv/bin/python") == $(minor_version "$PYTHON") ]]; }
usable() { [[ -x $venv/bin/fairlead ]] && suitable "$venv/bin/python" && same_python; }

# One at a time: two `make`s may have been started side by side.
exec 9<"$root/pyproject.toml"
flock 9

packages='' project=''
if [[ -f $mark ]]; then { read -r packages && read -r project; } <"$mark" || true; fi
if [[ $packages != "$(packages_key)" ]] || ! usable; then
    make_packages
    install_project
elif [[ $project != "$(project_key)" ]]; then
    install_project
fi
