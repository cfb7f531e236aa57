/* A disk that forgets, fails and is full, for LD_PRELOAD. Test tool; never part of the product.
 *
 * Power loss: beside the real file, SHIM_SHADOW/<inode> holds what an fsync has covered, and SHIM_SHADOW/folder the names that
 * an fsync of the folder has covered ("<inode> <name>" lines). The test puts both back after it has killed the process.
 * Ranges written since the last fsync are remembered in memory; a failed fsync forgets them, as Linux does: pages that could
 * not be written count as clean, and a later fsync succeeds without them.
 *
 * Faults: while the file SHIM_FAULT exists, its first letter says what fails: f = fsync with EIO, w = write with EIO,
 * n = write with ENOSPC. SHIM_BLIND=f is a build that syncs no file, SHIM_BLIND=d one that syncs no folder.
 * SHIM_SLOW: microseconds that an fsync takes before it covers anything, so that a kill finds writes that are not covered yet. Clock: the file SHIM_CLOCK holds seconds by which CLOCK_REALTIME is off.
 *
 * Only files below SHIM_DIR are touched.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct range { off_t from, to; };
struct file { ino_t inode; int keep; struct range *ranges; size_t count, room; };

static struct file files[256];
static size_t file_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int below(int fd, struct stat *st) {
    const char *dir = getenv("SHIM_DIR");
    char link[64], path[PATH_MAX];
    if (!dir || fstat(fd, st) != 0 || (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return strncmp(path, dir, strlen(dir)) == 0;
}

static char fault(void) {
    const char *path = getenv("SHIM_FAULT");
    char letter = 0;
    if (!path) return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    if (read(fd, &letter, 1) != 1) letter = 0;
    close(fd);
    return letter;
}

/* Files that stand there already are held open too: of a number that is given again, what an fsync covered of the old file would be
 * taken for the new one's. */
__attribute__((constructor)) static void hold_what_is_there(void) {
    const char *dir = getenv("SHIM_DIR");
    DIR *open_dir = dir && getenv("SHIM_SHADOW") ? opendir(dir) : NULL;
    if (!open_dir) return;
    for (struct dirent *entry; (entry = readdir(open_dir));)
        if (entry->d_type == DT_REG && openat(dirfd(open_dir), entry->d_name, O_RDONLY | O_CLOEXEC) < 0) abort();
    closedir(open_dir);
}

static struct file *file_of(int fd, ino_t inode) {
    for (size_t i = 0; i < file_count; i++)
        if (files[i].inode == inode) return &files[i];
    if (file_count == sizeof files / sizeof *files) abort();
    struct file *file = &files[file_count++];
    file->inode = inode;
    /* Held open, so that its number is not given to another file, and since closing it would drop SQLite's POSIX locks. */
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    file->keep = open(self, O_RDONLY | O_CLOEXEC);
    if (file->keep < 0) abort();
    return file;
}

static void wrote(int fd, const struct stat *st, off_t from, ssize_t length) {
    if (length <= 0 || !S_ISREG(st->st_mode) || !getenv("SHIM_SHADOW")) return;
    pthread_mutex_lock(&lock);
    struct file *file = file_of(fd, st->st_ino);
    if (file->count > 0 && file->ranges[file->count - 1].to == from) {
        file->ranges[file->count - 1].to = from + length;
    } else {
        if (file->count == file->room) {
            file->room = file->room ? 2 * file->room : 64;
            file->ranges = realloc(file->ranges, file->room * sizeof *file->ranges);
        }
        file->ranges[file->count++] = (struct range){from, from + length};
    }
    pthread_mutex_unlock(&lock);
}

static void cover_file(int fd, const struct stat *st, const char *shadow) {
    char path[PATH_MAX], buffer[65536];
    struct file *file = file_of(fd, st->st_ino);
    snprintf(path, sizeof path, "%s/%lu", shadow, (unsigned long)st->st_ino);
    int to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (to < 0) abort();
    for (size_t i = 0; i < file->count; i++) {
        for (off_t at = file->ranges[i].from; at < file->ranges[i].to;) {
            size_t want = (size_t)(file->ranges[i].to - at);
            ssize_t n = pread(file->keep, buffer, want < sizeof buffer ? want : sizeof buffer, at);
            if (n <= 0) break;
            if (REAL(pwrite)(to, buffer, (size_t)n, at) != n) abort();
            at += n;
        }
    }
    if (REAL(ftruncate)(to, st->st_size) != 0) abort();
    close(to);
    file->count = 0;
}

static void cover_folder(int fd, const char *shadow) {
    char path[PATH_MAX], fresh[PATH_MAX], self[64];
    snprintf(path, sizeof path, "%s/folder", shadow);
    snprintf(fresh, sizeof fresh, "%s/folder.new", shadow);
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    DIR *dir = opendir(self);
    FILE *out = fopen(fresh, "w");
    if (!dir || !out) abort();
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_type == DT_REG) fprintf(out, "%lu %s\n", (unsigned long)entry->d_ino, entry->d_name);
    closedir(dir);
    fclose(out);
    rename(fresh, path);
}

static int cover(int fd, int (*real)(int)) {
    struct stat st;
    if (!below(fd, &st)) return real(fd);
    if (fault() == 'f') {
        pthread_mutex_lock(&lock);
        if (S_ISREG(st.st_mode)) file_of(fd, st.st_ino)->count = 0;
        pthread_mutex_unlock(&lock);
        errno = EIO;
        return -1;
    }
    const char *shadow = getenv("SHIM_SHADOW"), *blind = getenv("SHIM_BLIND");
    if (!shadow) return real(fd);
    if (blind && *blind == (S_ISDIR(st.st_mode) ? 'd' : 'f')) return 0;
    const char *slow = getenv("SHIM_SLOW");
    if (slow) usleep((useconds_t)strtoul(slow, NULL, 10));
    pthread_mutex_lock(&lock);
    if (S_ISDIR(st.st_mode)) cover_folder(fd, shadow);
    else cover_file(fd, &st, shadow);
    pthread_mutex_unlock(&lock);
    return 0; /* the model is the disk: no need to wait for the real one */
}

int fsync(int fd) { return cover(fd, REAL(fsync)); }
int fdatasync(int fd) { return cover(fd, REAL(fdatasync)); }

static int refuse(void) {
    char letter = fault();
    if (letter != 'w' && letter != 'n') return 0;
    errno = letter == 'w' ? EIO : ENOSPC;
    return 1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    struct stat st;
    int ours = below(fd, &st);
    if (ours && refuse()) return -1;
    ssize_t n = REAL(pwrite64)(fd, bytes, length, at);
    if (ours) wrote(fd, &st, at, n);
    return n;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }

ssize_t write(int fd, const void *bytes, size_t length) {
    struct stat st;
    int ours = below(fd, &st);
    if (ours && refuse()) return -1;
    off_t at = ours ? lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR) : 0;
    ssize_t n = REAL(write)(fd, bytes, length);
    if (ours) wrote(fd, &st, at, n);
    return n;
}

int clock_gettime(clockid_t id, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = REAL(clock_gettime);
    int done = real(id, time);
    const char *path = getenv("SHIM_CLOCK");
    char text[32] = {0};
    if (done != 0 || id != CLOCK_REALTIME || !path) return done;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return done;
    if (read(fd, text, sizeof text - 1) > 0) time->tv_sec += strtol(text, NULL, 10);
    close(fd);
    return done;
}
