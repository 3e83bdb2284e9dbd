/*
 * There are no Acme cards: this library reads some from the file that ACME_CARDS names, anew at every call.
 *
 *   card UUID PRODUCT MEMORY_BYTES USED_BYTES BUSY_PERCENT CELSIUS     a number, or - for what is unknown
 *   fault CALL KIND                                                    what CALL (count, card, usage) does instead
 *
 * Kinds: segfault, hang, babble (endless output), leak (opens files and closes none), fail.
 */
#include "acme.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_CARDS 16

static int break_as(const char *kind) {
  if (strcmp(kind, "segfault") == 0) {
    volatile int *volatile nothing = NULL; /* volatile twice, or the compiler may drop what it knows to fail */
    *nothing = 1;
  } else if (strcmp(kind, "hang") == 0) {
    for (;;) {
      pause();
    }
  } else if (strcmp(kind, "babble") == 0) {
    for (;;) {
      fputs("acme: the same line again and again and again\n", stderr);
    }
  } else if (strcmp(kind, "leak") == 0) {
    while (open("/dev/null", O_RDONLY) >= 0) {
    }
    return 0;
  }
  return -EIO;
}

static uint64_t number(const char *text) {
  return strcmp(text, "-") == 0 ? ACME_UNKNOWN : strtoull(text, NULL, 10);
}

/* Fills cards and usages, and returns how many there are; does what a fault line says of this call. */
static int load(const char *call, struct acme_card *cards, struct acme_usage *usages) {
  const char *path = getenv("ACME_CARDS");
  FILE *file = path == NULL ? NULL : fopen(path, "r");
  char line[256], word[3][ACME_TEXT], figure[4][24], fault[ACME_TEXT] = "";
  int count = 0;
  if (file == NULL) {
    return path == NULL ? -ENODEV : -errno;
  }
  while (count < MOST_CARDS && fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "fault %63s %63s", word[0], word[1]) == 2 && strcmp(word[0], call) == 0) {
      memcpy(fault, word[1], sizeof fault);
    } else if (sscanf(line, "card %63s %63s %23s %23s %23s %23s", word[0], word[1], figure[0], figure[1], figure[2],
                      figure[3]) == 6) {
      memcpy(cards[count].uuid, word[0], ACME_TEXT);
      memcpy(cards[count].product, word[1], ACME_TEXT);
      cards[count].memory_bytes = number(figure[0]);
      usages[count].used_bytes = number(figure[1]);
      usages[count].busy_percent = number(figure[2]);
      usages[count].celsius = number(figure[3]);
      count++;
    }
  }
  fclose(file);
  if (fault[0] != '\0') {
    int code = break_as(fault);
    return code < 0 ? code : count;
  }
  return count;
}

int acme_count(void) {
  struct acme_card cards[MOST_CARDS];
  struct acme_usage usages[MOST_CARDS];
  return load("count", cards, usages);
}

int acme_card(int number, struct acme_card *card) {
  struct acme_card cards[MOST_CARDS];
  struct acme_usage usages[MOST_CARDS];
  int count = load("card", cards, usages);
  if (number < 0 || number >= count) {
    return count < 0 ? count : -ENODEV;
  }
  *card = cards[number];
  return 0;
}

int acme_usage(int number, struct acme_usage *usage) {
  struct acme_card cards[MOST_CARDS];
  struct acme_usage usages[MOST_CARDS];
  int count = load("usage", cards, usages);
  if (number < 0 || number >= count) {
    return count < 0 ? count : -ENODEV;
  }
  *usage = usages[number];
  return 0;
}
