#ifndef DESKWHEP_THREAD_H
#define DESKWHEP_THREAD_H

// A thread that calls one function whenever it is told to.
typedef struct thread thread;

// dw_thread_start starts a thread that calls work(with) for each byte it reads
// from go, and then writes a byte to done. It ends when go does. NULL: there is
// no thread to be had.
thread *dw_thread_start(void (*work)(void *), void *with, int go, int done);

// dw_thread_join waits until it has ended.
void dw_thread_join(thread *t);

#endif
