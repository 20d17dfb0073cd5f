//! Boots from an image on a disk whose blocks are checked when they are read.

use boot_proto::ids::Checksum;
use boot_proto::resources::KeepImage;
use boot_proto::verity::{BLOCK, Tree, hashes};

use super::disks::{LABEL, plug_in};
use super::*;

fn image() -> Vec<u8> {
    (0..3 * BLOCK)
        .map(|at| u8::try_from(at % 241).unwrap())
        .collect()
}

fn tree() -> Tree {
    Tree::over(hashes(&image())).unwrap()
}

struct Disk {
    bench: Bench,
    kept: PathBuf,
}

impl Disk {
    /// Boots with these files on the disk, by the ends of their names.
    fn boot(files: &[(&str, &[u8])], root: Checksum, served: &[u8]) -> Self {
        Self::boot_where_it_fails(files, root, served, 0)
    }

    /// The same, where the kernel does not make the device so many times.
    fn boot_where_it_fails(
        files: &[(&str, &[u8])],
        root: Checksum,
        served: &[u8],
        failures: usize,
    ) -> Self {
        let config = move |config: &mut BootConfig| {
            config.image.size = image().len() as u64;
            config.image.root_digest = Digest::of(&image());
            config.image.checks.verity = Some(root);
            config.system.keep_image = Some(KeepImage {
                label: LABEL.to_owned(),
                verity: true,
                on_corruption: None,
            });
        };
        let served: &'static [u8] = served.to_vec().leak();
        let mut bench = Bench::new("", &boot_server(config, served));
        bench.kernel.fail("verity", failures);
        plug_in(&bench);
        let paths = Paths::below(bench.base.path());
        let kept = paths.kept_image(LABEL, &Digest::of(&image()));
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        for (end, content) in files {
            fs::write(kept.with_extension(end), content).unwrap();
        }
        let failure = bench.run();
        assert_eq!(failure.phase, Phase::SwitchRoot, "{failure:?}");
        Self { bench, kept }
    }

    fn read(&self, end: &str) -> Option<Vec<u8>> {
        fs::read(self.kept.with_extension(end)).ok()
    }

    fn opens_verity(&self) -> bool {
        let call = format!("verity 3 {}", tree().root);
        self.bench.kernel.position(&call).is_some()
    }
}

#[test]
fn a_new_image_gets_its_tree_and_is_marked() {
    let disk = Disk::boot(&[], tree().root, &image());
    assert!(disk.opens_verity());
    assert_eq!(disk.read("squashfs"), Some(image()));
    assert_eq!(disk.read("verity"), Some(tree().blocks));
    assert!(disk.read("in-use").is_some());
}

#[test]
fn after_an_orderly_shutdown_nothing_is_read() {
    // What is wrong in it is found when it is read, by the kernel.
    let mut damaged = image();
    damaged[3] ^= 1;
    let files = [("squashfs", &*damaged), ("verity", &*tree().blocks)];
    let disk = Disk::boot(&files, tree().root, b"no server has it");
    assert!(disk.opens_verity());
    assert_eq!(disk.read("squashfs"), Some(damaged));
    assert!(disk.read("in-use").is_some());
    let log = disk.bench.log.tail();
    assert!(
        log.contains("not downloaded, kept on the disk images, each block checked"),
        "{log}"
    );
}

#[test]
fn otherwise_all_of_it_is_checked() {
    let mut damaged = image();
    damaged[3] ^= 1;
    let tree = tree();
    let short = &tree.blocks[..BLOCK / 2];
    for left in [
        &[
            ("squashfs", &*damaged),
            ("verity", &*tree.blocks),
            ("in-use", b"".as_slice()),
        ][..],
        &[("squashfs", &*damaged), ("verity", short)],
        &[("squashfs", &*damaged)],
    ] {
        let disk = Disk::boot(left, tree.root, &image());
        assert!(disk.opens_verity());
        assert_eq!(disk.read("squashfs"), Some(image()));
        assert_eq!(disk.read("verity").as_ref(), Some(&tree.blocks));
    }
}

#[test]
fn a_root_hash_of_something_else_is_not_used() {
    let disk = Disk::boot(&[], Checksum::new([1; 32]), &image());
    assert!(!disk.opens_verity());
    assert_eq!(disk.read("verity"), None);
    let log = disk.bench.log.tail();
    assert!(log.contains("the root hash of something else"), "{log}");
}

#[test]
fn a_kernel_without_the_driver_is_told_and_left_no_devices() {
    let tree = tree();
    let image = image();
    let files = [("squashfs", &*image), ("verity", &*tree.blocks)];
    // Neither unread nor after the check.
    let disk = Disk::boot_where_it_fails(&files, tree.root, b"no server has it", 2);
    let loops = &disk.bench.kernel.loops;
    assert_eq!(loops.len(), 1, "{loops:?}");
    assert_eq!(loops[0].1, disk.kept, "the image itself");
    let log = disk.bench.log.tail();
    for part in [
        "initramfs --storage",
        "all of the image is checked",
        "the image is not checked again",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    // Unread it did not come about, and then it did.
    let disk = Disk::boot_where_it_fails(&files, tree.root, b"no server has it", 1);
    assert_eq!(disk.bench.kernel.loops.len(), 2);
}
