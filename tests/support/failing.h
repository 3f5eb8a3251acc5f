/*
 * Calls that fail, one at a time, or wait. Included by faultfs.c.
 *
 *     fail_op=OP      calls of one operation fail, or with "all" of any. As FUSE calls them: a lookup is a getattr
 *     fail_errno=N    with this error number
 *     fail_path=TEXT  only those whose path contains TEXT
 *     fail_first=N    from the N-th of those on, by default the first
 *     fail_count=N    so many of them, by default all
 *     trace=FILE      every call that may fail is written down: a line with its operation and path
 */
struct failing {
    char *op, *path, *trace;
    int number;
    long first, count; /* count < 0: all from the first on */
    long seen;
};

static void nap(long microseconds)
{
    struct timespec pause = {microseconds / 1000000, (microseconds % 1000000) * 1000};
    if (microseconds > 0)
        nanosleep(&pause, NULL);
}

/* Tell whether an operation may fail, or is written down. */
static int is_watched(const struct failing *failing, const char *op)
{
    return failing->trace || (failing->op && (strcmp(failing->op, op) == 0 || strcmp(failing->op, "all") == 0));
}

/* One write for each line: the calls are those of many threads. */
static void write_down(const char *file, const char *op, const char *path)
{
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s\n", op, path ? path : "");
    int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (length >= (int)sizeof line)
        length = sizeof line - 1;
    if (fd < 0 || write(fd, line, length) != length)
        perror(file);
    close(fd);
}

/* Return the error number with which a call fails; 0 if it does not. */
static int failure(struct failing *failing, const char *op, const char *path)
{
    if (failing->trace)
        write_down(failing->trace, op, path);
    if (!failing->op || (strcmp(failing->op, op) && strcmp(failing->op, "all")))
        return 0;
    if (failing->path && !(path && strstr(path, failing->path)))
        return 0;
    long number = __sync_add_and_fetch(&failing->seen, 1);
    if (number < failing->first || (failing->count >= 0 && number >= failing->first + failing->count))
        return 0;
    return failing->number;
}

/* Leave an operation that is to fail. */
#define FAILING(failing, op)                                                                                           \
    do {                                                                                                               \
        int number_ = failure(&(failing), op, path);                                                                   \
        if (number_)                                                                                                   \
            return -number_;                                                                                           \
    } while (0)
