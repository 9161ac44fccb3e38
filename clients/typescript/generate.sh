#!/usr/bin/env bash
# Generates the TypeScript code of the contract into a folder that it makes, with the plugin that package-lock.json names.
# Where Node.js is missing, or npm cannot fetch the plugin, it says so and makes no folder.
#
# Usage, from the top of the checkout: clients/typescript/generate.sh FOLDER COMMAND... (the command is protoc with its paths)
set -euo pipefail

package=clients/typescript
folder=$1
shift

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "$package: skipped, Node.js is not installed" >&2
  exit
fi
# A folder for each lock file, so that another branch of the checkout does not find the wrong one.
tools=$PWD/.cache/typescript/$(cksum <$package/package-lock.json | cut -d' ' -f1)
if ! test -e "$tools/installed"; then
  mkdir -p "$tools"
  cp $package/package.json $package/package-lock.json $package/.npmrc "$tools"
  if ! (cd "$tools" && npm ci --ignore-scripts --silent); then
    echo "$package: skipped, npm cannot install what package-lock.json names" >&2
    exit
  fi
  touch "$tools/installed"
fi

mkdir -p "$folder"
# The annotations that the contract imports are generated beside it: nobody else ships them for this runtime.
"$@" --plugin=protoc-gen-es="$tools/node_modules/.bin/protoc-gen-es" --es_out="$folder" \
  --es_opt=target=ts,import_extension=js proto/rte/v1/*.proto google/api/{annotations,http}.proto \
  google/rpc/{status,error_details}.proto 2> >(grep -v 'error_details.proto is unused' >&2)
