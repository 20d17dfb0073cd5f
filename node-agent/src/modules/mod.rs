//! Kernel modules: which ones the initramfs carries, which of them the hardware
//! asks for, and the order they are loaded in.

pub mod glob;
pub mod index;
pub mod load;

/// A module's name as the kernel has it: `-` and `_` are one.
#[must_use]
pub fn module_name(file_or_name: &str) -> String {
    let name = file_or_name.rsplit('/').next().unwrap_or(file_or_name);
    let name = name.split_once(".ko").map_or(name, |(stem, _)| stem);
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::module_name;

    #[test]
    fn names() {
        for (text, name) in [
            ("kernel/drivers/net/xgene-enet.ko.xz", "xgene_enet"),
            ("8139too.ko", "8139too"),
            ("virtio-net", "virtio_net"),
        ] {
            assert_eq!(module_name(text), name);
        }
    }
}
