/* What writes in bench/console.py: compiled, so that its own speed does not hide the agent's.
 *
 *   console_child GO flood LINES [CREDIT]   LINES lines of 80 bytes, 64 KiB a write(2)
 *   console_child GO tick LINES             the same, one each millisecond, with the time in it
 *
 * It begins when the file GO exists, writes the nanoseconds that it took to GO.done, and stays
 * as long as its output can be read.
 * CREDIT is a named pipe: each byte that comes by it allows one write.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 81, SIZE = 65536 };

static char buffer[SIZE + LINE];

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void put(const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(1, data, size);
        if (written <= 0)
            exit(1);
        data += written;
        size -= written;
    }
}

static void flood(long lines, int credit)
{
    char line[LINE + 1] = "000000000 ", byte;
    size_t fill = 0;
    for (int i = 0; i < 70; i++)
        line[10 + i] = 'a' + i % 26;
    line[LINE - 1] = '\n';
    for (long n = 0; n < lines; n++) {
        memcpy(buffer + fill, line, LINE);
        fill += LINE;
        for (int i = 8; i >= 0 && ++line[i] > '9'; i--)
            line[i] = '0';
        if (fill >= SIZE || n == lines - 1) {
            size_t size = fill < SIZE ? fill : SIZE;
            if (credit >= 0 && read(credit, &byte, 1) != 1)
                exit(1);
            put(buffer, size);
            fill -= size;
            memmove(buffer, buffer + size, fill);
        }
    }
    put(buffer, fill);
}

static void tick(long lines, long long begin)
{
    char line[LINE + 8];
    for (long n = 0; n < lines; n++) {
        long long at = begin + n * 1000000;
        struct timespec t = {at / 1000000000, at % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        snprintf(line, sizeof line, "%09ld %019lld%52s", n, now(), "\n");
        put(line, LINE);
    }
}

int main(int argc, char **argv)
{
    char path[4096];
    if (argc < 4)
        return 2;
    long lines = atol(argv[3]);
    int credit = argc > 4 ? open(argv[4], O_RDONLY) : -1;
    if (argc > 4 && credit < 0)
        return 1;
    while (access(argv[1], F_OK) != 0)
        usleep(1000);
    long long begin = now();
    if (strcmp(argv[2], "tick") == 0)
        tick(lines, begin);
    else
        flood(lines, credit);
    long long took = now() - begin;
    snprintf(path, sizeof path, "%s.done", argv[1]);
    FILE *done = fopen(path, "w");
    if (done == NULL || fprintf(done, "%lld\n", took) < 0 || fclose(done) != 0)
        return 1;
    struct pollfd output = {1, 0, 0};
    poll(&output, 1, -1); /* until nobody can read: websocketd leaves it behind */
    return 0;
}
