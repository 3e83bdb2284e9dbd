/* A libnvidia-ml.so.1 for tests. Its cards stand in the file "scenario" beside the library and are read again at every
 * call, so that a test can change memory, load and health while an agent runs.
 *
 * Signatures, struct layouts and return codes are those of nvml.h as nvidia-ml-py 13.615.71 (pynvml.py) declares them:
 * c_nvmlMemory_t, c_nvmlMemory_v2_t (version 0x02000028), nvmlPciInfo_t, c_nvmlUtilization_t, c_nvmlProcessInfo_v2_t,
 * c_nvmlFieldValue_t. _Static_assert below holds them to their sizes and offsets on 64-bit Linux.
 *
 * A scenario is lines of a word and the rest of the line. Lines after "card" are of that card, after "partition" of
 * that partition of it:
 *   driver 580.95.05 | cuda 13000 | init CODE | hang FUNCTION | segfault FUNCTION
 *   card UUID | partition UUID | hole (a number of a partition that is not there any more)
 *   name TEXT | bus DOMAIN:BUS:DEVICE | total MIB | reserved MIB | used MIB | util PERCENT | temperature C | power MW
 *   capability MAJOR MINOR | architecture N | mig 0|1 | gpu_instance N | process PID MIB|? | graphics PID MIB|?
 *   ecc N | remap PENDING FAILED | retire 0|1 | link UUID|switch | speed MBPS
 *   fault WORD CODE (that question is answered so; WORD "all" for every one but "handle", which is for getting hold of it)
 * -DOLD_DRIVER leaves out what a driver of 2019 does not have.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, ARGUMENT_VERSION_MISMATCH = 25
};
typedef int nvmlReturn_t;

typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;
typedef struct { unsigned gpu, memory; } nvmlUtilization_t;
typedef struct {
    unsigned pid;
    unsigned long long usedGpuMemory;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;
typedef union { double dVal; unsigned uiVal; unsigned long long ullVal; } nvmlValue_t;
typedef struct {
    unsigned fieldId, scopeId;
    long long timestamp, latencyUsec;
    int valueType, nvmlReturn;
    nvmlValue_t value;
} nvmlFieldValue_t;

_Static_assert(sizeof(nvmlMemory_t) == 24, "nvmlMemory_t");
_Static_assert(sizeof(nvmlMemory_v2_t) == 40 && offsetof(nvmlMemory_v2_t, total) == 8, "nvmlMemory_v2_t");
_Static_assert(offsetof(nvmlMemory_v2_t, reserved) == 16 && offsetof(nvmlMemory_v2_t, used) == 32, "nvmlMemory_v2_t");
_Static_assert(sizeof(nvmlPciInfo_t) == 68 && offsetof(nvmlPciInfo_t, busId) == 36, "nvmlPciInfo_t");
_Static_assert(sizeof(nvmlUtilization_t) == 8, "nvmlUtilization_t");
_Static_assert(sizeof(nvmlProcessInfo_t) == 24 && offsetof(nvmlProcessInfo_t, usedGpuMemory) == 8, "nvmlProcessInfo_t");
_Static_assert(sizeof(nvmlFieldValue_t) == 40 && offsetof(nvmlFieldValue_t, value) == 32, "nvmlFieldValue_t");

#define MOST_CARDS 16
#define MOST_PARTITIONS 8
#define MOST_ITEMS 40

typedef struct { unsigned pid; unsigned long long bytes; int graphics; } Process;
typedef struct { char word[24]; int code; } Refusal;
typedef struct {
    char uuid[96], name[96], bus[32];
    unsigned long long total, reserved, used;
    unsigned util, temperature, power, architecture, mig, gpu_instance, ecc, pending, failed, retire, speed;
    int major, minor, hole;
    Process processes[MOST_ITEMS];
    int process_count;
    char links[MOST_ITEMS][96];
    int link_count;
    Refusal refusals[MOST_ITEMS];
    int refusal_count;
} Part;
typedef struct { Part self, partitions[MOST_PARTITIONS]; int partition_count; } Card;
/* What the binding holds is a pointer into this table; it stays valid whatever becomes of the card. */
typedef struct { int card, partition; } Handle;
typedef Handle *nvmlDevice_t;

static Handle handles[MOST_CARDS][MOST_PARTITIONS + 1];
static int sessions;
static Card cards[MOST_CARDS];
static int card_count, init_code, cuda;
static char driver[80], hangs[96], crashes[96];

static void read_scenario(void)
{
    card_count = 0;
    init_code = SUCCESS;
    cuda = 12040;
    strcpy(driver, "550.54.15");
    hangs[0] = crashes[0] = 0;
    Dl_info library;
    char path[PATH_MAX];
    FILE *file = NULL;
    if (dladdr((void *)read_scenario, &library)) {
        snprintf(path, sizeof path, "%s", library.dli_fname);
        char *slash = strrchr(path, '/');
        snprintf(slash ? slash + 1 : path, sizeof path - (slash ? (size_t)(slash + 1 - path) : 0), "scenario");
        file = fopen(path, "r");
    }
    if (!file) {
        init_code = DRIVER_NOT_LOADED;
        return;
    }
    char line[256], word[64], rest[160];
    Card *card = NULL;
    Part *part = NULL;
    while (fgets(line, sizeof line, file)) {
        rest[0] = 0;
        if (sscanf(line, "%63s %159[^\n]", word, rest) < 1) continue;
#define IS(text) (!strcmp(word, text))
#define NUMBER(field) ((field) = strtoul(rest, NULL, 10))
        if (IS("driver")) snprintf(driver, sizeof driver, "%.79s", rest);
        else if (IS("cuda")) cuda = atoi(rest);
        else if (IS("init")) init_code = atoi(rest);
        else if (IS("hang")) snprintf(hangs, sizeof hangs, "%.95s", rest);
        else if (IS("segfault")) snprintf(crashes, sizeof crashes, "%.95s", rest);
        else if (IS("card") && card_count < MOST_CARDS) {
            card = &cards[card_count++];
            memset(card, 0, sizeof *card);
            part = &card->self;
            snprintf(part->uuid, sizeof part->uuid, "%.95s", rest);
        } else if (!card) continue;
        else if ((IS("partition") || IS("hole")) && card->partition_count < MOST_PARTITIONS) {
            part = &card->partitions[card->partition_count++];
            memset(part, 0, sizeof *part);
            part->hole = IS("hole");
            snprintf(part->uuid, sizeof part->uuid, "%.95s", rest);
        }
        else if (IS("name")) snprintf(part->name, sizeof part->name, "%.95s", rest);
        else if (IS("bus")) snprintf(part->bus, sizeof part->bus, "%.31s", rest);
        else if (IS("total")) part->total = strtoull(rest, NULL, 10) << 20;
        else if (IS("reserved")) part->reserved = strtoull(rest, NULL, 10) << 20;
        else if (IS("used")) part->used = strtoull(rest, NULL, 10) << 20;
        else if (IS("util")) NUMBER(part->util);
        else if (IS("temperature")) NUMBER(part->temperature);
        else if (IS("power")) NUMBER(part->power);
        else if (IS("capability")) sscanf(rest, "%d %d", &part->major, &part->minor);
        else if (IS("architecture")) NUMBER(part->architecture);
        else if (IS("mig")) NUMBER(part->mig);
        else if (IS("gpu_instance")) NUMBER(part->gpu_instance);
        else if (IS("ecc")) NUMBER(part->ecc);
        else if (IS("remap")) sscanf(rest, "%u %u", &part->pending, &part->failed);
        else if (IS("retire")) NUMBER(part->retire);
        else if (IS("speed")) NUMBER(part->speed);
        else if (IS("link") && part->link_count < MOST_ITEMS) snprintf(part->links[part->link_count++], 96, "%.95s", rest);
        else if (IS("fault") && part->refusal_count < MOST_ITEMS) {
            Refusal *refusal = &part->refusals[part->refusal_count++];
            sscanf(rest, "%23s %d", refusal->word, &refusal->code);
        } else if ((IS("process") || IS("graphics")) && part->process_count < MOST_ITEMS) {
            Process *process = &part->processes[part->process_count++];
            char bytes[32] = "?";
            sscanf(rest, "%u %31s", &process->pid, bytes);
            process->bytes = *bytes == '?' ? ~0ull : strtoull(bytes, NULL, 10) << 20;
            process->graphics = IS("graphics");
        }
    }
    fclose(file);
}

static nvmlReturn_t enter(const char *function)
{
    read_scenario();
    if (!strcmp(crashes, function)) *(volatile int *)0 = 1;
    while (!strcmp(hangs, function)) pause();
    return sessions ? SUCCESS : UNINITIALIZED;
}

static nvmlReturn_t refusal_of(const Part *part, const char *word)
{
    for (int i = 0; i < part->refusal_count; i++)
        if (!strcmp(part->refusals[i].word, word) || !strcmp(part->refusals[i].word, "all")) return part->refusals[i].code;
    return SUCCESS;
}

static nvmlReturn_t locate(nvmlDevice_t device, const char *word, Part **part)
{
    if (!device) return INVALID_ARGUMENT;
    if (device->card >= card_count) return GPU_IS_LOST;
    Card *card = &cards[device->card];
    if (device->partition > card->partition_count) return NOT_FOUND;
    *part = device->partition ? &card->partitions[device->partition - 1] : &card->self;
    return refusal_of(*part, word);
}

static nvmlReturn_t handle_of(int card, int partition, nvmlDevice_t *device)
{
    const Part *part = partition ? &cards[card].partitions[partition - 1] : &cards[card].self;
    for (int i = 0; i < part->refusal_count; i++)
        if (!strcmp(part->refusals[i].word, "handle")) return part->refusals[i].code;
    handles[card][partition] = (Handle){card, partition};
    *device = &handles[card][partition];
    return SUCCESS;
}

static nvmlReturn_t copy(char *out, unsigned length, const char *text)
{
    if (strlen(text) + 1 > length) return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return SUCCESS;
}

#define BEGIN do { nvmlReturn_t entered = enter(__func__); if (entered) return entered; } while (0)
#define FIND(word) Part *part = NULL; BEGIN; do { nvmlReturn_t found = locate(device, word, &part); if (found) return found; } while (0)

API nvmlReturn_t nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    nvmlReturn_t entered = enter(__func__);
    if (entered != SUCCESS && entered != UNINITIALIZED) return entered;
    if (init_code) return init_code;
    sessions++;
    return SUCCESS;
}

API nvmlReturn_t nvmlShutdown(void) { BEGIN; sessions--; return SUCCESS; }

API const char *nvmlErrorString(nvmlReturn_t code)
{
    switch (code) {
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}

API nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) { BEGIN; return copy(version, length, driver); }
API nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) { BEGIN; *version = cuda; return SUCCESS; }
API nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) { BEGIN; *count = (unsigned)card_count; return SUCCESS; }

API nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device)
{
    BEGIN;
    return (int)index < card_count ? handle_of((int)index, 0, device) : INVALID_ARGUMENT;
}

API nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    BEGIN;
    for (int i = 0; i < card_count; i++) {
        if (!strcmp(cards[i].self.uuid, uuid)) return handle_of(i, 0, device);
        for (int j = 0; j < cards[i].partition_count; j++)
            if (!strcmp(cards[i].partitions[j].uuid, uuid)) return handle_of(i, j + 1, device);
    }
    return NOT_FOUND;
}

API nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length)
{
    FIND("uuid");
    return copy(uuid, length, part->uuid);
}

API nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length)
{
    FIND("name");
    return copy(name, length, part->name);
}

API nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    FIND("bus");
    memset(pci, 0, sizeof *pci);
    snprintf(pci->busId, sizeof pci->busId, "%s", part->bus);
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    FIND("memory");
    /* Version 1 counts the reserved bytes as used. */
    memory->total = part->total;
    memory->used = part->used + part->reserved;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates)
{
    FIND("util");
    *rates = (nvmlUtilization_t){part->util, 0};
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned *temperature)
{
    (void)sensor;
    FIND("temperature");
    *temperature = part->temperature;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *power)
{
    FIND("power");
    *power = part->power;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
    FIND("capability");
    *major = part->major;
    *minor = part->minor;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int type, int counter, unsigned long long *count)
{
    (void)type, (void)counter;
    FIND("ecc");
    *count = part->ecc;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetRetiredPagesPendingStatus(nvmlDevice_t device, int *pending)
{
    FIND("retire");
    *pending = (int)part->retire;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned link, int *active)
{
    FIND("link");
    if ((int)link >= part->link_count) return INVALID_ARGUMENT;
    *active = 1;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t device, unsigned link, nvmlPciInfo_t *pci)
{
    FIND("link");
    memset(pci, 0, sizeof *pci);
    snprintf(pci->busId, sizeof pci->busId, "00000000:FF:00.0");
    for (int i = 0; i < card_count; i++)
        if (!strcmp(cards[i].self.uuid, part->links[link])) snprintf(pci->busId, sizeof pci->busId, "%s", cards[i].self.bus);
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values)
{
    FIND("speed");
    for (int i = 0; i < count; i++) {
        values[i].nvmlReturn = part->speed ? SUCCESS : NOT_SUPPORTED;
        values[i].value.uiVal = part->speed;
    }
    return SUCCESS;
}

#ifndef OLD_DRIVER
API nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
    FIND("memory");
    if (memory->version != 0x02000028) return ARGUMENT_VERSION_MISMATCH;
    memory->total = part->total;
    memory->reserved = part->reserved;
    memory->used = part->used;
    memory->free = part->total - part->reserved - part->used;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, unsigned *architecture)
{
    FIND("architecture");
    *architecture = part->architecture;
    return SUCCESS;
}

static nvmlReturn_t list(const Part *part, int graphics, unsigned *count, nvmlProcessInfo_t *infos)
{
    unsigned found = 0, room = *count;
    for (int i = 0; i < part->process_count; i++) {
        if (part->processes[i].graphics != graphics) continue;
        if (found < room && infos)
            infos[found] = (nvmlProcessInfo_t){part->processes[i].pid, part->processes[i].bytes, ~0u, ~0u};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *infos)
{
    FIND("process");
    return list(part, 0, count, infos);
}

API nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *infos)
{
    FIND("graphics");
    return list(part, 1, count, infos);
}

API nvmlReturn_t nvmlDeviceGetNvLinkRemoteDeviceType(nvmlDevice_t device, unsigned link, int *type)
{
    FIND("link");
    *type = strcmp(part->links[link], "switch") ? 0 : 2;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetRemappedRows(
    nvmlDevice_t device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed)
{
    FIND("remap");
    *corrected = *uncorrected = 0;
    *pending = part->pending;
    *failed = part->failed;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending)
{
    FIND("mig");
    *current = *pending = part->mig;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count)
{
    FIND("mig");
    *count = MOST_PARTITIONS;
    return SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t *partition)
{
    FIND("mig");
    if (device->partition) return INVALID_ARGUMENT;
    if ((int)index >= cards[device->card].partition_count) return NOT_FOUND;
    if (cards[device->card].partitions[index].hole) return NOT_FOUND;
    return handle_of(device->card, (int)index + 1, partition);
}

API nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t partition, nvmlDevice_t *device)
{
    BEGIN;
    return partition && partition->partition ? handle_of(partition->card, 0, device) : INVALID_ARGUMENT;
}

API nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned *id)
{
    FIND("gpu_instance");
    *id = part->gpu_instance;
    return SUCCESS;
}
#endif
