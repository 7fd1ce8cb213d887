/*
 * Preloaded into the daemon (ld.so(8), LD_PRELOAD): counts what is done to the database's files, and at the n-th call
 * kills the process, or fails the call; or records every call. preload.py compiles it and sets the variables:
 *
 *   TIFFTOCK_IO_PREFIX  files whose real path begins with this are watched: the database, its -journal, -wal and -shm,
 *                       and the daemon's .lock. Their folder is, too, as its sync makes their names durable.
 *   TIFFTOCK_IO_ACTION  kill-before, kill-torn, kill-after: SIGKILL at the call of number TIFFTOCK_IO_AT. "torn": after
 *                       a part of a write, cut inside a sector; a call that is no write is not made at all.
 *                       fail-once: that call fails. fail-from: that and all later ones fail while the file
 *                       TIFFTOCK_IO_WHILE exists. With the number TIFFTOCK_IO_ERRNO.
 *   TIFFTOCK_IO_RECORD  a file to which each call that was made is appended, in this form:
 *                       "KIND NUMBER THREAD OFFSET LENGTH PATH\n", LENGTH bytes of data, "\n".
 *                       KIND: create, write, truncate, sync, unlink, rename; or failed, for one that was made to fail.
 *                       Data: what was written; a rename's new path; the kind of what failed. truncate: OFFSET is the
 *                       new size. Each is appended in one piece, so that others may append marks (recording.py).
 *
 * What is written by way of a memory map is not seen: SQLite does that to the -shm alone, and never trusts what it
 * finds there after a crash.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if __WORDSIZE != 64
#error "offsets are handed to system calls whole: 64-bit only"
#endif

#define SECTOR 512

enum action { NOTHING, KILL_BEFORE, KILL_TORN, KILL_AFTER, FAIL_ONCE, FAIL_FROM };
static const char *const actions[] = {"", "kill-before", "kill-torn", "kill-after", "fail-once", "fail-from"};

static char *prefix;
static size_t folder; /* how much of `prefix` is the folder's path */
static enum action action;
static long at;
static int number; /* of the error */
static char *control;
static int record = -1;
static pid_t daemon_pid;
static long calls;
/* One call at a time, so that the recorded order is the order in which the disk saw them. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static char *taken(const char *name)
{
    char *value = getenv(name);

    value = value == NULL ? NULL : strdup(value);
    /* What the daemon starts inherits the library, but not what would set it to work. */
    unsetenv(name);
    return value;
}

/* Called when the library is loaded; and once more in a process that has been forked with other variables: nursery.py */
__attribute__((constructor)) void tifftock_io_begin(void)
{
    char *what = taken("TIFFTOCK_IO_ACTION"), *when = taken("TIFFTOCK_IO_AT"), *error = taken("TIFFTOCK_IO_ERRNO");
    char *file = taken("TIFFTOCK_IO_RECORD");
    size_t i;

    control = taken("TIFFTOCK_IO_WHILE");
    for (i = 1; what != NULL && i < sizeof actions / sizeof *actions; i++)
        if (strcmp(what, actions[i]) == 0)
            action = (enum action)i;
    at = when == NULL ? 0 : atol(when);
    number = error == NULL ? EIO : atoi(error);
    if (file != NULL)
        record = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    daemon_pid = getpid();
    prefix = taken("TIFFTOCK_IO_PREFIX");
    folder = prefix == NULL || strrchr(prefix, '/') == NULL ? 0 : (size_t)(strrchr(prefix, '/') - prefix);
}

/* Whether the path is watched, in this process: a child that has forked and not yet executed shares our memory. */
static int watched(const char *path)
{
    if (prefix == NULL || getpid() != daemon_pid)
        return 0;
    return strncmp(path, prefix, strlen(prefix)) == 0 || (strlen(path) == folder && strncmp(path, prefix, folder) == 0);
}

/* The same of a descriptor, whose path is stored. */
static int watched_fd(int fd, char path[PATH_MAX])
{
    char link[64];
    ssize_t length;
    int before = errno;

    if (prefix == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX - 1);
    errno = before;
    if (length < 0)
        return 0;
    path[length] = '\0';
    return watched(path);
}

static void die(void)
{
    kill(daemon_pid, SIGKILL);
    for (;;)
        pause();
}

static void note(const char *kind, const char *path, off_t offset, const void *data, size_t length)
{
    char header[PATH_MAX + 128];
    struct iovec parts[3];

    if (record < 0)
        return;
    parts[0].iov_base = header;
    parts[0].iov_len = (size_t)snprintf(header, sizeof header, "%s %ld %ld %lld %zu %s\n", kind, calls,
                                        syscall(SYS_gettid), (long long)offset, length, path);
    parts[1].iov_base = (void *)data;
    parts[1].iov_len = length;
    parts[2].iov_base = "\n";
    parts[2].iov_len = 1;
    if (syscall(SYS_writev, record, parts, 3) < 0)
        abort(); /* a record with a gap would prove nothing */
}

/* Count a call; true when it is to fail, with errno set. */
static int refused(const char *kind, const char *path)
{
    int failing;

    calls++;
    if (calls == at && (action == KILL_BEFORE || action == KILL_TORN))
        die();
    failing = (action == FAIL_ONCE && calls == at) || (action == FAIL_FROM && calls >= at && control != NULL &&
                                                       syscall(SYS_faccessat, AT_FDCWD, control, F_OK) == 0);
    if (failing) {
        note("failed", path, 0, kind, strlen(kind));
        errno = number;
    }
    return failing;
}

/* What follows a call that has been made: a record of it, or the end. */
static void made(long result, const char *kind, const char *path, off_t offset, const void *data, size_t length)
{
    int before = errno;

    if (result >= 0)
        note(kind, path, offset, data, length);
    if (action == KILL_AFTER && calls == at)
        die();
    errno = before;
}

static ssize_t write_at(int fd, const void *data, size_t length, off_t offset, int positioned)
{
    char path[PATH_MAX];
    ssize_t result = -1;
    size_t cut = length / 2;

    if (!watched_fd(fd, path))
        return positioned ? syscall(SYS_pwrite64, fd, data, length, offset) : syscall(SYS_write, fd, data, length);
    pthread_mutex_lock(&lock);
    if (!positioned)
        offset = lseek(fd, 0, SEEK_CUR);
    if (action == KILL_TORN && calls + 1 == at) {
        /* Never where a sector ends: that is where a cut is easiest to survive. */
        cut += (offset + (off_t)cut) % SECTOR == 0 && cut + 1 < length;
        syscall(SYS_pwrite64, fd, data, cut, offset);
        die();
    }
    if (!refused("write", path)) {
        result = positioned ? syscall(SYS_pwrite64, fd, data, length, offset) : syscall(SYS_write, fd, data, length);
        made(result, "write", path, offset, data, result < 0 ? 0 : (size_t)result);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *data, size_t length) { return write_at(fd, data, length, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return write_at(fd, data, length, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return write_at(fd, data, length, offset, 1); }

/* System calls on a descriptor, without data: sync and truncate. */
static int on_fd(int fd, const char *kind, long call, off_t size)
{
    char path[PATH_MAX];
    int result = -1;

    if (!watched_fd(fd, path))
        return (int)syscall(call, fd, size);
    pthread_mutex_lock(&lock);
    if (!refused(kind, path)) {
        result = (int)syscall(call, fd, size);
        made(result, kind, path, size, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return on_fd(fd, "sync", SYS_fsync, 0); }
int fdatasync(int fd) { return on_fd(fd, "sync", SYS_fdatasync, 0); }
int ftruncate(int fd, off_t size) { return on_fd(fd, "truncate", SYS_ftruncate, size); }
int ftruncate64(int fd, off_t size) { return on_fd(fd, "truncate", SYS_ftruncate, size); }

int unlink(const char *path)
{
    int result = -1;

    if (!watched(path))
        return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    if (!refused("unlink", path)) {
        result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
        made(result, "unlink", path, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to)
{
    int result = -1;

    if (!watched(from) && !watched(to))
        return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&lock);
    if (!refused("rename", from)) {
        result = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
        made(result, "rename", from, 0, to, strlen(to));
    }
    pthread_mutex_unlock(&lock);
    return result;
}

/* An open is a call to count only where it makes a file: the name in the folder is as much on the disk as the data. */
static int open_at(int folder_fd, const char *path, int flags, mode_t mode)
{
    int result = -1;

    if (!(flags & O_CREAT) || !watched(path) || syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0)
        return (int)syscall(SYS_openat, folder_fd, path, flags, mode);
    pthread_mutex_lock(&lock);
    if (!refused("create", path)) {
        result = (int)syscall(SYS_openat, folder_fd, path, flags, mode);
        made(result, "create", path, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static mode_t mode_of(int flags, va_list rest)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPEN(folder_fd)                                     \
    va_list rest;                                           \
    mode_t mode;                                            \
                                                            \
    va_start(rest, flags);                                  \
    mode = mode_of(flags, rest);                            \
    va_end(rest);                                           \
    return open_at(folder_fd, path, flags, mode)

int open(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
int openat(int folder_fd, const char *path, int flags, ...) { OPEN(folder_fd); }
int openat64(int folder_fd, const char *path, int flags, ...) { OPEN(folder_fd); }
