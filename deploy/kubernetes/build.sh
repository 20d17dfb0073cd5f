#!/bin/sh
# Builds Kubernetes programs from the modules that go.mod pins.
#
#   build.sh FOLDER PROGRAM...
#
# FOLDER takes the programs; PROGRAM is etcd, kubeadm, kubelet, kube-apiserver …
# `cargo xtask kube` and the node image's Dockerfile both build with it.
set -eu
folder=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")"

# Static programs, go.sum binding, whatever the user's own settings are.
export CGO_ENABLED=0 GO111MODULE=on GOFLAGS=-mod=readonly GOWORK=off GOOS=linux GOARCH=amd64

version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' go.mod)
minor=${version#v*.}
minor=${minor%%.*}
major=${version#v}
major=${major%%.*}

# kubeadm compares its own version with the cluster's, and the API server tells
# its version to clients; both read these variables.
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    for variable in "gitVersion=$version" "gitMajor=$major" "gitMinor=$minor" gitTreeState=clean \
        gitCommit=0000000000000000000000000000000000000000 buildDate=1970-01-01T00:00:00Z; do
        flags="$flags -X $package.$variable"
    done
done

for program in "$@"; do
    case $program in
        etcd) package=go.etcd.io/etcd/server/v3 ;;
        *) package=k8s.io/kubernetes/cmd/$program ;;
    esac
    go build -trimpath -buildvcs=false -ldflags "$flags" -o "$folder/$program" "$package"
done
