/*
 * Power loss without pulling a plug: preloaded into the server, this keeps the old bytes of every page that the server
 * has written to a file but not yet synced. After a kill -9 the test puts some of those pages back.
 *
 * Only what the server itself is promised by a completed fsync or fdatasync counts as kept; sync_file_range, closing
 * and exiting promise nothing. Names (create, rename, unlink) are taken to be durable at once: this is about data.
 *
 * MILLPOND_TEST_POWER_DIRECTORY  files below it are watched
 * MILLPOND_TEST_POWER_UNDO       the file that the old bytes are appended to
 * MILLPOND_TEST_POWER_SWALLOW    if set, syncs claim success and do nothing
 *
 * A record is eight little-endian u64: kind, inode, generation, page or first page, time in ns, size of the file then,
 * whether bytes follow (4096 of them), 0. Kinds: 1 page written, 2 sync completed (its generation and all before are
 * durable; the time is when it began), 3 the file is forgotten, 4 a sync was asked for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
/* A power of two; the process ends loudly when it is full. */
#define SLOTS (1u << 22)
#define FILES 65536

enum { WRITTEN = 1, SYNCED = 2, FORGOTTEN = 3, SYNC_BEGUN = 4 };

struct slot { uint64_t inode, page_plus_one, generation; };
struct file { uint64_t inode, generation; };

static struct slot *slots;
static struct file *files;
static uint64_t slots_used;
static int undo = -1;
static int swallow;
static char directory[PATH_MAX];
static size_t directory_length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_unlink)(const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_rename)(const char *, const char *);

static void die(const char *why) {
    syscall(SYS_write, 2, why, strlen(why));
    abort();
}

static void prepare(void) {
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pwritev = dlsym(RTLD_NEXT, "pwritev64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_open = dlsym(RTLD_NEXT, "open64");
    real_openat = dlsym(RTLD_NEXT, "openat64");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
    real_rename = dlsym(RTLD_NEXT, "rename");
    const char *watched = getenv("MILLPOND_TEST_POWER_DIRECTORY"), *path = getenv("MILLPOND_TEST_POWER_UNDO");
    if (!watched || !path) return;
    if (!realpath(watched, directory)) die("power shim: no such directory\n");
    directory_length = strlen(directory);
    swallow = getenv("MILLPOND_TEST_POWER_SWALLOW") != NULL;
    slots = mmap(NULL, SLOTS * sizeof *slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    files = mmap(NULL, FILES * sizeof *files, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slots == MAP_FAILED || files == MAP_FAILED) die("power shim: no memory\n");
    undo = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (undo < 0) die("power shim: the undo file cannot be written\n");
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void ready(void) { pthread_once(&once, prepare); }

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void record(uint64_t kind, uint64_t inode, uint64_t generation, uint64_t page, uint64_t at, uint64_t size,
                   const unsigned char *bytes) {
    uint64_t head[8] = {kind, inode, generation, page, at, size, bytes != NULL, 0};
    struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, bytes ? PAGE : 0}};
    ssize_t wanted = sizeof head + (bytes ? PAGE : 0);
    if (syscall(SYS_writev, undo, parts, bytes ? 2 : 1) != wanted) die("power shim: the undo file is full\n");
}

/* Whether the descriptor is a regular file below the watched directory. */
static int watched(int fd, struct stat *stat) {
    if (undo < 0 || fd == undo || fstat(fd, stat) != 0 || !S_ISREG(stat->st_mode)) return 0;
    char link[64], path[PATH_MAX];
    char *end = link + sizeof link - 1;
    *end = 0;
    int number = fd;
    do { *--end = '0' + number % 10; number /= 10; } while (number);
    end -= 14;
    memcpy(end, "/proc/self/fd/", 14);
    ssize_t length = readlink(end, path, sizeof path - 1);
    return length > (ssize_t)directory_length && memcmp(path, directory, directory_length) == 0
        && path[directory_length] == '/';
}

static struct file *file_of(uint64_t inode) {
    for (uint32_t i = 0; i < FILES; i++) {
        struct file *file = &files[(inode + i) % FILES];
        if (file->inode == inode) return file;
        if (file->inode == 0) {
            file->inode = inode;
            file->generation = 1;
            return file;
        }
    }
    die("power shim: too many files\n");
    return NULL;
}

/* Keeps the old bytes of the pages that [offset, offset + length) touches. Called before the bytes change. */
static void keep(int fd, const struct stat *stat, uint64_t offset, uint64_t length) {
    if (length == 0) return;
    struct file *file = file_of(stat->st_ino);
    /* A descriptor that was opened for writing only cannot be read. */
    int readable = -1;
    for (uint64_t page = offset / PAGE; page <= (offset + length - 1) / PAGE; page++) {
        uint64_t hash = (stat->st_ino * 0x9e3779b97f4a7c15u ^ page * 0xbf58476d1ce4e5b9u) >> 20;
        struct slot *slot;
        for (;; hash++) {
            slot = &slots[hash % SLOTS];
            if (slot->page_plus_one == 0) {
                if (++slots_used > SLOTS / 8 * 7) die("power shim: too many pages\n");
                slot->inode = stat->st_ino;
                slot->page_plus_one = page + 1;
                break;
            }
            if (slot->inode == stat->st_ino && slot->page_plus_one == page + 1) break;
        }
        if (slot->generation == file->generation) continue;
        slot->generation = file->generation;
        unsigned char bytes[PAGE];
        memset(bytes, 0, sizeof bytes);
        if (page * PAGE < (uint64_t)stat->st_size) {
            if (readable < 0) {
                char path[64] = "/proc/self/fd/";
                char digits[12];
                int at = 0, number = fd;
                do { digits[at++] = '0' + number % 10; number /= 10; } while (number);
                size_t end = strlen(path);
                while (at) path[end++] = digits[--at];
                path[end] = 0;
                readable = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
                if (readable < 0) die("power shim: a written file cannot be read\n");
            }
            if (syscall(SYS_pread64, readable, bytes, PAGE, page * PAGE) < 0) die("power shim: a page cannot be read\n");
        }
        int empty = bytes[0] == 0 && memcmp(bytes, bytes + 1, PAGE - 1) == 0;
        record(WRITTEN, stat->st_ino, file->generation, page, now(), stat->st_size, empty ? NULL : bytes);
    }
    if (readable >= 0) syscall(SYS_close, readable);
}

static void forget(const struct stat *stat) {
    if (!S_ISREG(stat->st_mode) || stat->st_nlink > 1) return;
    struct file *file = file_of(stat->st_ino);
    record(FORGOTTEN, stat->st_ino, file->generation, 0, now(), 0, NULL);
    file->generation++;
}

/* --- what the server calls --- */

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    ready();
    struct stat stat;
    if (!watched(fd, &stat)) return real_pwrite(fd, bytes, length, offset);
    pthread_mutex_lock(&lock);
    keep(fd, &stat, offset, length);
    ssize_t result = real_pwrite(fd, bytes, length, offset);
    pthread_mutex_unlock(&lock);
    return result;
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

static uint64_t place_of(int fd, const struct stat *stat) {
    if (fcntl(fd, F_GETFL) & O_APPEND) return stat->st_size;
    return lseek(fd, 0, SEEK_CUR);
}

static size_t length_of(const struct iovec *parts, int count) {
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    return length;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    ready();
    struct stat stat;
    if (!watched(fd, &stat)) return real_write(fd, bytes, length);
    pthread_mutex_lock(&lock);
    fstat(fd, &stat);
    keep(fd, &stat, place_of(fd, &stat), length);
    ssize_t result = real_write(fd, bytes, length);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ready();
    struct stat stat;
    if (!watched(fd, &stat)) return real_writev(fd, parts, count);
    pthread_mutex_lock(&lock);
    fstat(fd, &stat);
    keep(fd, &stat, place_of(fd, &stat), length_of(parts, count));
    ssize_t result = real_writev(fd, parts, count);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    ready();
    struct stat stat;
    if (!watched(fd, &stat)) return real_pwritev(fd, parts, count, offset);
    pthread_mutex_lock(&lock);
    keep(fd, &stat, offset, length_of(parts, count));
    ssize_t result = real_pwritev(fd, parts, count, offset);
    pthread_mutex_unlock(&lock);
    return result;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev64(fd, parts, count, offset);
}

static int sync_with(int fd, int (*sync)(int)) {
    struct stat stat;
    if (!watched(fd, &stat)) return swallow && undo >= 0 ? 0 : sync(fd);
    pthread_mutex_lock(&lock);
    struct file *file = file_of(stat.st_ino);
    /* What is written from here on is not covered by this sync, even to a page that it covers. */
    uint64_t covered = file->generation++, began = now();
    record(SYNC_BEGUN, stat.st_ino, covered, 0, began, stat.st_size, NULL);
    pthread_mutex_unlock(&lock);
    if (swallow) return 0;
    int result = sync(fd);
    if (result == 0) {
        pthread_mutex_lock(&lock);
        record(SYNCED, stat.st_ino, covered, 0, began, stat.st_size, NULL);
        pthread_mutex_unlock(&lock);
    }
    return result;
}
int fsync(int fd) { ready(); return sync_with(fd, real_fsync); }
int fdatasync(int fd) { ready(); return sync_with(fd, real_fdatasync); }

int ftruncate64(int fd, off_t length) {
    ready();
    struct stat stat;
    if (!watched(fd, &stat)) return real_ftruncate(fd, length);
    pthread_mutex_lock(&lock);
    fstat(fd, &stat);
    if (length < stat.st_size) keep(fd, &stat, length, stat.st_size - length);
    int result = real_ftruncate(fd, length);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* Opening with O_TRUNC is a truncation. */
static void truncated(int at, const char *path, int flags) {
    struct stat stat;
    if (undo < 0 || !(flags & O_TRUNC) || fstatat(at, path, &stat, 0) != 0 || stat.st_size == 0) return;
    int fd = syscall(SYS_openat, at, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return;
    if (watched(fd, &stat)) {
        pthread_mutex_lock(&lock);
        keep(fd, &stat, 0, stat.st_size);
        pthread_mutex_unlock(&lock);
    }
    syscall(SYS_close, fd);
}

static mode_t mode_of(int flags, va_list list) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; }

int open64(const char *path, int flags, ...) {
    ready();
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    truncated(AT_FDCWD, path, flags);
    return real_open(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open64(path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
    ready();
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    truncated(at, path, flags);
    return real_openat(at, path, flags, mode);
}
int openat(int at, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return openat64(at, path, flags, mode);
}

/* A removed file's number may be given to a new file, which must not get the old one's bytes. */
static void vanishing(int at, const char *path) {
    struct stat stat;
    if (undo < 0 || fstatat(at, path, &stat, AT_SYMLINK_NOFOLLOW) != 0) return;
    pthread_mutex_lock(&lock);
    forget(&stat);
    pthread_mutex_unlock(&lock);
}
int unlink(const char *path) { ready(); vanishing(AT_FDCWD, path); return real_unlink(path); }
int unlinkat(int at, const char *path, int flags) {
    ready();
    if (!(flags & AT_REMOVEDIR)) vanishing(at, path);
    return real_unlinkat(at, path, flags);
}
int rename(const char *from, const char *to) {
    ready();
    struct stat source, target;
    if (stat(from, &source) == 0 && stat(to, &target) == 0 && source.st_ino != target.st_ino) vanishing(AT_FDCWD, to);
    return real_rename(from, to);
}
