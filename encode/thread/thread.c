//go:build unix

#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct thread {
	pthread_t id;
	void (*work)(void *);
	void *with;
	int go, done;
};

static void *loop(void *arg) {
	thread *t = arg;
	char byte;
	for (ssize_t n; (n = read(t->go, &byte, 1)) == 1 || (n < 0 && errno == EINTR);) {
		if (n < 0) continue;
		t->work(t->with);
		while (write(t->done, &byte, 1) < 0 && errno == EINTR) {}
	}
	return NULL;
}

thread *dw_thread_start(void (*work)(void *), void *with, int go, int done) {
	thread *t = malloc(sizeof *t);
	if (!t) return NULL;
	*t = (thread){.work = work, .with = with, .go = go, .done = done};
	if (!pthread_create(&t->id, NULL, loop, t)) return t;
	free(t);
	return NULL;
}

void dw_thread_join(thread *t) {
	pthread_join(t->id, NULL);
	free(t);
}
