/* Xtensa lx106, the core of an ESP8266, in QEMU's `sim`: its own start and simulator calls, nothing of a C library but
 * memory functions. */
#include "say.h"

#define SYS_EXIT 1
#define SYS_WRITE 4

static int32_t simcall(int32_t number, int32_t a, int32_t b, int32_t c) {
    register int32_t a2 __asm__("a2") = number;
    register int32_t a3 __asm__("a3") = a;
    register int32_t a4 __asm__("a4") = b;
    register int32_t a5 __asm__("a5") = c;
    __asm__ volatile("simcall" : "+r"(a2), "+r"(a3) : "r"(a4), "r"(a5) : "memory");
    return a2;
}

void say(const char *text) {
    (void)simcall(SYS_WRITE, 1, (int32_t)text, (int32_t)strlen(text));
}

void say_number(uint32_t n) {
    char digits[11];
    uint8_t at = 10;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    say(digits + at);
}

void finish(bool is_ok) {
    (void)simcall(SYS_EXIT, is_ok ? 0 : 1, 0, 0);
    for (;;) {
    }
}

uint32_t stack_used(void) {
    return 0;
}

uint32_t instructions(void) {
    return 0;
}

int main(void);

void start(void) __attribute__((noreturn));
void start(void) {
    (void)main();
    finish(false);
    for (;;) {
    }
}

/* The reset vector. */
__asm__(".section .vector, \"ax\"\n"
        ".align 4\n"
        ".global _vector\n"
        "_vector:\n"
        "  j 1f\n"
        "  .align 4\n"
        "  .literal_position\n"
        "1: movi a1, 0x607ffff0\n"
        "  movi a0, start\n"
        "  jx a0\n"
        ".text\n");
