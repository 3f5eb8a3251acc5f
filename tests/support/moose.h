/* What MooseFS cannot do, for faultfs: times are 32 bits of whole seconds, and ACLs are there but not listed. */
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

/* Times before 1970 become now, those after 2106 begin anew in 1970. */
static struct timespec in_32_bits(struct timespec asked)
{
    if (asked.tv_nsec == UTIME_NOW || asked.tv_nsec == UTIME_OMIT)
        return asked;
    asked.tv_nsec = asked.tv_sec < 0 ? UTIME_NOW : 0;
    asked.tv_sec = (uint32_t)asked.tv_sec;
    return asked;
}

static void in_whole_seconds(struct stat *st) { st->st_atim.tv_nsec = st->st_mtim.tv_nsec = st->st_ctim.tv_nsec = 0; }

/* Take ACLs out of a list of names, each ended by NUL; return the length of what is left. */
static ssize_t without_acls(char *list, ssize_t length)
{
    char *to = list;
    for (char *name = list; name < list + length; ) {
        size_t size = strlen(name) + 1;
        if (strncmp(name, "system.", 7) != 0) {
            memmove(to, name, size);
            to += size;
        }
        name += size;
    }
    return to - list;
}
