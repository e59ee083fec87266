#!/bin/sh
# Rewrites the three locks from pyproject.toml: everything for development, the peers of the bench
# beside it, and what the image needs. Versions with hashes, without addresses.
set -eu
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .uv/bin/uv)
lock() { "$uv" pip compile --no-config --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 "$@"; }
lock --extra dev pyproject.toml -o requirements.lock
lock --extra dev --extra bench -c requirements.lock pyproject.toml -o infra/bench.lock
lock -c requirements.lock pyproject.toml -o infra/runtime.lock
