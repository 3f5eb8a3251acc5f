/* Preloaded into cp: runs a command when cp is about to open a path, and another one when cp ends.
 *
 * ATTACK_AT: the end of the path. ATTACK_BEFORE, ATTACK_AFTER: commands for sh.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int done;

static void look(const char *path) {
    const char *end = getenv("ATTACK_AT"), *command = getenv("ATTACK_BEFORE");
    size_t length = strlen(path);
    if (done || end == NULL || command == NULL || length < strlen(end) || strcmp(path + length - strlen(end), end) != 0)
        return;
    done = 1;
    unsetenv("LD_PRELOAD");
    if (system(command) != 0)
        abort();
}

DIR *opendir(const char *path) {
    static DIR *(*real)(const char *);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "opendir");
    look(path);
    return real(path);
}

#define OPENS(name, parameters, arguments)                                                                             \
    int name parameters {                                                                                              \
        static int(*real)();                                                                                           \
        int mode = 0;                                                                                                  \
        if (flags & O_CREAT) {                                                                                         \
            va_list more;                                                                                              \
            va_start(more, flags);                                                                                     \
            mode = va_arg(more, int);                                                                                  \
            va_end(more);                                                                                              \
        } else {                                                                                                       \
            look(path);                                                                                                \
        }                                                                                                              \
        if (real == NULL)                                                                                              \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                                                 \
        return real arguments;                                                                                         \
    }

OPENS(open, (const char *path, int flags, ...), (path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENS(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPENS(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

__attribute__((destructor)) static void end(void) {
    const char *command = getenv("ATTACK_AFTER");
    if (done && command != NULL && system(command) != 0)
        abort();
}
