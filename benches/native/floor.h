/* What the two halves of the floor share. */
#include <linux/filter.h>

/* What is to be started. */
struct order {
	char *rootfs, *cgroup;
	char *program[2];
	int cgroup_fd, joined; /* joined: a pidfd of the container, or -1 */
	int gate, ready;       /* where create waits, and says that it does; or -1 */
	int output;            /* becomes descriptor 1; or -1 */
	struct sock_fprog filter;
};

/* Ends the process with a sentence when a call has failed. */
long must(long result, const char *what);

/* What a child does: builds its root, gives up its privileges and becomes the program. */
__attribute__((noreturn)) void become(const struct order *order);
