/*
 * Preloaded into the daemon (ld.so(8), LD_PRELOAD): a wall clock that a test can set, for the daemon, its workers and
 * whatever they start. wallclock.py compiles it, and sets the variable:
 *
 *   TIFFTOCK_CLOCK  a file of 8 bytes: by how many nanoseconds CLOCK_REALTIME is ahead of the machine's, as a native
 *                   signed integer. To write it with one pwrite(2) is to set the clock.
 *
 * As in the kernel (timerfd_create(2), fs/timerfd.c), an absolute timer on CLOCK_REALTIME follows each step, and one
 * with TFD_TIMER_CANCEL_ON_SET becomes readable at it: the next read(2) or timerfd_settime(2) fails with ECANCELED,
 * the latter after it has armed the timer all the same. CLOCK_MONOTONIC, sleeps and timeouts are left alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#if __WORDSIZE != 64
#error "times are handed to system calls whole: 64-bit only"
#endif

#define SECOND 1000000000LL
#define MOST 1024 /* descriptors: a timer with a higher one is an error here */

struct timer {
    int open, absolute, cancelable;
    int cancelled;           /* and nobody has been told yet */
    int64_t seen;            /* the clock's offset when the timer was last looked at */
    struct itimerspec asked; /* by the clock that the daemon sees */
};

static const volatile int64_t *offset; /* NULL: the clock is left alone */
static const char *file;
static struct timer timers[MOST];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

__attribute__((constructor)) static void begin(void)
{
    void *place;
    int fd;

    file = getenv("TIFFTOCK_CLOCK");
    if (file == NULL)
        return;
    file = strdup(file); /* a handler may change the environment */
    fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0);
    place = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
    if (place == MAP_FAILED)
        abort(); /* the right time would prove nothing */
    syscall(SYS_close, fd);
    offset = place;
}

/* ---- reading the clock */

/* Not as one number of nanoseconds, which ends in the year 2262. */
static struct timespec plus(struct timespec time, int64_t nanoseconds)
{
    time.tv_sec += nanoseconds / SECOND;
    time.tv_nsec += nanoseconds % SECOND;
    if (time.tv_nsec < 0) {
        time.tv_sec--;
        time.tv_nsec += SECOND;
    } else if (time.tv_nsec >= SECOND) {
        time.tv_sec++;
        time.tv_nsec -= SECOND;
    }
    return time;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);

    if (result == 0 && offset != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        *time = plus(*time, *offset);
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;

    if (zone != NULL)
        memset(zone, 0, sizeof(struct timezone));
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *place)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (place != NULL)
        *place = now.tv_sec;
    return now.tv_sec;
}

/* ---- timers; all of these with the lock held */

static int kernel_settime(int fd, int flags, const struct itimerspec *spec, struct itimerspec *old)
{
    return (int)syscall(SYS_timerfd_settime, fd, flags, spec, old);
}

/* Arm the kernel's timer for what was asked, by the clock as it is now. */
static int arm(int fd, const struct timer *timer, struct itimerspec *old)
{
    static const struct timespec past = {0, 1}; /* zero would disarm it */
    struct itimerspec spec = timer->asked;

    if (timer->absolute && (spec.it_value.tv_sec != 0 || spec.it_value.tv_nsec != 0)) {
        spec.it_value = plus(spec.it_value, -timer->seen);
        if (spec.it_value.tv_sec < 0 || (spec.it_value.tv_sec == 0 && spec.it_value.tv_nsec == 0))
            spec.it_value = past;
    }
    return kernel_settime(fd, timer->absolute ? TFD_TIMER_ABSTIME : 0, &spec, old);
}

static int is_later(struct timespec one, struct timespec other)
{
    return one.tv_sec > other.tv_sec || (one.tv_sec == other.tv_sec && one.tv_nsec > other.tv_nsec);
}

/* If the clock was set since the last look, do to the timer what the kernel would have done. */
static void look(int fd, struct timer *timer)
{
    static const struct itimerspec at_once = {{0, 0}, {0, 1}};
    int64_t now = *offset;

    if (!timer->open || timer->seen == now)
        return;
    timer->seen = now;
    if (timer->cancelable) {
        timer->cancelled = 1;
        kernel_settime(fd, TFD_TIMER_ABSTIME, &at_once, NULL);
    } else if (timer->absolute) {
        arm(fd, timer, NULL);
    }
}

/* ---- the thread that sees the clock being set, as the kernel does */

static void *watch(void *unused)
{
    char events[4096];
    int fd, notice = inotify_init1(IN_CLOEXEC);

    if (notice < 0 || inotify_add_watch(notice, file, IN_MODIFY) < 0)
        abort();
    do {
        pthread_mutex_lock(&lock);
        for (fd = 0; fd < MOST; fd++)
            look(fd, &timers[fd]);
        pthread_mutex_unlock(&lock);
    } while (syscall(SYS_read, notice, events, sizeof events) > 0);
    return unused;
}

static void start(void)
{
    pthread_t thread;
    sigset_t all, before;

    /* The daemon's signals are for its own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, watch, NULL) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- what the daemon calls */

int timerfd_create(int clock, int flags)
{
    int fd = (int)syscall(SYS_timerfd_create, clock, flags);

    if (fd < 0 || offset == NULL || clock != CLOCK_REALTIME)
        return fd;
    if (fd >= MOST)
        abort();
    pthread_mutex_lock(&lock);
    memset(&timers[fd], 0, sizeof timers[fd]);
    timers[fd].open = 1;
    timers[fd].seen = *offset;
    pthread_mutex_unlock(&lock);
    pthread_once(&once, start);
    return fd;
}

static struct timer *timer_of(int fd) { return fd >= 0 && fd < MOST && timers[fd].open ? &timers[fd] : NULL; }

int timerfd_settime(int fd, int flags, const struct itimerspec *spec, struct itimerspec *old)
{
    struct timer *timer = timer_of(fd);
    int result, cancelled;

    if (timer == NULL)
        return kernel_settime(fd, flags, spec, old);
    pthread_mutex_lock(&lock);
    look(fd, timer);
    timer->asked = *spec;
    timer->absolute = (flags & TFD_TIMER_ABSTIME) != 0;
    timer->cancelable = timer->absolute && (flags & TFD_TIMER_CANCEL_ON_SET) != 0;
    cancelled = timer->cancelable && timer->cancelled;
    timer->cancelled = 0;
    result = arm(fd, timer, old);
    pthread_mutex_unlock(&lock);
    if (result == 0 && cancelled) {
        errno = ECANCELED;
        return -1;
    }
    return result;
}

ssize_t read(int fd, void *data, size_t length)
{
    struct timer *timer = timer_of(fd);
    struct timespec now;
    uint64_t rings;
    int cancelled = 0;

    if (timer != NULL) {
        pthread_mutex_lock(&lock);
        look(fd, timer);
        if ((cancelled = timer->cancelled)) {
            timer->cancelled = 0;
            syscall(SYS_read, fd, &rings, sizeof rings);
            /* What is still to come rings in its time; what the step has brought about has been told. */
            clock_gettime(CLOCK_REALTIME, &now);
            if (is_later(timer->asked.it_value, now))
                arm(fd, timer, NULL);
        }
        pthread_mutex_unlock(&lock);
    }
    if (cancelled) {
        errno = ECANCELED;
        return -1;
    }
    return syscall(SYS_read, fd, data, length);
}

int close(int fd)
{
    struct timer *timer = timer_of(fd);

    if (timer != NULL) {
        pthread_mutex_lock(&lock);
        timer->open = 0;
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_close, fd);
}
