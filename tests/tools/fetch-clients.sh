#!/bin/sh
# Fetches the stock clients that the end-to-end tests run, at the exact versions of tests/e2e/clients: supabase-js into
# its node_modules, the Python client into .rowcast/python; and what the examples need into theirs. Does nothing if they
# are there.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
clients=$root/tests/e2e/clients
python=$root/.rowcast/python

fail() {
    echo "fetch-clients: $1" >&2
    exit 1
}

command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null ||
    fail "the JavaScript clients need Node 20 or newer with npm; https://nodejs.org has it"
python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "the Python client needs python3, 3.10 or newer, with venv (Debian, Ubuntu: apt-get install python3-venv)"

# A copy of what was asked for stands beside what was fetched; it is written last.
for packages in "$clients" "$root/examples"; do
    if ! cmp -s "$packages/package-lock.json" "$packages/node_modules/.fetched"; then
        (cd "$packages" && npm ci --loglevel=error >/dev/null) || fail "npm could not fetch the JavaScript clients"
        cp "$packages/package-lock.json" "$packages/node_modules/.fetched"
    fi
done
if ! cmp -s "$clients/requirements.txt" "$python/.fetched"; then
    mkdir -p "$root/.rowcast"
    python3 -m venv --clear "$python"
    "$python/bin/python" -m pip install --quiet --disable-pip-version-check -r "$clients/requirements.txt" ||
        fail "pip could not fetch the Python client"
    cp "$clients/requirements.txt" "$python/.fetched"
fi
