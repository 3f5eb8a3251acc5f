/* Names that differ only in the case of ASCII letters are one. Included by faultfs.c. */
/* Give each component of the path that ends at its end the case that its directory has, if it has one. */
static void fold_one(char *whole, char *name)
{
    struct stat st;
    struct dirent *entry;
    DIR *parent;
    if (lstat(whole, &st) == 0)
        return;
    name[-1] = 0;
    parent = opendir(whole);
    name[-1] = '/';
    while (parent && (entry = readdir(parent)))
        if (strcasecmp(entry->d_name, name) == 0)
            memcpy(name, entry->d_name, strlen(name));
    if (parent)
        closedir(parent);
}

static void fold(char *whole, char *path)
{
    while (*path == '/') {
        char *end = strchrnul(++path, '/'), was = *end;
        *end = 0;
        if (*path)
            fold_one(whole, path);
        *end = was;
        path = end;
    }
}
