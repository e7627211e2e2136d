/* To be preloaded: writes a line "inode size" to the file SYNCED_SIZES for each file that was synced to the disk. What
   was written to the file while it was being synced may not be on the disk, and does not count. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int synced(int file, const char *name) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat before;
    int known = fstat(file, &before) == 0;
    int result = real(file);
    int log = open(getenv("SYNCED_SIZES"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (result == 0 && known && log >= 0)
        dprintf(log, "%llu %lld\n", (unsigned long long)before.st_ino, (long long)before.st_size);
    close(log);
    return result;
}

int fdatasync(int file) { return synced(file, "fdatasync"); }
int fsync(int file) { return synced(file, "fsync"); }
