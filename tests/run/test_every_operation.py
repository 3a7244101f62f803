"""Every kind of operation is watched: a runtime that leaves it out of its plans fails a test of this folder.

Each row's test is run against a runtime without the operation (tests/drivers/faults.py), where it has to fail; and
against the same front door without a fault, where it has to pass.
"""

from __future__ import annotations

import pytest
from warm import Warm

from ocirun.plan import parent
from ocirun.plan.fields import FIELDS

# The cheapest test that asserts what the operation is for.
WATCHED = {
    "affinity": "test_tuning.py::test_affinity_of_exec",
    "become_root": "test_namespaces.py::test_user_namespace",
    "bind": "test_filesystem.py::test_bind_mounts",
    "bind_device": "test_namespaces.py::test_user_namespace",
    "bounding": "test_process.py::test_all_five_capability_sets",
    "cgroup_create": "test_cgroup.py::test_joined_everywhere_and_removed",
    "cgroup_write": "test_cgroup.py::test_memory_cpu_and_pids",
    "chdir": "test_process.py::test_cwd",
    "chroot": "test_filesystem.py::test_without_a_mount_namespace",
    "clone": "test_namespaces.py::test_new_ones",
    "console": "test_terminal.py::test_console_socket",
    "domainname": "test_namespaces.py::test_domainname",
    "enter_root": "test_filesystem.py::test_root_path",
    "exec": "test_process.py::test_args",
    "fetch": "test_many_mounts.py::test_with_few_descriptors[True-64]",
    "find_executable": "test_process.py::test_executable_from_path",
    "gid_map": "test_namespaces.py::test_user_namespace",
    "hook": "test_hooks.py::test_order_over_a_life",
    "hostname": "test_namespaces.py::test_hostname_and_domainname",
    "idmap": "test_idmap.py::test_with_mappings_of_its_own",
    "io_priority": "test_tuning.py::test_io_priority",
    "join_cgroup": "test_cgroup.py::test_joined_everywhere_and_removed",
    "keyring": "test_process.py::test_keyring",
    "link_up": "test_process.py::test_a_plain_root_process",
    "listener": "test_seccomp_agent.py::test_exec_has_a_listener_of_its_own",
    "make_node": "test_devices.py::test_in_a_user_namespace",
    "map_ids": "test_namespaces.py::test_user_namespace",
    "mask": "test_filesystem.py::test_masked_and_readonly_paths",
    "memory_policy": "test_tuning.py::test_memory_policy",
    "mkdir": "test_process.py::test_cwd",
    "mknod": "test_filesystem.py::test_default_devices_and_links",
    "mount": "test_filesystem.py::test_default_mounts",
    "mount_root": "test_filesystem.py::test_root_path",
    "mounts_ready": "test_hooks.py::test_order_over_a_life",
    "move_device": "test_netdevices.py::test_moved_with_its_addresses",
    "move_root": "test_filesystem.py::test_no_pivot",
    "new_mount": "test_block_devices.py::test_remount",
    "new_session": "test_namespaces.py::test_none_but_mount",
    "no_new_privs": "test_process.py::test_no_new_privileges",
    "oom_score_adj": "test_process.py::test_oom_score_adj",
    "open": "test_namespaces.py::test_several_joined_at_once",
    "open_cgroup": "test_exec.py::test_a_process_like_the_first",
    "open_inside": "test_binds.py::test_a_source_that_an_earlier_mount_makes",
    "open_tree": "test_idmap.py::test_with_mappings_of_its_own",
    "own_stdio": "test_process.py::test_stdio_belongs_to_the_user",
    "personality": "test_tuning.py::test_personality",
    "pivot_root": "test_filesystem.py::test_root_path",
    "propagation": "test_filesystem.py::test_no_mount_reaches_a_host_whose_mounts_are_shared",
    "readonly": "test_filesystem.py::test_masked_and_readonly_paths",
    "ready": "test_lifecycle.py::test_state_document",
    "put_away": "test_many_mounts.py::test_with_few_descriptors[True-64]",
    "reopen_dev_null": "test_filesystem.py::test_dev_null_as_stdio_is_the_containers",
    "reset_affinity": "test_callers.py::test_affinity_of_the_caller",
    "root_here": "test_filesystem.py::test_without_a_mount_namespace",
    "root_propagation": "test_filesystem.py::test_rootfs_propagation",
    "root_readonly": "test_filesystem.py::test_root_readonly",
    "scheduler": "test_tuning.py::test_nice",
    "seccomp": "test_seccomp.py::test_one_errno_for_one_call",
    "same_ids": "test_namespaces.py::test_mappings_beside_the_path_of_a_user_namespace",
    "set_capabilities": "test_process.py::test_all_five_capability_sets",
    "set_rlimit": "test_process.py::test_rlimits",
    "set_user": "test_process.py::test_user_with_groups_and_umask",
    "setattr": "test_filesystem.py::test_cgroup_mount",
    "setns": "test_namespaces.py::test_several_joined_at_once",
    "symlink": "test_filesystem.py::test_default_devices_and_links",
    "sysctl": "test_namespaces.py::test_sysctl",
    "time_offset": "test_namespaces.py::test_time",
    "uid_map": "test_namespaces.py::test_user_namespace",
    "trace": "test_debug.py::test_the_operations",
    "umask": "test_process.py::test_user_with_groups_and_umask",
    "unshare": "test_namespaces.py::test_new_ones",
    "use_root": "test_exec.py::test_a_process_like_the_first",
    "user_namespace": "test_idmap.py::test_with_mappings_of_its_own",
    "wait_start": "test_lifecycle.py::test_create_waits_and_start_returns_after_the_exec",
}

# Cannot be seen on every machine: tested where it can.
ELSEWHERE = {
    "resctrl_group": "needs Intel's hardware: tests/plan/test_resctrl.py",
    "resctrl_join": "needs Intel's hardware: tests/plan/test_resctrl.py",
    "raise_rlimit": "needs CAP_SYS_RESOURCE: tests/native, and test_limits.py in the virtual machine",
    "setgroups_deny": "for ordinary users, whom these rows are not run as: test_callers.py",
    "systemd_scope": "needs a systemd: tests/cgroup/test_systemd.py, and test_systemd.py in the virtual machine",
    "systemd_attach": "the same, and a user's",
    "label": "needs AppArmor: tests/native/test_label.py, and test_labels.py in the virtual machine",
    "file_label": "needs SELinux: tests/native/test_label.py",
    "cgroup_devices": "cgroup v2: tests/cgroup, and test_cgroup.py::test_device_rules in the virtual machine",
}


def test_the_table_has_every_operation() -> None:
    assert sorted(WATCHED | ELSEWHERE) == sorted({*FIELDS, *parent.FIELDS})


@pytest.mark.parametrize("operation", sorted(WATCHED))
def test_left_out(operation: str, warm: Warm) -> None:
    warm.notices(f"without:{operation}", [f"run/{WATCHED[operation]}"])
