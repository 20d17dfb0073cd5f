//! End to end: virtual machines with real firmware, a real kernel and a real
//! Kubernetes. Slow; run as `cargo xtask test vm`.

mod adoption;
mod bonds;
mod damaged_image;
mod demo;
mod disks;
mod facts;
mod failures;
mod hosted;
mod images;
mod initramfs;
mod joins;
mod lab;
mod loaders;
mod matchbox;
mod nics;
mod older;
mod profile;
mod proxy;
mod rack;
mod shell;
mod stray;
mod support;
mod trust;
