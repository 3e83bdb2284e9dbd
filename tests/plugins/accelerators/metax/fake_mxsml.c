/* A libmxsml.so for tests, from a live scenario (motorpool_sdk/testing/scenario.h).
 *
 * Signatures and layouts are those of MxSml.h as MetaX publishes it with its exporters; _Static_assert holds them to the
 * sizes on 64-bit Linux that motorpool_metax/driver.py states.
 *   init CODE | count N (in place of the number of cards) | maca TEXT
 *   card BDF
 *   name TEXT | brand N | mode 0|1|2 | total KIB | used KIB | temperature CENTICELSIUS | xcore PERCENT | dla PERCENT | way MILLIWATTS
 *   driver TEXT | state 0|1 | reason TEXT | ecc SRAM_UE DRAM_UE RETIRED | link BDF TOPOLOGY | process PID BYTES
 *   sgpu ID MIB PERCENT TOTAL USED USAGE (a slice; bytes, and ten thousandths; TOTAL -1: memory is not told) | fault FUNCTION CODE
 */
#define SECTIONS "card"
#include "scenario.h"

enum { OK = 0, FAILURE = 1, NOT_SUPPORTED = 3, INVALID_DEVICE = 6, INSUFFICIENT_SIZE = 10 };

typedef struct { unsigned deviceId, type; char bdfId[32]; unsigned gpuId, nodeId; char uuid[96]; unsigned brand, mode; char deviceName[32]; } mxSmlDeviceInfo_t;
typedef struct { long visVramTotal, visVramUse, vramTotal, vramUse, xttTotal, xttUse; } mxSmlMemoryInfo_t;
typedef struct { unsigned voltage, current, power; } mxSmlBoardWayElectricInfo_t;
typedef struct { unsigned sramCE, sramUE, dramCE, dramUE, retiredPage; } mxSmlEccErrorCount_t;
typedef struct { int unavailableCode; char unavailableReason[64]; } mxSmlDeviceUnavailableReasonInfo_t;
typedef struct { char bdfId[32]; unsigned gpuId; unsigned long gpuMemoryUsage; } mxSmlProcessGpuInfo_t;
typedef struct { unsigned processId; char processName[64]; unsigned gpuNumber; mxSmlProcessGpuInfo_t processGpuInfo[64]; } mxSmlProcessInfo_t;

typedef struct { unsigned parentDeviceId, sgpuId, vramQuota, swQueuePriority, computeQuota, minor, deviceQueuePriority; char uuid[96]; } mxSmlSgpuInfo_t;
typedef struct { long total, used, free; } mxSmlSgpuMemoryInfo_t;

_Static_assert(sizeof(mxSmlSgpuInfo_t) == 124 && sizeof(mxSmlSgpuMemoryInfo_t) == 24, "sgpu");
_Static_assert(sizeof(mxSmlDeviceInfo_t) == 184 && offsetof(mxSmlDeviceInfo_t, brand) == 144, "mxSmlDeviceInfo_t");
_Static_assert(sizeof(mxSmlMemoryInfo_t) == 48 && offsetof(mxSmlMemoryInfo_t, vramTotal) == 16, "mxSmlMemoryInfo_t");
_Static_assert(sizeof(mxSmlBoardWayElectricInfo_t) == 12 && sizeof(mxSmlEccErrorCount_t) == 20, "power, ecc");
_Static_assert(sizeof(mxSmlDeviceUnavailableReasonInfo_t) == 68 && sizeof(mxSmlProcessGpuInfo_t) == 48, "reason, process");
_Static_assert(sizeof(mxSmlProcessInfo_t) == 3144 && offsetof(mxSmlProcessInfo_t, processGpuInfo) == 72, "mxSmlProcessInfo_t");

static int sessions;

static int find(unsigned id, const char *function, int *section)
{
    scenario_enter(function);
    if (!sessions) return FAILURE;
    *section = scenario_section("card", (int)id);
    return *section < 0 ? INVALID_DEVICE : scenario_fault(*section, function);
}

#define FIND(id) int at = 0; do { int code = find(id, __func__, &at); if (code) return code; } while (0)

static int figure(int section, const char *word, int *value)
{
    if (!scenario_text(section, word, NULL)) return NOT_SUPPORTED;
    *value = (int)scenario_number(section, word, 0);
    return OK;
}

static int text(int section, const char *word, char *to, unsigned *size)
{
    const char *found = scenario_text(section, word, NULL);
    if (!found) return NOT_SUPPORTED;
    if (*size <= strlen(found)) return INSUFFICIENT_SIZE;
    strcpy(to, found);
    *size = (unsigned)strlen(found) + 1;
    return OK;
}

API int mxSmlInit(void)
{
    scenario_enter(__func__);
    int code = scenario_is_missing ? 26 : (int)scenario_number(0, "init", OK);
    if (!code) sessions++;
    return code;
}

API unsigned mxSmlGetDeviceCount(void)
{
    scenario_enter(__func__);
    return (unsigned)scenario_number(0, "count", scenario_count("card"));
}

API int mxSmlGetMacaVersion(char *version, unsigned *size) { scenario_enter(__func__); return text(0, "maca", version, size); }

API int mxSmlGetDeviceInfo(unsigned id, mxSmlDeviceInfo_t *info)
{
    FIND(id);
    memset(info, 0, sizeof *info);
    info->deviceId = info->gpuId = id;
    info->brand = (unsigned)scenario_number(at, "brand", 2);
    info->mode = (unsigned)scenario_number(at, "mode", 0);
    snprintf(info->bdfId, sizeof info->bdfId, "%.31s", scenario_sections[at].id);
    snprintf(info->deviceName, sizeof info->deviceName, "%.31s", scenario_text(at, "name", ""));
    return OK;
}

API int mxSmlGetMemoryInfo(unsigned id, mxSmlMemoryInfo_t *info)
{
    FIND(id);
    *info = (mxSmlMemoryInfo_t){1, 1, scenario_number(at, "total", 0), scenario_number(at, "used", 0), 99, 99};
    return OK;
}

API int mxSmlGetTemperatureInfo(unsigned id, int sensor, int *value) { FIND(id); return sensor ? NOT_SUPPORTED : figure(at, "temperature", value); }
API int mxSmlGetDeviceIpUsage(unsigned id, int ip, int *value) { FIND(id); return figure(at, ip == 4 ? "xcore" : ip == 0 ? "dla" : "?", value); }

API int mxSmlGetBoardPowerInfo(unsigned id, unsigned *size, mxSmlBoardWayElectricInfo_t *ways)
{
    FIND(id);
    unsigned count = 0, room = *size;
    const char *way;
    for (; (way = scenario_nth(at, "way", (int)count)); count++)
        if (count < room) ways[count] = (mxSmlBoardWayElectricInfo_t){12000, 1, (unsigned)strtoul(way, NULL, 10)};
    *size = count;
    return count > room ? INSUFFICIENT_SIZE : OK;
}

API int mxSmlGetDeviceVersion(unsigned id, int unit, char *version, unsigned *size) { FIND(id); return unit == 1 ? text(at, "driver", version, size) : NOT_SUPPORTED; }

API int mxSmlGetDeviceTopology(unsigned from, unsigned to, int *kind)
{
    FIND(from);
    char bdf[64];
    int topology, peer = scenario_section("card", (int)to);
    const char *line;
    *kind = from == to ? 0 : 4;
    for (int n = 0; peer > 0 && (line = scenario_nth(at, "link", n)); n++)
        if (sscanf(line, "%63s %d", bdf, &topology) == 2 && !strcmp(bdf, scenario_sections[peer].id)) *kind = topology;
    return OK;
}

API int mxSmlGetDeviceState(unsigned id, int *state) { FIND(id); *state = (int)scenario_number(at, "state", 1); return OK; }

API int mxSmlGetDeviceUnavailableReason(unsigned id, mxSmlDeviceUnavailableReasonInfo_t *reason)
{
    FIND(id);
    reason->unavailableCode = 1;
    snprintf(reason->unavailableReason, sizeof reason->unavailableReason, "%.63s", scenario_text(at, "reason", ""));
    return OK;
}

API int mxSmlGetTotalEccErrors(unsigned id, mxSmlEccErrorCount_t *errors)
{
    FIND(id);
    memset(errors, 0, sizeof *errors);
    sscanf(scenario_text(at, "ecc", "0 0 0"), "%u %u %u", &errors->sramUE, &errors->dramUE, &errors->retiredPage);
    return OK;
}

API int mxSmlGetSingleGpuProcess(unsigned id, unsigned *size, mxSmlProcessInfo_t *processes)
{
    FIND(id);
    unsigned count = 0, room = *size, pid;
    unsigned long bytes;
    const char *line;
    for (; (line = scenario_nth(at, "process", (int)count)); count++) {
        if (count >= room || sscanf(line, "%u %lu", &pid, &bytes) != 2) continue;
        mxSmlProcessInfo_t *process = &processes[count];
        memset(process, 0, sizeof *process);
        process->processId = pid;
        process->gpuNumber = 2;
        snprintf(process->processGpuInfo[0].bdfId, 32, "0000:ff:00.0");
        process->processGpuInfo[0].gpuMemoryUsage = 77;
        snprintf(process->processGpuInfo[1].bdfId, 32, "%.31s", scenario_sections[at].id);
        process->processGpuInfo[1].gpuMemoryUsage = bytes;
    }
    *size = count;
    return count > room ? INSUFFICIENT_SIZE : OK;
}

typedef struct { unsigned id, mebibytes, percent; long total, used; int usage; } Slice;

static int slice_of(int section, unsigned id, Slice *found)
{
    const char *line;
    for (int n = 0; (line = scenario_nth(section, "sgpu", n)); n++)
        if (sscanf(line, "%u %u %u %ld %ld %d", &found->id, &found->mebibytes, &found->percent, &found->total, &found->used, &found->usage) == 6
            && found->id == id)
            return OK;
    return NOT_SUPPORTED;
}

#define SLICE(id, number) FIND(id); Slice found; do { int code = slice_of(at, number, &found); if (code) return code; } while (0)

API unsigned mxSmlGetSgpuCount(unsigned id)
{
    int at = 0;
    unsigned count = 0;
    if (find(id, __func__, &at)) return 0;
    while (scenario_nth(at, "sgpu", (int)count)) count++;
    return count;
}

API int mxSmlGetSgpuInfo(unsigned id, unsigned number, mxSmlSgpuInfo_t *info)
{
    SLICE(id, number);
    memset(info, 0, sizeof *info);
    info->parentDeviceId = id;
    info->sgpuId = number;
    info->vramQuota = found.mebibytes;
    info->computeQuota = found.percent;
    return OK;
}

API int mxSmlGetSgpuMemory(unsigned id, unsigned number, mxSmlSgpuMemoryInfo_t *memory)
{
    SLICE(id, number);
    *memory = (mxSmlSgpuMemoryInfo_t){found.total, found.used, found.total - found.used};
    return found.total < 0 ? NOT_SUPPORTED : OK;
}

API int mxSmlGetSgpuUsage(unsigned id, unsigned number, int *usage) { SLICE(id, number); *usage = found.usage; return OK; }
