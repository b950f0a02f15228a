#!/bin/bash
# Writes the lock files again from pyproject.toml, with `uv`; arguments go to it (--upgrade).
#
# Three locks, the wider first so that the others agree with it: development, what a user runs, what builds a wheel.
# And those that need not agree with them, each for an environment of its own: the connectors that the tests run, what
# runs the test suites of others, and what makes load.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

uv=$(command -v uv || true)
if [[ -z $uv ]]; then
    tools=$(mktemp -d)
    trap 'rm -rf "$tools"' EXIT
    echo 'lock: uv is not here: fetching it for this once'
    # Any pip will do: a .venv that is here is left as it is, whatever its lock.
    [[ -x .venv/bin/python ]] || bench/setup/venv.sh
    .venv/bin/python -m pip install -qq --disable-pip-version-check --root-user-action=ignore --target "$tools" uv
    uv=$tools/bin/uv
fi

compile() {
    local lock=$1
    shift
    echo "lock: $lock"
    # --no-config and no index in the file: where packages come from is a matter of the machine that installs them.
    "$uv" pip compile --quiet --no-config --universal --generate-hashes --no-annotate --no-header \
        --no-emit-index-url --python-version 3.11 --output-file "$lock" "$@" >/dev/null
}

compile requirements-dev.lock pyproject.toml --extra demo --group dev "$@"
compile requirements.lock pyproject.toml --constraint requirements-dev.lock "$@"
compile requirements-build.lock --group build --constraint requirements-dev.lock "$@"
compile requirements-connectors.lock --group connectors "$@"
compile requirements-transparency.lock --group transparency "$@"
compile requirements-locust.lock --group locust "$@"
