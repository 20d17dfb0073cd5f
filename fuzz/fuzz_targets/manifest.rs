//! Any bytes as a file of manifests: mistakes have a place, and what is without
//! mistakes makes an inventory.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use boot_proto::manifest::{SourceFile, load};
use boot_server::inventory::Inventory;
use boot_server::manifests::{Declared, option_mistakes, warnings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = SourceFile {
        name: "farm.yaml".into(),
        text: data.to_vec(),
    };
    let loaded = load(&[file]);
    let is_break = |byte: &&u8| matches!(byte, b'\n' | b'\r');
    let lines = data.iter().filter(is_break).count() + 1;
    for mistake in &loaded.mistakes {
        assert!(!mistake.message.is_empty(), "a mistake without words");
        assert!(mistake.line <= lines + 1, "{mistake} of {lines} lines");
        assert!(
            mistake.to_string().len() < 64 * 1024,
            "a mistake of many words"
        );
    }
    if loaded.mistakes.is_empty() {
        let declared = Declared::new(Path::new("/"), loaded.resources);
        let _ = (option_mistakes(&declared), warnings(&declared));
        let inventory = Inventory::new(Arc::new(declared), Vec::new());
        let _ = inventory.machines();
    }
});
