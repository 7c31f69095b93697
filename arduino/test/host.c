#include "say.h"

#include <stdio.h>
#include <stdlib.h>

void say(const char *text) {
    fputs(text, stdout);
}

void say_number(uint32_t n) {
    printf("%lu", (unsigned long)n);
}

void finish(bool is_ok) {
    fflush(stdout);
    exit(is_ok ? 0 : 1);
}

uint32_t stack_used(void) {
    return 0;
}

uint32_t instructions(void) {
    return 0;
}
