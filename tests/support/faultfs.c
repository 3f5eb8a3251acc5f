/*
 * faultfs: a FUSE file system that shows another directory, slowly and badly.
 *
 *     faultfs BACKING MOUNTPOINT [-f] [-o OPTION,...]
 *
 *     meta_us=N       every metadata operation first sleeps N microseconds, as a busy metadata server lets wait
 *     data_us=N       so does every read and write
 *     eio_read=TEXT   reading a file whose path contains TEXT fails with EIO
 *     eio_from=N, eio_until=N  of such a file only what touches these bytes, N excluded
 *     eio_write=TEXT  so does writing it
 *     flip_read=TEXT  reading a file whose path contains TEXT gives another first byte of each block
 *     eio_list=TEXT   so does listing a directory whose path contains TEXT
 *     eio_unlink=TEXT so does unlinking a file whose path contains TEXT
 *     vanish=TEXT     entries whose path contains TEXT are listed and have attributes, but opening one finds it gone:
 *                     a file is really removed from BACKING at that moment
 *     enospc_after=N  after N bytes written in all, writing fails with ENOSPC
 *     entry_timeout=N seconds for which the kernel may remember names and attributes (default 0: it always asks)
 *     attr_timeout=N  another number of seconds for attributes
 *     no_locks=1      POSIX locks are refused, as Lustre does without `flock`; else they work
 *     fold=1          names that differ only in the case of ASCII letters are one
 *     own_inodes=1    inode numbers are of its own, as of most FUSE file systems; hard links have different ones
 *     moose=1         times and ACLs are as on MooseFS: see moose.h
 *     refuse_xattr=TEXT, most_xattr=N, latest=N, no_blocks=1  what is not stored: see refusing.h
 *     fail_op=OP ...  single calls fail with any errno, trace=FILE writes calls down: see failing.h
 *
 * Everything else goes through: names, modes, owners, times, links, xattrs, holes. ACLs do not: like many parallel
 * file systems without them, it answers EOPNOTSUPP. Waiting costs no CPU, so a two-core machine can show what
 * parallel requests are worth on a slow file system.
 */
#define FUSE_USE_VERSION 35
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "failing.h"
#include "folding.h"
#include "moose.h"
#include "refusing.h"

static struct {
    char *backing;
    long meta_us, data_us;
    char *eio_read, *eio_write, *eio_list, *eio_unlink, *flip_read, *vanish;
    long long enospc_after, eio_from, eio_until;
    double entry_timeout, attr_timeout;
    int fold, no_locks, moose, own_inodes;
    struct failing failing;
    struct refusing refusing;
} faults = {.enospc_after = -1, .attr_timeout = -1, .failing = {.first = 1, .count = -1}};

static long long bytes_written;

#define OPTION(pattern, member) {pattern, offsetof(__typeof__(faults), member), 0}
static const struct fuse_opt options[] = {
    OPTION("meta_us=%ld", meta_us),          OPTION("data_us=%ld", data_us),
    OPTION("eio_read=%s", eio_read),         OPTION("eio_write=%s", eio_write),
    OPTION("eio_list=%s", eio_list),         OPTION("eio_unlink=%s", eio_unlink),
    OPTION("vanish=%s", vanish),             OPTION("eio_from=%lld", eio_from),
    OPTION("eio_until=%lld", eio_until),
    OPTION("flip_read=%s", flip_read),
    OPTION("enospc_after=%lld", enospc_after), OPTION("entry_timeout=%lf", entry_timeout),
    OPTION("attr_timeout=%lf", attr_timeout), OPTION("fold=%d", fold),
    OPTION("no_locks=%d", no_locks),         OPTION("fail_op=%s", failing.op),
    OPTION("fail_errno=%d", failing.number), OPTION("fail_path=%s", failing.path),
    OPTION("fail_first=%ld", failing.first), OPTION("fail_count=%ld", failing.count),
    OPTION("refuse_xattr=%s", refusing.xattr), OPTION("most_xattr=%ld", refusing.most_xattr),
    OPTION("latest=%ld", refusing.latest),   OPTION("no_blocks=%d", refusing.no_blocks),
    OPTION("trace=%s", failing.trace),       OPTION("moose=%d", moose),
    OPTION("own_inodes=%d", own_inodes),
    FUSE_OPT_END,
};

/* ---- helpers ---- */

struct real { char path[2 * PATH_MAX]; };

static struct real real_path(const char *path)
{
    struct real real;
    snprintf(real.path, sizeof real.path, "%s%s", faults.backing, path);
    if (faults.fold)
        fold(real.path, real.path + strlen(faults.backing));
    return real;
}

static int is_named(const char *path, const char *text) { return text && strstr(path, text); }

static int result(long answer) { return answer < 0 ? -errno : (int)answer; }

/* The daemon may be root, the caller someone else: what the caller makes is the caller's. */
static int owned_by_caller(const char *real, int answer)
{
    const struct fuse_context *caller = fuse_get_context();
    if (answer < 0)
        return -errno;
    if (caller->uid != geteuid() && lchown(real, caller->uid, caller->gid) < 0)
        return -errno;
    return answer;
}

/* Metadata operations all begin alike: wait, fail if they are to, and find the real path in `p`. */
#define META(op)                                                                                                       \
    struct real real_ = real_path(path);                                                                               \
    const char *p = real_.path;                                                                                        \
    nap(faults.meta_us);                                                                                               \
    FAILING(faults.failing, op)

/* ---- names and attributes ---- */

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *file)
{
    META("getattr");
    (void)file;
    int answer = result(lstat(p, st));
    if (faults.moose)
        in_whole_seconds(st);
    return answer;
}

static int fs_readlink(const char *path, char *buffer, size_t size)
{
    META("readlink");
    ssize_t length = readlink(p, buffer, size - 1);
    if (length < 0)
        return -errno;
    buffer[length] = 0;
    return 0;
}

static int fs_mkdir(const char *path, mode_t mode) { META("mkdir"); return owned_by_caller(p, mkdir(p, mode)); }
static int fs_mknod(const char *path, mode_t mode, dev_t dev)
{
    META("mknod");
    return owned_by_caller(p, mknod(p, mode, dev));
}

static int fs_symlink(const char *to, const char *path) { META("symlink"); return owned_by_caller(p, symlink(to, p)); }
static int fs_unlink(const char *path)
{
    META("unlink");
    return is_named(path, faults.eio_unlink) ? -EIO : result(unlink(p));
}

static int fs_rmdir(const char *path) { META("rmdir"); return result(rmdir(p)); }

static int fs_link(const char *old, const char *path)
{
    META("link");
    struct real from = real_path(old);
    return result(link(from.path, p));
}

static int fs_rename(const char *old, const char *path, unsigned flags)
{
    META("rename");
    struct real from = real_path(old);
    return result(renameat2(AT_FDCWD, from.path, AT_FDCWD, p, flags));
}

static int fs_chmod(const char *path, mode_t mode, struct fuse_file_info *file)
{
    (void)file;
    META("chmod");
    return result(chmod(p, mode));
}

static int fs_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *file)
{
    (void)file;
    META("chown");
    return result(lchown(p, uid, gid));
}

static int fs_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *file)
{
    META("utimens");
    (void)file;
    struct timespec kept[2] = {in_32_bits(times[0]), in_32_bits(times[1])};
    struct timespec near[2] = {clamped(&faults.refusing, times[0]), clamped(&faults.refusing, times[1])};
    return result(utimensat(AT_FDCWD, p, faults.moose ? kept : near, AT_SYMLINK_NOFOLLOW));
}

static int fs_statfs(const char *path, struct statvfs *info)
{
    META("statfs");
    int answer = result(statvfs(p, info));
    if (faults.refusing.no_blocks)
        info->f_blocks = info->f_bfree = info->f_bavail = info->f_files = info->f_ffree = info->f_favail = 0;
    return answer;
}

/* ---- xattrs ---- */

static int is_acl(const char *key) { return !faults.moose && strncmp(key, "system.", 7) == 0; }

static int fs_setxattr(const char *path, const char *key, const char *value, size_t size, int flags)
{
    META("setxattr");
    int number = refusal(&faults.refusing, key, size);
    if (number)
        return -number;
    return is_acl(key) ? -EOPNOTSUPP : result(lsetxattr(p, key, value, size, flags));
}

static int fs_getxattr(const char *path, const char *key, char *value, size_t size)
{
    META("getxattr");
    if (refuses_name(&faults.refusing, key))
        return -EOPNOTSUPP;
    return is_acl(key) ? -EOPNOTSUPP : result(lgetxattr(p, key, value, size));
}

static int fs_listxattr(const char *path, char *list, size_t size)
{
    META("listxattr");
    int length = result(llistxattr(p, list, size));
    return faults.moose && size > 0 && length > 0 ? (int)without_acls(list, length) : length;
}

static int fs_removexattr(const char *path, const char *key)
{
    META("removexattr");
    return result(lremovexattr(p, key));
}

/* ---- directories ---- */

static DIR *dir_of(struct fuse_file_info *file) { return (DIR *)(uintptr_t)file->fh; }

static int fs_opendir(const char *path, struct fuse_file_info *file)
{
    META("opendir");
    if (is_named(path, faults.vanish))
        return -ENOENT;
    if (is_named(path, faults.eio_list))
        return -EIO;
    DIR *dir = opendir(p);
    if (!dir)
        return -errno;
    file->fh = (uintptr_t)dir;
    return 0;
}

static int fs_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *file,
                      enum fuse_readdir_flags flags)
{
    struct dirent *entry;
    (void)offset, (void)flags;
    nap(faults.meta_us);
    FAILING(faults.failing, "readdir");
    rewinddir(dir_of(file));
    while ((entry = readdir(dir_of(file)))) {
        struct stat st = {.st_ino = entry->d_ino, .st_mode = DTTOIF(entry->d_type)};
        if (fill(buffer, entry->d_name, &st, 0, 0))
            break;
    }
    return 0;
}

static int fs_releasedir(const char *path, struct fuse_file_info *file) { (void)path; return closedir(dir_of(file)); }

/* ---- files ---- */

static int fs_open(const char *path, struct fuse_file_info *file)
{
    META("open");
    if (is_named(path, faults.vanish)) {
        unlink(p);
        return -ENOENT;
    }
    /* The kernel has resolved links already: what is one now was swapped in behind our back. */
    int fd = open(p, (file->flags & ~O_CREAT) | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    file->fh = fd;
    return 0;
}

static int fs_create(const char *path, mode_t mode, struct fuse_file_info *file)
{
    META("create");
    int fd = owned_by_caller(p, open(p, file->flags | O_CREAT | O_NOFOLLOW, mode));
    if (fd < 0)
        return fd;
    file->fh = fd;
    return 0;
}

static int fs_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *file)
{
    nap(faults.data_us);
    FAILING(faults.failing, "read");
    int touched = !faults.eio_until || (offset < faults.eio_until && offset + (off_t)size > faults.eio_from);
    if (touched && is_named(path, faults.eio_read))
        return -EIO;
    ssize_t length = pread(file->fh, buffer, size, offset);
    if (length > 0 && is_named(path, faults.flip_read))
        buffer[0] ^= 1;
    return result(length);
}

static int fs_write(const char *path, const char *buffer, size_t size, off_t offset, struct fuse_file_info *file)
{
    nap(faults.data_us);
    FAILING(faults.failing, "write");
    if (is_named(path, faults.eio_write))
        return -EIO;
    if (faults.enospc_after >= 0 && __sync_add_and_fetch(&bytes_written, size) > faults.enospc_after)
        return -ENOSPC;
    return result(pwrite(file->fh, buffer, size, offset));
}

static int fs_truncate(const char *path, off_t size, struct fuse_file_info *file)
{
    META("truncate");
    return result(file ? ftruncate(file->fh, size) : truncate(p, size));
}

/* The real offset of data and holes; without this the kernel says that a file has no holes. */
static off_t fs_lseek(const char *path, off_t offset, int whence, struct fuse_file_info *file)
{
    FAILING(faults.failing, "lseek");
    off_t found = lseek(file->fh, offset, whence);
    return found < 0 ? -errno : found;
}

static int fs_fallocate(const char *path, int mode, off_t offset, off_t length, struct fuse_file_info *file)
{
    FAILING(faults.failing, "fallocate");
    return result(fallocate(file->fh, mode, offset, length));
}

static int fs_fsync(const char *path, int only_data, struct fuse_file_info *file)
{
    nap(faults.meta_us);
    FAILING(faults.failing, "fsync");
    return result(only_data ? fdatasync(file->fh) : fsync(file->fh));
}

/* This and the next are there only if they are to fail. Without, the kernel asks once, and manages. */
static int fs_flush(const char *path, struct fuse_file_info *file)
{
    (void)file;
    FAILING(faults.failing, "flush");
    return is_watched(&faults.failing, "flush") ? 0 : -ENOSYS;
}

static ssize_t fs_copy_file_range(const char *path, struct fuse_file_info *from, off_t at, const char *to,
                                  struct fuse_file_info *file, off_t to_at, size_t size, int flags)
{
    (void)to;
    FAILING(faults.failing, "copy_file_range");
    int wanted = is_watched(&faults.failing, "copy_file_range");
    return wanted ? result(copy_file_range(from->fh, &at, file->fh, &to_at, size, flags)) : -ENOSYS;
}

static int fs_release(const char *path, struct fuse_file_info *file) { (void)path; return close(file->fh); }

/* ---- life ---- */

/* Only asked with no_locks: else the kernel does it alone. */
static int fs_lock(const char *path, struct fuse_file_info *file, int command, struct flock *lock)
{
    (void)path, (void)file, (void)command, (void)lock;
    return -ENOSYS;
}

static void *fs_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    connection->max_background = 64;
    if (!faults.no_locks)
        connection->want &= ~FUSE_CAP_POSIX_LOCKS;
    config->use_ino = !faults.own_inodes; /* hard links keep their inode number */
    config->entry_timeout = faults.entry_timeout;
    config->attr_timeout = faults.attr_timeout < 0 ? faults.entry_timeout : faults.attr_timeout;
    config->negative_timeout = 0;
    return NULL;
}

static const struct fuse_operations operations = {
    .init = fs_init,           .getattr = fs_getattr,     .readlink = fs_readlink,   .mkdir = fs_mkdir,
    .mknod = fs_mknod,         .symlink = fs_symlink,     .unlink = fs_unlink,       .rmdir = fs_rmdir,
    .link = fs_link,           .rename = fs_rename,       .chmod = fs_chmod,         .chown = fs_chown,
    .utimens = fs_utimens,     .statfs = fs_statfs,       .setxattr = fs_setxattr,   .getxattr = fs_getxattr,
    .listxattr = fs_listxattr, .removexattr = fs_removexattr, .opendir = fs_opendir, .readdir = fs_readdir,
    .releasedir = fs_releasedir, .open = fs_open,         .create = fs_create,       .read = fs_read,
    .write = fs_write,         .truncate = fs_truncate,   .lseek = fs_lseek,         .fallocate = fs_fallocate,
    .fsync = fs_fsync,         .flush = fs_flush,         .release = fs_release,   .lock = fs_lock,
    .copy_file_range = fs_copy_file_range,
};

/* The first word that is no option is BACKING; the rest is for FUSE. */
static int take_backing(void *data, const char *word, int key, struct fuse_args *rest)
{
    (void)data, (void)rest;
    if (key != FUSE_OPT_KEY_NONOPT || faults.backing)
        return 1;
    faults.backing = realpath(word, NULL);
    if (faults.backing)
        return 0;
    perror(word);
    return -1;
}

int main(int argc, char **argv)
{
    struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
    if (fuse_opt_parse(&args, &faults, options, take_backing) < 0)
        return 2;
    umask(0);
    /* When who mounted it is killed, unmount: FUSE's own handler for SIGTERM does. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    return fuse_main(args.argc, args.argv, &operations, NULL);
}
