//! End to end: virtual machines with real firmware, a real kernel and a real
//! Kubernetes. Slow; run as `cargo xtask test vm`.

mod damaged_image;
mod facts;
mod lab;
mod loaders;
mod proxy;
mod rack;
mod stray;
mod support;
mod trust;
