/* Integer helpers that Debian's libgcc for lx106 lacks. Schoolbook, with 32-bit operations alone. */
#include <stdint.h>

uint32_t __udivsi3(uint32_t a, uint32_t b);
uint32_t __umodsi3(uint32_t a, uint32_t b);
int32_t __divsi3(int32_t a, int32_t b);
int32_t __modsi3(int32_t a, int32_t b);
uint64_t __muldi3(uint64_t a, uint64_t b);
uint64_t __udivdi3(uint64_t a, uint64_t b);

static uint32_t divided(uint32_t a, uint32_t b, uint32_t *rest) {
    uint32_t q = 0, r = 0;
    for (int i = 31; i >= 0; i--) {
        uint32_t carry = r >> 31;
        r = r << 1 | (a >> i & 1);
        if (carry != 0 || r >= b) {
            r -= b;
            q |= UINT32_C(1) << i;
        }
    }
    *rest = r;
    return q;
}

uint32_t __udivsi3(uint32_t a, uint32_t b) {
    uint32_t r;
    return divided(a, b, &r);
}

uint32_t __umodsi3(uint32_t a, uint32_t b) {
    uint32_t r;
    (void)divided(a, b, &r);
    return r;
}

int32_t __divsi3(int32_t a, int32_t b) {
    uint32_t r, q = divided(a < 0 ? 0U - (uint32_t)a : (uint32_t)a, b < 0 ? 0U - (uint32_t)b : (uint32_t)b, &r);
    return (int32_t)((a < 0) != (b < 0) ? 0U - q : q);
}

int32_t __modsi3(int32_t a, int32_t b) {
    uint32_t r;
    (void)divided(a < 0 ? 0U - (uint32_t)a : (uint32_t)a, b < 0 ? 0U - (uint32_t)b : (uint32_t)b, &r);
    return (int32_t)(a < 0 ? 0U - r : r);
}

uint64_t __muldi3(uint64_t a, uint64_t b) {
    uint32_t a0 = (uint32_t)a & 0xFFFF, a1 = (uint32_t)a >> 16, b0 = (uint32_t)b & 0xFFFF, b1 = (uint32_t)b >> 16;
    uint32_t low = a0 * b0, middle = a1 * b0 + (low >> 16), other = a0 * b1 + (middle & 0xFFFF);
    uint32_t high = a1 * b1 + (middle >> 16) + (other >> 16);
    high += (uint32_t)(a >> 32) * (uint32_t)b + (uint32_t)a * (uint32_t)(b >> 32);
    return (uint64_t)high << 32 | (other << 16 | (low & 0xFFFF));
}

uint64_t __udivdi3(uint64_t a, uint64_t b) {
    uint64_t q = 0, r = 0;
    for (int i = 63; i >= 0; i--) {
        uint32_t carry = (uint32_t)(r >> 63);
        r = r << 1 | (a >> i & 1);
        if (carry != 0 || r >= b) {
            r -= b;
            q |= (uint64_t)1 << i;
        }
    }
    return q;
}
