/* A libmtml.so.2 for tests, from a live scenario (motorpool_sdk/testing/scenario.h).
 *
 * Signatures and layouts are those of mtml.h 2.2.0 as Moore Threads publishes it with mthreads-ml-py; _Static_assert
 * holds them to the sizes on 64-bit Linux that motorpool_mthreads/driver.py states.
 * At most MOST_HANDLES are open at a time: whoever does not free what it opens is soon refused.
 *   init CODE | count N (in place of the number of cards) | driver TEXT
 *   card BDF
 *   name TEXT | total BYTES | used BYTES | load PERCENT | temperature C | power MILLIWATTS | gpu PATH | primary PATH
 *   render PATH | link BDF|down | uuid TEXT | mpc parent|BDF (of the card that it is an instance of)
 *   fault FUNCTION CODE
 */
#define SECTIONS "card"
#include "scenario.h"

enum { OK = 0, DRIVER_NOT_LOADED = 1, INVALID_ARGUMENT = 3, NOT_SUPPORTED = 4, INSUFFICIENT_SIZE = 6, NOT_FOUND = 7, NO_MEMORY = 8 };
enum { LIBRARY = 1, SYSTEM, DEVICE, MEMORY, GPU };
#define MOST_HANDLES 6

typedef struct {
    char sbdf[32];
    unsigned segment, bus, device, pciDeviceId, pciSubsystemId, busWidth;
    float pciMaxSpeed, pciCurSpeed;
    unsigned pciMaxWidth, pciCurWidth, pciMaxGen, pciCurGen;
    int rsvd[6];
} MtmlPciInfo;
typedef struct { unsigned virtCap : 1, virtRole : 3, mpcCap : 1, mpcType : 3, mtLinkCap : 1, rsvd : 23, rsvd2 : 32; } MtmlDeviceProperty;
_Static_assert(sizeof(MtmlDeviceProperty) == 8, "MtmlDeviceProperty");
typedef struct { unsigned version, bandWidth, linkNum, rsvd[4]; } MtmlMtLinkSpec;
_Static_assert(sizeof(MtmlPciInfo) == 104 && offsetof(MtmlPciInfo, bus) == 36, "MtmlPciInfo");
_Static_assert(sizeof(MtmlMtLinkSpec) == 28, "MtmlMtLinkSpec");

typedef struct { int kind, card; } Handle;
static Handle library = {LIBRARY, 0}, pool[MOST_HANDLES], peers[64];

static int opened(int kind, int card, Handle **handle)
{
    for (int i = 0; i < MOST_HANDLES; i++)
        if (!pool[i].kind) {
            pool[i] = (Handle){kind, card};
            *handle = &pool[i];
            return OK;
        }
    return NO_MEMORY;
}

static int freed(Handle *handle, int kind)
{
    if (!handle || handle->kind != kind) return INVALID_ARGUMENT;
    /* What belongs to a device is to be freed before it. */
    for (int i = 0; kind == DEVICE && i < MOST_HANDLES; i++)
        if (pool[i].kind > DEVICE && pool[i].card == handle->card) abort();
    handle->kind = 0;
    return OK;
}

static int find(const Handle *handle, int kind, const char *function, int *section)
{
    scenario_enter(function);
    if (!handle || handle->kind != kind) return INVALID_ARGUMENT;
    if (handle->card >= scenario_count("card")) return NOT_FOUND;
    *section = scenario_section("card", handle->card);
    return scenario_fault(*section, function);
}

#define FIND(handle, kind) int at = 0; do { int code = find(handle, kind, __func__, &at); if (code) return code; } while (0)

static int text(int section, const char *word, char *to, unsigned length)
{
    const char *found = scenario_text(section, word, NULL);
    if (!found) return NOT_SUPPORTED;
    if (strlen(found) >= length) return INSUFFICIENT_SIZE;
    strcpy(to, found);
    return OK;
}

static int number(int section, const char *word, unsigned *value)
{
    if (!scenario_text(section, word, NULL)) return NOT_SUPPORTED;
    *value = (unsigned)scenario_number(section, word, 0);
    return OK;
}

API int mtmlLibraryInit(Handle **session)
{
    scenario_enter(__func__);
    *session = &library;
    return scenario_is_missing ? DRIVER_NOT_LOADED : (int)scenario_number(0, "init", OK);
}

API int mtmlLibraryCountDevice(const Handle *session, unsigned *count)
{
    scenario_enter(__func__);
    if (session != &library) return INVALID_ARGUMENT;
    *count = (unsigned)scenario_number(0, "count", scenario_count("card"));
    return OK;
}

API int mtmlLibraryInitSystem(const Handle *session, Handle **system) { scenario_enter(__func__); return session == &library ? opened(SYSTEM, -1, system) : INVALID_ARGUMENT; }
API int mtmlLibraryFreeSystem(Handle *system) { return freed(system, SYSTEM); }
API int mtmlSystemGetDriverVersion(const Handle *system, char *version, unsigned length) { scenario_enter(__func__); return system->kind == SYSTEM ? text(0, "driver", version, length) : INVALID_ARGUMENT; }

API int mtmlLibraryInitDeviceByIndex(const Handle *session, unsigned index, Handle **device)
{
    scenario_enter(__func__);
    if (session != &library) return INVALID_ARGUMENT;
    int at = scenario_section("card", (int)index);
    int code = at < 0 ? NOT_FOUND : scenario_fault(at, __func__);
    return code ? code : opened(DEVICE, (int)index, device);
}

API int mtmlLibraryFreeDevice(Handle *device) { return freed(device, DEVICE); }
API int mtmlDeviceInitMemory(const Handle *device, Handle **memory) { FIND(device, DEVICE); return opened(MEMORY, device->card, memory); }
API int mtmlDeviceFreeMemory(Handle *memory) { return freed(memory, MEMORY); }
API int mtmlDeviceInitGpu(const Handle *device, Handle **gpu) { FIND(device, DEVICE); return opened(GPU, device->card, gpu); }
API int mtmlDeviceFreeGpu(Handle *gpu) { return freed(gpu, GPU); }

API int mtmlDeviceGetName(const Handle *device, char *name, unsigned length) { FIND(device, DEVICE); return text(at, "name", name, length); }
API int mtmlDeviceGetGpuPath(const Handle *device, char *path, unsigned length) { FIND(device, DEVICE); return text(at, "gpu", path, length); }
API int mtmlDeviceGetPrimaryPath(const Handle *device, char *path, unsigned length) { FIND(device, DEVICE); return text(at, "primary", path, length); }
API int mtmlDeviceGetRenderPath(const Handle *device, char *path, unsigned length) { FIND(device, DEVICE); return text(at, "render", path, length); }
API int mtmlDeviceGetPowerUsage(const Handle *device, unsigned *power) { FIND(device, DEVICE); return number(at, "power", power); }

API int mtmlDeviceGetPciInfo(const Handle *device, MtmlPciInfo *info)
{
    FIND(device, DEVICE);
    memset(info, 0, sizeof *info);
    snprintf(info->sbdf, sizeof info->sbdf, "%.31s", scenario_sections[at].id);
    return OK;
}

static int shared(const char *bdf, Handle **device)
{
    for (int i = 0; bdf && i < scenario_count("card") && i < 64; i++)
        if (!strcmp(scenario_sections[scenario_section("card", i)].id, bdf)) {
            peers[i] = (Handle){DEVICE, i};
            *device = &peers[i];
            return OK;
        }
    return NOT_FOUND;
}

API int mtmlDeviceGetUUID(const Handle *device, char *uuid, unsigned length) { FIND(device, DEVICE); return text(at, "uuid", uuid, length); }
API int mtmlDeviceGetMpcParentDevice(const Handle *device, Handle **parent) { FIND(device, DEVICE); return shared(scenario_text(at, "mpc", NULL), parent); }

API int mtmlDeviceGetProperty(const Handle *device, MtmlDeviceProperty *property)
{
    FIND(device, DEVICE);
    const char *mpc = scenario_text(at, "mpc", NULL);
    *property = (MtmlDeviceProperty){.virtRole = 1, .mpcCap = mpc != NULL, .mpcType = !mpc ? 0 : strcmp(mpc, "parent") ? 2 : 1, .mtLinkCap = 1};
    return OK;
}

API int mtmlMemoryGetTotal(const Handle *memory, unsigned long long *bytes) { FIND(memory, MEMORY); *bytes = (unsigned long long)scenario_number(at, "total", 0); return OK; }
API int mtmlMemoryGetUsed(const Handle *memory, unsigned long long *bytes) { FIND(memory, MEMORY); *bytes = (unsigned long long)scenario_number(at, "used", 0); return OK; }
API int mtmlGpuGetUtilization(const Handle *gpu, unsigned *percent) { FIND(gpu, GPU); return number(at, "load", percent); }
API int mtmlGpuGetTemperature(const Handle *gpu, int *celsius) { FIND(gpu, GPU); return number(at, "temperature", (unsigned *)celsius); }

API int mtmlDeviceGetMtLinkSpec(const Handle *device, MtmlMtLinkSpec *spec)
{
    FIND(device, DEVICE);
    memset(spec, 0, sizeof *spec);
    while (scenario_nth(at, "link", (int)spec->linkNum)) spec->linkNum++;
    return spec->linkNum ? OK : NOT_SUPPORTED;
}

API int mtmlDeviceGetMtLinkState(const Handle *device, unsigned link, int *state)
{
    FIND(device, DEVICE);
    const char *peer = scenario_nth(at, "link", (int)link);
    *state = peer && strcmp(peer, "down") ? 1 : 0;
    return OK;
}

API int mtmlDeviceGetMtLinkRemoteDevice(const Handle *device, unsigned link, Handle **remote)
{
    FIND(device, DEVICE);
    return shared(scenario_nth(at, "link", (int)link), remote);
}
