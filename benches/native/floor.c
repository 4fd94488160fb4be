/* floor: the least a kernel must be asked for to give a process the isolation of runc's default
 * config: pid, network, ipc, uts, mount and cgroup namespaces, a read-only root with /proc, /dev,
 * /dev/pts, /dev/shm, /dev/mqueue, /sys and the cgroup, six device nodes, masked and read-only paths,
 * a device program, three capabilities, no_new_privs, a limit, and a filter where one is given.
 *
 * It is a measure to hold runtimes against and no runtime: no JSON, no hooks, no users, no terminal,
 * no labels, and paths are resolved as if nobody were hostile.
 *
 *   floor STATE run    ID ROOTFS CGROUP FILTER PROGRAM     FILTER: a file of struct sock_filter, or -
 *   floor STATE create ID ROOTFS CGROUP FILTER PROGRAM
 *   floor STATE exec   ID FILTER PROGRAM
 *   floor STATE start|state|kill|delete ID
 *   floor STATE serve  ID ROOTFS CGROUP FILTER PROGRAM     starts in one process, see serve() */
#define _GNU_SOURCE
#include "floor.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NAMESPACES = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWCGROUP };

static const char *doing = "start";

long must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "floor: %s: %s: %s\n", doing, what, strerror(errno));
		_exit(111);
	}
	return result;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Clones into the cgroup. With `borrow` the child has our memory, and us waiting, until it executes. */
static pid_t begin(const struct order *order, int borrow)
{
	struct clone_args args = {.exit_signal = SIGCHLD, .flags = CLONE_INTO_CGROUP, .cgroup = (uint64_t)order->cgroup_fd};
	register long result;
	if (order->joined < 0)
		args.flags |= NAMESPACES;
	if (borrow)
		args.flags |= CLONE_VM | CLONE_VFORK;
	/* inline, so that the child, on our stack, cannot return over what the parent needs */
	__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_clone3), "D"(&args), "S"(sizeof args) : "rcx", "r11", "memory");
	if (result == 0)
		become(order);
	errno = (int)-result;
	return (pid_t)must(result, "clone3");
}

/* Lets through mknod of anything, the six nodes, pts and tun; denies the rest. */
static int device_program(void)
{
	struct bpf_insn code[64];
	unsigned n = 0;
#define INSN(c, d, s, o, i) code[n++] = (struct bpf_insn){c, d, s, o, i}
#define RETURN(value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, value), INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define UNLESS(reg, value, skip) INSN(BPF_JMP | BPF_JNE | BPF_K, reg, 0, skip, value)
	static const int nodes[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}, {10, 200}};
	INSN(BPF_LDX | BPF_MEM | BPF_W, 2, 1, 0, 0);             /* r2 = access << 16 | type */
	INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0);
	INSN(BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff);      /* r2 = type */
	INSN(BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 16);          /* r3 = access */
	INSN(BPF_LDX | BPF_MEM | BPF_W, 4, 1, 4, 0);             /* r4 = major */
	INSN(BPF_LDX | BPF_MEM | BPF_W, 5, 1, 8, 0);             /* r5 = minor */
	UNLESS(3, BPF_DEVCG_ACC_MKNOD, 2);
	RETURN(1);
	for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++) {
		UNLESS(2, BPF_DEVCG_DEV_CHAR, 4);
		UNLESS(4, nodes[i][0], 3);
		UNLESS(5, nodes[i][1], 2);
		RETURN(1);
	}
	UNLESS(4, 136, 2);
	RETURN(1);
	RETURN(0);
	union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (uintptr_t)code, .insn_cnt = n,
		.license = (uintptr_t)"Apache-2.0"};
	return (int)must(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load), "device program");
}

static void make_cgroup(struct order *order, int program)
{
	must(mkdir(order->cgroup, 0755), order->cgroup);
	order->cgroup_fd = (int)must(open(order->cgroup, O_DIRECTORY | O_CLOEXEC), order->cgroup);
	union bpf_attr attach_to = {0};
	attach_to.target_fd = (uint32_t)order->cgroup_fd;
	attach_to.attach_bpf_fd = (uint32_t)program;
	attach_to.attach_type = BPF_CGROUP_DEVICE;
	attach_to.attach_flags = BPF_F_ALLOW_MULTI;
	must(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach_to, sizeof attach_to), "attach the device program");
}

static void read_filter(struct order *order, const char *path)
{
	static struct sock_filter code[BPF_MAXINSNS];
	if (!strcmp(path, "-"))
		return;
	int file = (int)must(open(path, O_RDONLY | O_CLOEXEC), path);
	long size = must(read(file, code, sizeof code), path);
	close(file);
	order->filter = (struct sock_fprog){.len = (unsigned short)((size_t)size / sizeof *code), .filter = code};
}

static int status_of(pid_t pid)
{
	int status;
	must(waitpid(pid, &status, 0), "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(struct order *order)
{
	make_cgroup(order, device_program());
	int status = status_of(begin(order, 1));
	must(rmdir(order->cgroup), order->cgroup);
	return status;
}

static const char *in_state(const char *state, const char *id, const char *name)
{
	static char path[4096];
	snprintf(path, sizeof path, "%s/%s%s", state, id, name);
	return path;
}

static int create(struct order *order, const char *state, const char *id)
{
	int pipe[2];
	char byte, record[4096];
	mkdir(state, 0700);
	must(mkdir(in_state(state, id, ""), 0700), "state");
	must(mkfifo(in_state(state, id, "/gate"), 0600), "gate");
	order->gate = (int)must(open(in_state(state, id, "/gate"), O_RDWR | O_CLOEXEC), "gate");
	must(pipe2(pipe, O_CLOEXEC), "pipe");
	order->ready = pipe[1];
	make_cgroup(order, device_program());
	pid_t pid = begin(order, 0);
	close(pipe[1]);
	if (read(pipe[0], &byte, 1) != 1)
		return 1;
	/* as long as the records of runtimes are */
	memset(record, ' ', sizeof record);
	int size = snprintf(record, sizeof record, "%d %s", pid, order->cgroup);
	record[size] = ' ';
	int file = (int)must(open(in_state(state, id, "/record"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), "record");
	must(write(file, record, sizeof record), "record");
	return 0;
}

static int start(const char *state, const char *id)
{
	int gate = (int)must(open(in_state(state, id, "/gate"), O_WRONLY | O_NONBLOCK | O_CLOEXEC), "gate");
	must(write(gate, "1", 1), "gate");
	must(unlink(in_state(state, id, "/gate")), "gate");
	return 0;
}

static pid_t read_record(const char *state, const char *id, char cgroup[4096])
{
	char record[4097];
	int file = (int)must(open(in_state(state, id, "/record"), O_RDONLY | O_CLOEXEC), "record"), pid = 0;
	record[must(read(file, record, 4096), "record")] = 0;
	close(file);
	return sscanf(record, "%d %4095s", &pid, cgroup) == 2 ? pid : 0;
}

static int is_alive(pid_t pid)
{
	char path[64], text[512], *end;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	long size = file < 0 ? 0 : read(file, text, sizeof text - 1);
	text[size > 0 ? size : 0] = 0;
	end = strrchr(text, ')');
	return end && end[2] != 'Z' && end[2] != 'X';
}

static int delete(const char *state, const char *id)
{
	char cgroup[4096];
	struct timespec moment = {.tv_nsec = 200000};
	read_record(state, id, cgroup);
	for (int i = 0; i < 5000 && rmdir(cgroup) < 0 && errno == EBUSY; i++)
		nanosleep(&moment, 0);
	unlink(in_state(state, id, "/gate"));
	must(unlink(in_state(state, id, "/record")), "record");
	must(rmdir(in_state(state, id, "")), "state");
	return 0;
}

static int exec(struct order *order, const char *state, const char *id)
{
	char cgroup[4096];
	pid_t pid = read_record(state, id, cgroup);
	order->joined = (int)must(syscall(SYS_pidfd_open, pid, 0), "container");
	order->cgroup_fd = (int)must(open(cgroup, O_DIRECTORY | O_CLOEXEC), cgroup);
	must(syscall(SYS_setns, order->joined, NAMESPACES), "namespaces");
	return status_of(begin(order, 1));
}

/* One start for each byte read: `r` from nothing, `p` of a sandbox that was parked before. Answers
 * "FIRST TOTAL\n": nanoseconds until the payload's first instruction, which writes the time, and until
 * all of it is gone again. The device program is loaded once, as a long-lived process would. */
static int serve(struct order *order)
{
	int program = device_program();
	char asked;
	while (read(0, &asked, 1) == 1) {
		int output[2], gate[2] = {-1, -1}, ready[2] = {-1, -1};
		uint64_t first = 0, start = now();
		must(pipe2(output, O_CLOEXEC), "pipe");
		order->output = output[1];
		if (asked == 'p') {
			must(pipe2(gate, O_CLOEXEC), "pipe");
			must(pipe2(ready, O_CLOEXEC), "pipe");
			order->gate = gate[0], order->ready = ready[1];
		}
		make_cgroup(order, program);
		pid_t pid = begin(order, asked != 'p');
		close(output[1]);
		if (asked == 'p') {
			close(ready[1]);
			if (read(ready[0], &asked, 1) != 1)
				return 1;
			start = now();
			must(write(gate[1], "1", 1), "gate");
			close(gate[0]), close(gate[1]), close(ready[0]);
			order->gate = order->ready = -1;
		}
		int status = status_of(pid);
		if (read(output[0], &first, sizeof first) != sizeof first)
			first = start;
		close(output[0]);
		close(order->cgroup_fd);
		must(rmdir(order->cgroup), order->cgroup);
		printf("%llu %llu\n", (unsigned long long)(first - start), (unsigned long long)(now() - start));
		fflush(stdout);
		if (status)
			return status;
	}
	return 0;
}

int main(int count, char **words)
{
	struct order order = {.cgroup_fd = -1, .joined = -1, .gate = -1, .ready = -1, .output = -1};
	char cgroup[4096];
	if (count < 4)
		return 2;
	const char *state = words[1], *verb = doing = words[2], *id = words[3];
	if (count == 8) {
		order.rootfs = words[4], order.cgroup = words[5], order.program[0] = words[7];
		read_filter(&order, words[6]);
		if (!strcmp(verb, "run"))
			return run(&order);
		if (!strcmp(verb, "create"))
			return create(&order, state, id);
		return serve(&order);
	}
	if (count == 6) {
		order.program[0] = words[5];
		read_filter(&order, words[4]);
		return exec(&order, state, id);
	}
	if (!strcmp(verb, "start"))
		return start(state, id);
	if (!strcmp(verb, "delete"))
		return delete(state, id);
	pid_t pid = read_record(state, id, cgroup);
	if (!strcmp(verb, "state")) {
		printf("%d %s\n", pid, is_alive(pid) ? "running" : "stopped");
		return 0;
	}
	int process = (int)must(syscall(SYS_pidfd_open, pid, 0), "container");
	must(syscall(SYS_pidfd_send_signal, process, SIGKILL, 0, 0), "kill");
	return 0;
}
