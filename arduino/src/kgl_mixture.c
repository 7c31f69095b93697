/* A mixture of three logistic distributions, in integers. */
#include "kgl_predict.h"

/* 2^15 / (1 + e^-z) for z = 0, 1/32, 2/32, ..., 10. */
#define SIGMOIDS 321
static const uint16_t SIGMOID[SIGMOIDS] KGL_PROGMEM = {
    16384, 16640, 16896, 17151, 17407, 17661, 17916, 18169, 18421, 18673, 18923, 19173, 19420, 19667, 19912, 20155,
    20397, 20636, 20874, 21110, 21344, 21575, 21804, 22031, 22255, 22477, 22696, 22913, 23127, 23338, 23547, 23753,
    23955, 24155, 24352, 24546, 24737, 24925, 25110, 25292, 25471, 25646, 25819, 25988, 26155, 26318, 26479, 26636,
    26790, 26941, 27090, 27235, 27377, 27516, 27653, 27786, 27917, 28045, 28169, 28292, 28411, 28528, 28642, 28753,
    28862, 28968, 29072, 29173, 29272, 29368, 29462, 29554, 29644, 29731, 29816, 29899, 29979, 30058, 30135, 30210,
    30282, 30353, 30422, 30489, 30555, 30618, 30680, 30740, 30799, 30856, 30912, 30966, 31018, 31069, 31119, 31167,
    31214, 31260, 31304, 31347, 31389, 31430, 31469, 31508, 31545, 31581, 31616, 31651, 31684, 31716, 31747, 31778,
    31807, 31836, 31864, 31891, 31917, 31943, 31968, 31992, 32015, 32038, 32060, 32081, 32102, 32122, 32141, 32160,
    32179, 32196, 32214, 32231, 32247, 32263, 32278, 32293, 32307, 32321, 32335, 32348, 32361, 32373, 32385, 32397,
    32408, 32419, 32430, 32440, 32450, 32460, 32469, 32478, 32487, 32496, 32504, 32512, 32520, 32527, 32535, 32542,
    32549, 32555, 32562, 32568, 32574, 32580, 32586, 32592, 32597, 32602, 32607, 32612, 32617, 32622, 32626, 32630,
    32635, 32639, 32643, 32647, 32650, 32654, 32657, 32661, 32664, 32667, 32670, 32673, 32676, 32679, 32682, 32684,
    32687, 32689, 32692, 32694, 32696, 32699, 32701, 32703, 32705, 32707, 32709, 32711, 32712, 32714, 32716, 32717,
    32719, 32720, 32722, 32723, 32725, 32726, 32727, 32728, 32730, 32731, 32732, 32733, 32734, 32735, 32736, 32737,
    32738, 32739, 32740, 32741, 32742, 32742, 32743, 32744, 32745, 32745, 32746, 32747, 32747, 32748, 32749, 32749,
    32750, 32750, 32751, 32752, 32752, 32753, 32753, 32753, 32754, 32754, 32755, 32755, 32756, 32756, 32756, 32757,
    32757, 32757, 32758, 32758, 32758, 32759, 32759, 32759, 32759, 32760, 32760, 32760, 32760, 32761, 32761, 32761,
    32761, 32762, 32762, 32762, 32762, 32762, 32762, 32763, 32763, 32763, 32763, 32763, 32763, 32764, 32764, 32764,
    32764, 32764, 32764, 32764, 32764, 32765, 32765, 32765, 32765, 32765, 32765, 32765, 32765, 32765, 32765, 32765,
    32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766,
    32767};

/* 2^(-i/4) in Q14. */
static const uint16_t QUARTERS[4] KGL_PROGMEM = {16384, 13777, 11585, 9742};

#define LIMIT (INT64_C(2147483136)) /* 2^31 - 512 */

static int64_t limited(int64_t x) {
    return x < -LIMIT ? -LIMIT : x > LIMIT ? LIMIT : x;
}

/* The frequency of a logit this far below the largest. */
static uint32_t freq_of_logit(int32_t top, int32_t logit) {
    int32_t cost = (top - logit) >> 4;
    return kgl_freq_of((uint8_t)(cost < 255 ? cost : 255));
}

void kgl_mixture_make(kgl_mixture *mixture, const int64_t *linear, uint32_t mean_move, const int32_t *outputs,
                      const int32_t *rest) {
    const int32_t *offsets = outputs, *logs = outputs + 3, *logits = outputs + 6;
    int32_t top = logits[0], best = INT32_MIN;
    uint32_t total = 0, left = 1024;
    uint8_t k, peak = 0;
    for (k = 1; k < KGL_COMPONENTS; k++) {
        top = logits[k] > top ? logits[k] : top;
    }
    if (rest != NULL) {
        top = *rest > top ? *rest : top;
        total = freq_of_logit(top, *rest);
    }
    for (k = 0; k < KGL_COMPONENTS; k++) {
        total += freq_of_logit(top, logits[k]);
    }
    for (k = 0; k < KGL_COMPONENTS; k++) {
        int32_t scale = (logs[k] * 4 + 128) >> 8;
        mixture->means[k] = limited(linear[k]) + limited(((int64_t)offsets[k] * mean_move) >> 12);
        mixture->scales[k] = (uint8_t)kgl_clamp(scale + 16, 0, 63);
        mixture->weights[k] = freq_of_logit(top, logits[k]) * 1024 / total;
        left -= mixture->weights[k];
        /* The peak: most weight for its width; the last of equals. */
        if (logits[k] - logs[k] >= best) {
            best = logits[k] - logs[k];
            peak = k;
        }
    }
    mixture->rest = left;
    mixture->centre = (int32_t)((mixture->means[peak] + 8) >> 4);
}

/* The logistic function of a distance (Q4) over the scale of an index, Q15. */
static uint32_t sigmoid(int64_t distance, uint8_t scale) {
    uint64_t magnitude = distance < 0 ? 0 - (uint64_t)distance : (uint64_t)distance;
    uint32_t z, s;
    uint8_t shift = (uint8_t)(9 + (scale >> 2));
    if (magnitude < UINT32_C(1) << 17) {
        z = ((uint32_t)magnitude * KGL_ROM_U16(&QUARTERS[scale & 3])) >> shift;
    } else {
        uint64_t wide;
        magnitude = magnitude < (uint64_t)1 << 34 ? magnitude : (uint64_t)1 << 34;
        wide = (magnitude * KGL_ROM_U16(&QUARTERS[scale & 3])) >> shift;
        z = wide < SIGMOIDS ? (uint32_t)wide : SIGMOIDS;
    }
    s = KGL_ROM_U16(&SIGMOID[z < SIGMOIDS ? z : SIGMOIDS - 1]);
    return distance < 0 ? (UINT32_C(1) << 15) - s : s;
}

uint32_t kgl_mixture_below(const kgl_mixture *mixture, int64_t x) {
    uint32_t sum = 0;
    uint8_t k;
    for (k = 0; k < KGL_COMPONENTS; k++) {
        sum += mixture->weights[k] * sigmoid(x - mixture->means[k], mixture->scales[k]);
    }
    return sum;
}
