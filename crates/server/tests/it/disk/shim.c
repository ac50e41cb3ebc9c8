/* A disk that is slow, fails, or is watched: loaded before libc (LD_PRELOAD) it stands between a program and the system
   calls by which it changes files under one folder.

   FAULTY_DISK_ROOT     the folder, absolute; everything else passes untouched
   FAULTY_DISK_TRACE    file that every change is appended to, with the bytes, and every flush when it begins and ends
   FAULTY_DISK_CONTROL  file of eight 32-bit numbers, mapped and read at every call: milliseconds that a flush takes,
                       milliseconds that a write takes, every how manieth flush fails, every how manieth write fails,
                       every how manieth read fails (0: none), errno of failures

   A record of the trace is 32 bytes (kind, 0, length of the first and second path, length of the data, offset, all little
   endian as on this machine), then both paths under the folder, then the data. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE, FLUSH_BEGIN, FLUSH_END, RENAME, UNLINK, CREATE, FOLDER };

struct control { volatile uint32_t flush_ms, write_ms, flush_fails, write_fails, read_fails, error, spare[2]; };
struct record { uint32_t kind, zero, path, other, data, pad; int64_t offset; };

static const char *root;
static size_t root_length;
static int trace = -1;
static struct control *control;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static uint32_t flushes, writes, reads;

#define REAL(type, name, ...) static type (*real_##name)(__VA_ARGS__)
REAL(int, open64, const char *, int, ...);
REAL(int, openat64, int, const char *, int, ...);
REAL(ssize_t, write, int, const void *, size_t);
REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
REAL(ssize_t, pread64, int, void *, size_t, off64_t);
REAL(int, fsync, int);
REAL(int, fdatasync, int);
REAL(int, ftruncate64, int, off64_t);
REAL(int, rename, const char *, const char *);
REAL(int, unlink, const char *);
REAL(int, unlinkat, int, const char *, int);
REAL(int, mkdir, const char *, mode_t);
REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);

__attribute__((constructor)) static void start(void) {
#define FIND(name) real_##name = dlsym(RTLD_NEXT, #name)
  FIND(open64); FIND(openat64); FIND(write); FIND(pwrite64); FIND(pread64); FIND(fsync); FIND(fdatasync);
  FIND(ftruncate64); FIND(rename); FIND(unlink); FIND(unlinkat); FIND(mkdir); FIND(copy_file_range);
  root = getenv("FAULTY_DISK_ROOT");
  if (!root) return;
  root_length = strlen(root);
  const char *file = getenv("FAULTY_DISK_TRACE");
  if (file) trace = real_open64(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  file = getenv("FAULTY_DISK_CONTROL");
  int opened = file ? real_open64(file, O_RDONLY | O_CLOEXEC) : -1;
  if (opened >= 0) {
    void *mapped = mmap(NULL, sizeof *control, PROT_READ, MAP_SHARED, opened, 0);
    if (mapped != MAP_FAILED) control = mapped;
    close(opened);
  }
}

/* The path under the folder, or NULL. */
static const char *below(const char *path) {
  if (!root || strncmp(path, root, root_length) || (path[root_length] && path[root_length] != '/')) return NULL;
  return path[root_length] ? path + root_length + 1 : path + root_length;
}

/* That of an open file. */
static const char *of(int fd, char *buffer) {
  if (!root || fd < 0 || fd == trace) return NULL;
  struct stat64 about;
  if (fstat64(fd, &about) || !(S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) return NULL;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, buffer, PATH_MAX - 1);
  if (length <= 0) return NULL;
  buffer[length] = 0;
  return below(buffer);
}

/* The real call ran, or will; the caller holds the turn. */
static void note(uint32_t kind, const char *path, const char *other, int64_t offset, const void *data, size_t length) {
  if (trace < 0) return;
  struct record record = {kind, 0, strlen(path), other ? strlen(other) : 0, length, 0, offset};
  struct iovec parts[4] = {{&record, sizeof record}, {(void *)path, record.path}, {(void *)other, record.other},
                           {(void *)data, length}};
  /* One call, so that a kill leaves no half record but at the very end. */
  if (writev(trace, parts, 4) < 0) abort();
}

static void take(uint32_t ms) {
  struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
  if (ms) nanosleep(&time, NULL);
}

static int fails(uint32_t every, uint32_t *count) {
  return every && __atomic_add_fetch(count, 1, __ATOMIC_RELAXED) % every == 0;
}

static int broken(void) {
  errno = control->error ? (int)control->error : EIO;
  return -1;
}

#define BEGIN(fd) char buffer[PATH_MAX]; int kept = errno; const char *path = of(fd, buffer); errno = kept

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  BEGIN(fd);
  if (!path) return real_pwrite64(fd, data, length, offset);
  if (control) { take(control->write_ms); if (fails(control->write_fails, &writes)) return broken(); }
  pthread_mutex_lock(&turn);
  ssize_t done = real_pwrite64(fd, data, length, offset);
  kept = errno;
  if (done > 0) note(WRITE, path, NULL, offset, data, done);
  pthread_mutex_unlock(&turn);
  errno = kept;
  return done;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length) {
  BEGIN(fd);
  if (!path) return real_write(fd, data, length);
  if (control) { take(control->write_ms); if (fails(control->write_fails, &writes)) return broken(); }
  pthread_mutex_lock(&turn);
  ssize_t done = real_write(fd, data, length);
  kept = errno;
  if (done > 0) note(WRITE, path, NULL, lseek64(fd, 0, SEEK_CUR) - done, data, done);
  pthread_mutex_unlock(&turn);
  errno = kept;
  return done;
}

ssize_t pread64(int fd, void *data, size_t length, off64_t offset) {
  if (control && control->read_fails) {
    BEGIN(fd);
    if (path && fails(control->read_fails, &reads)) return broken();
  }
  return real_pread64(fd, data, length, offset);
}
ssize_t pread(int fd, void *data, size_t length, off_t offset) { return pread64(fd, data, length, offset); }

/* A copy inside the kernel would not be seen. */
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t length, unsigned flags) {
  BEGIN(to);
  if (!path) return real_copy_file_range(from, a, to, b, length, flags);
  errno = ENOSYS;
  return -1;
}

static int flush(int fd, int (*real)(int)) {
  BEGIN(fd);
  if (!path) return real(fd);
  pthread_mutex_lock(&turn);
  note(FLUSH_BEGIN, path, NULL, (int64_t)(uintptr_t)pthread_self(), NULL, 0);
  pthread_mutex_unlock(&turn);
  if (control) { take(control->flush_ms); if (fails(control->flush_fails, &flushes)) return broken(); }
  int done = real(fd);
  kept = errno;
  pthread_mutex_lock(&turn);
  if (!done) note(FLUSH_END, path, NULL, (int64_t)(uintptr_t)pthread_self(), NULL, 0);
  pthread_mutex_unlock(&turn);
  errno = kept;
  return done;
}
int fsync(int fd) { return flush(fd, real_fsync); }
int fdatasync(int fd) { return flush(fd, real_fdatasync); }

int ftruncate64(int fd, off64_t length) {
  BEGIN(fd);
  if (!path) return real_ftruncate64(fd, length);
  pthread_mutex_lock(&turn);
  int done = real_ftruncate64(fd, length);
  kept = errno;
  if (!done) note(TRUNCATE, path, NULL, length, NULL, 0);
  pthread_mutex_unlock(&turn);
  errno = kept;
  return done;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int opened(int fd, int flags) {
  if (fd < 0 || !root || !(flags & (O_CREAT | O_TRUNC))) return fd;
  BEGIN(fd);
  if (path) {
    pthread_mutex_lock(&turn);
    if (flags & O_CREAT) note(CREATE, path, NULL, 0, NULL, 0);
    if (flags & O_TRUNC) note(TRUNCATE, path, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&turn);
  }
  errno = kept;
  return fd;
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); \
  mode = va_arg(list, mode_t); va_end(list); }
int open64(const char *path, int flags, ...) { MODE return opened(real_open64(path, flags, mode), flags); }
int open(const char *path, int flags, ...) { MODE return opened(real_open64(path, flags, mode), flags); }
int openat64(int at, const char *path, int flags, ...) { MODE return opened(real_openat64(at, path, flags, mode), flags); }
int openat(int at, const char *path, int flags, ...) { MODE return opened(real_openat64(at, path, flags, mode), flags); }

int rename(const char *from, const char *to) {
  const char *a = below(from), *b = below(to);
  if (!a || !b) return real_rename(from, to);
  pthread_mutex_lock(&turn);
  int done = real_rename(from, to), kept = errno;
  if (!done) note(RENAME, a, b, 0, NULL, 0);
  pthread_mutex_unlock(&turn);
  errno = kept;
  return done;
}

int unlink(const char *path) {
  const char *a = below(path);
  if (!a) return real_unlink(path);
  pthread_mutex_lock(&turn);
  int done = real_unlink(path), kept = errno;
  if (!done) note(UNLINK, a, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&turn);
  errno = kept;
  return done;
}

int unlinkat(int at, const char *name, int flags) {
  char whole[2 * PATH_MAX], buffer[PATH_MAX];
  int kept = errno;
  const char *folder = name[0] == '/' ? NULL : of(at, buffer);
  errno = kept;
  if (!folder) return real_unlinkat(at, name, flags);
  snprintf(whole, sizeof whole, "%s/%s", folder, name);
  pthread_mutex_lock(&turn);
  int done = real_unlinkat(at, name, flags);
  kept = errno;
  if (!done) note(UNLINK, whole, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&turn);
  errno = kept;
  return done;
}

int mkdir(const char *path, mode_t mode) {
  const char *a = below(path);
  if (!a) return real_mkdir(path, mode);
  pthread_mutex_lock(&turn);
  int done = real_mkdir(path, mode), kept = errno;
  if (!done) note(FOLDER, a, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&turn);
  errno = kept;
  return done;
}
