//! Tests by promise: real nodes, real frames, a fake world.

mod attacks;
mod fill;
mod link;
mod lorawan;
mod power;
mod reference;
mod rig;
mod server;
mod sizes;
mod twin;
mod update;
mod windows;
