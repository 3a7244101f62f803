/* What the runtime and its init say to each other. The same picture from the runtime's side: ocirun/launch/wire.py.
 *
 *   runtime                         outer stage                    PID 1
 *      │  spawn: execveat(sealed memfd)  │
 *      ├────────────────────────────────►│ host-side operations
 *      │◄──────────────────────── MAPS ──┤ (only with `map_ids`)
 *      │  write uid_map, gid_map         │
 *      ├─ ACK ──────────────────────────►│ the other namespaces, the cgroup
 *      │                                 ├─ clone(CLONE_PARENT) ───────►│ waits for the word
 *      │◄──────────────────── PID (pid) ─┤                              │
 *      │  pidfd_open(pid)                └ _exit(0)                     │
 *      ├─ ACK ─────────────────────────────────────────────────────────►│ mounts
 *      │◄───────────────────────────────────────────────── MOUNTS ──────┤ (only with `mounts_ready`)
 *      │  prestart, createRuntime hooks                                 │
 *      ├─ ACK ─────────────────────────────────────────────────────────►│ createContainer hooks, pivot_root ...
 *      │◄──────────────────────────────── LISTENER (descriptor) ────────┤ (only with `listener`)
 *      ├─ ACK ─────────────────────────────────────────────────────────►│ the filter, whose listener is that descriptor
 *      │  pidfd_getfd, until it is there; the agent gets it             │
 *      │◄────────────────────────────────────────────────── READY ──────┤
 *      │  state on disk: "created"                                      │
 *      ├─ ACK ─────────────────────────────────────────────────────────►│ closes the socket; exec fifo; exec
 *
 * One SEQPACKET socket pair for the whole way; each message is one packet: struct message, then (ERROR only) a text.
 * Whoever sees end-of-file before READY was acknowledged gives up: the init exits, the runtime says that the
 * container's process died (killed by its memory limit, most often). After an ERROR the sender exits.
 * `exec` is the same without MOUNTS and without the fifo: after ACK the process execs at once; the socket is
 * close-on-exec, so that end-of-file then says that it is time to look whether it has happened, and an ERROR that it has
 * not. (With `wait_start` the socket is closed before the wait.)
 *
 * What the runtime believes. Processes of the container may stop, trace and end the one that is on its way, and take its
 * end of the socket (pidfd_getfd(2): with CAP_SYS_PTRACE and no user namespace between). So a message counts once and
 * where the picture has it, if the plan has it at all, when it comes from the process whose turn it is: MAPS and PID
 * from the outer stage, which was spawned, later ones from PID 1, by the kernel's word (SCM_CREDENTIALS). ERROR may come
 * in the place of any. Everything else is a breach, after which all is undone. The pid of PID counts when it is a
 * child's, which CLONE_PARENT has made it, and is held by a pidfd from then on: nobody else is ever signalled. That an
 * exec has happened is read from the process's flags (PF_FORKNOEXEC in /proc/PID/stat), also by `start`, since neither
 * the socket nor the fifo is only ours.
 *
 * The outer stage leads a process group of its own, in which PID 1 begins: when the outer stage dies between its clone
 * and its PID message, PID 1 is found by that, killed and reaped.
 *
 * Every wait, and what ends it:
 *
 *   runtime, for MAPS and PID            the message; the outer stage's end (its pidfd)
 *   runtime, for MOUNTS and READY        the message; PID 1's end (its pidfd): by its own death, by SIGKILL of anybody
 *                                        who may, `delete --force` among them, or by the runtime's own death
 *   runtime, for the seccomp listener    its being there; any message (the filter was refused); PID 1's end
 *   runtime, for the seccomp agent       10 s in connect and in send
 *   runtime, for newuidmap, newgidmap    their end: programs of the host
 *   runtime, for prestart, createRuntime, poststart and poststop hooks      their end, or their timeout
 *   runtime, for the exec (run, exec)    PID 1's exec, or its end, looked at on end-of-file and every 50 ms
 *   runtime, for a killed child          its end; 10 s, after which it is left for `delete --force`
 *   runtime, in send                     nothing: it does not block
 *   `start`, for the exec                as the runtime for the exec; the fifo is opened and written without blocking
 *   runtime, for a terminal              nothing: it has been sent before READY, or never will be
 *   runtime, for a notify socket and a container in the foreground   the end of PID 1
 *   init, for an ACK                     the ACK; end-of-file: the runtime is gone or has given up
 *   init, for createContainer and startContainer hooks       their end, or their timeout
 *   PID 1, for `start`                   a byte in the fifo; a signal. Nobody else has to be alive meanwhile.
 *   PID 1, in the fifo's read and write  nothing: they do not block (O_NONBLOCK)
 *   init, for who keeps a user namespace for idmapped mounts its end, which closing a pipe brings
 *
 * Descriptors of the spawned init: 0-2 stdio, 3 .. 3+N-1 the preserved ones, then, from `base` on: the socket, the
 * plan (a sealed memfd), the parent's slots 0, 1, 2 ... argv is { "ocirun-init", "<base>", "<number of slots>" }. */
#ifndef OCIRUN_WIRE_H
#define OCIRUN_WIRE_H

#include <stdint.h>

enum message_type {
	MESSAGE_MAPS = 1, /* init → runtime: write my id maps (the sender's pid is in the socket's credentials: the spawned pid) */
	MESSAGE_PID,      /* init → runtime: arg is PID 1, in the pid namespace of the runtime */
	MESSAGE_MOUNTS,   /* init → runtime: all mounts are attached at root.path */
	MESSAGE_READY,    /* init → runtime: nothing is left but the exec */
	MESSAGE_ERROR,    /* init → runtime: operation `index` failed with `error` (errno, 0 for none); text has details */
	MESSAGE_ACK,      /* runtime → init: go on */
	MESSAGE_LISTENER, /* init → runtime: arg is the descriptor that the seccomp listener will be, in PID 1 */
};

struct message {
	uint32_t type;
	int32_t arg;
	uint32_t index;
	int32_t error;
};

#define MESSAGE_TEXT_MAX 4096

/* The plan: a header, the records, the string area. Little-endian, as all machines that this runs on; every record
 * begins at a multiple of 8 with struct record; its struct has the fields of ops.def in order, naturally aligned,
 * padded to a multiple of 8. str and blob are {offset, length} into the string area (a str is followed by a NUL
 * that length does not count; "" may have offset 0), strv is {offset, count} of an array of count str there,
 * at a multiple of 4; blobs lie at multiples of 8. */
#define PLAN_MAGIC 0x6e75726fu /* "orun" */
#define PLAN_VERSION 1

struct plan_header {
	uint32_t magic, version;
	uint32_t total;          /* bytes of the whole plan */
	uint32_t records_offset; /* = sizeof(struct plan_header) */
	uint32_t record_count;   /* outer stage's first, then PID 1's */
	uint32_t outer_count;
	uint32_t strings_offset; /* multiple of 8; ends at total */
	uint32_t slot_count;     /* slots that the records use, the parent's included */
};

struct record {
	uint16_t kind; /* 0 for the first OP of ops.def, ... */
	uint16_t size; /* bytes, this head included */
	uint32_t index; /* position in the printed plan: what ERROR reports */
};

#endif
