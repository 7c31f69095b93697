/* The sections of a model that this library reads (spec/bundle.md), a bit each by its number. What is left out takes no
 * flash, and a model that has it is refused with KGL_ERR_MODEL. Here it is all of them; beside a bundle that `kinglet
 * export` has written it is those of this bundle. The first four are in every one. */
#ifndef KGL_PARTS_H
#define KGL_PARTS_H

#ifndef KGL_PARTS
#define KGL_PARTS 0x1ff0
#endif

#endif
