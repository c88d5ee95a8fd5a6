/* Time, quantiles, and what /proc tells about the servers and the cores. */
#include "wsload.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

hist_t all_receipts, last_receipts;
uint64_t measured_from = UINT64_MAX, measured_to = UINT64_MAX;

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* -1 when nothing was counted */
double hist_quantile_us(const hist_t *h, double q)
{
    uint64_t want = (uint64_t)(q * (double)h->n), seen = 0;
    if (!h->n) return -1;
    for (int i = 0; i < 64 * 64; i++) {
        seen += h->bucket[i];
        if (seen <= want) continue;
        if (i < 64) return i / 1e3;
        int e = i / 64 + 5;
        return (double)((1ull << e) + ((uint64_t)(i & 63) << (e - 6))) / 1e3;
    }
    return (double)h->max / 1e3;
}

static void add_cpu(const char *pid, usage_t *sum)
{
    char name[64], line[1024];
    unsigned long user = 0, system = 0;
    snprintf(name, sizeof name, "/proc/%s/stat", pid);
    FILE *f = fopen(name, "r");
    if (!f) return;
    if (fgets(line, sizeof line, f)) {
        char *after_name = strrchr(line, ')'); /* a process's name may hold spaces */
        if (after_name && sscanf(after_name + 2,
                                 "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                                 &user, &system) == 2) {
            double tick = (double)sysconf(_SC_CLK_TCK);
            sum->user_s += (double)user / tick;
            sum->cpu_s += (double)(user + system) / tick;
        }
    }
    fclose(f);
}

static void add_rss(const char *pid, usage_t *sum)
{
    char name[64], line[1024];
    double kib;
    snprintf(name, sizeof name, "/proc/%s/smaps_rollup", pid);
    FILE *f = fopen(name, "r");
    if (!f) return;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "Rss: %lf", &kib) == 1) { sum->rss_kib += kib; break; }
    fclose(f);
}

/* pids: comma separated, or null */
usage_t processes_usage(const char *pids)
{
    usage_t sum = {0};
    char list[256], *save = 0;
    if (!pids) return sum;
    snprintf(list, sizeof list, "%s", pids);
    for (char *pid = strtok_r(list, ",", &save); pid; pid = strtok_r(0, ",", &save)) {
        add_cpu(pid, &sum);
        add_rss(pid, &sum);
    }
    return sum;
}

/* Busy seconds of the first two cores since boot: what others took of them shows here. */
void cores_busy(double busy[2], double *steal)
{
    char line[512];
    double tick = (double)sysconf(_SC_CLK_TCK);
    *steal = busy[0] = busy[1] = 0;
    FILE *f = fopen("/proc/stat", "r");
    if (!f) return;
    while (fgets(line, sizeof line, f)) {
        int core;
        double user, nice, system, idle, wait, irq, softirq, stolen;
        if (sscanf(line, "cpu%d %lf %lf %lf %lf %lf %lf %lf %lf", &core, &user, &nice, &system, &idle,
                   &wait, &irq, &softirq, &stolen) == 9 && core < 2) {
            busy[core] = (user + nice + system + irq + softirq) / tick;
            *steal += stolen / tick;
        }
    }
    fclose(f);
}
