#!/bin/sh
# Makes what the peers of `cargo xtask bench boot` boot: one root as squashfs, its
# kernel, and an initramfs of each peer. They are installed into roots of their own
# under OUT, and never onto the machine.
#
#   peers.sh OUT SOURCE...        SOURCE is a line of sources.list(5)
set -eu
out=$1
shift
common=linux-image-amd64,systemd,systemd-sysv,udev,dbus,kmod,zstd,iproute2

install_root() {
    root=$1 packages=$2
    shift 2
    [ -d "$root" ] || mmdebstrap --mode=root --variant=minbase --architectures=amd64 --quiet \
        --aptopt='Apt::Install-Recommends "false"' --include="$common,$packages" trixie "$root" "$@"
}

install_root "$out/live" initramfs-tools,busybox,live-boot,live-boot-initramfs-tools "$@"
install_root "$out/dracut" dracut,dracut-network,dracut-live,curl,procps,isc-dhcp-client,iputils-arping "$@"
install_root "$out/ltsp" initramfs-tools,busybox,klibc-utils,cpio,ltsp,nfs-common,nfs-ganesha-vfs,rpcbind "$@"
release=$(ls "$out/live/usr/lib/modules")
for peer in dracut ltsp; do
    [ "$release" = "$(ls "$out/$peer/usr/lib/modules")" ] || { echo "two kernels" >&2; exit 1; }
done

# copy_libraries ROOT PROGRAM TARGET: what PROGRAM of ROOT needs to run in TARGET.
copy_libraries() {
    for library in $(chroot "$1" ldd "$2" | grep -o '/[^ ]*'); do
        mkdir -p "$3${library%/*}"
        cp -L "$1$library" "$3$library"
    done
}

# live-boot's initramfs is the one that installing it has made.
cp "$out/live/boot/initrd.img-$release" "$out/live-boot.img"
cp "$out/live/boot/vmlinuz-$release" "$out/vmlinuz"

# systemd-networkd, dracut's default in Debian, has been seen to fetch nothing.
mount -t proc proc "$out/dracut/proc"
chroot "$out/dracut" dracut --quiet --force --no-hostonly --no-hostonly-cmdline \
    --add "network-legacy url-lib livenet dmsquash-live" --omit "systemd-networkd network-manager" \
    /boot/peer.img "$release" || { umount "$out/dracut/proc"; exit 1; }
umount "$out/dracut/proc"
cp "$out/dracut/boot/peer.img" "$out/dracut.img"

# LTSP's initramfs is that of its own command before Debian's.
mkdir -p "$out/ltsp/etc/ltsp"
touch "$out/ltsp/etc/ltsp/ssh_known_hosts"
# As kubefarm has it; the root has no Python for that part.
printf '[clients]\nOMIT_FUNCTIONS="pam_main"\n' > "$out/ltsp/etc/ltsp/ltsp.conf"
chroot "$out/ltsp" ltsp initrd
cat "$out/ltsp/srv/tftp/ltsp/ltsp.img" "$out/ltsp/boot/initrd.img-$release" > "$out/ltsp-initrd.img"

# What LTSP gets its image from: an NFS server, with as much of a root as it needs.
nfs=$out/nfs libraries=usr/lib/x86_64-linux-gnu
mkdir -p "$nfs/usr/bin" "$nfs/usr/sbin" "$nfs/usr/lib64" "$nfs/$libraries" "$nfs/etc" \
    "$nfs/dev" "$nfs/proc" "$nfs/tmp" "$nfs/run/rpcbind" "$nfs/srv/ltsp/images" "$nfs/var/lib/nfs/ganesha"
ln -s usr/lib usr/lib64 "$nfs/"
for program in /usr/bin/ganesha.nfsd /usr/sbin/rpcbind "/$libraries/ganesha/libfsalvfs.so"; do
    mkdir -p "$nfs${program%/*}"
    cp "$out/ltsp$program" "$nfs$program"
    copy_libraries "$out/ltsp" "$program" "$nfs"
done
cp -r "$out/ltsp/$libraries/libnfsidmap" "$nfs/$libraries/"
for file in netconfig services protocols rpc passwd group nsswitch.conf idmapd.conf; do
    cp "$out/ltsp/etc/$file" "$nfs/etc/"
done
ln -s /proc/self/mounts "$nfs/etc/mtab"
cat > "$nfs/etc/ganesha.conf" <<'EOF'
NFS_CORE_PARAM {
    Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; MNT_Port = 20048;
    allow_set_io_flusher_fail = true;
}
DIRECTORY_SERVICES { DomainName = bench; }
EXPORT {
    Export_Id = 1; Path = /srv/ltsp; Pseudo = /srv/ltsp; Protocols = 3; Transports = TCP;
    Access_Type = RO; Squash = No_Root_Squash; SecType = sys; FSAL { Name = VFS; }
}
EOF

# The floor: busybox, six modules and a script without retries and checks.
floor=$out/floor
mkdir -p "$floor/bin" "$floor/proc" "$floor/sys" "$floor/dev" "$floor/new"
cp "$out/live/usr/bin/busybox" "$floor/bin/"
copy_libraries "$out/live" /usr/bin/busybox "$floor"
for module in failover net_failover virtio_net loop squashfs overlay; do
    file=$(find "$out/live/usr/lib/modules/$release" -name "$module.ko*" | head -1)
    [ -z "$file" ] || xz -dcf "$file" > "$floor/$module.ko"
done
cat > "$floor/dhcp" <<'EOF'
#!/bin/busybox sh
[ "$1" = bound ] && /bin/busybox ifconfig eth0 "$ip" netmask "$subnet"
EOF
cat > "$floor/init" <<'EOF'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in failover net_failover virtio_net loop squashfs overlay; do
    [ ! -e /$module.ko ] || insmod /$module.ko
done
ifconfig eth0 up
udhcpc -q -n -i eth0 -s /dhcp
url=$(sed 's/.*floor=//; s/ .*//' /proc/cmdline)
mkdir /image /lower /rw
mount -t tmpfs -o size=80% tmpfs /image
wget -q -O /image/root.squashfs "$url"
mount -t squashfs -o loop,ro /image/root.squashfs /lower
mount -t tmpfs -o size=25% tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new
for place in proc sys dev; do mount --move /$place /new/$place; done
exec switch_root /new /sbin/init
EOF
chmod 755 "$floor/init" "$floor/dhcp"
(cd "$floor" && find . | cpio --quiet -o -H newc | zstd -q -19) > "$out/floor.img"

# The root that all of them boot. It says on the console when it began, when
# multi-user.target was reached, and 5 s later what it uses.
root=$out/live
cat > "$root/usr/sbin/bench-init" <<'EOF'
#!/bin/sh
read -r up rest < /proc/uptime
echo "BENCH init $up" > /dev/console
exec /usr/lib/systemd/systemd "$@"
EOF
cat > "$root/usr/sbin/bench-done" <<'EOF'
#!/bin/sh
read -r up rest < /proc/uptime
echo "BENCH multi-user $up" > /dev/console
sleep 5
field() { sed -n "s/^$1: *\([0-9]*\) kB/\1/p" /proc/meminfo; }
bytes=0
for file in /sys/class/net/e*/statistics/rx_bytes; do bytes=$((bytes + $(cat "$file"))); done
echo "BENCH used $(($(field MemTotal) - $(field MemAvailable)))" > /dev/console
echo "BENCH received $bytes" > /dev/console
echo "BENCH state $(systemctl is-system-running)" > /dev/console
EOF
chmod 755 "$root/usr/sbin/bench-init" "$root/usr/sbin/bench-done"
ln -sf bench-init "$root/usr/sbin/init"
cat > "$root/etc/systemd/system/bench.service" <<'EOF'
[Unit]
DefaultDependencies=no
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/sbin/bench-done
[Install]
WantedBy=multi-user.target
EOF
chroot "$root" systemctl --quiet enable bench.service
mksquashfs "$root" "$out/root.squashfs" -comp zstd -Xcompression-level 9 -b 256K -noappend \
    -no-progress -quiet -wildcards -e 'boot/*' 'var/cache/apt/*' 'var/lib/apt/lists/*'
ln "$out/root.squashfs" "$nfs/srv/ltsp/images/bench.img"
mkdir -p "$out/root/usr/lib"
ln -s usr/lib "$out/root/lib"
cp -a "$root/usr/lib/modules" "$out/root/usr/lib/"
echo "$release" > "$out/release"
rm -rf "$out/dracut" "$out/live" "$out/ltsp" "$floor"
