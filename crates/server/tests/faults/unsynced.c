/* A disk that forgets what was not synced, for one process: LD_PRELOAD it.
 *
 * Every write to a store's file (*.db, *.db-wal) below UNSYNCED_DIR first keeps what the write replaces. A sync of that
 * file makes its writes stand. Once the file UNSYNCED_TRIGGER exists, every write that does not stand is taken back
 * (UNSYNCED_KEEP: the share in percent that stays all the same, as a disk that had begun with it) and the
 * process is killed: what is on disk then is what a power cut leaves.
 *
 * UNSYNCED_IGNORE=1 lets no sync count: to the disk the program is then one that never syncs, such as SQLite with
 * synchronous=OFF. A test of the test. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct undo {
    struct undo *older;
    struct file *file;
    off_t at;
    size_t len;
    off_t size;
    unsigned char bytes[];
};

/* A file that was written to. Its descriptor is never closed: that would give up the program's locks on it. */
struct file {
    struct file *next;
    dev_t dev;
    ino_t ino;
    int watched;
    int fd;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct undo *newest;
static struct file *files;
static const char *dir, *trigger;
static int ignore_syncs, keep_percent;
static unsigned seed;

static int is_store(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    if (strncmp(path, dir, strlen(dir)) != 0) return 0;
    const char *end = strrchr(path, '.');
    return end && (strcmp(end, ".db") == 0 || strcmp(end, ".db-wal") == 0);
}

static struct file *file_of(int fd) {
    struct stat s;
    if (!dir || fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return NULL;
    for (struct file *f = files; f; f = f->next)
        if (f->dev == s.st_dev && f->ino == s.st_ino) return f->watched ? f : NULL;
    struct file *f = calloc(1, sizeof *f);
    if (!f) abort();
    f->dev = s.st_dev;
    f->ino = s.st_ino;
    f->watched = is_store(fd);
    f->fd = f->watched ? fcntl(fd, F_DUPFD_CLOEXEC, 100) : -1;
    f->next = files;
    files = f;
    return f->watched ? f : NULL;
}

/* Keeps what lies at [at, at + len) and how long the file is. */
static void remember(int fd, off_t at, size_t len) {
    struct file *f = file_of(fd);
    if (!f) return;
    struct stat s;
    if (fstat(fd, &s) != 0) abort();
    size_t there = at >= s.st_size ? 0 : (size_t)(s.st_size - at) < len ? (size_t)(s.st_size - at) : len;
    struct undo *u = malloc(sizeof *u + there);
    if (!u) abort();
    u->file = f;
    u->at = at;
    u->len = there;
    u->size = s.st_size;
    if (there && syscall(SYS_pread64, f->fd, u->bytes, there, at) != (long)there) abort();
    u->older = newest;
    newest = u;
}

static void let_stand(int fd) {
    struct file *f = file_of(fd);
    if (!f || ignore_syncs) return;
    for (struct undo **u = &newest; *u;) {
        struct undo *one = *u;
        if (one->file == f) {
            *u = one->older;
            free(one);
        } else {
            u = &one->older;
        }
    }
}

static void *watch(void *arg) {
    (void)arg;
    while (access(trigger, F_OK) != 0) usleep(300);
    pthread_mutex_lock(&lock);
    for (struct undo *u = newest; u; u = u->older) {
        if (rand_r(&seed) % 100 < keep_percent) continue;
        if (u->len && syscall(SYS_pwrite64, u->file->fd, u->bytes, u->len, u->at) != (long)u->len) abort();
        if (syscall(SYS_ftruncate, u->file->fd, u->size) != 0) abort();
    }
    kill(getpid(), SIGKILL);
    return NULL;
}

__attribute__((constructor)) static void begin(void) {
    dir = getenv("UNSYNCED_DIR");
    trigger = getenv("UNSYNCED_TRIGGER");
    ignore_syncs = getenv("UNSYNCED_IGNORE") != NULL;
    const char *keep = getenv("UNSYNCED_KEEP");
    keep_percent = keep ? atoi(keep) : 0;
    seed = (unsigned)getpid();
    pthread_t thread;
    if (dir && trigger && pthread_create(&thread, NULL, watch, NULL) != 0) abort();
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    pthread_mutex_lock(&lock);
    remember(fd, at, len);
    ssize_t n = syscall(SYS_pwrite64, fd, bytes, len, at);
    pthread_mutex_unlock(&lock);
    return n;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    return pwrite64(fd, bytes, len, at);
}

ssize_t write(int fd, const void *bytes, size_t len) {
    struct stat s;
    if (!dir || fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return syscall(SYS_write, fd, bytes, len);
    pthread_mutex_lock(&lock);
    remember(fd, lseek(fd, 0, SEEK_CUR), len);
    ssize_t n = syscall(SYS_write, fd, bytes, len);
    pthread_mutex_unlock(&lock);
    return n;
}

int ftruncate64(int fd, off64_t len) {
    pthread_mutex_lock(&lock);
    struct stat s;
    if (fstat(fd, &s) == 0) remember(fd, len, s.st_size > len ? (size_t)(s.st_size - len) : 0);
    int done = (int)syscall(SYS_ftruncate, fd, len);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t len) {
    return ftruncate64(fd, len);
}

int fsync(int fd) {
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_fsync, fd);
    if (done == 0) let_stand(fd);
    pthread_mutex_unlock(&lock);
    return done;
}

int fdatasync(int fd) {
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_fdatasync, fd);
    if (done == 0) let_stand(fd);
    pthread_mutex_unlock(&lock);
    return done;
}
