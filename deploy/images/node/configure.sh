#!/bin/sh
# Turns an installed Debian root into the node's root: programs and files in,
# what must differ from node to node out. Run by mmdebstrap on its target and by
# the Dockerfile on /, after the packages of packages.txt were installed.
#
#   configure.sh ROOT RECIPE KUBE
#
# ROOT is the root to change, RECIPE this folder, KUBE a folder with kubelet and
# kubeadm.
set -eu
umask 022
root=${1%/} recipe=$2 kube=$3

install -m 0755 "$kube/kubelet" "$kube/kubeadm" "$root/usr/bin/"
# Whose checkout this is and how old must not show in the image. Folders are left
# out, or those that exist would get the checkout's modes and times.
(cd "$recipe/files" && find . ! -type d | sort) |
    tar -C "$recipe/files" --owner=0 --group=0 --mode=u=rwX,go=rX --mtime=@0 -cf - -T - |
    tar -C "$root/" -xf -
install -d -m 0755 "$root/usr/share/moonfarm/images"

# Network add-ons bring their plugins to /opt/cni/bin and expect the common ones there.
install -d -m 0755 "$root/opt/cni/bin"
for plugin in "$root"/usr/lib/cni/*; do
    ln -sf "/usr/lib/cni/${plugin##*/}" "$root/opt/cni/bin/"
done

in_root() { chroot "$root/" "$@"; }
in_root systemctl --quiet enable systemd-networkd.service kubelet.service moonfarm-images.service
# Nothing here is upgraded or saved in place, and nobody answers questions.
in_root systemctl --quiet mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
    systemd-firstboot.service systemd-hibernate-resume.service
in_root passwd --quiet --lock root

# What identifies one machine is written at boot.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/etc/.resolv.conf.systemd-resolved.bak" \
    "$root/var/lib/systemd/random-seed" "$root/var/lib/dbus/machine-id"
: > "$root/etc/machine-id"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
: > "$root/etc/fstab"

rm -rf "$root"/vmlinuz* "$root"/initrd.img* "$root"/boot/initrd.img* "$root"/boot/System.map* \
    "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/* \
    "$root"/var/cache/ldconfig/* "$root"/var/lib/dpkg/*-old "$root"/var/log/* "$root"/tmp/*

# Tells systemd that /etc and /var fit this /usr; it would rebuild indexes at
# every boot otherwise.
touch -r "$root/usr" "$root/etc/.updated" "$root/var/.updated"
