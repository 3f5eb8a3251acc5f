/*
 * What a file system may not store, and refuses or makes something else of. Included by faultfs.c.
 *
 *     refuse_xattr=TEXT  attributes whose names begin with TEXT: EOPNOTSUPP, also when they are asked for
 *     most_xattr=N       values of attributes of more than N bytes: E2BIG
 *     latest=N           times after N seconds since 1970 become that one, and those before 1970 that
 *     no_blocks=1        statfs tells of 0 blocks in all and 0 free ones, as file systems do that do not know
 */
struct refusing {
    char *xattr;
    long most_xattr, latest;
    int no_blocks;
};

static int refuses_name(const struct refusing *refusing, const char *key)
{
    return refusing->xattr && strncmp(key, refusing->xattr, strlen(refusing->xattr)) == 0;
}

/* Return the error number with which an attribute is refused; 0 if it is not. */
static int refusal(const struct refusing *refusing, const char *key, size_t size)
{
    if (refuses_name(refusing, key))
        return EOPNOTSUPP;
    return refusing->most_xattr && (long)size > refusing->most_xattr ? E2BIG : 0;
}

static struct timespec clamped(const struct refusing *refusing, struct timespec asked)
{
    if (!refusing->latest || asked.tv_nsec == UTIME_NOW || asked.tv_nsec == UTIME_OMIT)
        return asked;
    if (asked.tv_sec < 0 || asked.tv_sec > refusing->latest)
        asked = (struct timespec){asked.tv_sec < 0 ? 0 : refusing->latest, 0};
    return asked;
}
