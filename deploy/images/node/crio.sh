#!/bin/sh
# Makes CRI-O the container runtime of a node's root that configure.sh has finished.
# Run by mmdebstrap on its target.
#
#   crio.sh ROOT FOLDER
#
# ROOT is the root to change, FOLDER has the programs crio and pinns.
set -eu
umask 022
root=${1%/} programs=$2

install -m 0755 "$programs/crio" "$programs/pinns" "$root/usr/bin/"
install -d -m 0755 "$root/etc/crio/crio.conf.d" "$root/etc/containers" "$root/etc/systemd/system/kubelet.service.d"

cat > "$root/etc/crio/crio.conf.d/10-moonfarm.conf" <<'CONF'
[crio.runtime]
default_runtime = "runc"
cgroup_manager = "systemd"
conmon = "/usr/bin/conmon"
conmon_cgroup = "pod"
pinns_path = "/usr/bin/pinns"

[crio.runtime.runtimes.runc]
runtime_path = "/usr/bin/runc"
runtime_type = "oci"

[crio.image]
# Imported at boot by moonfarm-images.service; no registry is asked for it. It says
# itself what runs in it.
pause_image = "localhost/moonfarm/pause:1"
pause_command = ""

[crio.network]
# Where network add-ons install their plugins; Debian's are linked there.
network_dir = "/etc/cni/net.d/"
plugin_dirs = ["/opt/cni/bin"]
CONF

# Which images are trusted is the operator's to say; CRI-O does not start without a word.
[ -e "$root/etc/containers/policy.json" ] ||
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' > "$root/etc/containers/policy.json"

# As the CRI-O project ships it. Its overlays cannot be stacked on the overlay root.
cat > "$root/usr/lib/systemd/system/crio.service" <<'UNIT'
[Unit]
Description=Container Runtime Interface for OCI (CRI-O)
Documentation=https://github.com/cri-o/cri-o
Wants=network-online.target
Before=kubelet.service
After=network-online.target
RequiresMountsFor=/var/lib/containers

[Service]
Type=notify
ExecStart=/usr/bin/crio
ExecReload=/bin/kill -s HUP $MAINPID
TasksMax=infinity
LimitNPROC=1048576
OOMScoreAdjust=-999
TimeoutStartSec=0
Restart=on-failure
RestartSec=10

[Install]
WantedBy=multi-user.target
UNIT

# The images that came with the node image go where CRI-O looks for images.
cat > "$root/usr/lib/moonfarm/import-images" <<'SCRIPT'
#!/bin/sh
# Gives CRI-O every image archive that lies in the node image, so that the kubelet
# finds them without a registry. An archive has one image: its name is what
# containerd writes into index.json, or the first that `docker save` has.
set -eu
member() { tar -xOf "$1" "./$2" 2>/dev/null || tar -xOf "$1" "$2" 2>/dev/null || true; }
for archive in /usr/share/moonfarm/images/*.tar; do
    [ -e "$archive" ] || continue
    kind=oci-archive
    name=$(member "$archive" index.json |
        sed -n 's/.*"io\.containerd\.image\.name": *"\([^"]*\)".*/\1/p' | head -n 1)
    if [ -z "$name" ]; then
        kind=docker-archive
        name=$(member "$archive" manifest.json |
            sed -n 's/.*"RepoTags": *\[ *"\([^"]*\)".*/\1/p' | head -n 1)
    fi
    if [ -z "$name" ]; then
        echo "$archive: no image with a name is in it" >&2
        exit 1
    fi
    skopeo copy --quiet "$kind:$archive" "containers-storage:$name"
    echo "imported $name"
done
SCRIPT
sed -i 's/containerd\.service/crio.service/' "$root/usr/lib/systemd/system/moonfarm-images.service"

chroot "$root/" systemctl --quiet enable crio.service
