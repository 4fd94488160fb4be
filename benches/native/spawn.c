/* spawn: starts commands for the benchmark driver and takes their times.
 *
 * A process so small that starting another costs next to nothing, and that leaves no trace in its
 * child's peak memory: the kernel counts that of the parent in until execve(2). It stays for the
 * whole benchmark, and starts commands under SCHED_FIFO where it may: a runtime calls setsid(2), which
 * puts the container into a fresh autogroup, so niceness would not hold, the scheduling class does.
 * Itself it is one step above them, or commands that wait for each other without sleeping, one for each
 * processor, would keep it from ending them. With the word `normal` it leaves the scheduling alone, for
 * commands that work with a daemon: that would have to wait for them.
 *
 * It says "fifo 0|1 cpuid NANOSECONDS" and then serves requests, each a line and that many bytes:
 *
 *   JOBS PARALLEL PATIENCE_MS BYTES\n  then BYTES of words, each ended by a zero byte, each job by an empty word
 *
 * and answers each with a line per job, in their order, and a last one:
 *
 *   OUTCOME WALL_NS CPU_NS PEAK_KIB FAULTS FIRST_NS\n      OUTCOME: exit code, 128 + signal, -1 for a hang
 *   all WALL_NS\n
 *
 * CPU is of the command, of all it waited for, and of what it left behind to us. FIRST is what the
 * payload wrote to its standard output, eight bytes of CLOCK_MONOTONIC, after the start; 0 if it did not. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_JOBS = 512, MOST_WORDS = 8192, MOST_BYTES = 1 << 18, MOST_PARALLEL = 64 };

struct job {
	char **words;
	pid_t pid;
	int pidfd, out, outcome;
	uint64_t begin, wall, cpu, first;
	long peak, faults;
};

static struct job jobs[MOST_JOBS];
static char *words[MOST_WORDS], bytes[MOST_BYTES];
static int null, fifo;

static int run_at(int priority)
{
	struct sched_param param = {.sched_priority = priority};
	return syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &param) == 0;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "spawn: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* What one CPUID costs: a virtual machine leaves for its host at each. */
static uint64_t cpuid_cost(void)
{
	uint64_t begin = now();
	for (int i = 0; i < 200; i++) {
		unsigned a = 0, b, c = 0, d;
		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	}
	return (now() - begin) / 200;
}

static void read_all(char *at, size_t size)
{
	while (size) {
		ssize_t n = read(0, at, size);
		if (n <= 0)
			exit(0);
		at += n, size -= (size_t)n;
	}
}

static int read_line(char *line, int most)
{
	for (int i = 0; i < most - 1; i++) {
		read_all(line + i, 1);
		if (line[i] == '\n') {
			line[i] = 0;
			return 1;
		}
	}
	return 0;
}

static void start(struct job *job)
{
	int pipe[2];
	if (pipe2(pipe, O_CLOEXEC) < 0)
		fail("pipe2");
	job->begin = now();
	/* the child borrows our memory until it executes: no page table is copied */
	pid_t pid = vfork();
	if (pid == 0) {
		if (fifo)
			run_at(1);
		dup2(null, 0);
		dup2(pipe[1], 1);
		execvp(job->words[0], job->words);
		_exit(127);
	}
	if (pid < 0)
		fail("vfork");
	job->pid = pid;
	close(pipe[1]);
	job->out = pipe[0];
	job->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (job->pidfd < 0)
		fail("pidfd_open");
}

static uint64_t of_timeval(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

/* Time on a processor, in nanoseconds, of the processes the command has left to us so far. */
static uint64_t left_behind(void)
{
	char text[4096], path[64];
	uint64_t sum = 0;
	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = file < 0 ? 0 : read(file, text, sizeof text - 1);
	if (file >= 0)
		close(file);
	text[size > 0 ? size : 0] = 0;
	for (char *pid = strtok(text, " "); pid; pid = strtok(0, " ")) {
		char line[128];
		snprintf(path, sizeof path, "/proc/%s/schedstat", pid);
		int stat = open(path, O_RDONLY | O_CLOEXEC);
		if (stat < 0)
			continue;
		ssize_t length = read(stat, line, sizeof line - 1);
		close(stat);
		line[length > 0 ? length : 0] = 0;
		sum += strtoull(line, 0, 10);
	}
	return sum;
}

/* Takes the result of a job that has ended, or is ended now because its time is up. */
static void finish(struct job *job, int hangs)
{
	struct rusage use;
	int status;
	job->wall = now() - job->begin;
	if (hangs)
		syscall(SYS_pidfd_send_signal, job->pidfd, SIGKILL, 0, 0);
	if (wait4(job->pid, &status, 0, &use) < 0)
		fail("wait4");
	job->outcome = hangs ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	job->cpu = of_timeval(use.ru_utime) + of_timeval(use.ru_stime);
	job->peak = use.ru_maxrss, job->faults = use.ru_minflt;
	struct pollfd said = {.fd = job->out, .events = POLLIN};
	uint64_t first = 0;
	if (poll(&said, 1, 0) > 0 && read(job->out, &first, sizeof first) == sizeof first && first > job->begin &&
	    first - job->begin < 1000000000000u)
		job->first = first - job->begin;
	close(job->out);
	close(job->pidfd);
	job->pid = 0;
}

/* Waits for one of the jobs that run. */
static void wait_for_one(struct job *running[], int *count, uint64_t patience)
{
	struct pollfd ends[MOST_PARALLEL];
	uint64_t time = now(), left = patience;
	for (int i = 0; i < *count; i++) {
		uint64_t spent = time - running[i]->begin, rest = spent < patience ? patience - spent : 0;
		left = rest < left ? rest : left;
		ends[i] = (struct pollfd){.fd = running[i]->pidfd, .events = POLLIN};
	}
	int ready = poll(ends, (nfds_t)*count, (int)(left / 1000000 + 1));
	for (int i = *count - 1; i >= 0; i--) {
		int ended = ready > 0 && ends[i].revents, late = now() - running[i]->begin > patience;
		if (!ended && !late)
			continue;
		finish(running[i], !ended);
		running[i] = running[--*count];
	}
}

static void serve(int count, int parallel, uint64_t patience)
{
	struct job *running[MOST_PARALLEL];
	int active = 0, next = 0;
	/* what earlier commands left and has ended meanwhile */
	while (waitpid(-1, 0, WNOHANG) > 0)
		;
	uint64_t before = count == 1 ? left_behind() : 0, begin = now();
	while (next < count || active) {
		while (next < count && active < parallel) {
			start(&jobs[next]);
			running[active++] = &jobs[next++];
		}
		wait_for_one(running, &active, patience);
	}
	uint64_t wall = now() - begin;
	if (count == 1) {
		uint64_t after = left_behind();
		jobs[0].cpu += after > before ? after - before : 0;
	}
	for (int i = 0; i < count; i++)
		printf("%d %llu %llu %ld %ld %llu\n", jobs[i].outcome, (unsigned long long)jobs[i].wall,
		       (unsigned long long)jobs[i].cpu, jobs[i].peak, jobs[i].faults, (unsigned long long)jobs[i].first);
	printf("all %llu\n", (unsigned long long)wall);
	fflush(stdout);
}

/* Cuts the bytes of a request into jobs; 0 when they are not what was announced. */
static int cut(int count, size_t size)
{
	size_t word = 0, at = 0;
	for (int i = 0; i < count; i++) {
		jobs[i] = (struct job){.words = words + word};
		while (at < size && bytes[at]) {
			if (word >= MOST_WORDS - 1)
				return 0;
			words[word++] = bytes + at;
			at += strnlen(bytes + at, size - at) + 1;
		}
		if (at >= size || jobs[i].words == words + word || word >= MOST_WORDS - 1)
			return 0;
		words[word++] = 0;
		at++;
	}
	return at == size;
}

int main(int argc, char **argv)
{
	char line[128];
	fifo = (argc < 2 || strcmp(argv[1], "normal")) && run_at(2);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		fail("PR_SET_CHILD_SUBREAPER");
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0)
		fail("/dev/null");
	printf("fifo %d cpuid %llu\n", fifo, (unsigned long long)cpuid_cost());
	fflush(stdout);
	while (read_line(line, sizeof line)) {
		int count, parallel;
		unsigned long patience;
		size_t size;
		if (sscanf(line, "%d %d %lu %zu", &count, &parallel, &patience, &size) != 4 || count < 1 || count > MOST_JOBS ||
		    parallel < 1 || parallel > MOST_PARALLEL || size > MOST_BYTES)
			break;
		read_all(bytes, size);
		if (!cut(count, size))
			break;
		serve(count, parallel, (uint64_t)patience * 1000000u);
	}
	fprintf(stderr, "spawn: not a request: %s\n", line);
	return 1;
}
