/* A libhydmi.so.1 for tests, from a live scenario (motorpool_sdk/testing/scenario.h).
 *
 * Signatures and layout are those of dmi_virtual.h as Hygon publishes it; _Static_assert holds it to the size on 64-bit
 * Linux that motorpool_hygon/hydmi.py states.
 *   init CODE
 *   vdev NUMBER
 *   used BYTES | busy PERCENT | fault FUNCTION CODE
 */
#define SECTIONS "vdev"
#include "scenario.h"

enum { OK = 0, NOT_OPEN = 7, INVALID = 10 };

typedef struct {
    char name[256];
    int compute_unit_count;
    size_t global_mem_size, usage_mem_size;
    uint64_t container_id;
    int device_id;
} dmiDeviceInfo;
_Static_assert(sizeof(dmiDeviceInfo) == 296 && offsetof(dmiDeviceInfo, usage_mem_size) == 272, "dmiDeviceInfo");

static int is_open;

static int find(int number, const char *function, int *section)
{
    scenario_enter(function);
    if (!is_open) return NOT_OPEN;
    for (int i = 1; i < scenario_section_count; i++)
        if (atoi(scenario_sections[i].id) == number) {
            *section = i;
            return scenario_fault(i, function);
        }
    return INVALID;
}

API int dmiInit(void)
{
    scenario_enter(__func__);
    int code = scenario_is_missing ? 3 : (int)scenario_number(0, "init", OK);
    is_open |= !code;
    return code;
}

API int dmiGetVDeviceInfo(int number, dmiDeviceInfo *info)
{
    int at = 0, code = find(number, __func__, &at);
    if (code) return code;
    memset(info, 0, sizeof *info);
    info->usage_mem_size = (size_t)scenario_number(at, "used", 0);
    return OK;
}

API int dmiGetVDevBusyPercent(int number, int *percent)
{
    int at = 0, code = find(number, __func__, &at);
    if (code) return code;
    *percent = (int)scenario_number(at, "busy", 0);
    return OK;
}
