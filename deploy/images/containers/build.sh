#!/bin/sh
# Builds the container images without a container daemon, from static programs:
#
#   build.sh OUTPUT VERSION PROGRAMS [TOOLS]
#
# PROGRAMS is a folder with boot-server, chassis-agent and node-agent; TOOLS one
# with kubeadm, kubectl, etcdctl and etcdutl, for the hosted control plane's jobs.
# Each image becomes OUTPUT/NAME.tar, an OCI archive, which `skopeo copy` and
# `ctr images import` take. LOADERS names the folder with iPXE's loaders, BUSYBOX the
# static busybox of the tools, where they are elsewhere. Needs buildah and setcap; as
# root it runs in a chroot, with no daemon and no namespaces. `cargo xtask image
# containers` runs it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
output=$(cd "$1" && pwd)
version=$2
programs=$(cd "$3" && pwd)
tools=${4:-}
loaders=${LOADERS:-/usr/lib/ipxe}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Images and layers of this run only; nothing of the user's own store is touched.
buildah() { command buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"; }

# A root as every image has it: names of users, and somewhere for temporary files.
prepare() {
    rm -rf "$work/context"
    mkdir -p "$work/context/root/etc" "$work/context/root/tmp"
    chmod 1777 "$work/context/root/tmp"
    printf 'root:x:0:0::/:/\nmoonfarm:x:%s:%s::/:/\n' "$1" "$1" >"$work/context/root/etc/passwd"
    printf 'root:x:0:\nmoonfarm:x:%s:\n' "$1" >"$work/context/root/etc/group"
}

# finish NAME USER ENTRYPOINT ARGUMENT...: an image that ran once with these arguments.
finish() {
    rm -f "$output/$1.tar"
    buildah build --quiet --isolation chroot --timestamp 0 --build-arg "PROGRAM=$1" \
        --build-arg "USER=$2" --tag "moonfarm/$1:$version" \
        --file "$here/Containerfile" "$work/context" >/dev/null
    name=$1 entry=$3
    container=$(buildah from --pull=never "moonfarm/$name:$version")
    buildah config --entrypoint "[\"$entry\"]" "$container"
    buildah commit --quiet --timestamp 0 "$container" "oci-archive:$output/$name.tar:moonfarm/$name:$version" >/dev/null
    # After the commit: what a run leaves behind is not in the image.
    shift 3
    buildah run --isolation chroot "$container" -- "$entry" "$@" >"$work/said" 2>&1 \
        || { cat "$work/said" >&2; echo "$name: $entry $* does not run in its image" >&2
             rm "$output/$name.tar"; exit 1; }
    buildah rm "$container" >/dev/null
    echo "$output/$name.tar"
}

# A dynamic program would look for libraries that no image has.
is_static() { ! ldd "$1" 2>/dev/null | grep -q '=>'; }

user=64321
for program in boot-server chassis-agent node-agent; do
    [ -e "$programs/$program" ] || continue
    is_static "$programs/$program" || { echo "$programs/$program is not static: an image has no libraries" >&2; exit 1; }
    prepare "$user"
    install -m 0755 "$programs/$program" "$work/context/root/$program"
    if [ "$program" = boot-server ]; then
        # Of a pod's capabilities, those are left to another user than root that the
        # program's file names. Permitted only: it takes them up by itself, and what
        # needs none runs where a runtime gives none.
        setcap cap_net_bind_service,cap_net_raw+p "$work/context/root/$program"
        mkdir -p "$work/context/root/usr/lib/ipxe"
        for loader in "$loaders"/*.kpxe "$loaders"/*.efi; do
            [ -e "$loader" ] && install -m 0644 "$loader" "$work/context/root/usr/lib/ipxe/"
        done
    fi
    finish "$program" "$user" "/$program" --help
    user=$((user + 1))
done

[ -n "$tools" ] || exit 0
prepare 65532
mkdir -p "$work/context/root/bin" "$work/context/root/usr/local/bin"
for tool in kubeadm kubectl etcdctl etcdutl; do
    install -m 0755 "$tools/$tool" "$work/context/root/usr/local/bin/"
done
busybox=${BUSYBOX:-$(command -v busybox)} || { echo "there is no busybox: install busybox-static" >&2; exit 1; }
is_static "$busybox" || { echo "$busybox is not static: install busybox-static, or name one with BUSYBOX" >&2; exit 1; }
install -m 0755 "$busybox" "$work/context/root/bin/busybox"
applets=$("$busybox" --list)
for applet in $applets; do
    [ "$applet" = busybox ] || ln -s busybox "$work/context/root/bin/$applet"
done
finish control-plane-tools 65532 /bin/sh -c "kubeadm version && kubectl version --client && etcdctl version && etcdutl version && id -u"
