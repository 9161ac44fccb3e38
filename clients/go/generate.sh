#!/usr/bin/env bash
# Generates the Go code of the contract into a folder that it makes, with plugins of pinned versions. Where Go is missing,
# or cannot fetch the plugins, it says so and makes no folder.
#
# Usage, from the top of the checkout: clients/go/generate.sh FOLDER COMMAND... (the command is protoc with its paths)
set -euo pipefail

module=github.com/rte-server/rte/clients/go
plugins=(google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12 google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2)
folder=$1
shift

if ! command -v go >/dev/null; then
  echo "clients/go: skipped, Go is not installed" >&2
  exit
fi
# A folder for each set of versions, so that another branch of the checkout does not find the wrong ones.
GOBIN=$PWD/.cache/go/$(printf '%s\n' "${plugins[@]}" | cksum | cut -d' ' -f1)
export GOBIN
for plugin in "${plugins[@]}"; do
  name=${plugin%@*}
  if ! test -x "$GOBIN/${name##*/}" && ! go install "$plugin"; then
    echo "clients/go: skipped, Go cannot install $plugin" >&2
    exit
  fi
done

mkdir -p "$folder"
PATH=$GOBIN:$PATH "$@" --go_out="$folder" --go_opt=module=$module --go-grpc_out="$folder" --go-grpc_opt=module=$module \
  proto/rte/v1/*.proto 2> >(grep -v 'error_details.proto is unused' >&2)
