/* Acme's driver library, as its vendor would ship it. */
#ifndef ACME_H
#define ACME_H

#include <stdint.h>

#define ACME_TEXT 64
#define ACME_UNKNOWN UINT64_MAX

struct acme_card {
  char uuid[ACME_TEXT];
  char product[ACME_TEXT];
  uint64_t memory_bytes;
};

struct acme_usage {
  uint64_t used_bytes;
  uint64_t busy_percent;
  uint64_t celsius;
};

/* Each returns 0 (acme_count: the number of cards), or a negative errno. */
int acme_count(void);
int acme_card(int number, struct acme_card *card);
int acme_usage(int number, struct acme_usage *usage);

#endif
