/* What made-up vendor libraries have in common: a scenario, which stands in the file "scenario" beside the library and is
 * read again at every call, so that a test can change cards while a plugin or an agent uses them.
 *
 * A scenario is lines of a word and the rest of the line. Lines before the first section are the library's own (section
 * 0); a word of SECTIONS ("card partition") begins a section, whose id is the rest of its line. Everywhere:
 *   hang FUNCTION | segfault FUNCTION      (section 0) that function never returns, or ends the process
 *   fault WORD CODE                        that question is answered with that code; WORD "all" is every question
 * A library without a scenario has no driver: scenario_missing().
 * Each library is one translation unit that includes this after defining SECTIONS.
 */
#ifndef SCENARIO_H
#define SCENARIO_H
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
#define UNUSED __attribute__((unused))
#define MOST_SECTIONS 300
#define MOST_LINES 6000

typedef struct { char word[32], rest[160]; } ScenarioLine;
typedef struct { char kind[24], id[96]; int first, count; } ScenarioSection;
static ScenarioLine scenario_lines[MOST_LINES];
static ScenarioSection scenario_sections[MOST_SECTIONS];
static int scenario_section_count, scenario_is_missing;

static UNUSED int scenario_begins(const char *word)
{
    char all[128] = SECTIONS, *save = NULL;
    for (char *kind = strtok_r(all, " ", &save); kind; kind = strtok_r(NULL, " ", &save))
        if (!strcmp(kind, word)) return 1;
    return 0;
}

static UNUSED void scenario_read(void)
{
    Dl_info library;
    char path[PATH_MAX], text[256];
    FILE *file = NULL;
    int count = 0;
    memset(&scenario_sections[0], 0, sizeof scenario_sections[0]);
    scenario_section_count = 1;
    if (dladdr((void *)scenario_read, &library)) {
        snprintf(path, sizeof path, "%s", library.dli_fname);
        char *slash = strrchr(path, '/');
        snprintf(slash ? slash + 1 : path, sizeof path - (slash ? (size_t)(slash + 1 - path) : 0), "scenario");
        file = fopen(path, "re");
    }
    scenario_is_missing = !file;
    if (!file) return;
    while (fgets(text, sizeof text, file)) {
        ScenarioSection *section = &scenario_sections[scenario_section_count - 1];
        ScenarioLine line = {{0}, {0}};
        if (sscanf(text, "%31s %159[^\n]", line.word, line.rest) < 1) continue;
        if (scenario_begins(line.word) && scenario_section_count < MOST_SECTIONS) {
            section = &scenario_sections[scenario_section_count++];
            snprintf(section->kind, sizeof section->kind, "%.23s", line.word);
            snprintf(section->id, sizeof section->id, "%.95s", line.rest);
            section->first = count;
            section->count = 0;
        } else if (count < MOST_LINES) {
            scenario_lines[count++] = line;
            section->count++;
        }
    }
    fclose(file);
}

/* The rest of the n-th line of that word in a section; NULL where there is none. */
static UNUSED const char *scenario_nth(int section, const char *word, int n)
{
    const ScenarioSection *found = &scenario_sections[section];
    for (int i = found->first; i < found->first + found->count; i++)
        if (!strcmp(scenario_lines[i].word, word) && n-- == 0) return scenario_lines[i].rest;
    return NULL;
}

/* The last line of a word counts, so that a test can add to what a builder wrote. */
static UNUSED const char *scenario_text(int section, const char *word, const char *otherwise)
{
    const char *last = otherwise, *next;
    for (int n = 0; (next = scenario_nth(section, word, n)); n++) last = next;
    return last;
}

static UNUSED long long scenario_number(int section, const char *word, long long otherwise)
{
    const char *text = scenario_text(section, word, NULL);
    if (!text) return otherwise;
    return *text == '-' ? strtoll(text, NULL, 0) : (long long)strtoull(text, NULL, 0);
}

static UNUSED int scenario_fault(int section, const char *word)
{
    char named[64];
    const char *rest;
    int code;
    for (int n = 0; (rest = scenario_nth(section, "fault", n)); n++)
        if (sscanf(rest, "%63s %i", named, &code) == 2 && (!strcmp(named, word) || !strcmp(named, "all"))) return code;
    return 0;
}

static UNUSED int scenario_is(int section, const char *kind)
{
    return section > 0 && section < scenario_section_count && !strcmp(scenario_sections[section].kind, kind);
}

/* How many sections of a kind there are, and which is the n-th; -1 where there is none. */
static UNUSED int scenario_count(const char *kind)
{
    int count = 0;
    for (int i = 1; i < scenario_section_count; i++) count += scenario_is(i, kind);
    return count;
}

static UNUSED int scenario_section(const char *kind, int n)
{
    for (int i = 1; i < scenario_section_count; i++)
        if (scenario_is(i, kind) && n-- == 0) return i;
    return -1;
}

/* Read the scenario anew, and do to this function what it says. */
static UNUSED void scenario_enter(const char *function)
{
    scenario_read();
    if (!strcmp(scenario_text(0, "segfault", ""), function)) *(volatile int *)0 = 1;
    while (!strcmp(scenario_text(0, "hang", ""), function)) pause();
}
#endif
