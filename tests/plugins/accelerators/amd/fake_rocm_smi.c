/* A librocm_smi64.so for tests, from a live scenario (motorpool_sdk/testing/scenario.h); AMD's, and Hygon's fork without what that
 * lacks. Signatures and layouts are those of rocm_smi.h (ROCm 4 to 7).
 *   init CODE | count N (in place of the number of cards) | process PID
 *   card INDEX
 *   name TEXT | market TEXT | unique 0xN | domain N | bus N | slot N | func N | partition N | total BYTES | used BYTES
 *   busy PERCENT | edge MILLICELSIUS | junction MILLICELSIUS | power MICROWATTS (average) | socket MICROWATTS | minor N
 *   ecc BLOCK COUNT | xgmi INDEX | vram PID BYTES | fault FUNCTION CODE
 */
#define SECTIONS "card"
#include "scenario.h"

enum { OK = 0, INVALID_ARGS = 1, NOT_SUPPORTED = 2, INIT_ERROR = 8, NOT_FOUND = 0xA, INSUFFICIENT_SIZE = 0xB };

typedef struct { uint64_t correctable_err, uncorrectable_err; } rsmi_error_count_t;
typedef struct { uint32_t process_id, pasid; uint64_t vram_usage, sdma_usage; uint32_t cu_occupancy; } rsmi_process_info_t;
_Static_assert(sizeof(rsmi_error_count_t) == 16, "rsmi_error_count_t");
_Static_assert(sizeof(rsmi_process_info_t) == 32 && offsetof(rsmi_process_info_t, vram_usage) == 8, "rsmi_process_info_t");

static int sessions;

static int find(uint32_t index, const char *function, int *section)
{
    scenario_enter(function);
    if (!sessions) return INIT_ERROR;
    *section = scenario_section("card", (int)index);
    return *section < 0 ? INVALID_ARGS : scenario_fault(*section, function);
}

#define FIND(index) int at = 0; do { int code = find(index, __func__, &at); if (code) return code; } while (0)

static int number(int section, const char *word, uint64_t *value)
{
    if (!scenario_text(section, word, NULL)) return NOT_SUPPORTED;
    *value = (uint64_t)scenario_number(section, word, 0);
    return OK;
}

API int rsmi_init(uint64_t flags)
{
    scenario_enter(__func__);
    int code = scenario_is_missing || flags ? INIT_ERROR : (int)scenario_number(0, "init", OK);
    if (!code) sessions++;
    return code;
}

API int rsmi_num_monitor_devices(uint32_t *count)
{
    scenario_enter(__func__);
    *count = (uint32_t)scenario_number(0, "count", scenario_count("card"));
    return scenario_fault(0, __func__);
}

static int copied(int section, const char *word, char *to, size_t room)
{
    const char *text = scenario_text(section, word, NULL);
    if (!text) return NOT_SUPPORTED;
    snprintf(to, room, "%s", text);
    return strlen(text) < room ? OK : INSUFFICIENT_SIZE;
}

API int rsmi_dev_name_get(uint32_t index, char *name, size_t room) { FIND(index); return copied(at, "name", name, room); }
API int rsmi_dev_market_name_get(uint32_t index, char *name, uint32_t room) { FIND(index); return copied(at, "market", name, room); }
API int rsmi_dev_unique_id_get(uint32_t index, uint64_t *id) { FIND(index); return number(at, "unique", id); }

API int rsmi_dev_pci_id_get(uint32_t index, uint64_t *id)
{
    FIND(index);
    *id = (uint64_t)scenario_number(at, "domain", 0) << 32 | (uint64_t)scenario_number(at, "partition", 0) << 28
        | (uint64_t)scenario_number(at, "bus", 0) << 8 | (uint64_t)scenario_number(at, "slot", 0) << 3
        | (uint64_t)scenario_number(at, "func", 0);
    return OK;
}

API int rsmi_dev_memory_total_get(uint32_t index, int type, uint64_t *bytes) { FIND(index); return type ? NOT_SUPPORTED : number(at, "total", bytes); }
API int rsmi_dev_memory_usage_get(uint32_t index, int type, uint64_t *bytes) { FIND(index); return type ? NOT_SUPPORTED : number(at, "used", bytes); }

API int rsmi_dev_busy_percent_get(uint32_t index, uint32_t *percent)
{
    FIND(index);
    uint64_t value = 0;
    int code = number(at, "busy", &value);
    *percent = (uint32_t)value;
    return code;
}

API int rsmi_dev_temp_metric_get(uint32_t index, uint32_t sensor, int metric, int64_t *value)
{
    FIND(index);
    return sensor > 1 || metric ? NOT_SUPPORTED : number(at, sensor ? "junction" : "edge", (uint64_t *)value);
}

API int rsmi_dev_power_ave_get(uint32_t index, uint32_t sensor, uint64_t *value) { FIND(index); return sensor ? NOT_SUPPORTED : number(at, "power", value); }
API int rsmi_dev_power_get(uint32_t index, uint64_t *value, int *kind) { FIND(index); *kind = 1; return number(at, "socket", value); }

API int rsmi_dev_drm_render_minor_get(uint32_t index, uint32_t *minor)
{
    FIND(index);
    uint64_t value = 0;
    int code = number(at, "minor", &value);
    *minor = (uint32_t)value;
    return code;
}

API int rsmi_topo_get_link_type(uint32_t from, uint32_t to, uint64_t *hops, int *kind)
{
    FIND(from);
    const char *peer;
    *hops = 2;
    *kind = 1;
    for (int n = 0; (peer = scenario_nth(at, "xgmi", n)); n++)
        if ((uint32_t)atoi(peer) == to) *hops = 1, *kind = 2;
    return OK;
}

API int rsmi_dev_ecc_count_get(uint32_t index, int block, rsmi_error_count_t *count)
{
    FIND(index);
    const char *line;
    int of = 0, found = 0;
    unsigned long bad = 0;
    memset(count, 0, sizeof *count);
    for (int n = 0; (line = scenario_nth(at, "ecc", n)); n++)
        if (sscanf(line, "%i %lu", &of, &bad) == 2 && of == block) count->uncorrectable_err = bad, found = 1;
    return found ? OK : NOT_SUPPORTED;
}

API int rsmi_compute_process_info_get(rsmi_process_info_t *processes, uint32_t *count)
{
    scenario_enter(__func__);
    uint32_t there = 0, room = *count;
    const char *pid;
    for (; (pid = scenario_nth(0, "process", (int)there)); there++)
        if (processes && there < room) processes[there] = (rsmi_process_info_t){(uint32_t)atoi(pid), 0, 77, 0, 0};
    *count = there;
    return processes && there > room ? INSUFFICIENT_SIZE : OK;
}

API int rsmi_compute_process_info_by_device_get(uint32_t pid, uint32_t index, rsmi_process_info_t *process)
{
    FIND(index);
    const char *line;
    unsigned of = 0;
    unsigned long bytes = 0;
    for (int n = 0; (line = scenario_nth(at, "vram", n)); n++)
        if (sscanf(line, "%u %lu", &of, &bytes) == 2 && of == pid) {
            *process = (rsmi_process_info_t){pid, 0, bytes, 0, 0};
            return OK;
        }
    return NOT_FOUND;
}
