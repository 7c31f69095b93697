//! How frames are taken in, kept, shown and passed on.
