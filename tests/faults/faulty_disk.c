/* A disk that fails, or a machine that loses power, at a chosen call on a chosen file. Preloaded into a server.
 *
 *   FAULT_CALL   write | sync: the call that is counted
 *   FAULT_PATH   a piece of the path of the files it is counted on
 *   FAULT_AFTER  how many such calls are left alone
 *   FAULT_ERRNO  what the next one fails with; 0: power is lost in its place
 *   FAULT_SEED   which sectors survive
 *
 * A failed sync, and a loss of power, drop what was written and not synced: sector by sector it reads as zeros
 * again, as it did before, since nothing here writes over anything else. Only the one call fails: a server that
 * tried again would see success.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512
#define RANGES_MAX 65536

struct range {
    dev_t device;
    ino_t inode;
    int fd;
    off_t from, to;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct range ranges[RANGES_MAX];
static int count;
static long calls;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);

__attribute__((constructor)) static void find_real(void) {
    real_pwrite = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    const char *seed = getenv("FAULT_SEED");
    srandom(seed ? (unsigned)atol(seed) : 1);
}

/* With the lock held: whether this is the call that fails. */
static int is_due(const char *call, int fd) {
    const char *wanted = getenv("FAULT_CALL"), *path = getenv("FAULT_PATH"), *after = getenv("FAULT_AFTER");
    char link[64], name[4096];
    if (!wanted || !path || !after || strcmp(wanted, call) != 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, name, sizeof name - 1);
    if (size < 0)
        return 0;
    name[size] = 0;
    return strstr(name, path) && calls++ == atol(after);
}

static void forget(dev_t device, ino_t inode, int upto) {
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (i < upto && ranges[i].device == device && ranges[i].inode == inode)
            close(ranges[i].fd);
        else
            ranges[kept++] = ranges[i];
    }
    count = kept;
}

/* Zero what was not synced: everything, or each sector with even odds. */
static void drop(const struct range *range, int all) {
    static const char zeros[SECTOR];
    for (off_t at = range->from; at < range->to;) {
        off_t end = at / SECTOR * SECTOR + SECTOR;
        if (end > range->to)
            end = range->to;
        if (all || random() % 2)
            real_pwrite(range->fd, zeros, end - at, at);
        at = end;
    }
}

static void lose_power(void) {
    int all = random() % 3 == 0;
    for (int i = 0; i < count; i++)
        drop(&ranges[i], all);
    kill(getpid(), SIGKILL);
    pause();
}

static int fault_errno(void) {
    const char *text = getenv("FAULT_ERRNO");
    return text ? atoi(text) : EIO;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) {
    struct stat stat;
    pthread_mutex_lock(&lock);
    if (is_due("write", fd)) {
        /* The first half arrives. */
        size /= 2;
        if (fault_errno() != 0) {
            if (size)
                real_pwrite(fd, data, size, offset);
            pthread_mutex_unlock(&lock);
            errno = fault_errno();
            return -1;
        }
        real_pwrite(fd, data, size, offset);
        lose_power();
    }
    ssize_t written = real_pwrite(fd, data, size, offset);
    if (written > 0 && fstat(fd, &stat) == 0) {
        if (count == RANGES_MAX)
            abort();
        ranges[count++] = (struct range){stat.st_dev, stat.st_ino, dup(fd), offset, offset + written};
    }
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return pwrite64(fd, data, size, offset);
}

static int synced(int fd, int (*call)(int)) {
    struct stat stat;
    if (fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode))
        return call(fd);
    pthread_mutex_lock(&lock);
    int upto = count;
    if (is_due("sync", fd)) {
        if (fault_errno() == 0)
            lose_power();
        for (int i = 0; i < count; i++)
            if (ranges[i].device == stat.st_dev && ranges[i].inode == stat.st_ino)
                drop(&ranges[i], 1);
        forget(stat.st_dev, stat.st_ino, upto);
        pthread_mutex_unlock(&lock);
        errno = fault_errno();
        return -1;
    }
    /* Under the lock: ranges must not move meanwhile. */
    int result = call(fd);
    if (result == 0)
        forget(stat.st_dev, stat.st_ino, upto);
    pthread_mutex_unlock(&lock);
    return result;
}

int fdatasync(int fd) {
    return synced(fd, real_fdatasync);
}

int fsync(int fd) {
    return synced(fd, real_fsync);
}
