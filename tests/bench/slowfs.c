/*
 * slowfs: a FUSE file system that shows another directory, and lets every operation wait.
 *
 *     slowfs BACKING MOUNTPOINT [-f] [-o OPTION,...]
 *
 *     meta_us=N   every metadata operation first sleeps N microseconds, as a busy metadata server lets wait
 *     data_us=N   so does every read and write
 *
 * What the kernel may remember is set with FUSE's own options: entry_timeout and attr_timeout, in seconds. Waiting
 * costs no CPU, so a two-core machine can show what parallel requests are worth on a parallel file system. Like many
 * of those it has no ACLs and answers EOPNOTSUPP. Errors are not its business: it is for measuring.
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

static struct {
    char *backing;
    long meta_us, data_us;
} settings;

static const struct fuse_opt options[] = {
    {"meta_us=%ld", offsetof(__typeof__(settings), meta_us), 0},
    {"data_us=%ld", offsetof(__typeof__(settings), data_us), 0},
    FUSE_OPT_END,
};

static void nap(long microseconds)
{
    struct timespec pause = {microseconds / 1000000, (microseconds % 1000000) * 1000};
    if (microseconds > 0)
        nanosleep(&pause, NULL);
}

static int result(long answer) { return answer < 0 ? -errno : (int)answer; }

struct real { char path[2 * PATH_MAX]; };

static struct real real_path(const char *path)
{
    struct real real;
    snprintf(real.path, sizeof real.path, "%s%s", settings.backing, path);
    return real;
}

/* Metadata operations all begin alike: wait, and find the real path in `p`. */
#define META                                                                                                           \
    struct real real_ = real_path(path);                                                                               \
    const char *p = real_.path;                                                                                        \
    nap(settings.meta_us)

/* ---- names and attributes ---- */

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *file)
{
    META;
    (void)file;
    return result(lstat(p, st));
}

static int fs_readlink(const char *path, char *buffer, size_t size)
{
    META;
    ssize_t length = readlink(p, buffer, size - 1);
    if (length < 0)
        return -errno;
    buffer[length] = 0;
    return 0;
}

static int fs_mkdir(const char *path, mode_t mode) { META; return result(mkdir(p, mode)); }
static int fs_mknod(const char *path, mode_t mode, dev_t device) { META; return result(mknod(p, mode, device)); }
static int fs_symlink(const char *to, const char *path) { META; return result(symlink(to, p)); }
static int fs_unlink(const char *path) { META; return result(unlink(p)); }
static int fs_rmdir(const char *path) { META; return result(rmdir(p)); }
static int fs_link(const char *old, const char *path) { META; return result(link(real_path(old).path, p)); }

static int fs_rename(const char *old, const char *path, unsigned flags)
{
    META;
    return result(renameat2(AT_FDCWD, real_path(old).path, AT_FDCWD, p, flags));
}

static int fs_chmod(const char *path, mode_t mode, struct fuse_file_info *file)
{
    META;
    (void)file;
    return result(chmod(p, mode));
}

static int fs_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *file)
{
    META;
    (void)file;
    return result(lchown(p, uid, gid));
}

static int fs_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *file)
{
    META;
    (void)file;
    return result(utimensat(AT_FDCWD, p, times, AT_SYMLINK_NOFOLLOW));
}

static int fs_statfs(const char *path, struct statvfs *info) { META; return result(statvfs(p, info)); }

/* ---- xattrs ---- */

static int is_acl(const char *key) { return strncmp(key, "system.", 7) == 0; }

static int fs_setxattr(const char *path, const char *key, const char *value, size_t size, int flags)
{
    META;
    return is_acl(key) ? -EOPNOTSUPP : result(lsetxattr(p, key, value, size, flags));
}

static int fs_getxattr(const char *path, const char *key, char *value, size_t size)
{
    META;
    return is_acl(key) ? -EOPNOTSUPP : result(lgetxattr(p, key, value, size));
}

static int fs_listxattr(const char *path, char *list, size_t size) { META; return result(llistxattr(p, list, size)); }

/* ---- directories ---- */

static DIR *dir_of(struct fuse_file_info *file) { return (DIR *)(uintptr_t)file->fh; }

static int fs_opendir(const char *path, struct fuse_file_info *file)
{
    META;
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
    (void)path, (void)offset, (void)flags;
    nap(settings.meta_us);
    rewinddir(dir_of(file));
    while ((entry = readdir(dir_of(file)))) {
        struct stat st = {.st_ino = entry->d_ino, .st_mode = DTTOIF(entry->d_type)};
        if (fill(buffer, entry->d_name, &st, 0, 0))
            break;
    }
    return 0;
}

static int fs_releasedir(const char *path, struct fuse_file_info *file)
{
    (void)path;
    closedir(dir_of(file));
    return 0;
}

/* ---- files ---- */

static int opened(int fd, struct fuse_file_info *file)
{
    if (fd < 0)
        return -errno;
    file->fh = fd;
    return 0;
}

static int fs_open(const char *path, struct fuse_file_info *file)
{
    META;
    return opened(open(p, (file->flags & ~O_CREAT) | O_NOFOLLOW), file);
}

static int fs_create(const char *path, mode_t mode, struct fuse_file_info *file)
{
    META;
    return opened(open(p, file->flags | O_CREAT | O_NOFOLLOW, mode), file);
}

static int fs_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *file)
{
    (void)path;
    nap(settings.data_us);
    return result(pread(file->fh, buffer, size, offset));
}

static int fs_write(const char *path, const char *buffer, size_t size, off_t offset, struct fuse_file_info *file)
{
    (void)path;
    nap(settings.data_us);
    return result(pwrite(file->fh, buffer, size, offset));
}

static int fs_truncate(const char *path, off_t size, struct fuse_file_info *file)
{
    META;
    return result(file ? ftruncate(file->fh, size) : truncate(p, size));
}

static int fs_fsync(const char *path, int only_data, struct fuse_file_info *file)
{
    (void)path;
    nap(settings.meta_us);
    return result(only_data ? fdatasync(file->fh) : fsync(file->fh));
}

static int fs_release(const char *path, struct fuse_file_info *file)
{
    (void)path;
    close(file->fh);
    return 0;
}

/* ---- life ---- */

static void *fs_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    connection->max_background = 64;
    config->use_ino = 1; /* hard links keep their inode number */
    return NULL;
}

static const struct fuse_operations operations = {
    .init = fs_init,           .getattr = fs_getattr,   .readlink = fs_readlink,   .mkdir = fs_mkdir,
    .mknod = fs_mknod,         .symlink = fs_symlink,   .unlink = fs_unlink,       .rmdir = fs_rmdir,
    .link = fs_link,           .rename = fs_rename,     .chmod = fs_chmod,         .chown = fs_chown,
    .utimens = fs_utimens,     .statfs = fs_statfs,     .setxattr = fs_setxattr,   .getxattr = fs_getxattr,
    .listxattr = fs_listxattr, .opendir = fs_opendir,   .readdir = fs_readdir,     .releasedir = fs_releasedir,
    .open = fs_open,           .create = fs_create,     .read = fs_read,           .write = fs_write,
    .truncate = fs_truncate,   .fsync = fs_fsync,       .release = fs_release,
};

/* The first word that is no option is BACKING; the rest is for FUSE. */
static int take_backing(void *data, const char *word, int key, struct fuse_args *rest)
{
    (void)data, (void)rest;
    if (key != FUSE_OPT_KEY_NONOPT || settings.backing)
        return 1;
    settings.backing = realpath(word, NULL);
    if (settings.backing)
        return 0;
    perror(word);
    return -1;
}

int main(int argc, char **argv)
{
    struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
    if (fuse_opt_parse(&args, &settings, options, take_backing) < 0)
        return 2;
    umask(0);
    /* When the benchmark is killed, unmount: FUSE's own handler for SIGTERM does. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    return fuse_main(args.argc, args.argv, &operations, NULL);
}
