// Which functions of a program are executed: puts a breakpoint at the beginning of each, takes it away
// when it is reached, and prints the name, in the order in which they were first reached by the command
// or by anything it starts.
//
//   touched PROGRAM NAMES COMMAND [ARGUMENT...]
//
// NAMES has lines "ADDRESS NAME", addresses in hexadecimal as nm(1) prints them. Tasks that execute
// another program are let go. Exit code: the command's own; 125 for trouble of ours.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TASKS = 256, FUNCTIONS = 1 << 16 };

struct function {
	unsigned long address;
	char *name;
	unsigned char first; // what the breakpoint replaced
	int reached;
};

struct task {
	pid_t pid;
	int memory;
	unsigned long base;
};

static struct function functions[FUNCTIONS];
static size_t count;
static struct task tasks[TASKS];
static struct stat program;

static void fail(const char *what)
{
	fprintf(stderr, "touched: %s: %s\n", what, strerror(errno));
	exit(125);
}

static int by_address(const void *left, const void *right)
{
	const struct function *a = left, *b = right;
	return a->address < b->address ? -1 : a->address > b->address;
}

static void read_names(const char *path)
{
	char name[4096];
	unsigned long address;
	FILE *file = fopen(path, "re");
	if (!file)
		fail(path);
	while (count < FUNCTIONS && fscanf(file, "%lx %4095s", &address, name) == 2)
		functions[count++] = (struct function){ .address = address, .name = strdup(name) };
	fclose(file);
	qsort(functions, count, sizeof *functions, by_address);
}

// Opens a task's memory; says whether it runs the program.
static int open_task(struct task *task)
{
	char path[64];
	struct stat exe;
	if (task->memory > 0)
		close(task->memory);
	task->memory = 0;
	snprintf(path, sizeof path, "/proc/%d/exe", task->pid);
	if (stat(path, &exe) != 0 || exe.st_ino != program.st_ino || exe.st_dev != program.st_dev)
		return 0;
	snprintf(path, sizeof path, "/proc/%d/maps", task->pid);
	FILE *maps = fopen(path, "re");
	if (!maps)
		fail(path);
	char line[4096];
	for (task->base = 0; !task->base && fgets(line, sizeof line, maps);) {
		unsigned long low, offset, inode;
		if (sscanf(line, "%lx-%*x %*s %lx %*s %lu", &low, &offset, &inode) == 3 && !offset &&
		    inode == program.st_ino)
			task->base = low;
	}
	fclose(maps);
	if (!task->base)
		fail(path);
	snprintf(path, sizeof path, "/proc/%d/mem", task->pid);
	task->memory = open(path, O_RDWR | O_CLOEXEC);
	return task->memory > 0;
}

static void set_breakpoints(struct task *task)
{
	const unsigned char trap = 0xcc;
	for (struct function *at = functions; at < functions + count; at++) {
		off_t where = (off_t)(task->base + at->address);
		if (pread(task->memory, &at->first, 1, where) != 1)
			fail(at->name);
		if (!at->reached && pwrite(task->memory, &trap, 1, where) != 1)
			fail(at->name);
	}
}

// What waits on when the command has ended goes on as if it had never been traced.
static void clear_breakpoints(const struct task *task)
{
	for (struct function *at = functions; task->memory > 0 && at < functions + count; at++)
		if (pwrite(task->memory, &at->first, 1, (off_t)(task->base + at->address)) != 1)
			return;
}

static struct task *find(pid_t pid)
{
	struct task *empty = NULL;
	for (struct task *task = tasks; task < tasks + TASKS; task++) {
		if (task->pid == pid)
			return task;
		if (!task->pid && !empty)
			empty = task;
	}
	if (!empty)
		fail("too many tasks");
	*empty = (struct task){ .pid = pid };
	open_task(empty);
	return empty;
}

// Takes a breakpoint away that was reached; says whether there was one.
static int step_over(struct task *task)
{
	struct user_regs_struct registers;
	if (!task->memory || ptrace(PTRACE_GETREGS, task->pid, 0, &registers) != 0)
		return 0;
	struct function key = { .address = registers.rip - 1 - task->base };
	struct function *at = bsearch(&key, functions, count, sizeof *functions, by_address);
	if (!at)
		return 0;
	if (!at->reached) {
		at->reached = 1;
		puts(at->name);
	}
	if (pwrite(task->memory, &at->first, 1, (off_t)(task->base + at->address)) != 1)
		fail(at->name);
	registers.rip--;
	return ptrace(PTRACE_SETREGS, task->pid, 0, &registers) == 0;
}

int main(int argc, char **argv)
{
	if (argc < 4 || stat(argv[1], &program) != 0)
		fail("no program");
	read_names(argv[2]);
	pid_t root = fork();
	if (root == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		dup2(2, 1);
		raise(SIGSTOP);
		execv(argv[3], argv + 3);
		_exit(127);
	}
	int status, code = 125;
	const long options = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
		PTRACE_O_TRACEEXEC;
	if (root < 0 || waitpid(root, &status, 0) != root || ptrace(PTRACE_SETOPTIONS, root, 0, options))
		fail("ptrace");
	ptrace(PTRACE_CONT, root, 0, 0);
	for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
		struct task *task = find(pid);
		if (!WIFSTOPPED(status)) {
			if (task->memory > 0)
				close(task->memory);
			*task = (struct task){ 0 };
			if (pid != root)
				continue;
			code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			break;
		}
		int signal = WSTOPSIG(status), event = status >> 16;
		if (event == PTRACE_EVENT_EXEC) {
			if (open_task(task)) {
				set_breakpoints(task);
			} else {
				ptrace(PTRACE_DETACH, pid, 0, 0);
				task->pid = 0;
				continue;
			}
		} else if (!event && signal == SIGTRAP && step_over(task)) {
			signal = 0;
		}
		// a new task begins with a stop that is nobody's signal
		int ours = event || signal == SIGSTOP;
		ptrace(PTRACE_CONT, pid, 0, ours ? 0 : signal);
	}
	for (struct task *task = tasks; task < tasks + TASKS; task++)
		if (task->pid)
			clear_breakpoints(task);
	return code;
}
