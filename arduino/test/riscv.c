/* Bare rv32imc in QEMU's `virt`, picolibc with semihosting. With -icount shift=0 an instruction takes a nanosecond of
 * virtual time, so `minstret` is the same on every run. */
#include "say.h"

#include <stdio.h>
#include <stdlib.h>

/* So much of the stack is painted; nothing here uses more, or the heap. */
#define PAINT 0xA5
#define PAINTED 8192

void say(const char *text) {
    fputs(text, stderr);
}

void say_number(uint32_t n) {
    fprintf(stderr, "%lu", (unsigned long)n);
}

void finish(bool is_ok) {
    exit(is_ok ? 0 : 1);
}

uint32_t instructions(void) {
    /* csrr a0, minstret: as a number, because assemblers differ on whether rv32imc has it. */
    register uint32_t n __asm__("a0");
    __asm__ volatile(".word 0xb0202573" : "=r"(n));
    return n;
}

/* What lies below everything that was used still has its paint. */
uint32_t stack_used(void) {
    volatile uint8_t mark = 0;
    volatile uint8_t *here = &mark, *low = here - PAINTED, *at = low;
    uint32_t used;
    while (at < here - 64 && *at == PAINT) {
        at++;
    }
    used = at > low ? (uint32_t)(here - at) : 0;
    for (at = low; at < here - 64; at++) {
        *at = PAINT;
    }
    return used;
}
