#!/bin/busybox sh
# Process 1 of a guest. It loads /modules, puts the root together from the images among its disks, and goes on there with
# run.sh; without an image it stays where it is.

/bin/busybox mkdir -p /proc /sys /dev /root.d /lower /upper
/bin/busybox --install -s /bin
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev

while read -r module; do # in the order in which they need each other
    insmod "/modules/$module" || echo "init: $module cannot be loaded"
done </modules/order

mkdir /dev/disk
for disk in /sys/block/vd*; do
    [ -e "$disk" ] || continue
    ln -s "../${disk##*/}" "/dev/disk/$(cat "$disk/serial")"
done
for port in /sys/class/virtio-ports/*; do
    ln -s "${port##*/}" "/dev/$(cat "$port/name")"
done

[ -e /dev/disk/root0 ] || exec sh /guest/run.sh

# The images are layers of one root, the last one on top, and what the guest writes goes to memory.
layers=
for image in /dev/disk/root*; do
    mkdir "/lower/${image##*/}"
    mount -t squashfs -o ro "$image" "/lower/${image##*/}"
    layers=/lower/${image##*/}${layers:+:$layers}
done
mount -t tmpfs -o mode=0755 upper /upper
mkdir -p /upper/files/proc /upper/files/sys /upper/files/dev /upper/files/run /upper/files/var /upper/files/root /upper/work
mkdir -m 1777 /upper/files/tmp
mount -t overlay -o "lowerdir=$layers,upperdir=/upper/files,workdir=/upper/work" root /root.d
mount --move /proc /root.d/proc
mount --move /sys /root.d/sys
mount --move /dev /root.d/dev
mv /guest /root.d/guest
exec switch_root /root.d /bin/busybox sh /guest/run.sh
