#!/usr/bin/env bash
# Builds the browser tag into a folder that has the envoy.yaml in which its version is to stand.
#
#     clients/browser/build.sh FOLDER
#
# The compiler and the bundler are installed into .cache, once per lock file. Where npm is missing, or cannot install them, the
# script that is there stays, and the caller is told.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$1
work=.cache/browser-tag

command -v npm >/dev/null || { echo "npm is not installed: the browser tag is left as it is" >&2; exit 0; }
rm -rf "$work/src"
mkdir -p "$work"
cp -r clients/browser/. "$work"
if ! cmp -s "$work/package-lock.json" "$work/node_modules/.installed"; then
  npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null || {
    echo "npm cannot install what builds the browser tag: it is left as it is" >&2
    exit 0
  }
  cp "$work/package-lock.json" "$work/node_modules/.installed"
fi
"$work/node_modules/.bin/tsc" --project "$work"
node "$work/build.mjs" "$folder"
