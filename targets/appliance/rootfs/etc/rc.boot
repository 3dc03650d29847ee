#!/bin/sh
# What must be there before the gateway and the network start. init waits for the end of this.
export PATH=/usr/bin:/bin

/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
hostname edge-gateway
# Without the notes of init about each start (-l 6).
syslogd -S -l 6 -O /dev/console

while read -r module; do
    insmod "/lib/modules/$module" || echo "boot: the module $module does not load"
done </lib/modules/order
# The root file system is memory, and loaded modules are copies.
rm -r /lib/modules

ip link set lo up

# Settings and enrolment live on the only disk. Its journal is replayed here when the power was cut.
if disk=$(findfs LABEL=edge-gateway) && mount -t ext4 -o noatime,nosuid,nodev,noexec "$disk" /data; then
    mkdir -p /data/state
    chown -R edge-gateway:edge-gateway /data/state
    chmod 0700 /data/state
    if [ -f /data/edge-gateway.conf ]; then
        chown edge-gateway:edge-gateway /data/edge-gateway.conf
        chmod 0600 /data/edge-gateway.conf
    fi
else
    echo 'boot: no disk labelled edge-gateway with an ext4 file system: the gateway has no settings and no state'
fi

awk '/^MemAvailable/ { print $2 }' /proc/meminfo >/run/available
echo "boot: Linux $(uname -r) $(uname -m), up $(cut -d' ' -f1 /proc/uptime) s, the clock says $(date -u '+%Y-%m-%d %H:%M')"
