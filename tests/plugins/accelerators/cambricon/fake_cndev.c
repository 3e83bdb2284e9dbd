/* A libcndev.so for tests, from a live scenario (motorpool_sdk/testing/scenario.h).
 *
 * Signatures and layouts are those of cndev.h as Cambricon publishes it with its exporter; _Static_assert holds them to
 * the sizes on 64-bit Linux that motorpool_cambricon/driver.py states.
 *   init CODE | count N (in place of the number of cards) | speaks VERSION (of the API, and no other: 6)
 *   card INDEX
 *   name TEXT | domain N | bus N | slot N (of the address) | func N | number N (the slot's) | total MIB | used MIB | load PERCENT
 *   chip CELSIUS | board CELSIUS | power WATTS | driver MAJOR MINOR BUILD | health HEALTH DEVICE DRIVER | process PID KIB
 *   mim UUID PROFILE ID MIB USED LOAD NODE | smlu UUID PROFILE ID BYTES USED NODE (instances) | mode mim|smlu (without any)
 *   uuid TEXT | link UUID | link down UUID (it still tells whose it was) | fault FUNCTION CODE
 */
#define SECTIONS "card"
#include "scenario.h"

enum { OK = 0, NO_DRIVER = 1, WRONG_VERSION = 3, UNINITIALIZED = 4, INVALID_DEVICE = 6, NO_ROOM = 9, NOT_SUPPORTED = 10 };
/* What the binding holds of the n-th card. */
enum { HANDLE = 1000, PART = 100000, PARTS = 100 };

typedef struct { int version; unsigned number; } cndevCardInfo_t;
typedef struct { int64_t physTotal, physUsed, reserved, virtTotal, virtUsed; uint64_t globalMemory, rest[16]; } MemoryUsage;
typedef struct { int version, average, core[80]; } cndevUtilizationInfo_t;
typedef struct { int version, board, cluster[20], memoryDie[8], chip, airInlet, airOutlet, memory, rest[3]; } cndevTemperatureInfo_t;
typedef struct { int usage, cap, machine, tdp, maxPower, rest[16]; } PowerInfo;
typedef struct { unsigned subsystemId, deviceId; uint16_t vendor, subsystemVendor; unsigned domain, bus, device, function; uint16_t moduleId, slotId; unsigned rest[8]; } PcieInfo;
typedef struct { int version; unsigned mcu[3], driver[3]; } cndevVersionInfo_t;
typedef struct { int version, health, deviceState, driverState; } cndevCardHealthState_t;
typedef struct { int version; unsigned pid; uint64_t physicalMemoryUsed, virtualMemoryUsed; } cndevProcessInfo_t;

typedef struct { int version; uint8_t uuid[37]; uint64_t ncsUUID64; } cndevUUID_t;
typedef struct { int macState, serdesState, presenceState; unsigned rest[8]; } cndevMLULinkStatusV2_t;
typedef struct { int version; uint64_t mcSn, baSn; unsigned slotId, portId; uint8_t devIp[16], uuid[37]; unsigned devIpVersion, isIpValid; int connectType; uint64_t ncsUUID64; uint8_t mac[6]; char portName[256]; } cndevMLULinkRemoteInfo_t;

typedef struct { int version, mode; } Mode;
typedef struct {
    int version, parentDevice, instanceId, profileId;
    uint8_t uuid[37];
    int domain, bus, device, function;
    struct { int version, start, size; } placement;
    int mluCoreCount, vpuCount, jpuCount, gdmaCount, memorySize;
    char profileName[100], devNodeName[100], ipcmDevNodeName[100], instanceName[100];
    unsigned rest[128];
} cndevMluInstanceInfo_t;
typedef struct {
    int version, profileId, instanceId;
    uint8_t uuid[37];
    int domain, bus, device, function;
    char profileName[100], instanceName[100], devNodeName[100];
    uint32_t mluQuota[2];
    uint64_t memorySize[2];
    unsigned rest[128];
} cndevSMluInfo_t;
typedef struct { char uuid[37], profile[32], node[64]; int id; long long total, used, load; } Part;

_Static_assert(sizeof(cndevMluInstanceInfo_t) == 1016 && offsetof(cndevMluInstanceInfo_t, profileName) == 104, "MIM instance");
_Static_assert(sizeof(cndevSMluInfo_t) == 904 && offsetof(cndevSMluInfo_t, memorySize) == 376, "sMLU instance");
_Static_assert(sizeof(cndevUUID_t) == 56 && sizeof(cndevMLULinkStatusV2_t) == 44, "uuid, link");
_Static_assert(sizeof(cndevMLULinkRemoteInfo_t) == 376 && offsetof(cndevMLULinkRemoteInfo_t, uuid) == 48, "link's remote");
_Static_assert(sizeof(cndevCardInfo_t) == 8 && sizeof(MemoryUsage) == 176, "card, memory");
_Static_assert(sizeof(cndevUtilizationInfo_t) == 328 && sizeof(PowerInfo) == 84, "utilization, power");
_Static_assert(sizeof(cndevTemperatureInfo_t) == 148 && offsetof(cndevTemperatureInfo_t, chip) == 120, "temperature");
_Static_assert(sizeof(PcieInfo) == 64 && offsetof(PcieInfo, domain) == 12 && offsetof(PcieInfo, slotId) == 30, "pcie");
_Static_assert(sizeof(cndevVersionInfo_t) == 28 && sizeof(cndevCardHealthState_t) == 16 && sizeof(cndevProcessInfo_t) == 24, "rest");

static int sessions;

/* A structure that begins with a version has the driver's, or the call fails. */
static int speaks(int version) { return version == scenario_number(0, "speaks", 6) ? OK : WRONG_VERSION; }

static int find(int device, const char *function, int *section)
{
    scenario_enter(function);
    if (!sessions) return UNINITIALIZED;
    if (device >= PART) device = HANDLE + (device - PART) / PARTS;
    *section = scenario_section("card", device - HANDLE);
    return *section < 0 ? INVALID_DEVICE : scenario_fault(*section, function);
}

#define FIND(device) int at = 0; do { int code = find(device, __func__, &at); if (code) return code; } while (0)
#define SPEAK(info) do { int code = speaks((info)->version); if (code) return code; } while (0)

/* The n-th instance of a card; 0 where there is none. */
static int part(int section, const char *word, int n, Part *found)
{
    const char *line = scenario_nth(section, word, n);
    memset(found, 0, sizeof *found);
    if (!line) return 0;
    if (!strcmp(word, "mim"))
        sscanf(line, "%36s %31s %d %lld %lld %lld %63s", found->uuid, found->profile, &found->id, &found->total, &found->used, &found->load, found->node);
    else
        sscanf(line, "%36s %31s %d %lld %lld %63s", found->uuid, found->profile, &found->id, &found->total, &found->used, found->node);
    return 1;
}

/* The MIM instance that a handle stands for. */
static int part_of(int device, int section, Part *found)
{
    for (int n = 0; device >= PART && part(section, "mim", n, found); n++)
        if (found->id == (device - PART) % PARTS) return 1;
    return 0;
}

static int mode(Mode *told, int device, const char *function, const char *word)
{
    int at = 0, code = find(device, function, &at);
    if (code) return code;
    SPEAK(told);
    told->mode = scenario_nth(at, word, 0) || !strcmp(scenario_text(at, "mode", ""), word);
    return OK;
}

API int cndevGetMimMode(Mode *told, int device) { return mode(told, device, __func__, "mim"); }
API int cndevGetSMLUMode(Mode *told, int device) { return mode(told, device, __func__, "smlu"); }

API int cndevGetAllMluInstanceInfo(int *count, cndevMluInstanceInfo_t *found, int device)
{
    FIND(device);
    SPEAK(found);
    Part each;
    int room = *count;
    for (*count = 0; part(at, "mim", *count, &each); ++*count) {
        if (*count >= room) return NO_ROOM;
        found[*count].instanceId = each.id;
        memcpy(found[*count].uuid, each.uuid, sizeof each.uuid);
        strcpy(found[*count].profileName, each.profile);
        strcpy(found[*count].devNodeName, each.node);
    }
    return OK;
}

API int cndevGetAllSMluInstanceInfo(int *count, cndevSMluInfo_t *found, int device)
{
    FIND(device);
    SPEAK(found);
    Part each;
    int room = *count;
    for (*count = 0; part(at, "smlu", *count, &each); ++*count) {
        if (*count >= room) return NO_ROOM;
        found[*count].instanceId = each.id;
        memcpy(found[*count].uuid, each.uuid, sizeof each.uuid);
        strcpy(found[*count].profileName, each.profile);
        strcpy(found[*count].devNodeName, each.node);
        found[*count].memorySize[0] = (uint64_t)each.total;
        found[*count].memorySize[1] = (uint64_t)each.used;
    }
    *count = (int)scenario_number(at, "instances", *count);
    return OK;
}

API int cndevGetMluInstanceById(int *handle, int id, int device)
{
    FIND(device);
    *handle = PART + (device - HANDLE) * PARTS + id;
    return OK;
}

API int cndevInit(int reserved)
{
    scenario_enter(__func__);
    int code = scenario_is_missing || reserved ? NO_DRIVER : (int)scenario_number(0, "init", OK);
    if (!code) sessions++;
    return code;
}

API int cndevGetDeviceCount(cndevCardInfo_t *info)
{
    scenario_enter(__func__);
    SPEAK(info);
    info->number = (unsigned)scenario_number(0, "count", scenario_count("card"));
    return OK;
}

API int cndevGetDeviceHandleByIndex(int index, int *device)
{
    *device = HANDLE + index;
    FIND(HANDLE + index);
    return OK;
}

API const char *cndevGetCardNameStringByDevId(int device)
{
    int at = 0;
    return find(device, __func__, &at) ? NULL : scenario_text(at, "name", "");
}

API int cndevGetMemoryUsageV2(MemoryUsage *usage, int device)
{
    FIND(device);
    Part own;
    if (part_of(device, at, &own)) {
        *usage = (MemoryUsage){own.total, own.used, 1, 2, 3, 4, {0}};
        return OK;
    }
    *usage = (MemoryUsage){scenario_number(at, "total", 0), scenario_number(at, "used", 0), 1, 2, 3, 4, {0}};
    return OK;
}

API int cndevGetDeviceUtilizationInfo(cndevUtilizationInfo_t *info, int device)
{
    FIND(device);
    SPEAK(info);
    Part own;
    info->average = part_of(device, at, &own) ? (int)own.load : (int)scenario_number(at, "load", 0);
    return OK;
}

API int cndevGetTemperatureInfo(cndevTemperatureInfo_t *info, int device)
{
    FIND(device);
    SPEAK(info);
    info->chip = (int)scenario_number(at, "chip", 0);
    info->board = (int)scenario_number(at, "board", 0);
    return OK;
}

API int cndevGetDevicePowerInfo(PowerInfo *info, int device) { FIND(device); info->usage = (int)scenario_number(at, "power", 0); return OK; }

API int cndevGetPCIeInfoV2(PcieInfo *info, int device)
{
    FIND(device);
    memset(info, 0, sizeof *info);
    info->domain = (unsigned)scenario_number(at, "domain", 0);
    info->bus = (unsigned)scenario_number(at, "bus", 0);
    info->device = (unsigned)scenario_number(at, "slot", 0);
    info->function = (unsigned)scenario_number(at, "func", 0);
    info->slotId = (uint16_t)scenario_number(at, "number", 0);
    return OK;
}

API int cndevGetUUID(cndevUUID_t *info, int device)
{
    FIND(device);
    SPEAK(info);
    const char *uuid = scenario_text(at, "uuid", NULL);
    if (!uuid) return NOT_SUPPORTED;
    snprintf((char *)info->uuid, sizeof info->uuid, "%.36s", uuid);
    return OK;
}

API int cndevGetMLULinkPortNumber(int device)
{
    FIND(device);
    int count = 0;
    while (scenario_nth(at, "link", count)) count++;
    return count;
}

API int cndevGetMLULinkStatusV2(cndevMLULinkStatusV2_t *status, int device, int port)
{
    FIND(device);
    const char *peer = scenario_nth(at, "link", port);
    memset(status, 0, sizeof *status);
    status->macState = peer && strncmp(peer, "down", 4) ? 3 : 0;
    return peer ? OK : INVALID_DEVICE;
}

API int cndevGetMLULinkRemoteInfo(cndevMLULinkRemoteInfo_t *info, int device, int port)
{
    FIND(device);
    SPEAK(info);
    const char *peer = scenario_nth(at, "link", port);
    if (!peer) return INVALID_DEVICE;
    snprintf((char *)info->uuid, sizeof info->uuid, "%.36s", strncmp(peer, "down ", 5) ? peer : peer + 5);
    return OK;
}

API int cndevGetVersionInfo(cndevVersionInfo_t *info, int device)
{
    FIND(device);
    SPEAK(info);
    sscanf(scenario_text(at, "driver", "0 0 0"), "%u %u %u", &info->driver[0], &info->driver[1], &info->driver[2]);
    return OK;
}

API int cndevGetCardHealthState(cndevCardHealthState_t *state, int device)
{
    FIND(device);
    SPEAK(state);
    sscanf(scenario_text(at, "health", "1 0 0"), "%d %d %d", &state->health, &state->deviceState, &state->driverState);
    return OK;
}

API int cndevGetProcessInfo(unsigned *count, cndevProcessInfo_t *processes, int device)
{
    FIND(device);
    SPEAK(processes);
    unsigned there = 0, room = *count, pid;
    unsigned long kib;
    const char *line;
    for (; (line = scenario_nth(at, "process", (int)there)); there++)
        if (there < room && sscanf(line, "%u %lu", &pid, &kib) == 2) processes[there] = (cndevProcessInfo_t){6, pid, kib, 9};
    *count = there;
    return there > room ? NO_ROOM : OK;
}
