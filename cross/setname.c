/*
 * musl's pthread_setname_np can name other threads too, and takes printf along to write the path of their names: 10 KB that nothing
 * else here needs. Rust's standard library names only the thread that calls it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>

int pthread_setname_np(pthread_t thread, const char *name)
{
    if (!pthread_equal(thread, pthread_self()))
        return ENOSYS;
    return prctl(PR_SET_NAME, name) == 0 ? 0 : errno;
}
