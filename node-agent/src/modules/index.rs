//! What the initramfs carries, as one small text file: modules with what must be
//! loaded before them, and the hardware each is for.
//!
//! The kernel's own `modules.alias` of a distribution has some 1.5 MB for
//! thousands of drivers that are not packed; this has only what is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{glob, module_name};

/// Where the index lies below `/lib/modules/RELEASE/`.
pub const FILE_NAME: &str = "moonfarm.index";

/// Where the index of the drivers for local disks lies there.
pub const STORAGE_FILE_NAME: &str = "moonfarm-storage.index";

/// One module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Path below `/lib/modules/RELEASE/`.
    pub path: String,
    /// Names of the modules that must be there first.
    pub needs: Vec<String>,
}

/// The index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleIndex {
    /// Modules by name.
    pub modules: BTreeMap<String, Module>,
    /// Pattern of a device's modalias, and the name of its module.
    pub aliases: BTreeSet<(String, String)>,
}

impl ModuleIndex {
    /// Reads what [`ModuleIndex::render`] wrote. Lines of another form are passed
    /// over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut index = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("module"), Some(name), Some(path)) => {
                    let needs = words.map(module_name).collect();
                    let module = Module {
                        path: path.to_owned(),
                        needs,
                    };
                    index.modules.insert(module_name(name), module);
                }
                (Some("alias"), Some(name), Some(pattern)) => {
                    index
                        .aliases
                        .insert((pattern.to_owned(), module_name(name)));
                }
                _ => {}
            }
        }
        index
    }

    /// The text of the file, the same for the same index.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, module) in &self.modules {
            let _ = write!(text, "module {name} {}", module.path);
            for need in &module.needs {
                let _ = write!(text, " {need}");
            }
            text.push('\n');
        }
        for (pattern, name) in &self.aliases {
            let _ = writeln!(text, "alias {name} {pattern}");
        }
        text
    }

    /// Names of the modules for a device, in the order of the aliases.
    pub fn for_device<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.aliases
            .iter()
            .filter(move |(pattern, _)| glob::matches(pattern, modalias))
            .map(|(_, name)| name.as_str())
    }

    /// `name` and all it needs, what is needed first. Names that are not packed
    /// are left out: they are built in, or were only wished for.
    #[must_use]
    pub fn in_order(&self, name: &str) -> Vec<&str> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        self.visit(&module_name(name), &mut seen, &mut order);
        order
    }

    fn visit<'a>(&'a self, name: &str, seen: &mut BTreeSet<&'a str>, order: &mut Vec<&'a str>) {
        let Some((name, module)) = self.modules.get_key_value(name) else {
            return;
        };
        // A circle, which depmod would refuse, ends here.
        if !seen.insert(name) {
            return;
        }
        for need in &module.needs {
            self.visit(need, seen, order);
        }
        order.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> ModuleIndex {
        ModuleIndex::parse(
            "module virtio_net kernel/virtio_net.ko net-failover virtio\n\
             module net_failover kernel/net_failover.ko failover\n\
             module failover kernel/failover.ko\n\
             module a kernel/a.ko b\n\
             module b kernel/b.ko a\n\
             alias virtio_net virtio:d00000001v*\n\
             rubbish\n\n",
        )
    }

    #[test]
    fn reads_what_it_wrote() {
        assert_eq!(ModuleIndex::parse(&index().render()), index());
    }

    #[test]
    fn needs_come_first_and_circles_end() {
        let index = index();
        assert_eq!(
            index.in_order("virtio-net"),
            ["failover", "net_failover", "virtio_net"]
        );
        assert_eq!(index.in_order("a"), ["b", "a"]);
        assert!(index.in_order("ext4").is_empty());
    }

    #[test]
    fn devices_find_their_module() {
        let index = index();
        let found: Vec<&str> = index.for_device("virtio:d00000001v00001AF4").collect();
        assert_eq!(found, ["virtio_net"]);
        assert_eq!(index.for_device("pci:v0").count(), 0);
    }
}
