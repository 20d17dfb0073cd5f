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
release=$(ls "$out/live/usr/lib/modules")
[ "$release" = "$(ls "$out/dracut/usr/lib/modules")" ] || { echo "two kernels" >&2; exit 1; }

# live-boot's initramfs is the one that installing it has made.
cp "$out/live/boot/initrd.img-$release" "$out/live-boot.img"
cp "$out/live/boot/vmlinuz-$release" "$out/vmlinuz"

# systemd-networkd, dracut's default in Debian, has been seen to fetch nothing.
mount -t proc proc "$out/dracut/proc"
chroot "$out/dracut" dracut --quiet --force --no-hostonly --no-hostonly-cmdline \
    --add "network-legacy livenet dmsquash-live" --omit "systemd-networkd network-manager" \
    /boot/peer.img "$release" || { umount "$out/dracut/proc"; exit 1; }
umount "$out/dracut/proc"
cp "$out/dracut/boot/peer.img" "$out/dracut.img"

# The floor: busybox, six modules and a script without retries and checks.
floor=$out/floor
mkdir -p "$floor/bin" "$floor/proc" "$floor/sys" "$floor/dev" "$floor/new"
cp "$out/live/usr/bin/busybox" "$floor/bin/"
for library in $(chroot "$out/live" ldd /usr/bin/busybox | grep -o '/[^ ]*'); do
    mkdir -p "$floor/${library%/*}"
    cp -L "$out/live$library" "$floor$library"
done
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
mkdir -p "$out/root/usr/lib"
ln -s usr/lib "$out/root/lib"
cp -a "$root/usr/lib/modules" "$out/root/usr/lib/"
echo "$release" > "$out/release"
rm -rf "$out/dracut" "$out/live" "$floor"
