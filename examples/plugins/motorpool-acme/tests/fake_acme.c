/*
 * libacme.so.1 for the SDK's scenarios (motorpool_sdk/testing/scenario.h), read from the file "scenario" beside it.
 *   count CODE (instead of the number of cards)
 *   card UUID
 *   product TEXT | total BYTES | used BYTES | busy PERCENT | celsius DEGREES | fault FUNCTION CODE
 */
#define SECTIONS "card"
#include "scenario.h"

#include "../libacme/acme.h"

static int find(int number, const char *function, int *section) {
  scenario_enter(function);
  *section = scenario_section("card", number);
  return *section < 0 ? -19 : scenario_fault(*section, function);
}

static uint64_t figure(int section, const char *word) {
  return scenario_text(section, word, NULL) ? (uint64_t)scenario_number(section, word, 0) : ACME_UNKNOWN;
}

API int acme_count(void) {
  scenario_enter(__func__);
  return scenario_is_missing ? -19 : (int)scenario_number(0, "count", scenario_count("card"));
}

API int acme_card(int number, struct acme_card *card) {
  int at = 0, code = find(number, __func__, &at);
  if (code) {
    return code;
  }
  snprintf(card->uuid, sizeof card->uuid, "%.63s", scenario_sections[at].id);
  snprintf(card->product, sizeof card->product, "%.63s", scenario_text(at, "product", ""));
  card->memory_bytes = figure(at, "total");
  return 0;
}

API int acme_usage(int number, struct acme_usage *usage) {
  int at = 0, code = find(number, __func__, &at);
  if (code) {
    return code;
  }
  *usage = (struct acme_usage){figure(at, "used"), figure(at, "busy"), figure(at, "celsius")};
  return 0;
}
