/* The half of the floor that runs in the child: no allocation, nothing but system calls. */
#define _GNU_SOURCE
#include "floor.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
extern char **environ;

enum { NOSUID = MOUNT_ATTR_NOSUID, NODEV = MOUNT_ATTR_NODEV, NOEXEC = MOUNT_ATTR_NOEXEC, READONLY = MOUNT_ATTR_RDONLY };

struct filesystem {
	const char *kind, *at;
	unsigned attributes;
	const char *options[6]; /* key, value, ... */
};

static const struct filesystem PROC = {"proc", "proc", NOSUID | NODEV | NOEXEC, {0}};
static const struct filesystem DEV = {"tmpfs", "dev", NOSUID | MOUNT_ATTR_STRICTATIME, {"mode", "755", "size", "65536k"}};
static const struct filesystem REST[] = {
	{"devpts", "dev/pts", NOSUID | NOEXEC, {"ptmxmode", "0666", "mode", "0620", "gid", "5"}},
	{"tmpfs", "dev/shm", NOSUID | NODEV | NOEXEC, {"mode", "1777", "size", "65536k"}},
	{"mqueue", "dev/mqueue", NOSUID | NODEV | NOEXEC, {0}},
	{"sysfs", "sys", NOSUID | NODEV | NOEXEC | READONLY, {0}},
	{"cgroup2", "sys/fs/cgroup", NOSUID | NODEV | NOEXEC | READONLY, {0}},
};

static int new_mount(const struct filesystem *fs)
{
	int context = (int)must(syscall(SYS_fsopen, fs->kind, FSOPEN_CLOEXEC), fs->at);
	for (int i = 0; i < 6 && fs->options[i]; i += 2)
		must(syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, fs->options[i], fs->options[i + 1], 0), fs->at);
	must(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0), fs->at);
	int made = (int)must(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, fs->attributes), fs->at);
	close(context);
	return made;
}

static void attach(int detached, int root, const char *at)
{
	must(syscall(SYS_move_mount, detached, "", root, at, MOVE_MOUNT_F_EMPTY_PATH), at);
	close(detached);
}

static int copy_of(int at, const char *path)
{
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (*path ? 0 : AT_EMPTY_PATH);
	return (int)syscall(SYS_open_tree, at, path, flags);
}

static void make_read_only(int detached, const char *what)
{
	struct mount_attr attributes = {.attr_set = READONLY};
	must(syscall(SYS_mount_setattr, detached, "", AT_EMPTY_PATH, &attributes, sizeof attributes), what);
}

static void fill_dev(int root)
{
	static const struct { const char *name; unsigned major, minor; } nodes[] = {
		{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
	static const char *links[][2] = {{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}, {"/proc/kcore", "core"}};
	static const char *folders[] = {"pts", "shm", "mqueue"};
	int dev = (int)must(openat(root, "dev", O_PATH | O_DIRECTORY | O_CLOEXEC), "dev");
	for (unsigned i = 0; i < 6; i++)
		must(mknodat(dev, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].name);
	for (unsigned i = 0; i < 6; i++)
		must(symlinkat(links[i][0], dev, links[i][1]), links[i][1]);
	for (unsigned i = 0; i < 3; i++)
		must(mkdirat(dev, folders[i], 0755), folders[i]);
	close(dev);
}

/* Masks with /dev/null and one empty tmpfs; what the kernel does not have needs no mask. */
static void hide(int root)
{
	static const char *masked[] = {"proc/acpi", "proc/asound", "proc/kcore", "proc/keys", "proc/latency_stats",
		"proc/timer_list", "proc/timer_stats", "proc/sched_debug", "sys/firmware", "proc/scsi"};
	static const char *kept[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
	static const struct filesystem nothing = {"tmpfs", "a mask", READONLY, {0}};
	int empty = -1, null = (int)must(openat(root, "dev/null", O_PATH | O_CLOEXEC), "dev/null");
	for (unsigned i = 0; i < sizeof masked / sizeof *masked; i++) {
		struct stat what;
		if (fstatat(root, masked[i], &what, 0) < 0)
			continue;
		if (!S_ISDIR(what.st_mode)) {
			attach((int)must(copy_of(null, ""), masked[i]), root, masked[i]);
		} else if (empty < 0) {
			empty = new_mount(&nothing);
			must(syscall(SYS_move_mount, empty, "", root, masked[i], MOVE_MOUNT_F_EMPTY_PATH), masked[i]);
		} else {
			attach((int)must(copy_of(empty, ""), masked[i]), root, masked[i]);
		}
	}
	if (empty >= 0)
		close(empty);
	close(null);
	for (unsigned i = 0; i < sizeof kept / sizeof *kept; i++) {
		int copy = copy_of(root, kept[i]);
		if (copy < 0)
			continue;
		make_read_only(copy, kept[i]);
		attach(copy, root, kept[i]);
	}
}

static void build_root(const char *rootfs)
{
	must(mount(0, "/", 0, 1 << 14 | 1 << 18, 0), "private propagation"); /* MS_REC | MS_PRIVATE */
	int root = (int)must(copy_of(AT_FDCWD, rootfs), rootfs);
	make_read_only(root, rootfs);
	must(syscall(SYS_move_mount, root, "", AT_FDCWD, rootfs, MOVE_MOUNT_F_EMPTY_PATH), rootfs);
	must(fchdir(root), rootfs);
	attach(new_mount(&PROC), root, PROC.at);
	attach(new_mount(&DEV), root, DEV.at);
	fill_dev(root);
	for (unsigned i = 0; i < sizeof REST / sizeof *REST; i++)
		attach(new_mount(&REST[i]), root, REST[i].at);
	hide(root);
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", 2), "umount of the old root"); /* MNT_DETACH */
	must(chdir("/"), "/");
	close(root);
}

static void set_up_host(void)
{
	int any = (int)must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	must(ioctl(any, SIOCSIFFLAGS, &loopback), "loopback");
	close(any);
	must(sethostname("floor", 5), "hostname");
}

static void give_up_privileges(void)
{
	struct rlimit files = {1024, 1024};
	uint64_t kept = 1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE;
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct sets[2] = {{(uint32_t)kept, (uint32_t)kept, 0}, {0, 0, 0}};
	must(setrlimit(RLIMIT_NOFILE, &files), "limit");
	syscall(SYS_keyctl, 1, 0); /* KEYCTL_JOIN_SESSION_KEYRING */
	for (int capability = 0; capability <= 40; capability++)
		if (!(kept >> capability & 1))
			must(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "bounding set");
	must(syscall(SYS_capset, &header, sets), "capset");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

void become(const struct order *order)
{
	setsid();
	umask(0);
	if (order->output >= 0)
		must(dup2(order->output, 1), "output");
	if (order->joined < 0) {
		build_root(order->rootfs);
		set_up_host();
	}
	umask(022);
	give_up_privileges();
	if (order->gate >= 0) {
		char byte = 1;
		must(write(order->ready, &byte, 1), "ready");
		close(order->ready);
		if (read(order->gate, &byte, 1) != 1)
			_exit(1);
		close(order->gate);
	}
	if (order->filter.len)
		must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &order->filter), "filter");
	execve(order->program[0], order->program, environ);
	must(-1, order->program[0]);
	_exit(111);
}
