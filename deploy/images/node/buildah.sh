#!/bin/sh
# Builds the Dockerfile beside this file with buildah, without a container daemon and
# without a registry:
#
#   buildah.sh OUTPUT KUBE PROGRAMS
#
# KUBE is a folder with kubelet and kubeadm (`cargo xtask kube` prints one), PROGRAMS
# one with xtask and a static node-agent. Debian's base image is made by mmdebstrap
# from $MIRROR. As root; wants buildah and mmdebstrap, and 5 GB below $TMPDIR.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
output=$(cd "$1" && pwd)
kube=$(cd "$2" && pwd)
programs=$(cd "$3" && pwd)
mirror=${MIRROR:-http://deb.debian.org/debian}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Images and layers of this run only; nothing of the user's own store is touched.
buildah() { command buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"; }

# image NAME SOURCE TARGET: an image of nothing but that.
image() {
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$2" "$3" >/dev/null
    buildah commit --quiet --rm "$container" "localhost/$1" >/dev/null
}

mmdebstrap --quiet --mode=root --variant=minbase trixie "$work/debian.tar" "deb $mirror trixie main"
image debian "$work/debian.tar" /
rm "$work/debian.tar"
mkdir "$work/kube" "$work/programs"
cp "$kube/kubelet" "$kube/kubeadm" "$work/kube"
cp "$programs/xtask" "$programs/node-agent" "$work/programs"
image kubernetes "$work/kube" /out
image programs "$work/programs" /out
rm -r "$work/kube" "$work/programs"

cd "$here/../../.."
buildah build --isolation chroot --pull-never --layers=false --file "$here/Dockerfile" \
    --build-arg DEBIAN=localhost/debian --build-arg KUBERNETES=localhost/kubernetes \
    --build-arg PROGRAMS=localhost/programs --output "type=local,dest=$output" .
