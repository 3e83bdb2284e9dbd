/* A libnvidia-ml.so.1 for tests, from a live scenario (motorpool_sdk/testing/scenario.h); with -DIXML a libixml.so, Iluvatar's, which
 * has NVML's functions under their names and a few of its own.
 *
 * Signatures, struct layouts and return codes are those of nvml.h as nvidia-ml-py 13.615.71 (pynvml.py) declares them:
 * c_nvmlMemory_t, c_nvmlMemory_v2_t (version 0x02000028), nvmlPciInfo_t, c_nvmlUtilization_t, c_nvmlProcessInfo_v2_t,
 * c_nvmlFieldValue_t. _Static_assert below holds them to their sizes and offsets on 64-bit Linux.
 *
 *   driver 580.95.05 | cuda 13000 | init CODE
 *   card UUID | partition UUID | hole (a number of a partition that is not there any more)
 *   name TEXT | bus DOMAIN:BUS:DEVICE | total MIB | reserved MIB | used MIB | util PERCENT | temperature C | power MW
 *   capability MAJOR MINOR | architecture N | mig 0|1 | gpu_instance N | process PID MIB|? | graphics PID MIB|?
 *   minor N | health MASK (IXML) | ecc N | remap PENDING FAILED | retire 0|1 | link UUID|switch | speed MBPS
 *   fault WORD CODE (that question is answered so; WORD "all" for every one but "handle", which is for getting hold of it)
 * -DOLD_DRIVER leaves out what a driver of 2019 does not have.
 */
#define SECTIONS "card partition hole"
#include "scenario.h"

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
typedef struct {
    char uuid[96], name[96], bus[32];
    unsigned long long total, reserved, used;
    int section;
    unsigned util, temperature, power, minor, architecture, mig, gpu_instance, ecc, pending, failed, retire, speed;
    int major, minor_version, hole;
    Process processes[MOST_ITEMS];
    int process_count;
    char links[MOST_ITEMS][96];
    int link_count;
} Part;
typedef struct { Part self, partitions[MOST_PARTITIONS]; int partition_count; } Card;
/* What the binding holds is a pointer into this table; it stays valid whatever becomes of the card. */
typedef struct { int card, partition; } Handle;
typedef Handle *nvmlDevice_t;

static Handle handles[MOST_CARDS][MOST_PARTITIONS + 1];
static int sessions;
static Card cards[MOST_CARDS];
static int card_count, init_code, cuda;
static char driver[80];

static void read_part(Part *part, int section)
{
    const char *line;
    memset(part, 0, sizeof *part);
    part->section = section;
    part->hole = scenario_is(section, "hole");
    snprintf(part->uuid, sizeof part->uuid, "%.95s", scenario_sections[section].id);
    snprintf(part->name, sizeof part->name, "%.95s", scenario_text(section, "name", ""));
    snprintf(part->bus, sizeof part->bus, "%.31s", scenario_text(section, "bus", ""));
#define SIZE(field) part->field = (unsigned long long)scenario_number(section, #field, 0) << 20
#define NUMBER(field) part->field = (unsigned)scenario_number(section, #field, 0)
    SIZE(total), SIZE(reserved), SIZE(used);
    NUMBER(util), NUMBER(temperature), NUMBER(power), NUMBER(minor), NUMBER(architecture), NUMBER(mig), NUMBER(gpu_instance);
    NUMBER(ecc), NUMBER(retire), NUMBER(speed);
    sscanf(scenario_text(section, "capability", "0 0"), "%d %d", &part->major, &part->minor_version);
    sscanf(scenario_text(section, "remap", "0 0"), "%u %u", &part->pending, &part->failed);
    while (part->link_count < MOST_ITEMS && (line = scenario_nth(section, "link", part->link_count)))
        snprintf(part->links[part->link_count++], 96, "%.95s", line);
    for (int graphics = 0; graphics < 2; graphics++)
        for (int n = 0; part->process_count < MOST_ITEMS && (line = scenario_nth(section, graphics ? "graphics" : "process", n)); n++) {
            Process *process = &part->processes[part->process_count++];
            char bytes[32] = "?";
            sscanf(line, "%u %31s", &process->pid, bytes);
            process->bytes = *bytes == '?' ? ~0ull : strtoull(bytes, NULL, 10) << 20;
            process->graphics = graphics;
        }
}

static nvmlReturn_t enter(const char *function)
{
    scenario_enter(function);
    card_count = 0;
    init_code = scenario_is_missing ? DRIVER_NOT_LOADED : (int)scenario_number(0, "init", SUCCESS);
    cuda = (int)scenario_number(0, "cuda", 12040);
    snprintf(driver, sizeof driver, "%.79s", scenario_text(0, "driver", "550.54.15"));
    for (int section = 1; section < scenario_section_count; section++) {
        Card *card = card_count ? &cards[card_count - 1] : NULL;
        if (scenario_is(section, "card") && card_count < MOST_CARDS) {
            card = &cards[card_count++];
            card->partition_count = 0;
            read_part(&card->self, section);
        } else if (card && card->partition_count < MOST_PARTITIONS) {
            read_part(&card->partitions[card->partition_count++], section);
        }
    }
    return sessions ? SUCCESS : UNINITIALIZED;
}

static nvmlReturn_t locate(nvmlDevice_t device, const char *word, Part **part)
{
    if (!device) return INVALID_ARGUMENT;
    if (device->card >= card_count) return GPU_IS_LOST;
    Card *card = &cards[device->card];
    if (device->partition > card->partition_count) return NOT_FOUND;
    *part = device->partition ? &card->partitions[device->partition - 1] : &card->self;
    return scenario_fault((*part)->section, word);
}

static nvmlReturn_t handle_of(int card, int partition, nvmlDevice_t *device)
{
    const Part *part = partition ? &cards[card].partitions[partition - 1] : &cards[card].self;
    const char *rest;
    char word[32];
    int code;
    /* "all" is every question but this: getting hold of a card is none. */
    for (int n = 0; (rest = scenario_nth(part->section, "fault", n)); n++)
        if (sscanf(rest, "%31s %d", word, &code) == 2 && !strcmp(word, "handle")) return code;
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

API nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned *number)
{
    FIND("minor");
    *number = part->minor;
    return SUCCESS;
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
    *minor = part->minor_version;
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

#ifdef IXML
API nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

/* ixmlDeviceGetHealth of Deep-Spark/go-ixml's ixml.h. */
API nvmlReturn_t ixmlDeviceGetHealth(nvmlDevice_t device, unsigned long long *health)
{
    FIND("health");
    *health = (unsigned long long)scenario_number(part->section, "health", 0);
    return SUCCESS;
}
#endif
