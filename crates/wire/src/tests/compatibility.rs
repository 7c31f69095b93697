//! Old bytes.
