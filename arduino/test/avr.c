/* An ATmega1284P in simavr: its serial port is a register write away, and sleep with interrupts off ends the run. */
#include "say.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

static void put(char c) {
    while ((UCSR0A & _BV(UDRE0)) == 0) {
    }
    UDR0 = (uint8_t)c;
}

void say(const char *text) {
    UCSR0B = _BV(TXEN0);
    while (*text != '\0') {
        put(*text++);
    }
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
    say(is_ok ? "the end\n" : "the end, FAILED\n");
    cli();
    sleep_enable();
    sleep_cpu();
    for (;;) {
    }
}

#define PAINT 0xA5
extern uint8_t __heap_start;

uint32_t stack_used(void) {
    uint8_t *at = &__heap_start, *here = (uint8_t *)SP;
    uint32_t used = 0;
    while (at < here - 32 && *at == PAINT) {
        at++;
    }
    if (at > &__heap_start) {
        used = (uint32_t)(RAMEND - (uint16_t)at);
    }
    for (at = &__heap_start; at < here - 32; at++) {
        *at = PAINT;
    }
    return used;
}

uint32_t instructions(void) {
    return 0;
}
