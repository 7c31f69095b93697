/* Kinglet on a device: a few sealed bytes for a window of readings, within a bound. See README.md. */
#ifndef KINGLET_H
#define KINGLET_H

#include "kgl_codec.h"
#include "kgl_node.h"
#include "kgl_wire.h"

#endif
