// The node's own clock of the day: a library that the dynamic loader puts before all others in every program of the node
// (/etc/ld.so.preload). The time of day is off by the seconds in a file; the clocks that only run stay as they are, as when
// somebody sets a date. The file is mapped once per program, so that programs that run jump along with it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t none;
static const volatile int64_t *shift = &none;
// glibc's own, which asks the kernel without a system call.
static int (*ask)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    ask = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int file = open(CLOCK_FILE, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    void *page = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) shift = page;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    // Other libraries may begin before this one.
    int result = ask ? ask(clock, now) : (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone; // obsolete, and NULL everywhere
    clock_gettime(CLOCK_REALTIME, &precise);
    *now = (struct timeval){precise.tv_sec, precise.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME_COARSE, &precise);
    if (now != NULL) *now = precise.tv_sec;
    return precise.tv_sec;
}

// The kernel knows nothing of the shift: a moment to wait for is told as it counts. libqb waits so, and with it corosync and
// Pacemaker.
int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    struct timespec there = {until->tv_sec - *shift, until->tv_nsec};
    return sem_clockwait(semaphore, CLOCK_REALTIME, &there);
}

// The threads of knet do. Which clock it goes by is the condition's secret: no machine has been running for as long as since 1970,
// so that an earlier moment than in 2001 is one of a clock that only runs.
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    if (until->tv_sec < 1000000000) return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, until);
    struct timespec there = {until->tv_sec - *shift, until->tv_nsec};
    return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &there);
}
