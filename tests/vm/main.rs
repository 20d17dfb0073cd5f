//! End to end: virtual machines with real firmware, a real kernel and a real
//! Kubernetes. Slow; run as `cargo xtask test vm`.

mod adoption;
mod bonds;
mod cabling;
mod crio;
mod damaged_image;
mod debug_shell;
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
mod minted;
mod moves;
mod networks;
mod nics;
mod older;
mod pods;
mod profile;
mod proxy;
mod rack;
mod secrets;
mod seen;
mod shell;
mod stray;
mod support;
mod trust;
