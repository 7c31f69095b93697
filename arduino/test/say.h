/* What a test program says, and where its bytes stand. `stdio` where there is one; a chip brings its own `say`. */
#ifndef KGL_TEST_SAY_H
#define KGL_TEST_SAY_H

#include <kgl_base.h>

void say(const char *text);
void say_number(uint32_t n);
/* Ends the program: on a chip, the emulator. */
void finish(bool is_ok);
/* The largest part of the stack used since the last call, where it is measured; else 0. */
uint32_t stack_used(void);
/* Instructions so far, where they are counted exactly; else 0. */
uint32_t instructions(void);

static inline void verdict(const char *name, bool is_ok) {
    say(is_ok ? "ok " : "FAILED ");
    say(name);
    say("\n");
}

#endif
