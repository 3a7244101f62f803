"""The configuration that `ocirun spec` writes: what `runc spec` of 1.5 writes, but for the hostname.

It is a text and no tree, since Python's json would have to be loaded to write one. Tabs, and no newline at the end.
"""

from __future__ import annotations

_HEAD = """{
	"ociVersion": "%(version)s",
	"process": {
		"terminal": true,
		"user": {
			"uid": 0,
			"gid": 0
		},
		"args": [
			"sh"
		],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {
			"bounding": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			],
			"effective": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			],
			"permitted": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			]
		},
		"rlimits": [
			{
				"type": "RLIMIT_NOFILE",
				"hard": 1024,
				"soft": 1024
			}
		],
		"noNewPrivileges": true
	},
	"root": {
		"path": "rootfs",
		"readonly": true
	},
	"hostname": "%(hostname)s",
	"mounts": [
		{
			"destination": "/proc",
			"type": "proc",
			"source": "proc"
		},
		{
			"destination": "/dev",
			"type": "tmpfs",
			"source": "tmpfs",
			"options": [
				"nosuid",
				"strictatime",
				"mode=755",
				"size=65536k"
			]
		},
		{
			"destination": "/dev/pts",
			"type": "devpts",
			"source": "devpts",
			"options": [
				"nosuid",
				"noexec",
				"newinstance",
				"ptmxmode=0666",
				"mode=0620"%(tty_group)s
			]
		},
		{
			"destination": "/dev/shm",
			"type": "tmpfs",
			"source": "shm",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"mode=1777",
				"size=65536k"
			]
		},
		{
			"destination": "/dev/mqueue",
			"type": "mqueue",
			"source": "mqueue",
			"options": [
				"nosuid",
				"noexec",
				"nodev"
			]
		},
		{
			"destination": "/sys",
			"type": "%(sys_type)s",
			"source": "%(sys_source)s",
			"options": [
				%(sys_bind)s"nosuid",
				"noexec",
				"nodev",
				"ro"
			]
		},
		{
			"destination": "/sys/fs/cgroup",
			"type": "cgroup",
			"source": "cgroup",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"relatime",
				"ro"
			]
		}
	],
	"linux": {
"""

_RESOURCES = """		"resources": {
			"devices": [
				{
					"allow": false,
					"access": "rwm"
				}
			]
		},
"""

_MAPPINGS = """		"uidMappings": [
			{
				"containerID": 0,
				"hostID": %(uid)d,
				"size": 1
			}
		],
		"gidMappings": [
			{
				"containerID": 0,
				"hostID": %(gid)d,
				"size": 1
			}
		],
"""

_TAIL = """		"namespaces": [
			%(namespaces)s
		],
		"maskedPaths": [
			"/proc/acpi",
			"/proc/asound",
			"/proc/kcore",
			"/proc/keys",
			"/proc/latency_stats",
			"/proc/timer_list",
			"/proc/timer_stats",
			"/proc/sched_debug",
			"/sys/firmware",
			"/proc/scsi",
			"/sys/devices/virtual/tpm"
		],
		"readonlyPaths": [
			"/proc/bus",
			"/proc/fs",
			"/proc/irq",
			"/proc/sys",
			"/proc/sysrq-trigger"
		]
	}
}"""


def default(version: str, hostname: str, unified: bool) -> str:
    """config.json for a caller with all privileges; ``unified`` if the host has cgroup v2 alone."""
    types = ["pid", "network", "ipc", "uts", "mount"]
    values = {
        "version": version,
        "hostname": hostname,
        "tty_group": ',\n\t\t\t\t"gid=5"',
        "sys_type": "sysfs",
        "sys_source": "sysfs",
        "sys_bind": "",
        "namespaces": _namespaces([*types, "cgroup"] if unified else types),
    }
    return (_HEAD + _RESOURCES + _TAIL) % values


def rootless(version: str, hostname: str, unified: bool, uid: int, gid: int) -> str:
    """config.json for an ordinary user, who maps itself to root.

    Without a network namespace (nobody could connect it), hence with the host's /sys: a new sysfs needs one. Without
    the group of terminals, which is not mapped, and without cgroup settings.
    """
    types = ["pid", "ipc", "uts", "mount"]
    values = {
        "version": version,
        "hostname": hostname,
        "tty_group": "",
        "sys_type": "none",
        "sys_source": "/sys",
        "sys_bind": '"rbind",\n\t\t\t\t',
        "namespaces": _namespaces([*types, "cgroup", "user"] if unified else [*types, "user"]),
        "uid": uid,
        "gid": gid,
    }
    return (_HEAD + _MAPPINGS + _TAIL) % values


def _namespaces(types: list[str]) -> str:
    return ",\n\t\t\t".join(f'{{\n\t\t\t\t"type": "{type}"\n\t\t\t}}' for type in types)
