/* A libdcmi.so for tests, from a live scenario (motorpool_sdk/testing/scenario.h).
 *
 * Signatures and layouts are those of dcmi_interface_api.h as Huawei publishes it with mind-cluster; _Static_assert holds
 * them to the sizes on 64-bit Linux that motorpool_ascend/dcmi.py states.
 *   init CODE | init2 CODE | driver TEXT | second 1 (only the second generation's API answers: Ascend 950)
 *   chip CARD CHIP
 *   kind 0|1|2 (NPU, MCU, CPU) | logic N | phy N | name TEXT | npu_name TEXT | domain N | bus N | slot N | func N
 *   hbm MIB | hbm_used MIB | ddr MIB | ddr_free MIB | aicore PERCENT | temperature C | power DECIWATTS | health N
 *   vdev ID TEMPLATE MIB TAKEN (a virtual NPU; TAKEN by a container: 0, 1, -1 untold) | activity ID PERCENT KIB FREE_KIB
 *   vdevs N (in place of their number) | ip A.B.C.D | process PID BYTES | link CARD CHIP TOPO | fault FUNCTION CODE
 */
#define SECTIONS "chip"
#include "scenario.h"

enum { OK = 0, INVALID_DEVICE = -8007, NO_DEVICE = -8008, NOT_SUPPORTED = -8255 };

struct dcmi_chip_info { unsigned char chip_type[32], chip_name[32], chip_ver[32]; unsigned aicore_cnt; };
struct dcmi_chip_info_v2 { unsigned char chip_type[32], chip_name[32], chip_ver[32]; unsigned aicore_cnt; unsigned char npu_name[32]; };
struct dcmi_hbm_info { unsigned long long memory_size; unsigned freq; unsigned long long memory_usage; int temp; unsigned bandwith_util_rate; };
struct dcmi_get_memory_info_stru {
    unsigned long long memory_size, memory_available;
    unsigned freq;
    unsigned long hugepagesize, hugepages_total, hugepages_free;
    unsigned utiliza;
    unsigned char reserve[60];
};
struct dcmi_pcie_info_all {
    unsigned venderid, subvenderid, deviceid, subdeviceid;
    int domain;
    unsigned bdf_busid, bdf_deviceid, bdf_funcid;
    unsigned char reserve[32];
};
struct dcmi_ip_addr { union { unsigned char ip6[16], ip4[4]; } u_addr; int ip_type; };
struct dcmi_proc_mem_info { int proc_id; unsigned long proc_mem_usage; };
struct dcmi_base_resource { unsigned long long token, token_max, task_timeout; unsigned vfg_id; unsigned char vip_mode, reserved[31]; };
struct dcmi_computing_resource {
    float aic, aiv;
    unsigned short dsa, rtsq, acsq, cdqm, c_core, ffts, sdma, pcie_dma;
    unsigned long long memory_size;
    unsigned event_id, notify_id, stream_id, model_id;
    unsigned short topic_schedule_aicpu, host_ctrl_cpu, host_aicpu, device_aicpu, topic_ctrl_cpu_slot;
    unsigned vdev_aicore_utilization;
    unsigned long long vdev_memory_total, vdev_memory_free;
    unsigned char reserved[12];
};
struct dcmi_media_resource { float jpegd, jpege, vpc, vdec, pngd, venc; unsigned char reserved[32]; };
struct dcmi_vdev_query_info {
    char name[16];
    unsigned status, is_container_used, vfid, vfg_id;
    unsigned long long container_id;
    struct dcmi_base_resource base;
    struct dcmi_computing_resource computing;
    struct dcmi_media_resource media;
};
struct dcmi_vdev_query_stru { unsigned vdev_id; struct dcmi_vdev_query_info query_info; };
struct dcmi_soc_total_resource {
    unsigned vdev_num, vdev_id[32], vfg_num, vfg_bitmap;
    struct dcmi_base_resource base;
    struct dcmi_computing_resource computing;
    struct dcmi_media_resource media;
};

_Static_assert(sizeof(struct dcmi_chip_info) == 100, "dcmi_chip_info");
_Static_assert(sizeof(struct dcmi_chip_info_v2) == 132 && offsetof(struct dcmi_chip_info_v2, npu_name) == 100, "dcmi_chip_info_v2");
_Static_assert(sizeof(struct dcmi_hbm_info) == 32 && offsetof(struct dcmi_hbm_info, memory_usage) == 16, "dcmi_hbm_info");
_Static_assert(sizeof(struct dcmi_get_memory_info_stru) == 112 && offsetof(struct dcmi_get_memory_info_stru, utiliza) == 48, "memory");
_Static_assert(sizeof(struct dcmi_pcie_info_all) == 64 && offsetof(struct dcmi_pcie_info_all, bdf_busid) == 20, "dcmi_pcie_info_all");
_Static_assert(sizeof(struct dcmi_ip_addr) == 20 && sizeof(struct dcmi_proc_mem_info) == 16, "dcmi_ip_addr, dcmi_proc_mem_info");

_Static_assert(sizeof(struct dcmi_base_resource) == 64 && sizeof(struct dcmi_media_resource) == 56, "base, media");
_Static_assert(sizeof(struct dcmi_computing_resource) == 96 && offsetof(struct dcmi_computing_resource, memory_size) == 24, "computing");
_Static_assert(offsetof(struct dcmi_computing_resource, vdev_aicore_utilization) == 60, "vdev_aicore_utilization");
_Static_assert(sizeof(struct dcmi_vdev_query_stru) == 264 && offsetof(struct dcmi_vdev_query_stru, query_info.computing) == 112, "query");
_Static_assert(sizeof(struct dcmi_soc_total_resource) == 360 && offsetof(struct dcmi_soc_total_resource, base) == 144, "total");

static int sessions;

static int is_second(void) { return (int)scenario_number(0, "second", 0); }

/* The section of a chip, or the code that this question is answered with. */
static int find(int card, int chip, const char *function, int *section)
{
    char id[32];
    scenario_enter(function);
    if (!sessions) return -8005;
    if (is_second() != !strncmp(function, "dcmiv2", 6)) return NOT_SUPPORTED;
    snprintf(id, sizeof id, "%d %d", card, chip);
    for (int i = 1; i < scenario_section_count; i++)
        if (!strcmp(scenario_sections[i].id, id)) {
            *section = i;
            return scenario_fault(i, function);
        }
    return NO_DEVICE;
}

#define FIND(card, chip) int at = 0; do { int code = find(card, chip, __func__, &at); if (code) return code; } while (0)

static int start(const char *function, const char *word, int otherwise)
{
    scenario_enter(function);
    int code = scenario_is_missing ? -8005 : (int)scenario_number(0, word, otherwise);
    if (!code) sessions++;
    return code;
}

API int dcmi_init(void)
{
    scenario_read();
    return start(__func__, "init", is_second() ? NOT_SUPPORTED : OK);
}
API int dcmiv2_init(void) { return start(__func__, "init2", OK); }

static int list(int *ids, int *count, int length)
{
    *count = 0;
    for (int i = 1; i < scenario_section_count; i++) {
        int card = atoi(scenario_sections[i].id), known = 0;
        for (int j = 0; j < *count; j++) known |= ids[j] == card;
        if (!known && *count < length) ids[(*count)++] = card;
    }
    *count = (int)scenario_number(0, "count", *count);
    return scenario_fault(0, "list");
}

API int dcmi_get_card_list(int *count, int *ids, int length) { scenario_enter(__func__); return list(ids, count, length); }
API int dcmi_get_card_num_list(int *count, int *ids, int length) { scenario_enter(__func__); return list(ids, count, length); }
API int dcmiv2_get_device_list(int *ids, int *count, int length) { scenario_enter(__func__); return list(ids, count, length); }

API int dcmi_get_device_num_in_card(int card, int *count)
{
    scenario_enter(__func__);
    int faulty = 0;
    *count = 0;
    for (int i = 1; i < scenario_section_count; i++)
        if (atoi(scenario_sections[i].id) == card) {
            ++*count;
            faulty = scenario_fault(i, __func__);
        }
    return faulty;
}

API int dcmi_get_device_type(int card, int chip, int *kind) { FIND(card, chip); *kind = (int)scenario_number(at, "kind", 0); return OK; }
API int dcmi_get_device_logic_id(int *logic, int card, int chip) { FIND(card, chip); *logic = (int)scenario_number(at, "logic", 0); return OK; }

static int physical(int section, unsigned *physical_id)
{
    *physical_id = (unsigned)scenario_number(section, "phy", 0);
    return scenario_fault(section, "phy");
}

API int dcmi_get_device_phyid_from_logicid(unsigned logic, unsigned *physical_id)
{
    scenario_enter(__func__);
    for (int i = 1; i < scenario_section_count; i++)
        if (scenario_number(i, "kind", 0) == 0 && scenario_number(i, "logic", 0) == logic) return physical(i, physical_id);
    return NO_DEVICE;
}

API int dcmiv2_get_chip_phy_id_by_dev_id(unsigned device, unsigned *physical_id)
{
    FIND((int)device, 0);
    return physical(at, physical_id);
}

static void name(int section, unsigned char *to, const char *word)
{
    snprintf((char *)to, 32, "%.31s", scenario_text(section, word, ""));
}

static int chip_info(int section, struct dcmi_chip_info_v2 *info)
{
    memset(info, 0, sizeof *info);
    strcpy((char *)info->chip_type, "Ascend");
    name(section, info->chip_name, "name");
    name(section, info->npu_name, "npu_name");
    return OK;
}

API int dcmi_get_device_chip_info_v2(int card, int chip, struct dcmi_chip_info_v2 *info) { FIND(card, chip); return chip_info(at, info); }
API int dcmiv2_get_device_chip_info(int card, struct dcmi_chip_info_v2 *info) { FIND(card, 0); return chip_info(at, info); }
API int dcmi_get_device_chip_info(int card, int chip, struct dcmi_chip_info *info)
{
    FIND(card, chip);
    memset(info, 0, sizeof *info);
    name(at, info->chip_name, "name");
    return OK;
}

static int hbm(int section, struct dcmi_hbm_info *info)
{
    memset(info, 0, sizeof *info);
    if (!scenario_text(section, "hbm", NULL)) return NOT_SUPPORTED;
    info->memory_size = (unsigned long long)scenario_number(section, "hbm", 0);
    info->memory_usage = (unsigned long long)scenario_number(section, "hbm_used", 0);
    return OK;
}

API int dcmi_get_device_hbm_info(int card, int chip, struct dcmi_hbm_info *info) { FIND(card, chip); return hbm(at, info); }
API int dcmiv2_get_device_hbm_info(int card, struct dcmi_hbm_info *info) { FIND(card, 0); return hbm(at, info); }

API int dcmi_get_device_memory_info_v3(int card, int chip, struct dcmi_get_memory_info_stru *info)
{
    FIND(card, chip);
    memset(info, 0, sizeof *info);
    info->memory_size = (unsigned long long)scenario_number(at, "ddr", 0);
    info->memory_available = (unsigned long long)scenario_number(at, "ddr_free", 0);
    return OK;
}

static int pcie(int section, struct dcmi_pcie_info_all *info)
{
    memset(info, 0, sizeof *info);
    info->venderid = 0x19e5;
    info->domain = (int)scenario_number(section, "domain", 0);
    info->bdf_busid = (unsigned)scenario_number(section, "bus", 0);
    info->bdf_deviceid = (unsigned)scenario_number(section, "slot", 0);
    info->bdf_funcid = (unsigned)scenario_number(section, "func", 0);
    return OK;
}

API int dcmi_get_device_pcie_info_v2(int card, int chip, struct dcmi_pcie_info_all *info) { FIND(card, chip); return pcie(at, info); }
API int dcmiv2_get_device_pcie_info(int card, struct dcmi_pcie_info_all *info) { FIND(card, 0); return pcie(at, info); }

static int figure(int section, const char *word, int *value)
{
    if (!scenario_text(section, word, NULL)) return NOT_SUPPORTED;
    *value = (int)scenario_number(section, word, 0);
    return OK;
}

API int dcmi_get_device_utilization_rate(int card, int chip, int type, unsigned *rate)
{
    FIND(card, chip);
    return type == 2 ? figure(at, "aicore", (int *)rate) : -8001;
}
API int dcmiv2_get_device_utilization_rate(int card, int type, unsigned *rate) { FIND(card, 0); return type == 2 ? figure(at, "aicore", (int *)rate) : -8001; }
API int dcmi_get_device_temperature(int card, int chip, int *value) { FIND(card, chip); return figure(at, "temperature", value); }
API int dcmiv2_get_device_temperature(int card, int *value) { FIND(card, 0); return figure(at, "temperature", value); }
API int dcmi_get_device_power_info(int card, int chip, int *value) { FIND(card, chip); return figure(at, "power", value); }
API int dcmiv2_get_device_power_info(int card, int *value) { FIND(card, 0); return figure(at, "power", value); }
API int dcmi_get_device_health(int card, int chip, unsigned *value) { FIND(card, chip); *value = (unsigned)scenario_number(at, "health", 0); return OK; }
API int dcmiv2_get_device_health(int card, unsigned *value) { FIND(card, 0); *value = (unsigned)scenario_number(at, "health", 0); return OK; }

API int dcmi_get_device_resource_info(int card, int chip, struct dcmi_proc_mem_info *processes, int *count)
{
    FIND(card, chip);
    const char *line;
    for (*count = 0; (line = scenario_nth(at, "process", *count)); ++*count)
        sscanf(line, "%d %lu", &processes[*count].proc_id, &processes[*count].proc_mem_usage);
    return OK;
}

API int dcmi_get_device_ip(int card, int chip, int type, int port, struct dcmi_ip_addr *ip, struct dcmi_ip_addr *mask)
{
    FIND(card, chip);
    const char *text = scenario_text(at, "ip", NULL);
    if (!text || type != 1 || port) return NOT_SUPPORTED;
    memset(ip, 0, sizeof *ip);
    memset(mask, 0, sizeof *mask);
    unsigned char *to = ip->u_addr.ip4;
    sscanf(text, "%hhu.%hhu.%hhu.%hhu", &to[0], &to[1], &to[2], &to[3]);
    return OK;
}

API int dcmi_get_topo_info_by_device_id(int card1, int chip1, int card2, int chip2, int *kind)
{
    FIND(card1, chip1);
    int card, chip, topo;
    const char *line;
    *kind = 1;
    for (int n = 0; (line = scenario_nth(at, "link", n)); n++)
        if (sscanf(line, "%d %d %d", &card, &chip, &topo) == 3 && card == card2 && chip == chip2) *kind = topo;
    return OK;
}

API int dcmi_get_driver_version(char *version, unsigned length)
{
    scenario_enter(__func__);
    const char *text = scenario_text(0, "driver", NULL);
    if (!text) return NOT_SUPPORTED;
    snprintf(version, length, "%s", text);
    return OK;
}

/* The virtual NPUs of a chip: main command 52, of which 0 is one of them, 1 all, 5 what one is doing. */
static int one_vdev(int section, struct dcmi_vdev_query_stru *query)
{
    unsigned id;
    int taken;
    char name[16];
    unsigned long long mebibytes;
    const char *line;
    for (int n = 0; (line = scenario_nth(section, "vdev", n)); n++)
        if (sscanf(line, "%u %15s %llu %d", &id, name, &mebibytes, &taken) == 4 && id == query->vdev_id) {
            memset(&query->query_info, 0, sizeof query->query_info);
            strcpy(query->query_info.name, name);
            query->query_info.is_container_used = (unsigned)taken;
            query->query_info.computing.memory_size = mebibytes;
            return OK;
        }
    return NO_DEVICE;
}

static int vdev_activity(int section, struct dcmi_vdev_query_stru *query)
{
    unsigned id, percent;
    unsigned long long total, unused;
    const char *line;
    for (int n = 0; (line = scenario_nth(section, "activity", n)); n++)
        if (sscanf(line, "%u %u %llu %llu", &id, &percent, &total, &unused) == 4 && id == query->vdev_id) {
            query->query_info.computing.vdev_aicore_utilization = percent;
            query->query_info.computing.vdev_memory_total = total;
            query->query_info.computing.vdev_memory_free = unused;
            return OK;
        }
    return NOT_SUPPORTED;
}

API int dcmi_get_device_info(int card, int chip, int main_command, unsigned command, void *buffer, unsigned *size)
{
    FIND(card, chip);
    if (main_command != 52) return NOT_SUPPORTED;
    if (command == 1) {
        struct dcmi_soc_total_resource *total = buffer;
        const char *line;
        if (*size != sizeof *total) return -8001;
        memset(total, 0, sizeof *total);
        for (; total->vdev_num < 32 && (line = scenario_nth(at, "vdev", (int)total->vdev_num)); total->vdev_num++)
            total->vdev_id[total->vdev_num] = (unsigned)atoi(line);
        total->vdev_num = (unsigned)scenario_number(at, "vdevs", total->vdev_num);
        return OK;
    }
    if (*size != sizeof(struct dcmi_vdev_query_stru)) return -8001;
    return command == 0 ? one_vdev(at, buffer) : command == 5 ? vdev_activity(at, buffer) : NOT_SUPPORTED;
}
